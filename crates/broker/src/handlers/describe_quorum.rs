//! DescribeQuorum (key 55), versions 0-2: who votes, who follows, how far each is (KIP-595).
//!
//! v1 when each replica last asked and last had everything (KIP-836); v2 directory ids, error texts and the voters' addresses
//! (KIP-853). The one partition is `__cluster_metadata-0`; offsets are indexes of the metadata log, the leader epoch is the term.
//!
//! Only the leader knows the positions: every other broker forwards.

use std::sync::Arc;

use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, TopicName as WireTopicName};
use twinstream_model::ErrorCode;
use twinstream_quorum::{Description, ReplicaProgress};
use uuid::Uuid;

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

const METADATA_TOPIC: &str = "__cluster_metadata";
const METADATA_PARTITION: i32 = 0;
const DIRECTORIES_SINCE: i16 = 2;
/// Kafka's "not known" for times.
const UNKNOWN: i64 = -1;

impl Forwardable for DescribeQuorumRequest {
    type Response = DescribeQuorumResponse;
}

impl ByController for DescribeQuorumRequest {
    const NEEDS: Option<Operation> = Some(Operation::Describe);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> DescribeQuorumResponse {
        if !asks_for_metadata(&self) {
            return without_quorum(ctx, self);
        }
        match broker.controller.describe_quorum().await {
            Ok(description) => {
                let response = DescribeQuorumResponse::default().with_topics(vec![topic(ctx, description)]);
                if ctx.api_version >= DIRECTORIES_SINCE { response.with_nodes(nodes(broker)) } else { response }
            }
            Err((code, message)) => self.failed(ctx, code, &message),
        }
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> DescribeQuorumResponse {
        ctx.count_error(code);
        let response = DescribeQuorumResponse::default().with_error_code(code.code());
        if ctx.api_version >= DIRECTORIES_SINCE { response.with_error_message(Some(text(message))) } else { response }
    }
}

/// Whether the request names the one partition that a quorum keeps.
fn asks_for_metadata(request: &DescribeQuorumRequest) -> bool {
    match request.topics.as_slice() {
        [topic] if topic.topic_name.as_str() == METADATA_TOPIC => {
            matches!(topic.partitions.as_slice(), [partition] if partition.partition_index == METADATA_PARTITION)
        }
        _ => false,
    }
}

/// Every partition that was named is refused, also that of the metadata beside others.
fn without_quorum(ctx: &RequestContext, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let code = ErrorCode::UnknownTopicOrPartition;
    let message = format!("only partition {METADATA_PARTITION} of {METADATA_TOPIC} is a quorum's");
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            ctx.count_error(code);
            let refused = PartitionData::default().with_partition_index(partition.partition_index);
            let refused = refused.with_error_code(code.code());
            if ctx.api_version >= DIRECTORIES_SINCE {
                refused.with_error_message(Some(text(&message)))
            } else {
                refused
            }
        });
        TopicData::default().with_partitions(partitions.collect()).with_topic_name(topic.topic_name)
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn topic(ctx: &RequestContext, description: Description) -> TopicData {
    let Description { leader, leader_epoch, high_watermark, replicas } = description;
    let (voters, observers): (Vec<_>, Vec<_>) = replicas.into_iter().partition(|replica| replica.voter);
    let states = |replicas: Vec<ReplicaProgress>| replicas.into_iter().map(|replica| state(ctx, replica)).collect();
    let partition = PartitionData::default()
        .with_partition_index(METADATA_PARTITION)
        .with_leader_id(BrokerId(leader.0))
        .with_leader_epoch(i32::try_from(leader_epoch).unwrap_or(i32::MAX))
        .with_high_watermark(high_watermark as i64)
        .with_current_voters(states(voters))
        .with_observers(states(observers));
    TopicData::default().with_topic_name(WireTopicName(text(METADATA_TOPIC))).with_partitions(vec![partition])
}

fn state(ctx: &RequestContext, replica: ReplicaProgress) -> ReplicaState {
    let directory = if ctx.api_version >= DIRECTORIES_SINCE { replica.directory_id } else { Uuid::nil() };
    ReplicaState::default()
        .with_replica_id(BrokerId(replica.node.0))
        .with_replica_directory_id(directory)
        .with_log_end_offset(replica.log_end as i64)
        .with_last_fetch_timestamp(replica.last_fetch_ms.unwrap_or(UNKNOWN))
        .with_last_caught_up_timestamp(replica.last_caught_up_ms.unwrap_or(UNKNOWN))
}

/// Where the voters are reached.
fn nodes(broker: &Broker) -> Vec<Node> {
    let listener = &broker.settings.network.inter_broker_listener;
    let status = broker.controller.quorum_status();
    let nodes = status.voters.iter().filter_map(|(node, _)| {
        let (host, port) = broker.controller.address_of(*node)?;
        let at = Listener::default().with_name(text(listener)).with_host(text(&host)).with_port(port);
        Some(Node::default().with_node_id(BrokerId(node.0)).with_listeners(vec![at]))
    });
    nodes.collect()
}
