//! Consumer groups and committed offsets.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("group.initial.rebalance.delay.ms", Kind::Int, Some("3000"))
        .at_least(0)
        .effect("How long a new group waits for more members."),
    Setting::new("group.min.session.timeout.ms", Kind::Int, Some("6000"))
        .at_least(1)
        .effect("Shortest session timeout that a member may ask for."),
    Setting::new("group.max.session.timeout.ms", Kind::Int, Some("1800000"))
        .at_least(1)
        .effect("Longest session timeout that a member may ask for."),
    Setting::new("group.max.size", Kind::Int, Some("2147483647"))
        .at_least(1)
        .effect("Members of a group at most."),
    Setting::new("group.coordinator.rebalance.protocols", Kind::List, Some("classic,consumer,streams"))
        .one_of(&["consumer", "classic", "share", "streams"])
        .effect("Group protocols that are served: classic always, consumer (KIP-848) if it is named. Groups of the others are not served yet, whatever it says."),
    Setting::new("group.coordinator.append.linger.ms", Kind::Int, Some("-1"))
        .at_least(-1)
        .no_such_part("Group records are appended as they come."),
    Setting::new("group.coordinator.background.threads", Kind::Int, Some("2"))
        .at_least(1)
        .no_such_part("Group work runs in the broker's runtime."),
    Setting::new("group.coordinator.cached.buffer.max.bytes", Kind::Int, Some("1048588"))
        .at_least(524288)
        .no_such_part("Group records need no cached buffer.")
        .at_run_time(),
    Setting::new("group.coordinator.threads", Kind::Int, Some("4"))
        .at_least(1)
        .no_such_part("Group work runs in the broker's runtime."),
    Setting::new("offsets.topic.num.partitions", Kind::Int, Some("50"))
        .at_least(1)
        .effect("Partitions of the topic of committed offsets, when it is created."),
    Setting::new("offsets.topic.replication.factor", Kind::Short, Some("3"))
        .at_least(1)
        .effect("Replicas of that topic. Until that many brokers have registered it is not created and groups get COORDINATOR_NOT_AVAILABLE."),
    Setting::new("offsets.topic.segment.bytes", Kind::Int, Some("104857600"))
        .at_least(1)
        .effect("Segment size of that topic."),
    Setting::new("offsets.topic.compression.codec", Kind::Int, Some("0"))
        .not_yet("Codec of that topic's batches; so far none."),
    Setting::new("offsets.retention.minutes", Kind::Int, Some("10080"))
        .at_least(1)
        .effect("How long offsets of an empty group are kept."),
    Setting::new("offsets.retention.check.interval.ms", Kind::Long, Some("600000"))
        .at_least(1)
        .effect("How often expired offsets are looked for."),
    Setting::new("offsets.load.buffer.size", Kind::Int, Some("5242880"))
        .at_least(1)
        .no_such_part("Groups are loaded through the ordinary read path."),
    Setting::new("offsets.commit.timeout.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .effect("How long a commit waits for its replicas before it is answered COORDINATOR_NOT_AVAILABLE."),
    Setting::new("offset.metadata.max.bytes", Kind::Int, Some("4096"))
        .at_least(0)
        .effect("Longest metadata text of a committed offset."),
    Setting::new("group.consumer.assignment.interval.ms", Kind::Int, Some("1000"))
        .at_least(0)
        .effect("Time between two target assignments of a consumer group at least, where the group has no own value.")
        .at_run_time(),
    Setting::new("group.consumer.assignors", Kind::List, Some("uniform,range"))
        .one_of(&["uniform", "range"])
        .effect("Assignors that members of consumer groups may choose; the first is for groups whose members choose none."),
    Setting::new("group.consumer.heartbeat.interval.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .effect("How often members of consumer groups send heartbeats, where the group has no own value."),
    Setting::new("group.consumer.max.assignment.interval.ms", Kind::Int, Some("15000"))
        .at_least(0)
        .effect("Largest consumer.assignment.interval.ms of a group."),
    Setting::new("group.consumer.max.heartbeat.interval.ms", Kind::Int, Some("15000"))
        .at_least(1)
        .effect("Largest consumer.heartbeat.interval.ms of a group."),
    Setting::new("group.consumer.max.session.timeout.ms", Kind::Int, Some("60000"))
        .at_least(1)
        .effect("Largest consumer.session.timeout.ms of a group."),
    Setting::new("group.consumer.max.size", Kind::Int, Some("2147483647"))
        .at_least(1)
        .effect("Members of a consumer group at most."),
    Setting::new("group.consumer.migration.policy", Kind::String, Some("bidirectional"))
        .one_of_any_case(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"])
        .effect("Which way a group with members may go between the classic and the consumer protocol."),
    Setting::new("group.consumer.min.assignment.interval.ms", Kind::Int, Some("0"))
        .at_least(0)
        .effect("Smallest consumer.assignment.interval.ms of a group."),
    Setting::new("group.consumer.min.heartbeat.interval.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .effect("Smallest consumer.heartbeat.interval.ms of a group."),
    Setting::new("group.consumer.min.session.timeout.ms", Kind::Int, Some("45000"))
        .at_least(1)
        .effect("Smallest consumer.session.timeout.ms of a group."),
    Setting::new("group.consumer.regex.refresh.interval.ms", Kind::Int, Some("600000"))
        .at_least(10000)
        .effect("How often the regular expressions of consumer groups are resolved at least; new topics are looked for more often."),
    Setting::new("group.consumer.session.timeout.ms", Kind::Int, Some("45000"))
        .at_least(1)
        .effect("Without a heartbeat for this long a member of a consumer group is removed, where the group has no own value."),
    Setting::new("group.share.assignment.interval.ms", Kind::Int, Some("1000"))
        .at_least(0)
        .not_yet("Share groups: assignment interval in milliseconds."),
    Setting::new("group.share.assignors", Kind::List, Some("simple"))
        .not_yet("Share groups: assignors."),
    Setting::new("group.share.delivery.count.limit", Kind::Int, Some("5"))
        .between(2, 10)
        .not_yet("Share groups: delivery count limit."),
    Setting::new("group.share.heartbeat.interval.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .not_yet("Share groups: heartbeat interval in milliseconds."),
    Setting::new("group.share.initialize.retry.interval.ms", Kind::Int, Some("30000"))
        .at_least(1)
        .not_yet("Share groups: initialize retry interval in milliseconds."),
    Setting::new("group.share.max.assignment.interval.ms", Kind::Int, Some("15000"))
        .at_least(0)
        .not_yet("Share groups: max assignment interval in milliseconds."),
    Setting::new("group.share.max.delivery.count.limit", Kind::Int, Some("10"))
        .between(5, 25)
        .not_yet("Share groups: max delivery count limit."),
    Setting::new("group.share.max.heartbeat.interval.ms", Kind::Int, Some("15000"))
        .at_least(1)
        .not_yet("Share groups: max heartbeat interval in milliseconds."),
    Setting::new("group.share.max.partition.max.record.locks", Kind::Int, Some("4000"))
        .between(2000, 10000)
        .not_yet("Share groups: max partition max record locks."),
    Setting::new("group.share.max.record.lock.duration.ms", Kind::Int, Some("60000"))
        .between(30000, 3600000)
        .not_yet("Share groups: max record lock duration in milliseconds."),
    Setting::new("group.share.max.session.timeout.ms", Kind::Int, Some("60000"))
        .at_least(1)
        .not_yet("Share groups: max session timeout in milliseconds."),
    Setting::new("group.share.max.share.sessions", Kind::Int, Some("2000"))
        .at_least(1)
        .not_yet("Share groups: max share sessions."),
    Setting::new("group.share.max.size", Kind::Int, Some("200"))
        .between(1, 1000)
        .not_yet("Share groups: max size."),
    Setting::new("group.share.min.assignment.interval.ms", Kind::Int, Some("0"))
        .at_least(0)
        .not_yet("Share groups: min assignment interval in milliseconds."),
    Setting::new("group.share.min.delivery.count.limit", Kind::Int, Some("2"))
        .between(2, 5)
        .not_yet("Share groups: min delivery count limit."),
    Setting::new("group.share.min.heartbeat.interval.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .not_yet("Share groups: min heartbeat interval in milliseconds."),
    Setting::new("group.share.min.partition.max.record.locks", Kind::Int, Some("100"))
        .between(100, 2000)
        .not_yet("Share groups: min partition max record locks."),
    Setting::new("group.share.min.record.lock.duration.ms", Kind::Int, Some("15000"))
        .between(1000, 30000)
        .not_yet("Share groups: min record lock duration in milliseconds."),
    Setting::new("group.share.min.session.timeout.ms", Kind::Int, Some("45000"))
        .at_least(1)
        .not_yet("Share groups: min session timeout in milliseconds."),
    Setting::new("group.share.partition.max.record.locks", Kind::Int, Some("2000"))
        .between(100, 10000)
        .not_yet("Share groups: partition max record locks."),
    Setting::new("group.share.persister.class.name", Kind::String, Some("org.apache.kafka.server.share.persister.DefaultStatePersister"))
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("group.share.record.lock.duration.ms", Kind::Int, Some("30000"))
        .between(1000, 3600000)
        .not_yet("Share groups: record lock duration in milliseconds."),
    Setting::new("group.share.session.timeout.ms", Kind::Int, Some("45000"))
        .at_least(1)
        .not_yet("Share groups: session timeout in milliseconds."),
    Setting::new("group.streams.assignment.interval.ms", Kind::Int, Some("1000"))
        .at_least(0)
        .not_yet("Streams groups: assignment interval in milliseconds."),
    Setting::new("group.streams.heartbeat.interval.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .not_yet("Streams groups: heartbeat interval in milliseconds."),
    Setting::new("group.streams.initial.rebalance.delay.ms", Kind::Int, Some("3000"))
        .at_least(0)
        .not_yet("Streams groups: initial rebalance delay in milliseconds."),
    Setting::new("group.streams.max.assignment.interval.ms", Kind::Int, Some("15000"))
        .at_least(0)
        .not_yet("Streams groups: max assignment interval in milliseconds."),
    Setting::new("group.streams.max.heartbeat.interval.ms", Kind::Int, Some("15000"))
        .at_least(1)
        .not_yet("Streams groups: max heartbeat interval in milliseconds."),
    Setting::new("group.streams.max.session.timeout.ms", Kind::Int, Some("60000"))
        .at_least(1)
        .not_yet("Streams groups: max session timeout in milliseconds."),
    Setting::new("group.streams.max.size", Kind::Int, Some("2147483647"))
        .at_least(1)
        .not_yet("Streams groups: max size."),
    Setting::new("group.streams.max.standby.replicas", Kind::Int, Some("2"))
        .at_least(0)
        .not_yet("Streams groups: max standby replicas."),
    Setting::new("group.streams.min.assignment.interval.ms", Kind::Int, Some("0"))
        .at_least(0)
        .not_yet("Streams groups: min assignment interval in milliseconds."),
    Setting::new("group.streams.min.heartbeat.interval.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .not_yet("Streams groups: min heartbeat interval in milliseconds."),
    Setting::new("group.streams.min.session.timeout.ms", Kind::Int, Some("45000"))
        .at_least(1)
        .not_yet("Streams groups: min session timeout in milliseconds."),
    Setting::new("group.streams.num.standby.replicas", Kind::Int, Some("0"))
        .at_least(0)
        .not_yet("Streams groups: number of standby replicas."),
    Setting::new("group.streams.session.timeout.ms", Kind::Int, Some("45000"))
        .at_least(1)
        .not_yet("Streams groups: session timeout in milliseconds."),
    Setting::new("share.coordinator.append.linger.ms", Kind::Int, Some("-1"))
        .at_least(-1)
        .not_yet("Share groups: coordinator append linger in milliseconds."),
    Setting::new("share.coordinator.cached.buffer.max.bytes", Kind::Int, Some("1048588"))
        .at_least(524288)
        .not_yet("Share groups: coordinator cached buffer max bytes."),
    Setting::new("share.coordinator.cold.partition.snapshot.interval.ms", Kind::Int, Some("300000"))
        .at_least(1)
        .not_yet("Share groups: coordinator cold partition snapshot interval in milliseconds."),
    Setting::new("share.coordinator.load.buffer.size", Kind::Int, Some("5242880"))
        .at_least(1)
        .not_yet("Share groups: coordinator load buffer size."),
    Setting::new("share.coordinator.snapshot.update.records.per.snapshot", Kind::Int, Some("500"))
        .between(0, 500)
        .not_yet("Share groups: coordinator snapshot update records per snapshot."),
    Setting::new("share.coordinator.state.topic.compression.codec", Kind::Int, Some("0"))
        .not_yet("Share groups: coordinator state topic compression codec."),
    Setting::new("share.coordinator.state.topic.min.isr", Kind::Short, Some("2"))
        .at_least(1)
        .not_yet("Share groups: coordinator state topic min isr."),
    Setting::new("share.coordinator.state.topic.num.partitions", Kind::Int, Some("50"))
        .at_least(1)
        .not_yet("Share groups: coordinator state topic number of partitions."),
    Setting::new("share.coordinator.state.topic.prune.interval.ms", Kind::Int, Some("300000"))
        .at_least(1)
        .not_yet("Share groups: coordinator state topic prune interval in milliseconds."),
    Setting::new("share.coordinator.state.topic.replication.factor", Kind::Short, Some("3"))
        .at_least(1)
        .not_yet("Share groups: coordinator state topic replication factor."),
    Setting::new("share.coordinator.state.topic.segment.bytes", Kind::Int, Some("104857600"))
        .at_least(1)
        .not_yet("Share groups: coordinator state topic segment bytes."),
    Setting::new("share.coordinator.threads", Kind::Int, Some("1"))
        .at_least(1)
        .not_yet("Share groups: coordinator threads."),
    Setting::new("share.coordinator.write.timeout.ms", Kind::Int, Some("5000"))
        .at_least(1)
        .not_yet("Share groups: coordinator write timeout in milliseconds."),
    Setting::new("offsets.commit.required.acks", Kind::Short, None)
        .no_such_part("Removed from Kafka; commits are answered when all replicas have them."),
];
