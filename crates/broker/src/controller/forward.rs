//! Administrative requests on their way to the active controller.
//!
//! Picture: a broker that is not the active controller writes the client's request down again, at the version the client chose, puts
//! it in an internal request together with who asks, and hands the client what comes back. Before it does, it waits until its own
//! image shows the effect, so that a client that creates a topic through this broker finds it here.
//!
//! Invariants: a request that may have been processed is never sent a second time; a request is forwarded at most once, so two nodes
//! that each take the other for the controller cannot pass it round for ever.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use twinstream_model::ErrorCode;

use super::messages::{self, Forwarded, InternalApi};
use super::{ControllerClient, membership};
use crate::context::RequestContext;

const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long a controller may be searched for before the client is told to come back.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

/// Why the active controller did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no active controller is known; ask again")]
    NoController,
    #[error("the active controller cannot be reached: {0}")]
    Unreachable(String),
    #[error("the active controller's answer is lost ({0}); look whether the request took effect")]
    Lost(String),
    #[error("{message}")]
    Refused { code: ErrorCode, message: String },
}

impl ForwardError {
    /// The error on the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NoController | Self::Unreachable(_) => ErrorCode::NotController,
            Self::Lost(_) => ErrorCode::RequestTimedOut,
            Self::Refused { code, .. } => *code,
        }
    }

    fn may_try_again(&self) -> bool {
        match self {
            Self::NoController | Self::Unreachable(_) => true,
            Self::Lost(_) => false,
            Self::Refused { code, .. } => *code == ErrorCode::NotController,
        }
    }
}

/// A request that only the active controller answers.
pub(crate) trait Forwardable: Encodable {
    type Response: Decodable;
}

impl ControllerClient {
    /// Sends a client's request to the active controller and answers what that answers.
    pub(crate) async fn forward<R: Forwardable>(
        &self,
        ctx: &RequestContext,
        request: &R,
    ) -> Result<R::Response, ForwardError> {
        let deadline = Instant::now() + SEARCH_LIMIT;
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
        loop {
            match self.forward_once(&forwarded).await {
                Ok(mut answer) => {
                    let decoded = R::Response::decode(&mut answer, ctx.api_version);
                    return decoded.map_err(|error| unencodable(&error));
                }
                Err(error) if error.may_try_again() && Instant::now() < deadline => {
                    tracing::debug!(%error, "forwarding again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn forward_once(&self, forwarded: &Forwarded) -> Result<Bytes, ForwardError> {
        if self.is_active() {
            // It became the controller meanwhile; the client's next try is decided here.
            return Err(ForwardError::NoController);
        }
        let limit = self.shared.settings.node.request_timeout;
        let payload = self.shared.ask_controller(InternalApi::Forward, |out| forwarded.write(out), limit).await?;
        let (applied, body) =
            messages::read_forwarded_answer(&payload).map_err(|error| ForwardError::Lost(error.to_string()))?;
        self.until_applied(applied).await;
        Ok(body)
    }

    /// A registration that arrived from another node.
    pub(crate) async fn serve_registration(
        &self,
        join: messages::Join,
    ) -> Result<messages::Joined, (ErrorCode, String)> {
        membership::register_here(&self.shared, join).await
    }

    /// A heartbeat that arrived from another node.
    pub(crate) async fn serve_heartbeat(
        &self,
        heartbeat: twinstream_metadata::controller::Heartbeat,
    ) -> Result<twinstream_metadata::controller::HeartbeatAnswer, (ErrorCode, String)> {
        membership::heartbeat_here(&self.shared, heartbeat).await
    }

    /// Another node asks for producer ids.
    pub(crate) async fn serve_producer_ids(
        &self,
        from: twinstream_model::NodeId,
        epoch: i64,
    ) -> Result<twinstream_metadata::controller::ProducerIdBlock, (ErrorCode, String)> {
        membership::producer_ids_here(&self.shared, from, epoch).await
    }
}
