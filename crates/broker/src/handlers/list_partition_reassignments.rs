//! ListPartitionReassignments (key 46), version 0: which partitions are being moved, from where to where (KIP-455).
//!
//! No topics means all. Partitions that are not being moved are left out.
//!
//! Every broker answers: one that is not the active controller forwards, so that nobody is told of a reassignment that has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName as WireTopicName,
};
use twinstream_metadata::{Image, PartitionImage, TopicImage};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicName};

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

impl Forwardable for ListPartitionReassignmentsRequest {
    type Response = ListPartitionReassignmentsResponse;
}

impl ByController for ListPartitionReassignmentsRequest {
    const NEEDS: Option<Operation> = Some(Operation::Describe);

    async fn decide(self, broker: &Arc<Broker>, _ctx: &RequestContext) -> ListPartitionReassignmentsResponse {
        let image = broker.image.load();
        let found = match &self.topics {
            None => all(&image),
            Some(topics) => {
                let mut found = BTreeMap::new();
                for topic in topics {
                    let name = TopicName::parse(topic.name.as_str()).ok();
                    let Some(known) = name.and_then(|name| image.topic(&name)) else { continue };
                    let named = topic.partition_indexes.iter().map(|index| PartitionIndex(*index));
                    let partitions = named.filter_map(|index| Some((index, known.partition(index)?)));
                    let moving: Vec<_> =
                        partitions.filter_map(|(index, partition)| ongoing(index, partition)).collect();
                    if !moving.is_empty() {
                        found.insert(known.name.to_string(), moving);
                    }
                }
                found
            }
        };
        let topics = found.into_iter().map(|(name, partitions)| {
            OngoingTopicReassignment::default().with_name(WireTopicName(text(&name))).with_partitions(partitions)
        });
        ListPartitionReassignmentsResponse::default().with_topics(topics.collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> ListPartitionReassignmentsResponse {
        ctx.count_error(code);
        ListPartitionReassignmentsResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(message)))
    }
}

fn all(image: &Image) -> BTreeMap<String, Vec<OngoingPartitionReassignment>> {
    let moving = |topic: &Arc<TopicImage>| {
        let partitions: Vec<_> = topic.iter().filter_map(|(index, partition)| ongoing(index, partition)).collect();
        (!partitions.is_empty()).then(|| (topic.name.to_string(), partitions))
    };
    image.topics().filter_map(moving).collect()
}

fn ongoing(index: PartitionIndex, partition: &PartitionImage) -> Option<OngoingPartitionReassignment> {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.0)).collect::<Vec<_>>();
    partition.is_reassigning().then(|| {
        OngoingPartitionReassignment::default()
            .with_partition_index(index.0)
            .with_replicas(nodes(&partition.replicas))
            .with_adding_replicas(nodes(&partition.adding))
            .with_removing_replicas(nodes(&partition.removing))
    })
}
