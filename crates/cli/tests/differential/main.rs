//! The same questions to Apache Kafka 4.3.1 and to us, and every answer compared.
//!
//! Picture: one fresh broker on each side. [`requests`] sends hand-made requests in every version; [`tools`] runs one list
//! of commands of Kafka's own tools. Answers are compared after what must differ was made alike (ids, ports, times). What
//! may differ stands in a `deviations.txt` beside each list, with a reason; a line there that explains nothing any more
//! fails the test.
//!
//! Not here: what clients make of the answers, and what happens when something breaks; see the other judges.

mod requests; // hand-made requests
mod tools; // Kafka's own tools
mod verdict; // what differs, and whether it may

use twinstream_testkit::peer::{Kafka, KafkaCluster};
use twinstream_testkit::{Cluster, ClusterOptions};

/// Small, and the same on both sides, so that answers can be compared whole.
const SETTINGS: [(&str, &str); 8] = [
    ("default.replication.factor", "1"),
    ("min.insync.replicas", "1"),
    ("num.partitions", "1"),
    ("offsets.topic.num.partitions", "5"),
    ("transaction.state.log.num.partitions", "5"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
];

/// One broker of Kafka's, and one of ours.
async fn both(kafka: &Kafka) -> (KafkaCluster, Cluster) {
    let options = SETTINGS.iter().fold(ClusterOptions::default(), |options, (name, value)| options.set(name, *value));
    tokio::join!(kafka.cluster(1, &SETTINGS), Cluster::start_with(1, options))
}
