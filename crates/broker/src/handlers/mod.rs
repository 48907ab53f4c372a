//! One file per Kafka API, and the one table that both dispatches requests and answers ApiVersions.
//!
//! Because the table is the only list of what we serve, promise and code cannot part: a row that is not here is
//! neither advertised nor reachable, and a version outside its range never reaches a handler.
//!
//! A handler module has two functions:
//! ```text
//! pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: XRequest) -> XResponse;
//! pub(crate) fn error_response(ctx: &RequestContext, request: XRequest, code: ErrorCode) -> XResponse;
//! ```
//! `handle` parses, authorizes, calls one operation and maps the result. `error_response` answers the whole request
//! with one code in the shape clients expect (every topic and partition named); it is what a client sees when the
//! handler panicked. Instead of `XResponse` both may return anything that is [`IntoResponse`]: a
//! [`Reply`](crate::server::response::Reply) that may stay silent (Produce with acks=0), or a
//! [`Response`] made of bytes and file ranges (Fetch).
//!
//! Not here: frames, header rules and error containment (`server::connection`).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddRaftVoterRequest, AlterClientQuotasRequest,
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    AlterUserScramCredentialsRequest, ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, RemoveRaftVoterRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
    SyncGroupRequest, TxnOffsetCommitRequest, UnregisterBrokerRequest, UpdateFeaturesRequest, WriteTxnMarkersRequest,
};
use twinstream_model::ErrorCode;
use twinstream_protocol::frame::INTERNAL_API_KEY_MIN;
use twinstream_protocol::shape::{self, DecodeError, Shaped};

use crate::context::{Broker, RequestContext};
use crate::controller::messages::{InternalApi, write_answer};
use crate::server::memory::Reservation;
use crate::server::response::{IntoResponse, Promise, Response, ResponsePart};

mod by_controller; // what the APIs share that the active controller answers
mod config_changes; // what the two ways to alter configs share
mod config_view; // how configs look to a client
mod described; // how much one answer describes
mod group_wire; // what the group APIs share
mod log_wire; // what the APIs over partitions share
mod loggers; // log levels as configs
mod newly_led; // partitions that the metadata has just given to this broker
mod topic_view; // how a partition looks to a client
mod transaction_wire; // what the transaction APIs share

mod internal; // requests of other nodes

// the connection and the cluster
pub(crate) mod api_versions;
mod describe_cluster;
mod describe_topic_partitions;
mod metadata;
mod sasl_authenticate;
mod sasl_handshake;
mod update_features;

// records and offsets
mod delete_records;
mod describe_log_dirs;
mod describe_producers;
pub(crate) mod fetch;
mod init_producer_id;
mod list_offsets;
mod offset_for_leader_epoch;
mod produce;
pub(crate) mod write_txn_markers;

// where leaders and replicas are
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod elect_leaders;
mod list_partition_reassignments;
mod unregister_broker;

// the metadata quorum
mod add_raft_voter;
mod describe_quorum;
mod remove_raft_voter;

// topics and configs
mod alter_configs;
mod create_partitions;
pub(crate) mod create_topics;
mod delete_topics;
mod describe_configs;
mod incremental_alter_configs;
mod list_config_resources;

// who may do what, and how much
mod alter_client_quotas;
mod alter_user_scram_credentials;
mod create_acls;
mod delete_acls;
mod describe_acls;
mod describe_client_quotas;
mod describe_user_scram_credentials;

// groups
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod delete_groups;
mod describe_groups;
mod find_coordinator;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod sync_group;
mod txn_offset_commit;

// transactions
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod describe_transactions;
mod end_txn;
mod list_transactions;

/// One row of the table: an API key with the versions that we serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) key: i16,
    pub(crate) name: &'static str,
    pub(crate) min: i16,
    pub(crate) max: i16,
}

