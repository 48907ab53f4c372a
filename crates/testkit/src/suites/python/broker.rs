//! One broker as the suites' fixtures would start it, of ours or of Apache Kafka.

use crate::folder::Folder;
use crate::peer::{Kafka, KafkaCluster};
use crate::ports::free_port;
use crate::server::Server;

/// What both are told; sessions are as short as kafka-python's tests have them, and nobody waits for long intervals.
const SETTINGS: [(&str, &str); 10] = [
    // Tests name the node by its id.
    ("node.id", "0"),
    ("num.partitions", "4"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "300"),
    ("group.consumer.heartbeat.interval.ms", "300"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
];
/// What Kafka is told beyond that. Everybody may do everything until there is an ACL about it.
const OF_KAFKA: [(&str, &str); 3] = [
    ("controller.quorum.voters", "0@127.0.0.1:{controller}"),
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "true"),
];

pub(super) enum Broker {
    Ours { _server: Server, bootstrap: String },
    Kafka(KafkaCluster),
}

impl Broker {
    pub(super) async fn ours(folder: &Folder) -> Self {
        let port = free_port();
        let bootstrap = format!("127.0.0.1:{port}");
        let name = format!("broker-{port}");
        let own = [
            ("process.roles", "broker,controller".to_owned()),
            ("controller.quorum.voters", format!("0@{bootstrap}")),
            ("listeners", format!("PLAINTEXT://{bootstrap}")),
            ("advertised.listeners", format!("PLAINTEXT://{bootstrap}")),
            ("log.dirs", folder.sub(&name).display().to_string()),
        ];
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let mut server = Server::with_settings(folder, &name, "broker", port, &[&settings[..], &own].concat());
        server.start().await;
        Self::Ours { _server: server, bootstrap }
    }

    pub(super) async fn kafka(kafka: &Kafka) -> Self {
        Self::Kafka(kafka.cluster(1, &[&SETTINGS[..], &OF_KAFKA].concat()).await)
    }

    pub(super) fn bootstrap(&self) -> String {
        match self {
            Self::Ours { bootstrap, .. } => bootstrap.clone(),
            Self::Kafka(cluster) => cluster.bootstrap(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ours { .. } => "Twinstream",
            Self::Kafka(_) => "Apache Kafka 4.3.1",
        }
    }
}
