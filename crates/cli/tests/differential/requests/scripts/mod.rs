//! The requests, by what they are about. Each script stands on what those before it left behind.

mod admin; // what operators change besides topics
mod cluster; // the cluster and its versions
mod configs; // settings of topics, brokers and others
mod consumers; // groups of the new protocol
mod groups; // classic groups and offsets
mod records; // writing and reading
mod topics; // making, growing and deleting
mod transactions; // producers and transactions

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::raw::kafka_protocol::messages::create_topics_request::CreatableTopic;
use twinstream_client::raw::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use twinstream_client::raw::kafka_protocol::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, GroupId, MetadataRequest, TopicName, TransactionalId,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;

use crate::requests::side::Side;

/// A topic that every script may read, with one partition and three records.
const TOPIC: &str = "ground";
/// A topic that nobody makes.
const NOWHERE: &str = "nowhere";
/// All records are of one time, so that both sides store the same bytes.
const WRITTEN_AT_MS: i64 = 1_700_000_000_000;

pub(crate) fn run(side: &mut Side) {
    let id = prepare(side);
    cluster::run(side, id);
    topics::run(side);
    configs::run(side);
    records::run(side, id);
    groups::run(side, id);
    consumers::run(side, id);
    transactions::run(side);
    admin::run(side);
}

/// The topic that scripts use, and both internal topics; the id of the former.
fn prepare(side: &mut Side) -> uuid::Uuid {
    let new = CreatableTopic::default().with_name(topic(TOPIC)).with_num_partitions(1).with_replication_factor(1);
    let create = CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(30_000);
    let is_there = |code: i16| code == 0 || code == 36;
    side.settle("the topic is made", &create, |answer| answer.topics.iter().all(|topic| is_there(topic.error_code)));
    let name = MetadataRequestTopic::default().with_name(Some(topic(TOPIC)));
    let lookup = MetadataRequest::default().with_topics(Some(vec![name]));
    let known = side.settle("the topic has a leader", &lookup, |answer| {
        answer.topics.iter().all(|topic| topic.error_code == 0 && topic.partitions.iter().all(|p| p.error_code == 0))
    });
    for key_type in [0, 1] {
        let keys = vec![s("any")];
        let find = FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(keys);
        side.settle("a coordinator", &find, |answer| answer.coordinators.iter().all(|found| found.error_code == 0));
    }
    known.expect("every broker serves Metadata").topics[0].topic_id
}

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(s(name))
}

fn group(name: &str) -> GroupId {
    GroupId(s(name))
}

fn transactional(name: &str) -> TransactionalId {
    TransactionalId(s(name))
}

/// An id that no topic has.
fn no_id() -> uuid::Uuid {
    uuid::Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef)
}

/// A batch with these values, and no producer if there is no stamp.
fn batch(stamp: Option<ProducerStamp>, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    if let Some(stamp) = stamp {
        builder = builder.with_producer(stamp);
    }
    for value in values {
        builder.append(WRITTEN_AT_MS, None, Some(value.as_bytes()), []);
    }
    builder.build().expect("a small batch").into()
}
