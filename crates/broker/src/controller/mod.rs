//! This node's part in the metadata of the cluster.
//!
//! Picture: the quorum's thread hands committed batches to the *applier*, which replays them into the image that every handler
//! reads. On the node that leads the quorum the *actor* is the active controller: one decision after the other, answered when it is
//! committed and visible here. Every node is a broker that *registers* with the active controller and sends it heartbeats; what
//! clients ask of the controller is *forwarded* to it over connections to *peers*.
//!
//! Invariants: the image is replaced whole and only by the applier; a decision is answered only after the local image has it; nobody
//! but the actor of the leading node decides; a node whose cluster id does not match is refused before its messages are decoded.
//!
//! Order of starting: [`start`] joins the quorum (requests of other nodes are served from then on), [`Membership::join`] registers,
//! [`Membership::until_serving`] returns when the image says that this broker is unfenced. Order of stopping: [`Membership::leave`]
//! hands over what this broker leads, [`ControllerClient::stop`] ends the quorum.

mod actor; // the active controller
mod addresses; // where other nodes are reached
mod applier; // from committed batches to the image
mod ask; // questions to the active controller, wherever it is
mod bootstrap; // finding the quorum by addresses alone
mod broker_configs; // which settings change while the broker runs
mod copies; // copies with holes that nobody could fill
mod departed; // brokers that stopped serving a moment ago
mod discovery; // asking around for the leader
mod effects; // what decisions do to leaders, for the log
mod forming; // how a new node comes to a quorum
mod forward; // administrative requests on their way to the controller
mod heartbeats; // a sign of life, in the words of the release that hears it
mod lease; // how long this broker may believe the metadata
mod members; // who follows the log and who votes
mod membership; // registration and heartbeats
pub(crate) mod messages; // requests between nodes
mod peers; // connections to other nodes
mod positions; // where partitions end that others lead
mod senders; // whose requests are looked at
mod serving; // what the active controller does for brokers
mod sightings; // when the leader was last heard of
mod suspects; // nodes that may just have died
mod transport; // the quorum's messages

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use twinstream_metadata::configs::BrokerDefaults;
use twinstream_metadata::controller::{ControllerSettings, Decision, EpochRaise, IsrChange, ProducerIdBlock};
use twinstream_metadata::{Controller, Image, PartitionImage};
use twinstream_model::{ClusterId, ErrorCode, NodeId, PartitionIndex, TopicId};
use twinstream_quorum::{QuorumError, QuorumHandle, QuorumOptions, StepError};
use uuid::Uuid;

use self::actor::ActorHandle;
use self::addresses::Addresses;
pub(crate) use self::ask::ForwardError;
pub(crate) use self::broker_configs::{DynamicBrokerConfigs, is_dynamic};
use self::departed::Departed;
use self::discovery::Discovery;
pub(crate) use self::forward::Forwardable;
use self::lease::LeaseHolder;
pub(crate) use self::lease::Session;
pub(crate) use self::membership::Membership;
use self::membership::Stage;
use self::messages::NodeAddress;
use self::peers::PeerPool;
use self::senders::Senders;
use self::sightings::Sightings;
use self::suspects::Suspects;
use self::transport::{Identity, PeerTransport, QuorumTraffic};
use crate::metrics::Elections;
use crate::partitions::DirectoryIdentity;
use crate::settings::Settings;
use crate::settings::listeners::AdvertisedListener;
use crate::settings::live::LiveSettings;

/// The quorum's folder inside `metadata.log.dir`. It has no partition number, so it is no partition's folder.
pub(crate) const QUORUM_FOLDER: &str = "metadata-quorum";
/// Losses of connections that wait for the actor.
const LOSSES_MAX: usize = 256;

/// Why this node has no part in the cluster's metadata (any more).
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("cannot start the metadata quorum: {0}")]
    Quorum(Arc<QuorumError>),
    #[error("cannot form the metadata quorum: {0}")]
    Forming(String),
    #[error("the metadata quorum of this node has failed: {0}")]
    QuorumFailed(String),
    #[error("the metadata log cannot be replayed at entry {index}: {reason}")]
    Replay { index: u64, reason: String },
    #[error(
        "this node's data is of cluster {own}, the metadata log is of cluster {found}; check log.dirs and metadata.log.dir"
    )]
    OtherCluster { own: ClusterId, found: ClusterId },
    #[error("the controller refuses this broker: {0}")]
    Refused(String),
    #[error("the broker stops")]
    Stopping,
}

