//! What the active controller does for brokers, and how a broker asks for it.
//!
//! Picture: one [`Question`] per internal request. Its bytes are in `messages`; its decision is a verb of the metadata crate, run by the
//! actor. A broker on the leading node asks the same question without the network.

use twinstream_metadata::codec::{DecodeError, Writer};
use twinstream_metadata::controller::{BrokerError, Decision, Heartbeat, HeartbeatAnswer, ProducerIdBlock};
use twinstream_model::{ErrorCode, NodeId};

use super::ask::{ForwardError, Question, Refusal, ask};
use super::messages::{self, InternalApi, Join, Joined};
use super::{DecideError, Shared};

/// A broker wants a block of producer ids.
pub(crate) struct WantProducerIds {
    pub(crate) node_id: NodeId,
    pub(crate) epoch: i64,
}

impl Question for Join {
    const API: InternalApi = InternalApi::Register;
    /// A process that registers twice keeps its epoch.
    const REPEATABLE: bool = true;
    type Answer = Joined;

    fn write(&self, out: &mut Writer) {
        Join::write(self, out);
    }

    fn read_answer(payload: &[u8]) -> Result<Joined, DecodeError> {
        Joined::read(payload)
    }

    async fn decide_here(&self, shared: &Shared) -> Result<Joined, Refusal> {
        register_here(shared, self.clone()).await
    }
}

impl Question for Heartbeat {
    const API: InternalApi = InternalApi::Heartbeat;
    const REPEATABLE: bool = true;
    type Answer = HeartbeatAnswer;

    fn write(&self, out: &mut Writer) {
        messages::write_heartbeat(out, self);
    }

    fn read_answer(payload: &[u8]) -> Result<HeartbeatAnswer, DecodeError> {
        messages::read_heartbeat_answer(payload)
    }

    async fn decide_here(&self, shared: &Shared) -> Result<HeartbeatAnswer, Refusal> {
        heartbeat_here(shared, *self).await
    }
}

impl Question for WantProducerIds {
    const API: InternalApi = InternalApi::ProducerIds;
    /// A block that nobody heard of is a block unused.
    const REPEATABLE: bool = true;
    type Answer = ProducerIdBlock;

    fn write(&self, out: &mut Writer) {
        out.i64(self.epoch);
    }

    fn read_answer(payload: &[u8]) -> Result<ProducerIdBlock, DecodeError> {
        messages::read_producer_ids(payload)
    }

    async fn decide_here(&self, shared: &Shared) -> Result<ProducerIdBlock, Refusal> {
        producer_ids_here(shared, self.node_id, self.epoch).await
    }
}

/// Lets a node follow the log, then registers its broker.
pub(super) async fn register_here(shared: &Shared, join: Join) -> Result<Joined, Refusal> {
    let Join { registration, last_index } = join;
    let node_id = registration.node_id;
    let endpoint = registration
        .endpoints
        .iter()
        .find(|endpoint| endpoint.listener.eq_ignore_ascii_case(&shared.settings.network.inter_broker_listener));
    let address = endpoint.map(|endpoint| super::address(&endpoint.host, endpoint.port));
    let decided = shared
        .actor
        .decide(move |controller, now| verb_outcome(controller.register_broker(&registration, now)))
        .await
        .map_err(undecided)?;
    let epoch = decided.map_err(refused)?;
    if node_id != shared.identity.node_id {
        let Some(address) = address else {
            let message = format!(
                "node {node_id} has no listener {}, which nodes talk over; set inter.broker.listener.name alike on all nodes",
                shared.settings.network.inter_broker_listener
            );
            return Err((ErrorCode::InvalidRegistration, message));
        };
        shared.transport.set_address(node_id, address);
        let lost = |error: twinstream_quorum::ProposeError| (ErrorCode::NotController, error.to_string());
        shared.quorum.add_learner(node_id, last_index).map_err(lost)?.await.map_err(lost)?;
    }
    let cluster = shared.image.load().cluster_id().cloned();
    let cluster = cluster.ok_or_else(|| refused(BrokerError::NoClusterId))?;
    Ok(Joined { cluster, epoch })
}

pub(super) async fn heartbeat_here(shared: &Shared, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Refusal> {
    let decided = shared.actor.decide(move |controller, now| verb_outcome(controller.heartbeat(&heartbeat, now))).await;
    decided.map_err(undecided)?.map_err(refused)
}

pub(super) async fn producer_ids_here(
    shared: &Shared,
    node_id: NodeId,
    epoch: i64,
) -> Result<ProducerIdBlock, Refusal> {
    let decided =
        shared.actor.decide(move |controller, _| verb_outcome(controller.allocate_producer_ids(node_id, epoch))).await;
    decided.map_err(undecided)?.map_err(refused)
}

/// A refusal is a decision, too: one that writes nothing.
fn verb_outcome<T>(outcome: Result<Decision<T>, BrokerError>) -> Decision<Result<T, BrokerError>> {
    match outcome {
        Ok(Decision { records, answer }) => Decision { records, answer: Ok(answer) },
        Err(error) => Decision { records: Vec::new(), answer: Err(error) },
    }
}

fn refused(error: BrokerError) -> Refusal {
    (error.code(), error.to_string())
}

fn undecided(error: DecideError) -> Refusal {
    (error.code(), error.to_string())
}

impl Shared {
    /// The epoch of this broker's registration, for what only a registered broker may ask.
    fn registered_epoch(&self) -> Result<i64, ForwardError> {
        (*self.broker_epoch.borrow()).ok_or_else(|| ForwardError::Refused {
            code: ErrorCode::CoordinatorLoadInProgress,
            message: "this broker is not registered yet; ask again".to_owned(),
        })
    }

    pub(super) async fn allocate_producer_ids(&self) -> Result<ProducerIdBlock, ForwardError> {
        let question = WantProducerIds { node_id: self.identity.node_id, epoch: self.registered_epoch()? };
        Ok(ask(self, &question, self.settings.node.request_timeout).await?.answer)
    }
}
