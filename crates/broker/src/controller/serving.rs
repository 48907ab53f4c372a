//! What the active controller does for brokers, and how a broker asks for it.
//!
//! Picture: one [`Question`] per internal request. Its bytes are in `messages`; its decision is a verb of the metadata crate, run by the
//! actor. A broker on the leading node asks the same question without the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use twinstream_metadata::Controller;
use twinstream_metadata::codec::{DecodeError, Writer};
use twinstream_metadata::controller::{
    BrokerError, Decision, EpochRaise, Heartbeat, HeartbeatAnswer, IsrChange, ProducerIdBlock, Registered, ReplicaLoss,
    Reported,
};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicId};

use super::ask::{ForwardError, Question, Refusal, ask};
use super::messages::{self, InternalApi, IsrOutcomes, Join, Joined};
use super::{DecideError, Shared, members};

/// Partitions in one report of failed disks.
const REPORT_PARTITIONS_MAX: usize = 10_000;
/// Before a report that was refused is tried again.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// Replaying what earlier leaders left takes less.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(1);

/// A broker wants a block of producer ids.
pub(crate) struct WantProducerIds {
    pub(crate) node_id: NodeId,
    pub(crate) epoch: i64,
}

/// A leader wants to change the ISR of its partitions.
pub(crate) struct WantIsr {
    pub(crate) node_id: NodeId,
    pub(crate) epoch: i64,
    pub(crate) changes: Vec<IsrChange>,
}

/// A leader wants higher epochs of mirrors.
pub(crate) struct WantEpochs {
    pub(crate) node_id: NodeId,
    pub(crate) epoch: i64,
    pub(crate) raises: Vec<EpochRaise>,
}

/// A broker says which of its copies it cannot use.
pub(crate) struct TellOffline<'a> {
    pub(crate) node_id: NodeId,
    pub(crate) epoch: i64,
    pub(crate) partitions: &'a [(TopicId, PartitionIndex)],
}

impl Question for TellOffline<'_> {
    const API: InternalApi = InternalApi::ReplicasOffline;
    /// What is known already changes nothing.
    const REPEATABLE: bool = true;
    type Answer = Reported;

    fn write(&self, out: &mut Writer) {
        messages::write_offline(out, self.epoch, self.partitions);
    }

    fn read_answer(payload: &[u8]) -> Result<Reported, DecodeError> {
        messages::read_reported(payload)
    }

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<Reported, Refusal> {
        replicas_offline_here(shared, self.node_id, self.epoch, self.partitions.to_vec()).await
    }
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

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<Joined, Refusal> {
        register_here(shared, self.clone()).await
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

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<ProducerIdBlock, Refusal> {
        producer_ids_here(shared, self.node_id, self.epoch).await
    }
}

impl Question for WantIsr {
    const API: InternalApi = InternalApi::AlterPartitions;
    /// Each change names the partition epoch that it builds on, so the second try of one that was decided is refused.
    const REPEATABLE: bool = true;
    type Answer = IsrOutcomes;

    fn write(&self, out: &mut Writer) {
        messages::write_isr_changes(out, self.epoch, &self.changes);
    }

    fn read_answer(payload: &[u8]) -> Result<IsrOutcomes, DecodeError> {
        messages::read_isr_outcomes(payload)
    }

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<IsrOutcomes, Refusal> {
        alter_partitions_here(shared, self.node_id, self.epoch, self.changes.clone()).await
    }
}

impl Question for WantEpochs {
    const API: InternalApi = InternalApi::RaiseEpochs;
    /// What has the epoch already changes nothing.
    const REPEATABLE: bool = true;
    type Answer = IsrOutcomes;

    fn write(&self, out: &mut Writer) {
        messages::write_epoch_raises(out, self.epoch, &self.raises);
    }

    fn read_answer(payload: &[u8]) -> Result<IsrOutcomes, DecodeError> {
        messages::read_isr_outcomes(payload)
    }