/// Why a decision was not made or not committed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DecideError {
    #[error("this node is not the active controller; ask again, the request is sent on to it")]
    NotController,
    #[error("the controller has too much to do; ask again")]
    Busy,
    #[error("the request changes more at once than one batch of metadata holds; ask for less at a time")]
    TooLarge,
    #[error("the controller changed while the request was under way; look whether it took effect")]
    Unknown,
}

impl DecideError {
    /// The error on the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NotController => ErrorCode::NotController,
            Self::Busy => ErrorCode::ThrottlingQuotaExceeded,
            Self::TooLarge => ErrorCode::PolicyViolation,
            Self::Unknown => ErrorCode::RequestTimedOut,
        }
    }
}

/// What [`start`] needs to know.
pub(crate) struct ControllerStart {
    pub(crate) settings: Arc<Settings>,
    pub(crate) image: Arc<ArcSwap<Image>>,
    /// The cluster that the log directories belong to, if they belong to one.
    pub(crate) known_cluster: Option<ClusterId>,
    /// Which log directories this node has and how their last run ended.
    pub(crate) directories: DirectoryIdentity,
    /// What other nodes and clients are told, with the ports that are bound.
    pub(crate) advertised: Vec<AdvertisedListener>,
    /// What the controller counts.
    pub(crate) elections: Elections,
    /// Fires when the process stops without waiting for anything.
    pub(crate) shutdown: CancellationToken,
}

/// What handlers hold of the controller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ControllerClient {
    shared: Arc<Shared>,
}

/// What this machine and its disks are, for the registration.
struct Local {
    directories: DirectoryIdentity,
    boot_id: String,
}

struct Shared {
    settings: Arc<Settings>,
    image: Arc<ArcSwap<Image>>,
    advertised: Vec<AdvertisedListener>,
    identity: Arc<Identity>,
    local: Local,
    quorum: QuorumHandle,
    transport: Arc<PeerTransport>,
    actor: ActorHandle,
    applied: watch::Receiver<u64>,
    leading: watch::Receiver<Option<u64>>,
    failure: watch::Receiver<Option<ControllerError>>,
    /// Connections to the node that this one forwards to, by node.
    pools: Mutex<Vec<(NodeId, String, Arc<PeerPool>)>>,
    /// One run of this process.
    incarnation: Uuid,
    stage: watch::Sender<Stage>,
    /// Whether this node had a vote with its metadata directory at some time in this run.
    has_voted: AtomicBool,
    /// The epoch of this broker's registration.
    broker_epoch: watch::Sender<Option<i64>>,
    lease: LeaseHolder,
    session: Session,
    senders: Senders,
    sightings: Arc<Sightings>,
    suspects: Arc<Suspects>,
    departed: Arc<Departed>,
    discovery: Arc<Discovery>,
    addresses: Arc<Addresses>,
    /// Nodes that get a vote when they have caught up, with the directory that they came with.
    promotions: Mutex<BTreeSet<(NodeId, Uuid)>>,
    /// Why this node cannot take part from the beginning.
    unformed: watch::Sender<Option<ControllerError>>,
    shutdown: CancellationToken,
}

