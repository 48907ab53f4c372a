//! One broker as the suites' fixtures would start it, of ours or of Apache Kafka.

use crate::folder::Folder;
use crate::peer::{Kafka, KafkaCluster};
use crate::ports::free_port;
use crate::server::Server;

pub(super) type Settings = &'static [(&'static str, &'static str)];

/// What both are told; sessions are as short as kafka-python's tests have them.
const SETTINGS: [(&str, &str); 7] = [
    // Tests name the node by its id.
    ("node.id", "0"),
    ("num.partitions", "4"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
];
/// What Kafka is told beyond that. Everybody may do everything until there is an ACL about it.
const OF_KAFKA: [(&str, &str); 3] = [
    ("controller.quorum.voters", "0@127.0.0.1:{controller}"),
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("allow.everyone.if.no.acl.found", "true"),
];

pub(super) enum Broker {
    Ours { _server: Box<Server>, bootstrap: String },
    Kafka(KafkaCluster),
}

impl Broker {
    pub(super) async fn ours(folder: &Folder, more: Settings) -> Self {
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
        let both = SETTINGS.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let settings: Vec<(String, String)> = both.chain(own).collect();
        let mut server = Server::with_settings(folder, &name, "broker", port, &settings);
        server.start().await;
        Self::Ours { _server: Box::new(server), bootstrap }
    }

    pub(super) async fn kafka(kafka: &Kafka, more: Settings) -> Self {
        Self::Kafka(kafka.cluster(1, &[&SETTINGS[..], &OF_KAFKA, more].concat()).await)
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
