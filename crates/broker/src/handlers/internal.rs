//! Requests of other nodes of the cluster (our own API keys from 30000; layouts in `controller::messages`).
//!
//! Picture: first the envelope (who, to whom, of which cluster) is checked, then the payload is decoded and handed to the part it is
//! for. A forwarded client request is executed here as if its client had come here; it is never forwarded again.
//!
//! These requests are not advertised. They come over the same listeners as clients' until listeners authenticate; the cluster id that
//! each must carry keeps mix-ups out, not attackers.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AlterClientQuotasRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterUserScramCredentialsRequest, ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeQuorumRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest,
    RemoveRaftVoterRequest, UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use tokio_util::sync::CancellationToken;
use twinstream_metadata::codec::Reader;
use twinstream_model::{ErrorCode, NodeId};

use super::{by_controller, decode};
use crate::context::{Broker, Principal, RequestContext};
use crate::controller::messages::{
    self, Envelope, Forwarded, Hello, InternalApi, Join, read_copy_moves, read_epoch_raises, read_heartbeat,
    read_isr_changes, read_offline, read_positions, read_raft, write_answer, write_heartbeat_answer,
    write_isr_outcomes, write_producer_ids, write_reported, write_standings,
};
use crate::metrics::standings_here;
use crate::server::response::encode;

type Outcome = Result<Vec<u8>, (ErrorCode, String)>;

/// Serves one request; the answer says what went wrong, if something did.
pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, body: Bytes) -> Bytes {
    let outcome = serve(broker, ctx, &body).await;
    if let Err((code, message)) = &outcome {
        ctx.count_error(*code);
        tracing::debug!(api = ctx.api_name, peer = %ctx.peer, code = code.name(), message, "request of a node refused");
    }
    write_answer(outcome)
}

async fn serve(broker: &Arc<Broker>, ctx: &RequestContext, body: &Bytes) -> Outcome {
    let api = InternalApi::from_key(ctx.api_key)
        .ok_or_else(|| (ErrorCode::UnsupportedVersion, format!("api key {} is not served", ctx.api_key)))?;
    let mut reader = Reader::new(api.name(), body);
    let envelope = Envelope::read(&mut reader).map_err(malformed)?;
    let controller = &broker.controller;
    controller.check_sender(api, &envelope)?;
    match api {
        InternalApi::Raft => raft(broker, envelope.from, &mut reader),
        InternalApi::Register => {
            let join = Join::read(&mut reader).map_err(malformed)?;
            check_same(envelope.from, join.registration.node_id)?;
            Ok(controller.serve_registration(join).await?.write())
        }
        InternalApi::Heartbeat => {
            let heartbeat = read_heartbeat(&mut reader).map_err(malformed)?;
            check_same(envelope.from, heartbeat.node_id)?;
            Ok(write_heartbeat_answer(controller.serve_heartbeat(heartbeat).await?))
        }
        InternalApi::ProducerIds => {
            let epoch = reader.i64().map_err(malformed)?;
            Ok(write_producer_ids(controller.serve_producer_ids(envelope.from, epoch).await?))
        }
        InternalApi::AlterPartitions => {
            let (epoch, changes) = read_isr_changes(&mut reader).map_err(malformed)?;
            let outcomes = controller.serve_isr_changes(envelope.from, epoch, changes).await?;
            Ok(write_isr_outcomes(&outcomes))
        }
        InternalApi::RaiseEpochs => {
            let (epoch, raises) = read_epoch_raises(&mut reader).map_err(malformed)?;
            Ok(write_isr_outcomes(&controller.serve_epoch_raises(envelope.from, epoch, raises).await?))
        }
        InternalApi::ReplicasOffline => {
            let (epoch, partitions) = read_offline(&mut reader).map_err(malformed)?;
            Ok(write_reported(controller.serve_offline_report(envelope.from, epoch, partitions).await?))
        }
        InternalApi::MoveCopies => {
            let (epoch, wanted, copies) = read_copy_moves(&mut reader).map_err(malformed)?;
            Ok(write_reported(controller.serve_copy_moves(envelope.from, epoch, wanted, copies).await?))
        }
        InternalApi::Hello => {
            let hello = Hello::read(&mut reader).map_err(malformed)?;
            Ok(controller.serve_hello(envelope.from, &hello).write())
        }
        InternalApi::FindQuorum => {
            reader.end().map_err(malformed)?;
            Ok(controller.serve_quorum_place(envelope.from).write())
        }
        InternalApi::Positions => {
            let positions = read_positions(&mut reader).map_err(malformed)?;
            Ok(write_standings(&standings_here(Arc::clone(broker), positions).await))
        }
        InternalApi::Forward => {
            let forwarded = Forwarded::read(&mut reader).map_err(malformed)?;
            let answer = execute(broker, ctx.peer, forwarded).await?;
            Ok(messages::write_forwarded_answer(controller.applied(), &answer))
        }
    }
}