/// Opens the quorum's files and joins it. Must be called inside the runtime.
pub(crate) fn start(options: ControllerStart) -> Result<ControllerClient, ControllerError> {
    let ControllerStart { settings, image, known_cluster, directories, advertised, elections, shutdown } = options;
    let cluster = known_cluster.clone().map_or_else(OnceLock::new, OnceLock::from);
    let identity = Arc::new(Identity { node_id: settings.node.id, cluster });
    let (losses, loss_events) = mpsc::channel(LOSSES_MAX);
    let suspects = Arc::new(Suspects::default());
    let transport = PeerTransport::new(Arc::clone(&identity), losses, Arc::clone(&suspects), shutdown.clone());
    let transport = Arc::new(transport);
    let started = twinstream_quorum::start(quorum_options(&settings), Arc::clone(&transport) as _);
    let (quorum, events) = started.map_err(|error| ControllerError::Quorum(Arc::new(error)))?;
    transport.connect(quorum.clone());
    for voter in settings.quorum.voters.iter().filter(|voter| voter.id != settings.node.id) {
        transport.set_address(voter.id, address(&voter.host, voter.port));
    }

    let listener = settings.network.inter_broker_listener.clone();
    let addresses = Arc::new(Addresses::new(listener, settings.quorum.voters.clone()));
    let departed = Arc::new(Departed::default());
    let applier = applier::spawn(applier::Inputs {
        image: Arc::clone(&image),
        events,
        quorum: quorum.clone(),
        identity: Arc::clone(&identity),
        transport: Arc::clone(&transport),
        departed: Arc::clone(&departed),
        addresses: Arc::clone(&addresses),
    });
    let sightings = Arc::new(Sightings::default());
    let actor = actor::spawn(actor::Inputs {
        image: Arc::clone(&image),
        quorum: quorum.clone(),
        applied: applier.applied.clone(),
        leading: applier.leading.clone(),
        losses: loss_events,
        settings: ControllerSettings {
            partitions: settings.topics.partitions,
            replication_factor: settings.topics.replication_factor,
            session_timeout: settings.node.session_timeout,
            min_insync_replicas: settings.topics.min_insync_replicas,
            unclean_leader_election: settings.topics.unclean_leader_election,
        },
        balance: settings.balance,
        identity: Arc::clone(&identity),
        sightings: Arc::clone(&sightings),
        elections,
        first_cluster_id: known_cluster.or_else(|| settings.node.cluster_id.clone()),
        shutdown: shutdown.clone(),
    });
    let (lease, session) = lease::start(settings.node.session_timeout, shutdown.clone());
    let shared = Shared {
        settings,
        image,
        advertised,
        identity,
        local: Local { boot_id: boot_id(&directories), directories },
        quorum,
        transport,
        actor,
        applied: applier.applied,
        leading: applier.leading,
        failure: applier.failure,
        pools: Mutex::default(),
        incarnation: Uuid::new_v4(),
        stage: watch::Sender::new(Stage::Member),
        has_voted: AtomicBool::new(false),
        broker_epoch: watch::Sender::new(None),
        lease,
        session,
        senders: Senders::default(),
        sightings,
        suspects,
        departed,
        discovery: discovery::new(),
        addresses,
        promotions: Mutex::default(),
        unformed: watch::Sender::new(None),
        shutdown,
    };
    let shared = Arc::new(shared);
    let forming = Arc::clone(&shared);
    tokio::spawn(async move {
        tokio::select! {
            formed = forming::run(Arc::clone(&forming)) => if let Err(error) = formed {
                forming.unformed.send_replace(Some(error));
            },
            () = forming.shutdown.cancelled() => {}
        }
    });
    Ok(ControllerClient { shared })
}

/// Names this run of the kernel, during which the page cache keeps what was written. Without it every crash counts as a loss
/// of power, which only costs time; so does one after which the logs may lack something although the kernel ran on.
fn boot_id(directories: &DirectoryIdentity) -> String {
    const FILE: &str = "/proc/sys/kernel/random/boot_id";
    if directories.doubtful {
        tracing::warn!(
            "what the last run wrote may be lost, this broker gives up its place among the in-sync replicas"
        );
        return Uuid::new_v4().to_string();
    }
    std::fs::read_to_string(FILE).map(|text| text.trim().to_owned()).unwrap_or_else(|error| {
        tracing::warn!(%error, FILE, "cannot tell a crash of the process from a loss of power, taking every one for the latter");
        Uuid::new_v4().to_string()
    })
}

fn quorum_options(settings: &Settings) -> QuorumOptions {
    let directory: PathBuf = settings.quorum.metadata_dir.join(QUORUM_FOLDER);
    let mut options = QuorumOptions::new(settings.node.id, directory);
    options.election_timeout = settings.quorum.election_timeout;
    options
}

