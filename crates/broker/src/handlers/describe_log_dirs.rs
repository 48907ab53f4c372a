//! DescribeLogDirs (key 35), versions 1-4.
//!
//! v2 flexible; v3 an error for the whole request; v4 size and free space of the file system (KIP-827).
//!
//! One result per log directory, also when no partition of it was asked for. A list of topics narrows the
//! partitions down; null means all. A replica that moves to another directory (KIP-113) is shown in both, in the new one
//! with `is_future_key` and the records that it lacks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, TopicName, TopicPartition};

use super::group_wire::wire_topic;
use super::log_wire::blocking;
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::partitions::{PartitionManager, absolute, log_code};

const SPACE_SINCE: i16 = 4;
const UNKNOWN_BYTES: i64 = -1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    if !broker.authorize(ctx, Operation::Describe, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let wanted = request.topics.map(|topics| {
        let each = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|index| (topic.topic.as_str().to_owned(), *index)).collect::<Vec<_>>()
        });
        each.collect::<HashSet<(String, i32)>>()
    });
    let partitions = Arc::clone(&broker.partitions);
    let with_space = ctx.api_version >= SPACE_SINCE;
    let results = blocking(move || describe(&partitions, wanted.as_ref(), with_space)).await;
    results
        .iter()
        .for_each(|result| ctx.count_error(ErrorCode::from_code(result.error_code).unwrap_or(ErrorCode::None)));
    DescribeLogDirsResponse::default().with_results(results)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: DescribeLogDirsRequest,
    code: ErrorCode,
) -> DescribeLogDirsResponse {
    ctx.count_error(code);
    DescribeLogDirsResponse::default().with_error_code(code.code())
}

fn describe(
    manager: &PartitionManager,
    wanted: Option<&HashSet<(String, i32)>>,
    with_space: bool,
) -> Vec<DescribeLogDirsResult> {
    let paths: Vec<String> = manager.directories().paths().map(|path| absolute(path).display().to_string()).collect();
    let is_wanted = |at: &TopicPartition| {
        wanted.is_none_or(|wanted| wanted.contains(&(at.topic.as_str().to_owned(), at.partition.0)))
    };
    let mut topics: Vec<BTreeMap<TopicName, Vec<DescribeLogDirsPartition>>> = vec![BTreeMap::new(); paths.len()];
    for (at, (partition, dir)) in manager.all() {
        if !is_wanted(&at) {
            continue;
        }
        let log = partition.log();
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(at.partition.0)
            .with_partition_size(i64::try_from(log.size()).unwrap_or(i64::MAX))
            .with_offset_lag(log.high_watermark().0.saturating_sub(log.log_end_offset().0).max(0));
        topics[dir].entry(at.topic).or_default().push(described);
    }
    for future in manager.futures().into_iter().filter(|future| is_wanted(&future.at)) {
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(future.at.partition.0)
            .with_partition_size(i64::try_from(future.bytes).unwrap_or(i64::MAX))
            .with_offset_lag(future.lag)
            .with_is_future_key(true);
        topics[future.dir].entry(future.at.topic).or_default().push(described);
    }
    let results = paths.into_iter().zip(topics).enumerate();
    results.map(|(dir, (path, topics))| describe_dir(manager, dir, path, topics, with_space)).collect()
}

fn describe_dir(
    manager: &PartitionManager,
    dir: usize,
    path: String,
    topics: BTreeMap<TopicName, Vec<DescribeLogDirsPartition>>,
    with_space: bool,
) -> DescribeLogDirsResult {
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default().with_name(wire_topic(&name)).with_partitions(partitions)
    });
    let result =
        DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(path)).with_topics(topics.collect());
    if !manager.directories().works(dir) {
        // As Kafka: an offline directory has an error and no partitions.
        return result
            .with_error_code(ErrorCode::KafkaStorageError.code())
            .with_topics(Vec::new())
            .with_total_bytes(UNKNOWN_BYTES)
            .with_usable_bytes(UNKNOWN_BYTES);
    }
    if !with_space {
        return result;
    }
    let wire = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match manager.directories().space(dir) {
        Ok((total, usable)) => result.with_total_bytes(wire(total)).with_usable_bytes(wire(usable)),
        Err(error) => {
            tracing::warn!(error = %error.chain(), "cannot ask for the free space of a log directory");
            result
                .with_error_code(log_code(&error).code())
                .with_total_bytes(UNKNOWN_BYTES)
                .with_usable_bytes(UNKNOWN_BYTES)
        }
    }
}
