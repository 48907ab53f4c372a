//! Questions to the active controller, wherever it is and whoever becomes it.
//!
//! Picture: a [`Question`] is answered here when this node leads, and over the network when another does. When nobody answers, the next
//! try waits for another leader rather than for a clock: the quorum's status says at once who leads now. A question under way to a node
//! that no longer leads is given a moment for its answer and then counts as lost.
//!
//! Invariants: the time is bounded by the caller's limit; a question that may have been decided is asked again only when deciding it
//! twice does no harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use twinstream_metadata::codec::{DecodeError, Writer};
use twinstream_model::{ErrorCode, NodeId};
use twinstream_quorum::Status;

use super::messages::{self, InternalApi};
use super::{Shared, peers::PeerError};

/// Between two tries when the leader stays the same.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// For an answer of a leader that has just been replaced: it may be on its way.
const LATE_ANSWER_LIMIT: Duration = Duration::from_millis(100);

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
    /// The error on the wire. All but a refusal are retriable for Kafka's clients.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NoController | Self::Unreachable(_) => ErrorCode::NotController,
            Self::Lost(_) => ErrorCode::RequestTimedOut,
            Self::Refused { code, .. } => *code,
        }
    }

    fn may_try_again(&self, repeatable: bool) -> bool {
        match self {
            Self::NoController | Self::Unreachable(_) => true,
            Self::Lost(_) => repeatable,
            Self::Refused { code: ErrorCode::NotController, .. } => true,
            // Whether a decision was committed is not known, see `DecideError::Unknown`.
            Self::Refused { code: ErrorCode::RequestTimedOut, .. } => repeatable,
            Self::Refused { .. } => false,
        }
    }
}

/// A refusal with the text for the operator.
pub(crate) type Refusal = (ErrorCode, String);

/// What a node asks the active controller.
pub(super) trait Question: Sync {
    const API: InternalApi;
    /// Whether it may be asked again when it is not known whether it was decided.
    const REPEATABLE: bool;
    type Answer: Send;

    fn write(&self, out: &mut Writer);
    fn read_answer(payload: &[u8]) -> Result<Self::Answer, DecodeError>;
    /// Decides it on this node, which leads.
    fn decide_here(&self, shared: &Arc<Shared>) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

/// An answer, with the time at which the question that it answers was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<T> {
    pub(super) answer: T,
    pub(super) sent: Instant,
}

/// Asks until there is an answer, the controller refuses, or the time is over.
pub(super) async fn ask<Q: Question>(
    shared: &Arc<Shared>,
    question: &Q,
    limit: Duration,
) -> Result<Answered<Q::Answer>, ForwardError> {
    let deadline = Instant::now() + limit;
    let mut status = shared.quorum.watch_status();
    let mut pause = PAUSE_MIN;
    loop {
        let leader = shared.controller_node();
        let sent = Instant::now();
        let left = deadline.saturating_duration_since(sent);
        let error = match ask_node(shared, question, leader, left, &mut status).await {
            Ok(answer) => return Ok(Answered { answer, sent }),
            Err(error) => error,
        };
        if !error.may_try_again(Q::REPEATABLE) || Instant::now() >= deadline {
            return Err(error);
        }
        tracing::debug!(api = Q::API.name(), %error, "asking the controller again");
        if tokio::time::timeout(pause, another_leads(&mut status, leader)).await.is_err() {
            // The quorum knows nothing new; it may have forgotten this node.
            let searching = tokio::time::timeout(left, shared.discover(leader)).await;
            let refused = |(code, message)| ForwardError::Refused { code, message };
            searching.unwrap_or(Ok(())).map_err(refused)?;
        }
        pause = (pause * 2).min(PAUSE_MAX).min(deadline.saturating_duration_since(Instant::now()));
    }
}

async fn ask_node<Q: Question>(
    shared: &Arc<Shared>,
    question: &Q,
    leader: Option<NodeId>,
    limit: Duration,
    status: &mut watch::Receiver<Status>,
) -> Result<Q::Answer, ForwardError> {
    let Some(leader) = leader else { return Err(ForwardError::NoController) };
    let asking = async {
        if leader == shared.identity.node_id {
            let refused = |(code, message)| ForwardError::Refused { code, message };
            return question.decide_here(shared).await.map_err(refused);
        }
        ask_over_network(shared, question, leader, limit).await
    };
    let superseded = async {
        another_leads(status, Some(leader)).await;
        tokio::time::sleep(LATE_ANSWER_LIMIT).await;
    };
    tokio::select! {
        answer = asking => answer,
        () = superseded => Err(ForwardError::Lost(format!("node {leader} does not lead any more"))),
        () = tokio::time::sleep(limit) => Err(ForwardError::Lost(format!("none within {}ms", limit.as_millis()))),
    }
}

async fn ask_over_network<Q: Question>(
    shared: &Arc<Shared>,
    question: &Q,
    leader: NodeId,
    limit: Duration,
) -> Result<Q::Answer, ForwardError> {
    let pool = shared.pool(leader).ok_or(ForwardError::NoController)?;
    let mut body = shared.identity.envelope(leader).write();
    question.write(&mut body);
    let answer = pool.ask(Q::API, &body.bytes, limit).await.map_err(forward_error)?;
    match messages::read_answer(&answer) {
        Ok(Ok(payload)) => Q::read_answer(payload).map_err(|error| ForwardError::Lost(error.to_string())),
        Ok(Err((code, message))) => Err(ForwardError::Refused { code, message }),
        Err(error) => Err(ForwardError::Lost(error.to_string())),
    }
}

/// Returns when somebody else than `leader` is known to lead.
async fn another_leads(status: &mut watch::Receiver<Status>, leader: Option<NodeId>) {
    let is_another = |status: &Status| status.leader.is_some() && status.leader != leader;
    if status.wait_for(is_another).await.is_err() {
        // The quorum has ended; the caller's limit ends the wait.
        std::future::pending().await
    }
}

fn forward_error(error: PeerError) -> ForwardError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!("{error}{cause}");
    if error.was_never_sent() { ForwardError::Unreachable(text) } else { ForwardError::Lost(text) }
}