/// An address as a connection is opened to it.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl ControllerClient {
    /// Counts replayed entries: changes after each new image.
    pub(crate) fn watch_image(&self) -> watch::Receiver<u64> {
        self.shared.applied.clone()
    }

    /// Returns when this node can take no more part; the process should stop then.
    pub(crate) async fn failed(&self) -> ControllerError {
        let mut failure = self.shared.failure.clone();
        let mut status = self.shared.quorum.watch_status();
        let mut unformed = self.shared.unformed.subscribe();
        loop {
            if let Some(error) = unformed.borrow_and_update().clone() {
                return error;
            }
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if let Some(reason) = status.borrow_and_update().failed.clone() {
                return ControllerError::QuorumFailed(reason);
            }
            tokio::select! {
                changed = failure.changed() => if changed.is_err() { return ControllerError::Stopping },
                changed = status.changed() => if changed.is_err() { return ControllerError::Stopping },
                changed = unformed.changed() => if changed.is_err() { return ControllerError::Stopping },
            }
        }
    }

    /// Whether this node decides: it leads, and knows everything that earlier leaders decided.
    pub(crate) fn is_active(&self) -> bool {
        self.shared.is_active()
    }

    /// Likewise, but a node that was elected a moment ago gets the time to take over.
    pub(crate) async fn until_active(&self) -> bool {
        self.shared.until_active().await
    }

    /// Nodes whose connection broke a moment ago.
    pub(crate) fn suspects(&self) -> &Suspects {
        &self.shared.suspects
    }

    /// Brokers that stopped serving a moment ago.
    pub(crate) fn recently_departed(&self) -> Vec<NodeId> {
        self.shared.departed.recent(Instant::now())
    }

    /// Waits a moment while a broker that may just have died still serves, as far as this node's image knows.
    pub(crate) async fn until_suspects_are_settled(&self) {
        let suspects = &self.shared.suspects;
        suspects.probe();
        let mut applied = self.shared.applied.clone();
        let settled = async {
            while !suspects.is_empty() {
                let cleared = suspects.cleared();
                let (image, now) = (self.shared.image.load_full(), Instant::now());
                let unsettled = image.live_brokers().filter_map(|broker| suspects.wait_for(broker.node_id, now)).max();
                let Some(until) = unsettled else { return };
                tokio::select! {
                    changed = applied.changed() => if changed.is_err() { return },
                    () = cleared => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                }
            }
        };
        if !suspects.is_empty() && tokio::time::timeout(suspects::PATIENCE, settled).await.is_err() {
            tracing::debug!("answering though a broker that may have died still serves in the metadata");
        }
    }

    pub(crate) fn quorum_traffic(&self) -> Arc<QuorumTraffic> {
        Arc::clone(self.shared.transport.traffic())
    }

    /// The quorum as this node sees it.
    pub(crate) fn quorum_status(&self) -> twinstream_quorum::Status {
        self.shared.quorum.status()
    }

    /// Decides here, writes, and answers when the decision is committed and in this node's image. The broker's own settings are the
    /// defaults that topics get.
    pub(crate) async fn decide<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Controller, &dyn BrokerDefaults) -> Decision<T> + Send + 'static,
    ) -> Result<T, DecideError> {
        let settings = Arc::clone(&self.shared.settings);
        self.shared
            .decide(move |controller, _now| {
                let image = controller.image().clone();
                verb(controller, &LiveSettings::new(&settings, &image))
            })
            .await
    }

    /// A block of producer ids for this broker.
    pub(crate) async fn allocate_producer_ids(&self) -> Result<ProducerIdBlock, ForwardError> {
        self.shared.allocate_producer_ids().await
    }

    /// Asks the active controller to change the ISR of partitions that this broker leads. The answer has one outcome per change, in
    /// order: the partition as it is now, or Kafka's error of AlterPartition (KIP-497, KIP-841). It follows the controller over a
    /// change of leaders for up to `request.timeout.ms`; a change that took effect on a lost try answers INVALID_UPDATE_VERSION on
    /// the next, and the image shows it.
    pub(crate) async fn alter_partitions(
        &self,
        changes: Vec<IsrChange>,
    ) -> Result<Vec<Result<PartitionImage, ErrorCode>>, ForwardError> {
        self.shared.alter_partitions(changes).await
    }

    /// Asks the active controller to raise the leader epochs of mirrors that this broker leads. One outcome for each, in order; the
    /// image shows what was raised.
    pub(crate) async fn raise_epochs(
        &self,
        raises: Vec<EpochRaise>,
    ) -> Result<Vec<Result<PartitionImage, ErrorCode>>, ForwardError> {
        self.shared.raise_epochs(raises).await
    }

    /// Tells the active controller which copies this broker cannot use, once it is registered; tries for up to `limit`.
    pub(crate) async fn report_offline(
        &self,
        partitions: &[(TopicId, PartitionIndex)],
        limit: Duration,
    ) -> Result<(), ForwardError> {
        let mut epoch = self.shared.broker_epoch.subscribe();
        if epoch.wait_for(Option::is_some).await.is_err() {
            return Err(ForwardError::NoController);
        }
        self.shared.report_offline(partitions, limit).await
    }

    /// Whether this broker still has its session with the controller. While it is lost, others may lead what this broker led.
    pub(crate) fn session(&self) -> Session {
        self.shared.session.clone()
    }

    /// Whether an image knows this run of the process. What an older image says of this node was meant for the run before: its
    /// disk may have been another one, so it must not lead on that word.
    pub(crate) fn is_registered_in(&self, image: &Image) -> bool {
        let own = image.broker(self.shared.identity.node_id);
        own.is_some_and(|own| own.incarnation == self.shared.incarnation)
    }

    /// The epoch of this broker's registration, which fetches of followers and changes of the ISR carry. `None` before the first.
    pub(crate) fn broker_epoch(&self) -> Option<i64> {
        *self.shared.broker_epoch.borrow()
    }

    /// Registers this broker and keeps it alive.
    pub(crate) fn membership(&self) -> Membership {
        Membership::new(Arc::clone(&self.shared))
    }

    /// Waits until this node's image has everything up to an entry, for a short time: it only spares clients a surprise.
    pub(crate) async fn until_applied(&self, index: u64) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let mut applied = self.shared.applied.clone();
        let waiting = tokio::time::timeout(PATIENCE, applied.wait_for(|applied| *applied >= index)).await;
        if waiting.is_err() {
            tracing::debug!(index, "image is behind an answered request");
        }
    }

    /// How far this node has replayed.
    pub(crate) fn applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// Hands a message of a checked peer to the quorum.
    pub(crate) fn step(&self, from: NodeId, message: &[u8]) -> Result<(), StepError> {
        if self.shared.quorum.leader() == Some(from) {
            self.shared.sightings.note(from, Instant::now());
        }
        self.shared.transport.traffic().received(message.len());
        self.shared.quorum.step(from, message)
    }

    /// Lets another voter lead, so that the cluster is not without a controller while this node's end is noticed.
    pub(crate) async fn hand_over(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let status = self.shared.quorum.status();
        if !self.shared.quorum.is_leader() || status.voters.len() < 2 {
            return;
        }
        match tokio::time::timeout(PATIENCE, self.shared.quorum.hand_over(None)).await {
            Ok(Ok(_)) => tracing::info!("another node is the controller now"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not hand the controller's work over, another voter takes it")
            }
            Err(_) => tracing::warn!("the controller's work was not taken over in time, another voter takes it"),
        }
    }

    /// Ends the quorum; what is committed is on disk.
    pub(crate) async fn stop(&self) {
        self.shared.shutdown.cancel();
        self.shared.quorum.stop().await;
    }
}

