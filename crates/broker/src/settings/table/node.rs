//! Who this node is, and the metadata quorum.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("node.id", Kind::Int, None)
        .at_least(0)
        .effect("This node's number, unique in the cluster."),
    Setting::new("broker.id", Kind::Int, Some("-1"))
        .effect("Older spelling of node.id; -1 for none."),
    Setting::new("process.roles", Kind::List, Some(""))
        .one_of(&["broker", "controller"])
        .effect("What this node does: broker, or broker and controller. Without it, a node that is a voter, or that is told of no quorum, has both."),
    Setting::new("broker.rack", Kind::String, None)
        .effect("Rack or zone of this broker, shown to clients."),
    Setting::new("controller.quorum.voters", Kind::List, Some(""))
        .effect("The 1, 3 or 5 voters that a new metadata quorum is formed of, as id@host:port, and where they are reached. Who votes in a quorum that exists is kept in its log. Without it and without controller.quorum.bootstrap.servers, a controller is its own voter; when its cluster has grown, set the latter as well, since with empty disks it would found another cluster."),
    Setting::new("controller.quorum.bootstrap.servers", Kind::List, Some(""))
        .effect("Nodes to ask for a quorum that exists, as host:port: any of its nodes, voter or not. With it a node needs no controller.quorum.voters; a controller joins without a vote, see controller.quorum.auto.join.enable, unless all the addresses are its own, then it founds a cluster alone. In a cluster of several nodes let each name some of the others, so that one whose disks were replaced finds them."),
    Setting::new("controller.listener.names", Kind::List, Some(""))
        .effect("Listeners for the quorum only: opened, not advertised to clients."),
    Setting::new("controller.quorum.election.timeout.ms", Kind::Int, Some("500"))
        .at_least(50)
        .effect("Time without a word of the leader after which a voter stands for election, randomised up to twice as long. A leader whose process ended is replaced at once. Kafka's default is 1000."),
    Setting::new("controller.quorum.fetch.timeout.ms", Kind::Int, Some("2000"))
        .at_least(50)
        .no_such_part("The quorum's leader pushes; a node without a vote waits for it."),
    Setting::new("controller.quorum.append.linger.ms", Kind::Int, Some("25"))
        .at_least(0)
        .no_such_part("The quorum writes what is pending in one go without waiting."),
    Setting::new("controller.quorum.auto.join.enable", Kind::Boolean, Some("false"))
        .effect("Let a new controller that controller.quorum.voters does not name become a voter by itself; otherwise kafka-metadata-quorum add-controller makes it one."),
    Setting::new("controller.quorum.election.backoff.max.ms", Kind::Int, Some("1000"))
        .at_least(0)
        .no_such_part("Elections are spread by random timeouts instead of a back-off."),
    Setting::new("controller.quorum.fetch.max.bytes", Kind::Int, Some("1048576"))
        .at_least(1)
        .no_such_part("The quorum's leader pushes; its messages have a fixed bound."),
    Setting::new("controller.quorum.fetch.snapshot.max.bytes", Kind::Int, Some("1048576"))
        .at_least(1)
        .no_such_part("Snapshots of metadata travel in one message with a fixed bound."),
    Setting::new("controller.quorum.request.timeout.ms", Kind::Int, Some("2000"))
        .at_least(0)
        .no_such_part("Messages of the quorum are not requests that time out."),
    Setting::new("controller.quorum.retry.backoff.ms", Kind::Int, Some("20"))
        .at_least(0)
        .no_such_part("Reconnecting to a quorum peer has its own fixed back-off."),
    Setting::new("broker.heartbeat.interval.ms", Kind::Int, Some("500"))
        .at_least(1)
        .effect("How often a broker tells the controller that it lives. Kafka's default is 2000."),
    Setting::new("broker.session.timeout.ms", Kind::Int, Some("2000"))
        .at_least(1)
        .effect("Without a heartbeat for this long a broker is fenced: the time for which writes stall when a machine hangs or is cut off. A process that ends is fenced at once. Kafka's default is 9000."),
    Setting::new("initial.broker.registration.timeout.ms", Kind::Int, Some("60000"))
        .at_least(1)
        .effect("How long a starting broker tries to register before it gives up."),
    Setting::new("controlled.shutdown.enable", Kind::Boolean, Some("true"))
        .effect("Hand leaderships over to other replicas before stopping."),
    Setting::new("request.timeout.ms", Kind::Int, Some("30000"))
        .at_least(1)
        .effect("How long a request to the controller may take."),
    Setting::new("controller.socket.timeout.ms", Kind::Int, Some("30000"))
        .no_such_part("Requests to the controller are bounded by request.timeout.ms."),
    Setting::new("metadata.log.dir", Kind::String, None)
        .effect("Directory of the metadata log; the first of log.dirs unless set."),
    Setting::new("metadata.log.max.record.bytes.between.snapshots", Kind::Long, Some("20971520"))
        .at_least(1)
        .no_such_part("A snapshot is written after a fixed number of entries."),
    Setting::new("metadata.log.max.snapshot.interval.ms", Kind::Long, Some("3600000"))
        .at_least(0)
        .no_such_part("A snapshot is written after a fixed number of entries."),
    Setting::new("metadata.log.segment.bytes", Kind::Int, Some("1073741824"))
        .at_least(8388608)
        .no_such_part("The metadata log is cut at snapshots, not by size."),
    Setting::new("metadata.log.segment.ms", Kind::Long, Some("604800000"))
        .no_such_part("The metadata log is cut at snapshots, not by time."),
    Setting::new("metadata.max.idle.interval.ms", Kind::Int, Some("500"))
        .at_least(0)
        .no_such_part("No empty records are written into the metadata log."),
    Setting::new("metadata.max.retention.bytes", Kind::Long, Some("104857600"))
        .no_such_part("The metadata log keeps what its snapshot does not cover."),
    Setting::new("metadata.max.retention.ms", Kind::Long, Some("604800000"))
        .no_such_part("The metadata log keeps what its snapshot does not cover."),
    Setting::new("server.max.startup.time.ms", Kind::Long, Some("9223372036854775807"))
        .at_least(0)
        .not_yet("Give up a start that takes longer."),
    Setting::new("early.start.listeners", Kind::List, None)
        .no_such_part("All listeners open together; client requests wait until the broker is ready."),
    Setting::new("unstable.api.versions.enable", Kind::Boolean, Some("false"))
        .no_such_part("There are no unstable API versions here."),
    Setting::new("unstable.feature.versions.enable", Kind::Boolean, Some("false"))
        .no_such_part("There are no unstable features here."),
    Setting::new("config.providers", Kind::List, Some(""))
        .refused("Classes that fetch values from elsewhere.", "there are no config providers; use the file, TWINSTREAM_ environment variables or --override"),
    Setting::new("internal.metadata.delete.delay.millis", Kind::Long, Some("60000"))
        .no_such_part("Internal to Kafka's metadata log."),
    Setting::new("internal.metadata.log.segment.bytes", Kind::Int, None)
        .no_such_part("Internal to Kafka's metadata log."),
    Setting::new("internal.metadata.max.batch.size.in.bytes", Kind::Int, Some("8388608"))
        .no_such_part("Internal to Kafka's metadata log."),
    Setting::new("controller.performance.always.log.threshold.ms", Kind::Long, Some("2000"))
        .at_least(0)
        .no_such_part("Internal to Kafka's controller."),
    Setting::new("controller.performance.sample.period.ms", Kind::Long, Some("60000"))
        .at_least(100)
        .no_such_part("Internal to Kafka's controller."),
    Setting::new("zookeeper.connect", Kind::String, None)
        .refused("Address of ZooKeeper, in old files.", "metadata lives in this cluster's own quorum; name the voters in controller.quorum.voters"),
    Setting::new("inter.broker.protocol.version", Kind::String, None)
        .no_such_part("Removed from Kafka; still in old files."),
];
