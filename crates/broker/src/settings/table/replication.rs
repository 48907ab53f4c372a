//! Replicas: fetching from the leader, staying in sync, reading from followers, throttles.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("replica.lag.time.max.ms", Kind::Long, Some("30000"))
        .at_least(1)
        .effect("A follower that has not caught up for this long leaves the in-sync set. One that does not fetch at all leaves it after broker.session.timeout.ms."),
    Setting::new("num.replica.fetchers", Kind::Int, Some("1"))
        .between(1, 256)
        .effect("Connections over which a follower fetches from each leading broker.")
        .at_run_time(),
    Setting::new("replica.fetch.backoff.ms", Kind::Int, Some("1000"))
        .at_least(0)
        .effect("Longest pause of a follower before it fetches a partition again that the leader refused; the first pauses are shorter."),
    Setting::new("replica.fetch.max.bytes", Kind::Int, Some("1048576"))
        .at_least(0)
        .effect("Bytes that a follower fetches per partition; a larger batch comes nevertheless."),
    Setting::new("replica.fetch.min.bytes", Kind::Int, Some("1"))
        .at_least(0)
        .effect("Bytes that a follower's fetch waits for."),
    Setting::new("replica.fetch.response.max.bytes", Kind::Int, Some("10485760"))
        .at_least(0)
        .effect("Bytes in one response to a follower; a larger batch comes nevertheless."),
    Setting::new("replica.fetch.wait.max.ms", Kind::Int, Some("500"))
        .at_least(0)
        .effect("Time that a follower's fetch waits at the leader when there is nothing new."),
    Setting::new("replica.socket.receive.buffer.bytes", Kind::Int, Some("65536"))
        .no_such_part("The system sizes receive buffers by itself."),
    Setting::new("replica.socket.timeout.ms", Kind::Int, Some("30000"))
        .at_least(1)
        .effect("A follower gives up a connection to the leader that is silent for this long, or for the wait of a fetch plus broker.session.timeout.ms if that is shorter."),
    Setting::new("replica.selector.class", Kind::String, None)
        .one_of(&["org.apache.kafka.common.replica.LeaderSelector", "org.apache.kafka.common.replica.RackAwareReplicaSelector"])
        .effect("Which replica a consumer reads (KIP-392): the leader, or one in the consumer's rack."),
    Setting::new("leader.replication.throttled.rate", Kind::Long, Some("9223372036854775807"))
        .at_least(0)
        .effect("Bytes per second that this broker sends to followers of the partitions in leader.replication.throttled.replicas.")
        .at_run_time(),
    Setting::new("follower.replication.throttled.rate", Kind::Long, Some("9223372036854775807"))
        .at_least(0)
        .effect("Bytes per second that this broker fetches for the partitions in follower.replication.throttled.replicas.")
        .at_run_time(),
    Setting::new("replica.alter.log.dirs.io.max.bytes.per.second", Kind::Long, Some("9223372036854775807"))
        .at_least(0)
        .effect("Bytes per second that may be copied for replicas that move from one directory of this broker to another.")
        .at_run_time(),
    Setting::new("replication.quota.window.num", Kind::Int, Some("11"))
        .at_least(1)
        .no_such_part("Throttles keep to their rate over any second; there are no windows to average over."),
    Setting::new("replication.quota.window.size.seconds", Kind::Int, Some("1"))
        .at_least(1)
        .no_such_part("Throttles keep to their rate over any second; there are no windows to average over."),
];