impl Shared {
    fn is_active(&self) -> bool {
        self.leading.borrow().is_some() && self.quorum.is_leader()
    }

    /// Where a node is reached; `None` while that is not known.
    fn address_of(&self, node: NodeId) -> Option<(String, u16)> {
        self.place_of(node, &self.image.load()).map(|place| (place.host, place.port))
    }

    fn place_of(&self, node: NodeId, image: &Image) -> Option<NodeAddress> {
        let known = self.addresses.of(node, image);
        if node != self.identity.node_id {
            return known;
        }
        let listener = &self.settings.network.inter_broker_listener;
        let Some(own) = self.advertised.iter().find(|advertised| advertised.name == *listener) else { return known };
        let epoch = image.broker(node).map_or(addresses::UNREGISTERED, |broker| broker.epoch);
        Some(NodeAddress { node, epoch, host: own.host.clone(), port: own.port })
    }

    /// Connections to a node.
    fn pool(&self, node: NodeId) -> Option<Arc<PeerPool>> {
        let (host, port) = self.address_of(node)?;
        let address = address(&host, port);
        let mut pools = self.pools.lock();
        if let Some((_, _, pool)) = pools.iter().find(|(known, at, _)| *known == node && *at == address) {
            return Some(Arc::clone(pool));
        }
        pools.retain(|(known, _, _)| *known != node);
        let pool = Arc::new(PeerPool::new(address.clone()));
        pools.push((node, address, Arc::clone(&pool)));
        Some(pool)
    }
}
