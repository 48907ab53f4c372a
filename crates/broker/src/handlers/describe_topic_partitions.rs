//! DescribeTopicPartitions (key 75), version 0 (KIP-966).
//!
//! Topics in the order of their names, page by page: an answer holds at most the smaller of the client's limit and
//! `max.request.partition.size.limit` partitions, and a cursor says where the next page begins. An empty list of
//! topics means all, otherwise the cursor must be at one of them. Unknown topics are answered only when they were named, and
//! do not count towards the page.
//!
//! Eligible leader replicas (ELR) are those that may lead although they left the ISR; the last known ELR is who led last
//! while nobody leads.

use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_request::Cursor as AskedCursor;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName as WireTopicName,
};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, NodeId, TopicName};

use super::topic_view::PartitionView;
use crate::context::{Broker, OPERATIONS_NOT_ASKED, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let Some(limit) = page_limit(broker, &request) else {
        return error_response(ctx, request, ErrorCode::InvalidRequest);
    };
    let image = broker.image.load();
    let asked_for_all = request.topics.is_empty();
    let names = names_from(&image, &request);
    let mut page = Page { broker, ctx, image: &image, left: limit, topics: Vec::new(), next: None };
    for name in names {
        let first = request.cursor.as_ref().filter(|cursor| &*cursor.topic_name == name.as_str());
        let first = first.map_or(0, |cursor| cursor.partition_index);
        if !page.add(&name, first, asked_for_all) {
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: DescribeTopicPartitionsRequest,
    code: ErrorCode,
) -> DescribeTopicPartitionsResponse {
    ctx.count_error(code);
    let topics = request.topics.into_iter().map(|topic| failed_topic(topic.name, code));
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

/// How many partitions the page may hold; `None` for a request that makes no sense.
fn page_limit(broker: &Broker, request: &DescribeTopicPartitionsRequest) -> Option<usize> {
    let has_bad_cursor = request.cursor.as_ref().is_some_and(|cursor| {
        let is_named = request.topics.is_empty() || request.topics.iter().any(|topic| topic.name == cursor.topic_name);
        cursor.partition_index < 0 || !is_named
    });
    // One partition at least, or no page would ever get anywhere.
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(1).max(1);
    (!has_bad_cursor).then(|| asked.min(broker.settings.network.response_partitions_max))
}

/// The names to answer, in order and from the cursor on.
fn names_from(image: &Image, request: &DescribeTopicPartitionsRequest) -> Vec<String> {
    let is_ahead = |name: &str| match &request.cursor {
        Some(AskedCursor { topic_name, .. }) => name >= topic_name.as_str(),
        None => true,
    };
    let mut names: Vec<String> = match request.topics.is_empty() {
        true => image.topics().map(|topic| topic.name.as_str().to_owned()).collect(),
        false => request.topics.iter().map(|topic| topic.name.as_str().to_owned()).collect(),
    };
    names.retain(|name| is_ahead(name));
    names.sort_unstable();
    names.dedup();
    names
}

/// One page while it fills.
struct Page<'a> {
    broker: &'a Broker,
    ctx: &'a RequestContext,
    image: &'a Image,
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    /// Adds a topic from a partition on. False when the page is full and the cursor is set.
    fn add(&mut self, name: &str, first: i32, asked_for_all: bool) -> bool {
        let may_describe = self.broker.authorize(self.ctx, Operation::Describe, Resource::Topic(name));
        let topic = TopicName::parse(name).map(|name| self.image.topic(&name));
        let failure = match topic {
            Ok(Some(topic)) if may_describe => return self.add_known(topic, first),
            _ if asked_for_all => return true,
            Ok(_) if !may_describe => ErrorCode::TopicAuthorizationFailed,
            Ok(_) => ErrorCode::UnknownTopicOrPartition,
            Err(_) => ErrorCode::InvalidTopicException,
        };
        self.ctx.count_error(failure);
        // Kafka tells what may be done also of a topic that is not there, unless nothing may be known of it.
        let operations = match failure {
            ErrorCode::TopicAuthorizationFailed => OPERATIONS_NOT_ASKED,
            _ => self.broker.authorized_operations(self.ctx, Resource::Topic(name)),
        };
        self.topics.push(failed_topic(wire_topic(name), failure).with_topic_authorized_operations(operations));
        true
    }

    fn add_known(&mut self, topic: &TopicImage, first: i32) -> bool {
        if self.left == 0 {
            self.next = Some(cursor(topic, first));
            return false;
        }
        let skipped = usize::try_from(first).unwrap_or(0);
        let partitions: Vec<_> = topic
            .iter()
            .skip(skipped)
            .take(self.left)
            .map(|(index, partition)| {
                partition_answer(index.0, &PartitionView::new(self.image, &self.ctx.listener, partition))
            })
            .collect();
        self.left -= partitions.len();
        let end = skipped + partitions.len();
        self.topics.push(described(self.broker, self.ctx, topic, partitions));
        if end < topic.partitions.len() {
            self.next = Some(cursor(topic, i32::try_from(end).unwrap_or(i32::MAX)));
            return false;
        }
        true
    }
}

fn cursor(topic: &TopicImage, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(wire_topic(topic.name.as_str())).with_partition_index(partition)
}

fn described(
    broker: &Broker,
    ctx: &RequestContext,
    topic: &TopicImage,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_topic(topic.name.as_str())))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.name.is_internal())
        .with_partitions(partitions)
        .with_topic_authorized_operations(broker.authorized_operations(ctx, Resource::Topic(topic.name.as_str())))
}

fn partition_answer(index: i32, view: &PartitionView) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(view.error.code())
        .with_partition_index(index)
        .with_leader_id(BrokerId(view.leader.0))
        .with_leader_epoch(view.leader_epoch)
        .with_replica_nodes(wire_nodes(&view.replicas))
        .with_isr_nodes(wire_nodes(&view.isr))
        .with_eligible_leader_replicas(Some(wire_nodes(&view.elr)))
        .with_last_known_elr(Some(wire_nodes(&view.last_known_elr)))
        .with_offline_replicas(wire_nodes(&view.offline_replicas))
}

fn failed_topic(name: WireTopicName, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(name))
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn wire_topic(name: &str) -> WireTopicName {
    WireTopicName(StrBytes::from_string(name.to_owned()))
}

fn wire_nodes(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.0)).collect()
}
