//! The mirror judged without a cluster: settings, names, assignment, batches, gaps. Copying between clusters is tested
//! with real ones.

mod batches; // what becomes of a batch
mod complaints; // the list and the tests that it names
mod names; // policies, filters, assignment
mod settings; // keys, fates, README
mod theirs; // defaults of MirrorMaker

use twinstream_connect_api::RawConfig;
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("topic name")
}

fn partition(name: &str, index: i32) -> TopicPartition {
    TopicPartition::new(topic(name), PartitionIndex(index))
}

fn config(extra: &[(&str, &str)]) -> RawConfig {
    let given = [("source.cluster.bootstrap.servers", "a:9092"), ("target.cluster.bootstrap.servers", "b:9092")];
    given.iter().chain(extra).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Of a connector that leads from east to west.
pub(crate) fn east_to_west(more: &[(&str, &str)]) -> RawConfig {
    let aliases = [("source.cluster.alias", "east"), ("target.cluster.alias", "west")];
    config(&[&aliases, more].concat())
}
