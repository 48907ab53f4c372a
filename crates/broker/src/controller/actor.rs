//! The active controller: one decision at a time.
//!
//! Picture: a queue of verbs. Each verb looks at the controller's image, which has everything decided so far, and leaves records and
//! an answer. The records go to the quorum at once, so that many decisions share one disk flush; the answer goes out when they are
//! committed and this node's image has them.
//!
//! States: *idle* (another node leads) -> *leading* (with a controller made from the committed image) -> *settling* (a write failed,
//! or a verb panicked: nothing new is decided until everything under way is settled, then the controller is made anew) -> *leading* or *idle*.
//!
//! Invariants: records enter the quorum in the order in which they were decided; a failed write throws the controller away, since its
//! image foresaw something that may not happen.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use twinstream_metadata::controller::{ControllerSettings, Decision};
use twinstream_metadata::{Controller, Image, RECORD_BATCH_BYTES_MAX, encode_batch};
use twinstream_model::ClusterId;
use twinstream_quorum::{ProposeError, QuorumHandle};
use uuid::Uuid;

use super::DecideError;
use super::effects;
use super::sightings::Sightings;
use super::transport::{Identity, Loss};
use crate::metrics::Elections;
use crate::settings::BalanceSettings;

/// Verbs that wait. Beyond it callers are told to come back.
const VERBS_MAX: usize = 1024;
/// Decisions that wait for their commit.
const UNDER_WAY_MAX: usize = 256;

pub(super) struct Inputs {
    pub(super) image: Arc<ArcSwap<Image>>,
    pub(super) quorum: QuorumHandle,
    pub(super) applied: watch::Receiver<u64>,
    pub(super) leading: watch::Receiver<Option<u64>>,
    pub(super) losses: mpsc::Receiver<Loss>,
    pub(super) settings: ControllerSettings,
    pub(super) balance: BalanceSettings,
    pub(super) identity: Arc<Identity>,
    pub(super) sightings: Arc<Sightings>,
    /// What is counted of its decisions.
    pub(super) elections: Elections,
    /// The id that a new cluster gets; a random one without.
    pub(super) first_cluster_id: Option<ClusterId>,
    pub(super) shutdown: CancellationToken,
}

type Done = Box<dyn FnOnce(Result<(), DecideError>) + Send>;
type Verb = Box<dyn FnOnce(&mut Controller, Instant) -> (Decision<()>, Done) + Send>;

struct Waiting {
    verb: Verb,
    /// Tells the caller when the verb cannot even run.
    refused: oneshot::Sender<DecideError>,
}

/// Hands verbs to the actor. Cheap to clone.
#[derive(Clone)]
pub(super) struct ActorHandle {
    verbs: mpsc::Sender<Waiting>,
}

impl ActorHandle {
    pub(super) async fn decide<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Controller, Instant) -> Decision<T> + Send + 'static,
    ) -> Result<T, DecideError> {
        let (answer, answered) = oneshot::channel();
        let (refused, mut refusal) = oneshot::channel();
        let verb: Verb = Box::new(move |controller, now| {
            let Decision { records, answer: decided, effects } = verb(controller, now);
            let done: Done = Box::new(move |outcome| {
                if answer.send(outcome.map(|()| decided)).is_err() {
                    tracing::trace!("nobody waits for this decision any more");
                }
            });
            (Decision { records, answer: (), effects }, done)
        });
        self.verbs.try_send(Waiting { verb, refused }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DecideError::Busy,
            mpsc::error::TrySendError::Closed(_) => DecideError::NotController,
        })?;
        match answered.await {
            Ok(answer) => answer,
            // Whoever does not say that the verb was refused may have decided it, and must not let the caller ask again.
            Err(_) => Err(refusal.try_recv().unwrap_or(DecideError::Unknown)),
        }
    }
}

pub(super) fn spawn(inputs: Inputs) -> ActorHandle {
    let (verbs, waiting) = mpsc::channel(VERBS_MAX);
    let actor = Actor {
        inputs,
        waiting,
        controller: None,
        settling: false,
        next_balance: Instant::now(),
        under_way: FuturesUnordered::new(),
    };
    tokio::spawn(actor.run());
    ActorHandle { verbs }
}