fn malformed(error: impl std::fmt::Display) -> (ErrorCode, String) {
    (ErrorCode::InvalidRequest, error.to_string())
}

fn check_same(from: NodeId, named: NodeId) -> Result<(), (ErrorCode, String)> {
    if from == named {
        return Ok(());
    }
    Err((ErrorCode::InvalidRequest, format!("node {from} speaks for node {named}")))
}

fn raft(broker: &Broker, from: NodeId, reader: &mut Reader<'_>) -> Outcome {
    for message in read_raft(reader).map_err(malformed)? {
        broker.controller.step(from, message).map_err(|error| (ErrorCode::InvalidRequest, error.to_string()))?;
    }
    Ok(Vec::new())
}

/// Runs a client's request that another node received.
async fn execute(broker: &Arc<Broker>, peer: SocketAddr, forwarded: Forwarded) -> Result<Bytes, (ErrorCode, String)> {
    if !broker.controller.until_active().await {
        return Err((ErrorCode::NotController, "this node is not the active controller".to_owned()));
    }
    let Some(row) = super::served(forwarded.api_key) else {
        return Err((ErrorCode::UnsupportedVersion, format!("api key {} is not served", forwarded.api_key)));
    };
    let ctx = RequestContext {
        api_key: forwarded.api_key,
        api_name: row.name,
        api_version: forwarded.api_version,
        correlation_id: 0,
        client_id: forwarded.client_id,
        principal: Principal { kind: forwarded.principal_kind.into(), name: forwarded.principal_name.into() },
        listener: forwarded.listener.into(),
        peer,
        connection: None,
        metrics: Arc::clone(&broker.metrics),
        departed: CancellationToken::new(),
    };
    let body = forwarded.body;
    macro_rules! run {
        ($($api:ident => $request:ty),* $(,)?) => {
            match ApiKey::try_from(forwarded.api_key) {
                $(Ok(ApiKey::$api) => {
                    let request: $request = decode(&ctx, body).map_err(malformed)?;
                    let response = by_controller::execute(broker, &ctx, request).await;
                    encode(&response, ctx.api_version).map_err(|reason| (ErrorCode::UnknownServerError, reason))
                })*
                _ => Err((ErrorCode::InvalidRequest, format!("{} is not forwarded", row.name))),
            }
        };
    }
    run! {
        CreateTopics => CreateTopicsRequest,
        DeleteTopics => DeleteTopicsRequest,
        CreatePartitions => CreatePartitionsRequest,
        AlterConfigs => AlterConfigsRequest,
        IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
        ElectLeaders => ElectLeadersRequest,
        AlterPartitionReassignments => AlterPartitionReassignmentsRequest,
        ListPartitionReassignments => ListPartitionReassignmentsRequest,
        UnregisterBroker => UnregisterBrokerRequest,
        AlterClientQuotas => AlterClientQuotasRequest,
        AlterUserScramCredentials => AlterUserScramCredentialsRequest,
        UpdateFeatures => UpdateFeaturesRequest,
        DescribeQuorum => DescribeQuorumRequest,
        AddRaftVoter => AddRaftVoterRequest,
        RemoveRaftVoter => RemoveRaftVoterRequest,
    }
}