    async fn decide_here(&self, shared: &Arc<Shared>) -> Result<IsrOutcomes, Refusal> {
        raise_epochs_here(shared, self.node_id, self.epoch, self.raises.clone()).await
    }
}

/// Registers a broker and lets its node follow the metadata log.
pub(super) async fn register_here(shared: &Arc<Shared>, join: Join) -> Result<Joined, Refusal> {
    let Join { registration, wants_vote } = join;
    let node_id = registration.node_id;
    let listener = &shared.settings.network.inter_broker_listener;
    let endpoint = registration.endpoints.iter().find(|endpoint| endpoint.listener.eq_ignore_ascii_case(listener));
    let address = endpoint.map(|endpoint| super::address(&endpoint.host, endpoint.port));
    let Some(directory) = registration.metadata_directory else {
        let message =
            format!("node {node_id} does not say which metadata directory it has; run the same release on all nodes");
        return Err((ErrorCode::InvalidRegistration, message));
    };
    let decided = shared.decide(move |controller, now| controller.register_broker(&registration, now)).await;
    let Registered { epoch, loss } = decided.map_err(undecided)?.map_err(refused)?;
    if let Some(loss) = loss {
        let reason = match loss {
            ReplicaLoss::PowerLoss => "its machine restarted while it ran, so its last writes may be gone",
            ReplicaLoss::Disk => "a log directory that it had is missing or empty",
        };
        tracing::warn!(node = %node_id, reason, "the replicas of a broker count as out of sync until they have caught up");
    }
    if node_id != shared.identity.node_id {
        let Some(address) = address else {
            let message = format!(
                "node {node_id} has no listener {listener}, which nodes talk over; set inter.broker.listener.name alike on all nodes"
            );
            return Err((ErrorCode::InvalidRegistration, message));
        };
        if !shared.settings.quorum.voters.iter().any(|voter| voter.id == node_id) {
            shared.transport.set_address(node_id, address);
        }
        members::take_in(shared, node_id, directory, wants_vote).await.map_err(members::refusal)?;
    }
    let cluster = shared.image.load().cluster_id().cloned();
    let cluster = cluster.ok_or_else(|| refused(BrokerError::NoClusterId))?;
    Ok(Joined { cluster, epoch })
}