struct Actor {
    inputs: Inputs,
    waiting: mpsc::Receiver<Waiting>,
    /// `None` when this node does not lead, and while a failed write settles.
    controller: Option<Controller>,
    settling: bool,
    next_balance: Instant,
    under_way: FuturesUnordered<BoxFuture<'static, Result<(), ProposeError>>>,
}

impl Actor {
    async fn run(mut self) {
        let shutdown = self.inputs.shutdown.clone();
        loop {
            let deadline = self.controller.as_ref().and_then(Controller::session_deadline);
            let expiry = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let balance = async {
                match self.inputs.balance.enabled && self.controller.is_some() {
                    true => tokio::time::sleep_until(self.next_balance.into()).await,
                    false => std::future::pending().await,
                }
            };
            let has_room = self.under_way.len() < UNDER_WAY_MAX && !self.settling;
            // Leadership first: a verb that comes with it shall find a controller. Verbs last: they may be without end.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                changed = self.inputs.leading.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.leadership_changed();
                }
                Some(outcome) = self.under_way.next() => self.settle(outcome),
                Some(loss) = self.inputs.losses.recv() => self.handle_loss(loss),
                () = expiry => self.expire_sessions(),
                () = balance, if has_room => self.balance(),
                Some(waiting) = self.waiting.recv(), if has_room => self.obey(waiting),
            }
        }
    }

    fn leadership_changed(&mut self) {
        let term = *self.inputs.leading.borrow_and_update();
        match term {
            Some(term) => {
                tracing::info!(term, "this node is the active controller");
                // One of an earlier term, whose end was not seen, foresaw what may not have happened.
                self.controller = None;
                self.settling = !self.under_way.is_empty();
                self.take_over_if_settled();
            }
            None => {
                if self.controller.take().is_some() {
                    tracing::info!("this node is no longer the active controller");
                }
                self.settling = false;
            }
        }
    }

    fn take_over_if_settled(&mut self) {
        if self.settling && !self.under_way.is_empty() {
            return;
        }
        self.settling = false;
        if self.inputs.leading.borrow().is_none() {
            return;
        }
        let image = Image::clone(&self.inputs.image.load());
        let is_new = image.cluster_id().is_none();
        let mut controller = Controller::new(image, self.inputs.settings.clone(), Instant::now());
        if let Some(previous) = self.inputs.sightings.last_of_another(self.inputs.identity.node_id) {
            controller.previous_leader(previous.node, previous.at);
        }
        self.next_balance = Instant::now() + self.inputs.balance.interval;
        self.controller = Some(controller);
        match is_new {
            true => self.found_cluster(),
            false => self.adopt_min_isr(),
        }
    }

    /// The first leader of a new cluster gives it its id.
    fn found_cluster(&mut self) {
        let known = self.inputs.identity.cluster.get().or(self.inputs.first_cluster_id.as_ref()).cloned();
        let cluster_id = known.unwrap_or_else(|| ClusterId::from_uuid(Uuid::new_v4()));
        tracing::info!(%cluster_id, "new cluster");
        let Some(controller) = self.controller.as_ref() else { return };
        let decision = controller.found_cluster(cluster_id);
        self.write(decision, Box::new(|_| ()));
    }

    /// A cluster of an older release does not have its default of `min.insync.replicas` yet.
    fn adopt_min_isr(&mut self) {
        let Some(controller) = self.controller.as_ref() else { return };
        if !controller.min_isr_awaited_of().is_empty() {
            tracing::info!(
                "min.insync.replicas becomes a default of the cluster when every broker has told what its settings say; \
                 brokers of an older release, or that are down, hold that up"
            );
        }
        let decision = controller.adopt_min_isr();
        self.write(decision, Box::new(|_| ()));
    }

    fn obey(&mut self, Waiting { verb, refused }: Waiting) {
        match self.controller.as_mut() {
            Some(controller) => {
                // A panic must not end the actor: the cluster would have no controller until somebody restarts this node.
                match catch_unwind(AssertUnwindSafe(|| verb(controller, Instant::now()))) {
                    Ok((decision, done)) => self.write(decision, done),
                    Err(_) => {
                        tracing::error!(
                            "a controller decision panicked, the controller is made anew from what is committed"
                        );
                        self.controller = None;
                        self.settling = true;
                        self.take_over_if_settled();
                    }
                }
            }
            None => {
                // Before the verb goes, since the caller looks for it when there is no answer.
                if refused.send(DecideError::NotController).is_err() {
                    tracing::trace!("nobody waits for this refusal any more");
                }
                drop(verb);
            }
        }
    }

    fn handle_loss(&mut self, loss: Loss) {
        let Some(controller) = self.controller.as_mut() else { return };
        match loss {
            Loss::Connection(node_id) => controller.connection_lost(node_id),
            Loss::Process(node_id) => {
                let decision = controller.broker_gone(node_id);
                if !decision.records.is_empty() {
                    tracing::info!(node = %node_id, "broker is gone, fenced");
                }
                self.write(decision, Box::new(|_| ()));
            }
        }
    }

    fn expire_sessions(&mut self) {
        let Some(controller) = self.controller.as_mut() else { return };
        let decision = controller.expire_sessions(Instant::now());
        for node_id in &decision.answer {
            tracing::warn!(node = %node_id, "broker was not heard of within its session, fenced");
            self.inputs.elections.missed_sessions.inc();
        }
        self.write(decision.map(|_| ()), Box::new(|_| ()));
    }

    /// Moves leaderships back to their preferred brokers, as many as one batch takes.
    fn balance(&mut self) {
        let Some(controller) = self.controller.as_mut() else { return };
        let decision = controller.balance_leaders(self.inputs.balance.imbalance_percent_max);
        let moved = decision.effects.leaders_changed;
        if moved > 0 {
            tracing::info!(partitions = moved, "moving leaderships back to their preferred brokers");
        }
        self.next_balance = Instant::now() + self.inputs.balance.interval;
        self.write(decision.map(|_| ()), Box::new(|_| ()));
    }

    /// Sends records on their way; `done` hears when they are committed and visible.
    fn write(&mut self, decision: Decision<()>, done: Done) {
        let Decision { records, effects, .. } = decision;
        if records.is_empty() {
            return done(Ok(()));
        }
        let batch = encode_batch(&records);
        if batch.len() > RECORD_BATCH_BYTES_MAX {
            return done(Err(DecideError::TooLarge));
        }
        let proposed = Instant::now();
        let proposal = match self.inputs.quorum.propose(batch) {
            Ok(proposal) => proposal,
            Err(ProposeError::Busy) => return done(Err(DecideError::Busy)),
            Err(_) => return done(Err(DecideError::NotController)),
        };
        let replayed = self.controller.as_mut().map(|controller| controller.replay(&records));
        if let Some(Err(error)) = replayed {
            tracing::error!(%error, "the controller's own records do not fit its image");
            self.controller = None;
            self.settling = true;
        }
        let mut applied = self.inputs.applied.clone();
        let elections = self.inputs.elections.clone();
        let (image, news) = (Arc::clone(&self.inputs.image), effects::news(&records));
        let shutdown = self.inputs.shutdown.clone();
        self.under_way.push(Box::pin(async move {
            let outcome = match proposal.await {
                Ok(index) => {
                    elections.committed(proposed.elapsed());
                    let visible = applied.wait_for(|applied| *applied >= index).await.is_ok();
                    if visible { Ok(()) } else { Err(ProposeError::Stopped) }
                }
                Err(error) => Err(error),
            };
            if outcome.is_ok() {
                news.iter().for_each(effects::News::tell);
                effects::note(effects, &elections, image, shutdown);
            }
            done(outcome.clone().map_err(|error| match error {
                ProposeError::NotLeader => DecideError::NotController,
                ProposeError::Busy => DecideError::Busy,
                _ => DecideError::Unknown,
            }));
            outcome
        }));
    }

    fn settle(&mut self, outcome: Result<(), ProposeError>) {
        if let Err(error) = outcome {
            match self.controller.take() {
                Some(_) => tracing::warn!(%error, "a metadata decision was not committed, beginning anew from what is"),
                None => tracing::debug!(%error, "a metadata decision was not committed"),
            }
            self.settling = true;
        }
        if self.settling {
            self.take_over_if_settled();
        }
    }
}

#[cfg(test)]
mod tests;
