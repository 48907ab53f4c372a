//! AlterReplicaLogDirs (key 34), versions 1-2.
//!
//! v2 flexible.
//!
//! Asks this broker to keep its replica of a partition in another one of its log directories (KIP-113). The answer comes
//! when the copy has a folder; DescribeLogDirs shows how far it is. To name the directory where the replica is ends a move
//! that is under way. A partition that is not here is REPLICA_NOT_AVAILABLE, and will be made in that directory if it
//! comes; one whose log is just being made is waited for. A cordoned directory takes no replicas (KIP-1066).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, PartitionIndex, TopicName, TopicPartition};

use super::log_wire::blocking;
use super::newly_led::wait_until_here;
use crate::context::{Broker, Operation, RequestContext, Resource};

/// The directory that was asked for, by topic and partition. What is named twice goes to the last, as in Kafka.
type Asked = BTreeMap<String, BTreeMap<i32, StrBytes>>;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    if !broker.authorize(ctx, Operation::Alter, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let (asked, broker) = (asked(request), Arc::clone(broker));
    wait_until_here(&broker, &broker.image.load_full(), named(&asked)).await;
    let codes = blocking(move || alter(&broker, &asked)).await;
    to_response(ctx, codes)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: AlterReplicaLogDirsRequest,
    code: ErrorCode,
) -> AlterReplicaLogDirsResponse {
    let topics = asked(request).into_iter();
    let codes = topics.map(|(topic, partitions)| (topic, partitions.into_keys().map(|index| (index, code)).collect()));
    to_response(ctx, codes.collect())
}

type Codes = Vec<(String, Vec<(i32, ErrorCode)>)>;

fn asked(request: AlterReplicaLogDirsRequest) -> Asked {
    let mut asked = Asked::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let partitions = asked.entry(topic.name.as_str().to_owned()).or_default();
            partitions.extend(topic.partitions.iter().map(|index| (*index, dir.path.clone())));
        }
    }
    asked
}

fn named(asked: &Asked) -> impl Iterator<Item = TopicPartition> {
    let topics = asked.iter().filter_map(|(topic, partitions)| Some((TopicName::parse(topic).ok()?, partitions)));
    topics.flat_map(|(topic, partitions)| {
        partitions.keys().map(move |index| TopicPartition::new(topic.clone(), PartitionIndex(*index)))
    })
}

fn alter(broker: &Broker, asked: &Asked) -> Codes {
    let image = broker.image.load_full();
    let alter_one = |topic: &str, index: i32, dir: &str| {
        let name = TopicName::parse(topic).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        broker.partitions.move_to(&image, &TopicPartition::new(name, PartitionIndex(index)), dir)
    };
    let topics = asked.iter().map(|(topic, partitions)| {
        let codes = partitions
            .iter()
            .map(|(index, dir)| (*index, alter_one(topic, *index, dir.as_str()).err().unwrap_or(ErrorCode::None)));
        (topic.clone(), codes.collect())
    });
    topics.collect()
}

fn to_response(ctx: &RequestContext, codes: Codes) -> AlterReplicaLogDirsResponse {
    let results = codes.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code)| {
            ctx.count_error(code);
            AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code.code())
        });
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(WireTopicName(StrBytes::from_string(topic)))
            .with_partitions(partitions.collect())
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}
