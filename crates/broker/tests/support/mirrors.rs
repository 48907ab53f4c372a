//! Mirrors and what a link sends, in one line each.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicName};
use twinstream_protocol::batch::{BatchBuilder, BatchMut, ProducerStamp};
use twinstream_protocol::mirror::{self, MirrorSource, SourceRange};
use uuid::Uuid;

use super::records::{list_offset, produce_request, text, topic_name};
use super::{Client, wait_until};

pub const LINK: Uuid = Uuid::from_u128(0x11);
const TOPIC: i8 = 2;

/// A batch as it stands in the source's log.
pub fn stored(base: i64, epoch: i32, builder: BatchBuilder) -> Bytes {
    let mut bytes = builder.build().unwrap();
    let mut header = BatchMut::parse(&mut bytes).unwrap();
    header.set_base_offset(Offset(base));
    header.set_leader_epoch(LeaderEpoch(epoch));
    bytes.into()
}

/// Records with these values.
pub fn plain(values: &[&str]) -> BatchBuilder {
    with(BatchBuilder::new(), values)
}

/// Records of an open transaction.
pub fn open(id: i64, values: &[&str]) -> BatchBuilder {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: 0 };
    with(BatchBuilder::new().with_producer(stamp).with_transactional(), values)
}

fn with(mut builder: BatchBuilder, values: &[&str]) -> BatchBuilder {
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), []);
    }
    builder
}

/// From a source that has all of its log, in an epoch.
pub fn from(from: i64, epoch: i32) -> SourceRange {
    SourceRange {
        from: Offset(from),
        log_start: Offset(0),
        high_watermark: Offset(1_000),
        leader_epoch: LeaderEpoch(epoch),
        last_epoch: LeaderEpoch::NONE,
        cut: false,
    }
}

/// The source goes on at this offset with this epoch: what the mirror has from there on goes.
pub fn cut(at: i64, next_epoch: i32) -> SourceRange {
    SourceRange { cut: true, ..from(at, next_epoch) }
}

/// Makes a mirror over [`LINK`] of a topic that exists.
pub async fn mark(client: &mut Client, topic: &str) {
    let mark = [
        ("twinstream.mirror.link", LINK.to_string()),
        ("twinstream.mirror.source.cluster", "downstream".to_owned()),
        ("twinstream.mirror.source.topic", topic.to_owned()),
        ("twinstream.mirror.source.topic.id", TopicId(Uuid::from_u128(0x33)).to_string()),
        ("twinstream.mirror.state", "mirroring".to_owned()),
    ];
    let configs =
        mark.iter().map(|(name, value)| AlterableConfig::default().with_name(text(name)).with_value(Some(text(value))));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(configs.collect());
    let answer = client.call(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1).await;
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

pub fn mirror_request(topic: &str, replicas: &[&[i32]]) -> CreateTopicsRequest {
    let assignments = replicas.iter().enumerate().map(|(index, nodes)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index as i32)
            .with_broker_ids(nodes.iter().map(|node| BrokerId(*node)).collect())
    });
    let mut wanted = CreatableTopic::default()
        .with_name(topic_name(topic))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect());
    let source = MirrorSource {
        link: LINK,
        cluster: "upstream".to_owned(),
        topic: TopicName::parse("orders").unwrap(),
        topic_id: TopicId(Uuid::from_u128(0x22)),
    };
    mirror::tell_source(&mut wanted, &source);
    CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000)
}

/// Makes a mirror with one partition on these nodes; `leader` is connected to the first of them.
pub async fn create_mirror(leader: &mut Client, topic: &str, replicas: &[i32]) {
    let answer = leader.call(mirror_request(topic, &[replicas]), 7).await;
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    wait_until("the mirror is led", async || list_offset(leader, topic, 0, -1).await.error_code == 0).await;
}

/// What a link sends: the answer, and the log end that it tells.
pub async fn mirror_over(
    client: &mut Client,
    link: Uuid,
    topic: &str,
    range: SourceRange,
    records: Bytes,
) -> (PartitionProduceResponse, Option<i64>) {
    let mut request = produce_request(topic, 0, -1, records);
    mirror::tell_link(&mut request, link);
    mirror::tell_range(&mut request.topic_data[0].partition_data[0], &range);
    let answer = client.call(request, 9).await.responses.remove(0).partition_responses.remove(0);
    let log_end = mirror::log_end_of(&answer).map(|end| end.0);
    (answer, log_end)
}

/// Sends until it is taken, as a link does upon retriable errors; the log end.
pub async fn mirror(client: &mut Client, topic: &str, range: SourceRange, records: Bytes) -> i64 {
    let mut end = None;
    wait_until("the mirror takes records", async || {
        let (answer, log_end) = mirror_over(client, LINK, topic, range, records.clone()).await;
        assert!(matches!(answer.error_code, 0 | 5 | 6 | 7 | 19 | 20 | 75), "{answer:?}");
        end = log_end;
        answer.error_code == 0
    })
    .await;
    end.expect("a success tells the log end")
}

/// Sets one config of a topic; error code and message.
pub async fn set_config(client: &mut Client, topic: &str, name: &str, value: &str) -> (i16, String) {
    let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let answer = client.call(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1).await;
    let message = answer.responses[0].error_message.as_ref().map_or(String::new(), |text| text.to_string());
    (answer.responses[0].error_code, message)
}

pub async fn promote(client: &mut Client, topic: &str) {
    assert_eq!(set_config(client, topic, "twinstream.mirror.state", "promoted").await, (0, String::new()));
}

/// The configs of a topic that say what it is a mirror of, and whether all of them are for reading only.
pub async fn shown_mark(client: &mut Client, topic: &str) -> (Vec<(String, String)>, bool) {
    let resource = DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(topic));
    let answer = client.call(DescribeConfigsRequest::default().with_resources(vec![resource]), 4).await;
    let configs = answer.results[0].configs.iter().filter(|config| config.name.starts_with("twinstream.mirror."));
    let configs: Vec<_> = configs.collect();
    let are_read_only = configs.iter().all(|config| config.read_only);
    let value = |value: &Option<kafka_protocol::protocol::StrBytes>| value.as_ref().unwrap().to_string();
    (configs.iter().map(|config| (config.name.to_string(), value(&config.value))).collect(), are_read_only)
}