pub(super) async fn heartbeat_here(shared: &Arc<Shared>, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, Refusal> {
    let decided = shared.decide(move |controller, now| controller.heartbeat(&heartbeat, now)).await;
    decided.map_err(undecided)?.map_err(refused)
}

pub(super) async fn producer_ids_here(
    shared: &Arc<Shared>,
    node_id: NodeId,
    epoch: i64,
) -> Result<ProducerIdBlock, Refusal> {
    let decided = shared.decide(move |controller, _| controller.allocate_producer_ids(node_id, epoch)).await;
    decided.map_err(undecided)?.map_err(refused)
}

pub(super) async fn alter_partitions_here(
    shared: &Arc<Shared>,
    node_id: NodeId,
    epoch: i64,
    changes: Vec<IsrChange>,
) -> Result<IsrOutcomes, Refusal> {
    let verb = move |controller: &mut Controller, _| controller.alter_partitions(node_id, epoch, &changes);
    shared.decide(verb).await.map_err(undecided)?.map_err(refused)
}

pub(super) async fn raise_epochs_here(
    shared: &Arc<Shared>,
    node_id: NodeId,
    epoch: i64,
    raises: Vec<EpochRaise>,
) -> Result<IsrOutcomes, Refusal> {
    let verb = move |controller: &mut Controller, _| controller.raise_epochs(node_id, epoch, &raises);
    shared.decide(verb).await.map_err(undecided)?.map_err(refused)
}

pub(super) async fn replicas_offline_here(
    shared: &Arc<Shared>,
    node_id: NodeId,
    epoch: i64,
    partitions: Vec<(TopicId, PartitionIndex)>,
) -> Result<Reported, Refusal> {
    let count = partitions.len();
    let verb = move |controller: &mut Controller, _| controller.replicas_offline(node_id, epoch, &partitions);
    let reported = shared.decide(verb).await.map_err(undecided)?.map_err(refused)?;
    tracing::warn!(node = %node_id, partitions = count, "a broker cannot use copies on failed disks, others take over");
    Ok(reported)
}

pub(super) fn refused(error: BrokerError) -> Refusal {
    (error.code(), error.to_string())
}

pub(super) fn undecided(error: DecideError) -> Refusal {
    (error.code(), error.to_string())
}

impl Shared {
    /// Whether this node decides. Right after an election the controller is not made yet; who asks meanwhile waits for it, because
    /// sending it away to ask again would take longer.
    pub(super) async fn until_active(&self) -> bool {
        if self.quorum.is_leader() && !self.is_active() {
            let mut leading = self.leading.clone();
            tokio::time::timeout(TAKE_OVER_LIMIT, leading.wait_for(Option::is_some)).await.ok();
        }
        self.is_active()
    }

    /// Decides here, if this node leads.
    pub(super) async fn decide<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Controller, Instant) -> Decision<T> + Send + 'static,
    ) -> Result<T, DecideError> {
        self.until_active().await;
        self.actor.decide(verb).await
    }

    /// The epoch of this broker's registration, for what only a registered broker may ask.
    pub(super) fn registered_epoch(&self) -> Result<i64, ForwardError> {
        (*self.broker_epoch.borrow()).ok_or_else(|| ForwardError::Refused {
            code: ErrorCode::CoordinatorLoadInProgress,
            message: "this broker is not registered yet; ask again".to_owned(),
        })
    }

    pub(super) async fn allocate_producer_ids(self: &Arc<Self>) -> Result<ProducerIdBlock, ForwardError> {
        let question = WantProducerIds { node_id: self.identity.node_id, epoch: self.registered_epoch()? };
        Ok(ask(self, &question, self.settings.node.request_timeout).await?.answer)
    }

    /// Tells the controller which copies this broker cannot use, until it knows of all or `limit` is over.
    pub(super) async fn report_offline(
        self: &Arc<Self>,
        partitions: &[(TopicId, PartitionIndex)],
        limit: Duration,
    ) -> Result<(), ForwardError> {
        let deadline = Instant::now() + limit;
        for part in partitions.chunks(REPORT_PARTITIONS_MAX) {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let told = match self.registered_epoch() {
                    Ok(epoch) => {
                        let question = TellOffline { node_id: self.identity.node_id, epoch, partitions: part };
                        ask(self, &question, left).await.map(|answered| answered.answer)
                    }
                    Err(error) => Err(error),
                };
                match told {
                    Ok(Reported::All) => break,
                    Ok(Reported::Part) => {}
                    Err(error) if Instant::now() >= deadline => return Err(error),
                    // It registers again, or the controller has too much to do.
                    Err(error) => {
                        tracing::debug!(%error, "telling the controller of failed disks again");
                        tokio::time::sleep(REPORT_PAUSE).await;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn raise_epochs(self: &Arc<Self>, raises: Vec<EpochRaise>) -> Result<IsrOutcomes, ForwardError> {
        let question = WantEpochs { node_id: self.identity.node_id, epoch: self.registered_epoch()?, raises };
        Ok(ask(self, &question, self.settings.node.request_timeout).await?.answer)
    }

    pub(super) async fn alter_partitions(
        self: &Arc<Self>,
        changes: Vec<IsrChange>,
    ) -> Result<IsrOutcomes, ForwardError> {
        let question = WantIsr { node_id: self.identity.node_id, epoch: self.registered_epoch()?, changes };
        Ok(ask(self, &question, self.settings.node.request_timeout).await?.answer)
    }
}
