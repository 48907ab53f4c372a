//! Administrative requests on their way to the active controller.
//!
//! Picture: a broker that is not the active controller writes the client's request down again, at the version the client chose, puts
//! it in an internal request together with who asks, and hands the client what comes back. Before it does, it waits until its own
//! image shows the effect, so that a client that creates a topic through this broker finds it here.
//!
//! Invariants: a request that may have been processed is never sent a second time; a request is forwarded at most once, so two nodes
//! that each take the other for the controller cannot pass it round for ever.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use twinstream_metadata::codec::{DecodeError, Writer};
use twinstream_metadata::controller::{EpochRaise, IsrChange, Reported};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicId};
use twinstream_protocol::shape::{self, Shaped};

use super::ask::{ForwardError, Question, Refusal, ask};
use super::messages::{self, Forwarded, InternalApi};
use super::{ControllerClient, Shared, serving};
use crate::context::RequestContext;

/// A request that only the active controller answers.
pub(crate) trait Forwardable: Encodable {
    type Response: Shaped;
}

impl ControllerClient {
    /// Sends a client's request to the active controller and answers what that answers. `None` when this node is the
    /// controller, so that the request is decided here.
    pub(crate) async fn forward<R: Forwardable>(
        &self,
        ctx: &RequestContext,
        request: &R,
    ) -> Result<Option<R::Response>, ForwardError> {
        if self.is_active() {
            return Ok(None);
        }
        let mut body = BytesMut::new();
        let unencodable = |error: &dyn std::fmt::Display| ForwardError::Lost(error.to_string());
        request.encode(&mut body, ctx.api_version).map_err(|error| unencodable(&error))?;
        let forwarded = Forwarded {
            api_key: ctx.api_key,
            api_version: ctx.api_version,
            client_id: ctx.client_id.clone(),
            principal_kind: ctx.principal.kind.to_string(),
            principal_name: ctx.principal.name.to_string(),
            listener: ctx.listener.to_string(),
            body: body.freeze(),
        };
        let answered = ask(&self.shared, &forwarded, self.shared.settings.node.request_timeout).await?;
        let Some((applied, answer)) = answered.answer else { return Ok(None) };
        self.until_applied(applied).await;
        shape::decode(answer, ctx.api_version).map(Some).map_err(|error| unencodable(&error))
    }

    /// A registration that arrived from another node.
    pub(crate) async fn serve_registration(
        &self,
        join: messages::Join,
    ) -> Result<messages::Joined, (ErrorCode, String)> {
        serving::register_here(&self.shared, join).await
    }

    /// A heartbeat that arrived from another node.
    pub(crate) async fn serve_heartbeat(
        &self,
        heartbeat: twinstream_metadata::controller::Heartbeat,
    ) -> Result<twinstream_metadata::controller::HeartbeatAnswer, (ErrorCode, String)> {
        serving::heartbeat_here(&self.shared, heartbeat).await
    }

    /// The leader of partitions wants to change their ISR.
    pub(crate) async fn serve_isr_changes(
        &self,
        from: NodeId,
        epoch: i64,
        changes: Vec<IsrChange>,
    ) -> Result<messages::IsrOutcomes, Refusal> {
        serving::alter_partitions_here(&self.shared, from, epoch, changes).await
    }

    /// The leader of mirrors wants higher epochs.
    pub(crate) async fn serve_epoch_raises(
        &self,
        from: NodeId,
        epoch: i64,
        raises: Vec<EpochRaise>,
    ) -> Result<messages::IsrOutcomes, Refusal> {
        serving::raise_epochs_here(&self.shared, from, epoch, raises).await
    }

    /// A broker says which of its copies it cannot use.
    pub(crate) async fn serve_offline_report(
        &self,
        from: NodeId,
        epoch: i64,
        partitions: Vec<(TopicId, PartitionIndex)>,
    ) -> Result<Reported, Refusal> {
        serving::replicas_offline_here(&self.shared, from, epoch, partitions).await
    }

    /// Another node wants to know who this one is.
    pub(crate) fn serve_hello(&self, from: NodeId, hello: &messages::Hello) -> messages::HelloAnswer {
        tracing::debug!(node = %from, directory = %hello.directory, "hello");
        self.shared.introduce()
    }

    /// A node that knows this one's address wants to know where the quorum is.
    pub(crate) fn serve_quorum_place(&self, from: NodeId) -> messages::QuorumPlace {
        tracing::debug!(node = %from, "asked for the quorum");
        self.shared.quorum_place()
    }

    /// Another node asks for producer ids.
    pub(crate) async fn serve_producer_ids(
        &self,
        from: NodeId,
        epoch: i64,
    ) -> Result<twinstream_metadata::controller::ProducerIdBlock, (ErrorCode, String)> {
        serving::producer_ids_here(&self.shared, from, epoch).await
    }
}

impl Question for Forwarded {
    const API: InternalApi = InternalApi::Forward;
    const REPEATABLE: bool = false;
    /// How far to replay to see the effect, and the response. `None` when this node is the controller.
    type Answer = Option<(u64, Bytes)>;

    fn write(&self, out: &mut Writer) {
        Forwarded::write(self, out);
    }

    fn read_answer(payload: &[u8]) -> Result<Self::Answer, DecodeError> {
        messages::read_forwarded_answer(payload).map(Some)
    }

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<Self::Answer, Refusal> {
        let refusal = || (ErrorCode::NotController, "this node leads no more".to_owned());
        if shared.until_active().await { Ok(None) } else { Err(refusal()) }
    }
}