/// Why a request ends its connection instead of being answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DispatchError {
    #[error("cannot decode {api} v{version}: {source}")]
    Malformed { api: &'static str, version: i16, source: DecodeError },
    #[error("cannot encode the response of {api} v{version}: {reason}")]
    Unencodable { api: &'static str, version: i16, reason: String },
    #[error("api key {0} is not served")]
    NotServed(i16),
}

macro_rules! handlers {
    ($( $api:ident $min:literal ..= $max:literal, $request:ident => $module:ident; )*) => {
        /// Everything that we serve, in the order of the table.
        pub(crate) const SERVED: &[Served] = &[
            $( Served { key: ApiKey::$api as i16, name: stringify!($api), min: $min, max: $max }, )*
        ];

        /// Serves one request whose header named a row of the table and a version inside its range. `memory` is what
        /// its frame takes, if that still counts.
        pub(crate) async fn dispatch(
            broker: &Arc<Broker>,
            ctx: &RequestContext,
            body: Bytes,
            memory: Option<Reservation>,
        ) -> Result<Response, DispatchError> {
            $(
                if ctx.api_key == ApiKey::$api as i16 {
                    let request: $request = decode(ctx, body.clone())?;
                    let held = held_while_handled(ctx.api_key, body, memory);
                    let response = match contained(ctx, $module::handle(broker, ctx, request)).await {
                        Some(answer) => answer.into_response(ctx),
                        None => {
                            let Some((body, _memory)) = held else { return Ok(Response::Close) };
                            let request: $request = decode(ctx, body)?;
                            $module::error_response(ctx, request, ErrorCode::UnknownServerError).into_response(ctx)
                        }
                    };
                    return response.map_err(|reason| DispatchError::Unencodable {
                        api: ctx.api_name,
                        version: ctx.api_version,
                        reason,
                    });
                }
            )*
            Err(DispatchError::NotServed(ctx.api_key))
        }

        /// Why a body is not the request that its row says; see [`crate::fuzzing`].
        pub(crate) fn decode_error(api_key: i16, version: i16, body: Bytes) -> Option<DecodeError> {
            $(
                if api_key == ApiKey::$api as i16 {
                    return shape::decode::<$request>(body, version).err();
                }
            )*
            None
        }
    };
}

// The table. To serve an API: declare its module above, import its request type, add its row here (by key), and the
// shapes of its request and answer in `protocol::shape`.
handlers! {
    Produce 3..=13, ProduceRequest => produce;
    Fetch 4..=18, FetchRequest => fetch;
    ListOffsets 1..=10, ListOffsetsRequest => list_offsets;
    Metadata 0..=13, MetadataRequest => metadata;
    OffsetCommit 2..=9, OffsetCommitRequest => offset_commit;
    OffsetFetch 1..=9, OffsetFetchRequest => offset_fetch;
    FindCoordinator 0..=6, FindCoordinatorRequest => find_coordinator;
    JoinGroup 0..=9, JoinGroupRequest => join_group;
    Heartbeat 0..=4, HeartbeatRequest => heartbeat;
    LeaveGroup 0..=5, LeaveGroupRequest => leave_group;
    SyncGroup 0..=5, SyncGroupRequest => sync_group;
    DescribeGroups 0..=6, DescribeGroupsRequest => describe_groups;
    ListGroups 0..=5, ListGroupsRequest => list_groups;
    SaslHandshake 0..=1, SaslHandshakeRequest => sasl_handshake;
    ApiVersions 0..=4, ApiVersionsRequest => api_versions;
    CreateTopics 2..=7, CreateTopicsRequest => create_topics;
    DeleteTopics 1..=6, DeleteTopicsRequest => delete_topics;
    DeleteRecords 0..=2, DeleteRecordsRequest => delete_records;
    InitProducerId 0..=5, InitProducerIdRequest => init_producer_id;
    OffsetForLeaderEpoch 2..=4, OffsetForLeaderEpochRequest => offset_for_leader_epoch;
    AddPartitionsToTxn 0..=5, AddPartitionsToTxnRequest => add_partitions_to_txn;
    AddOffsetsToTxn 0..=4, AddOffsetsToTxnRequest => add_offsets_to_txn;
    EndTxn 0..=5, EndTxnRequest => end_txn;
    WriteTxnMarkers 1..=1, WriteTxnMarkersRequest => write_txn_markers;
    TxnOffsetCommit 0..=5, TxnOffsetCommitRequest => txn_offset_commit;
    DescribeAcls 1..=3, DescribeAclsRequest => describe_acls;
    CreateAcls 1..=3, CreateAclsRequest => create_acls;
    DeleteAcls 1..=3, DeleteAclsRequest => delete_acls;
    DescribeConfigs 1..=4, DescribeConfigsRequest => describe_configs;
    AlterConfigs 0..=2, AlterConfigsRequest => alter_configs;
    AlterReplicaLogDirs 1..=2, AlterReplicaLogDirsRequest => alter_replica_log_dirs;
    DescribeLogDirs 1..=4, DescribeLogDirsRequest => describe_log_dirs;
    SaslAuthenticate 0..=2, SaslAuthenticateRequest => sasl_authenticate;
    CreatePartitions 0..=3, CreatePartitionsRequest => create_partitions;
    DeleteGroups 0..=2, DeleteGroupsRequest => delete_groups;
    ElectLeaders 0..=2, ElectLeadersRequest => elect_leaders;
    IncrementalAlterConfigs 0..=1, IncrementalAlterConfigsRequest => incremental_alter_configs;
    AlterPartitionReassignments 0..=1, AlterPartitionReassignmentsRequest => alter_partition_reassignments;
    ListPartitionReassignments 0..=0, ListPartitionReassignmentsRequest => list_partition_reassignments;
    OffsetDelete 0..=0, OffsetDeleteRequest => offset_delete;
    DescribeClientQuotas 0..=1, DescribeClientQuotasRequest => describe_client_quotas;
    AlterClientQuotas 0..=1, AlterClientQuotasRequest => alter_client_quotas;
    DescribeUserScramCredentials 0..=0, DescribeUserScramCredentialsRequest => describe_user_scram_credentials;
    AlterUserScramCredentials 0..=0, AlterUserScramCredentialsRequest => alter_user_scram_credentials;
    DescribeQuorum 0..=2, DescribeQuorumRequest => describe_quorum;
    UpdateFeatures 0..=2, UpdateFeaturesRequest => update_features;
    DescribeCluster 0..=2, DescribeClusterRequest => describe_cluster;
    DescribeProducers 0..=0, DescribeProducersRequest => describe_producers;
    UnregisterBroker 0..=0, UnregisterBrokerRequest => unregister_broker;
    DescribeTransactions 0..=0, DescribeTransactionsRequest => describe_transactions;
    ListTransactions 0..=2, ListTransactionsRequest => list_transactions;
    ConsumerGroupHeartbeat 0..=1, ConsumerGroupHeartbeatRequest => consumer_group_heartbeat;
    ConsumerGroupDescribe 0..=1, ConsumerGroupDescribeRequest => consumer_group_describe;
    ListConfigResources 0..=1, ListConfigResourcesRequest => list_config_resources;
    DescribeTopicPartitions 0..=0, DescribeTopicPartitionsRequest => describe_topic_partitions;
    AddRaftVoter 0..=0, AddRaftVoterRequest => add_raft_voter;
    RemoveRaftVoter 0..=0, RemoveRaftVoterRequest => remove_raft_voter;
}

/// The row of an API key, if we serve it. Requests of other nodes have rows too, which are not advertised.
pub(crate) fn served(api_key: i16) -> Option<Served> {
    let of_client = SERVED.iter().find(|row| row.key == api_key).copied();
    of_client.or_else(|| {
        let api = InternalApi::from_key(api_key)?;
        Some(Served { key: api_key, name: api.name(), min: api.version(), max: api.version() })
    })
}

/// Whether the request comes from another node of the cluster, not from a client.
pub(crate) fn is_internal(api_key: i16) -> bool {
    api_key >= INTERNAL_API_KEY_MIN
}

/// Whether a request may wait as long as its client likes, for records or for the other members of its group. Its handler
/// takes what it needs out of the request before it waits, and gives up when the client has gone.
pub(crate) fn waits_for_others(api_key: i16) -> bool {
    [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup].into_iter().any(|api| api as i16 == api_key)
}

/// The frame of a request, which a panic of the handler needs once more. A large one of a request that may wait goes at
/// once, and its share of memory with it; after a panic the connection is closed.
fn held_while_handled(api_key: i16, body: Bytes, memory: Option<Reservation>) -> Option<(Bytes, Option<Reservation>)> {
    let is_large = memory.as_ref().is_some_and(|memory| !memory.is_small());
    (!is_large || !waits_for_others(api_key)).then_some((body, memory))
}

/// Serves a request of another node. Our own layouts have flexible headers, as the newest ones of Kafka.
pub(crate) async fn dispatch_internal(broker: &Arc<Broker>, ctx: &RequestContext, body: Bytes) -> Response {
    let answer = contained(ctx, internal::handle(broker, ctx, body)).await.unwrap_or_else(|| {
        write_answer(Err((ErrorCode::UnknownServerError, "the request's handler panicked".to_owned())))
    });
    Response::Body { header_version: 1, parts: vec![ResponsePart::Bytes(answer)] }
}

/// Waits for a promised answer. If that panics the connection is closed, because who was asked for what is forgotten.
pub(crate) async fn kept(ctx: &RequestContext, promise: &mut Promise<Response>) -> Result<Response, String> {
    match AssertUnwindSafe(promise).catch_unwind().await {
        Ok(kept) => kept,
        Err(panic) => {
            report_panic(ctx, panic.as_ref());
            Ok(Response::Close)
        }
    }
}

/// Runs a handler. `None` if it panicked, which is logged and counted and costs nobody else anything.
fn contained<T>(ctx: &RequestContext, handling: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    // Boxed here and not behind the first await, so that an idle connection does not carry the largest handler's state.
    let handling = Box::pin(AssertUnwindSafe(handling).catch_unwind());
    async move {
        match handling.await {
            Ok(answer) => Some(answer),
            Err(panic) => {
                report_panic(ctx, panic.as_ref());
                None
            }
        }
    }
}

fn decode<T: Shaped>(ctx: &RequestContext, body: Bytes) -> Result<T, DispatchError> {
    shape::decode(body, ctx.api_version).map_err(|source| DispatchError::Malformed {
        api: ctx.api_name,
        version: ctx.api_version,
        source,
    })
}

fn report_panic(ctx: &RequestContext, panic: &(dyn std::any::Any + Send)) {
    ctx.count_error(ErrorCode::UnknownServerError);
    tracing::error!(
        api = ctx.api_name,
        version = ctx.api_version,
        peer = %ctx.peer,
        client = ctx.client_id.as_deref().unwrap_or(""),
        panic = panic_text(panic),
        "request handler panicked"
    );
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
}

#[cfg(test)]
mod gaps; // each API beside Kafka's
#[cfg(test)]
mod tests;
