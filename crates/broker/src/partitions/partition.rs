//! One partition: its log, this broker's role in it, who waits for it.
//!
//! Picture: a gate in front of a log. Behind the gate stands one of three roles, each for one leader epoch: *leading*
//! (appends, serves everybody, watches its followers), *following* (appends what its leader sends, serves consumers
//! that may read followers) or *idle* (nobody leads, or the log is out of use). Whoever appends, cuts or answers holds
//! the gate open while doing so, so that a role cannot change in the middle of it.
//!
//! ```text
//!   idle ◀──▶ leading(epoch)         each arrow is a metadata image with a higher leader epoch;
//!     ▲  ╲      ▲                    nothing else moves a partition between roles, except a log that
//!     ╰───╲─────┼──▶ following(epoch)   fails on disk, which makes it *offline* until the broker restarts
//! ```
//! Where `twinstream.flush` is `ack`, what counts of the own log is what is on the disk: a leader commits up to there, a
//! follower asks on from there. An append puts the partition into the flusher's queue; the flush that follows moves the
//! high watermark and so answers the producers.
//!
//! Invariants: P1 a role's leader epoch never goes back. P2 only the leader of the current epoch appends for clients, or for
//! the link of a mirror, only a follower of the current epoch cuts the log, and the leader of a
//! mirror where its source parts from it. P3 the high watermark is moved by the role alone, and whoever
//! waits for it is woken then. P4 no lock is held across an await.
//!
//! Lock order: gate, then a role's state, then the log's own locks. Not here: which rules roles follow
//! (`twinstream_replication`), which partitions exist (`manager`).

mod flushing; // what is on the disk, and when that fails
mod following; // what a follower does with answers
mod gaps; // sequences of producers that are not in order yet
mod leading; // appends, followers, in-sync replicas
mod mirroring; // topics that follow another cluster's
mod seat; // the log, and the directory that it is in

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::Notify;
use twinstream_log::{LogConfig, PartitionLog, ReadError, ReadResult};
use twinstream_metadata::{Image, Mirror, PartitionImage};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};
use twinstream_replication::leader::{Assignment, LeaderSettings, Standing};

use self::following::Following;
pub(crate) use self::following::{Followed, Question};
use self::leading::Leading;
pub(crate) use self::leading::{AppendRefused, Commitment, Intake, Led, ReplicaRefused, ReplicaView};
pub(crate) use self::mirroring::LedMirror;
pub(super) use self::seat::{Closed, Room, Seat};
use super::failures::Failures;
use super::follower_bells::{FollowerBell, FollowerBells};
use super::replica_sessions::ReplicaPosition;
use super::waiters::{Event, Waiters};
use crate::replication::IsrChanges;

/// What a partition needs to know of its broker.
pub(super) struct Surroundings {
    pub(super) node: NodeId,
    /// Where changes of the ISR are proposed.
    pub(super) isr: Arc<IsrChanges>,
    pub(super) followers: Arc<FollowerBells>,
    /// The directory that the log is in.
    pub(super) room: Room,
    /// Where copies are named that cannot be used any more.
    pub(super) failures: Arc<Failures>,
}

pub(crate) struct Partition {
    node: NodeId,
    id: TopicPartition,
    topic_id: TopicId,
    seat: ArcSwap<Seat>,
    gate: RwLock<Gate>,
    settings: Mutex<LeaderSettings>,
    waiters: Waiters,
    /// The bells of those who copy from here.
    followers: ArcSwap<Vec<Arc<FollowerBell>>>,
    all_followers: Arc<FollowerBells>,
    isr: Arc<IsrChanges>,
    /// It was closed for good; who still holds it looks for its successor.
    retired: AtomicBool,
    /// The log failed on disk, which was reported.
    failed: AtomicBool,
    failures: Arc<Failures>,
    /// Rings when a flush has ended, well or not.
    flushed: Notify,
    /// Of the partition that this is a mirror of, as its link last said; -1 before.
    source_high_watermark: AtomicI64,
}

/// Who leads, and what that makes of this broker.
struct Gate {
    leader: Option<NodeId>,
    epoch: LeaderEpoch,
    role: Role,
    /// What the topic is, or was, a mirror of.
    mirror: Option<Arc<Mirror>>,
}

enum Role {
    Idle,
    Leading(Box<Leading>),
    Following(Following),
    /// The log is out of use.
    Offline,
}

/// What an image made of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoleChange {
    /// Role and epoch are as before.
    None,
    Leads,
    /// It follows this node in this epoch.
    Follows {
        leader: NodeId,
        epoch: LeaderEpoch,
    },
    Idle,
}

/// Who may serve a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    ByLeader,
    /// KIP-392.
    ByAnyReplica,
}

impl Partition {
    pub(super) fn new(log: PartitionLog, settings: LeaderSettings, around: Surroundings) -> Arc<Self> {
        let gate = Gate { leader: None, epoch: LeaderEpoch::NONE, role: Role::Idle, mirror: None };
        Arc::new_cyclic(|myself| Partition {
            node: around.node,
            id: log.partition().clone(),
            topic_id: log.topic_id(),
            seat: ArcSwap::new(Seat::new(log, around.room, Weak::clone(myself))),
            gate: RwLock::new(gate),
            settings: Mutex::new(settings),
            waiters: Waiters::default(),
            followers: ArcSwap::default(),
            all_followers: around.followers,
            isr: around.isr,
            retired: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failures: around.failures,
            flushed: Notify::new(),
            source_high_watermark: AtomicI64::new(-1),
        })
    }

    pub(crate) fn id(&self) -> &TopicPartition {
        &self.id
    }

    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// Takes over what the topic's configs mean to its log.
    pub(super) fn set_log_config(&self, config: LogConfig) {
        let _gate = self.gate.read(); // so that the log is not left meanwhile
        self.log().set_config(config);
    }

    pub(super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Takes over what the image says about this partition and about the brokers that have it.
    pub(super) fn take_over(&self, wanted: &PartitionImage, image: &Image, now: Instant) -> RoleChange {
        if self.change_within_epoch(wanted, image, now) {
            return RoleChange::None;
        }
        let mut gate = self.gate.write();
        if wanted.leader_epoch < gate.epoch {
            return RoleChange::None; // an image never goes back; whoever calls with an older one is late
        }
        let mirror = image.topic_by_id(self.topic_id).and_then(|topic| topic.mirror.clone());
        let role = self.role_for(wanted, image, mirror.as_deref(), now);
        self.set_followers(matches!(role, Role::Leading(_)).then_some(wanted));
        let change = match &role {
            Role::Idle | Role::Offline => RoleChange::Idle,
            Role::Leading(_) => RoleChange::Leads,
            Role::Following(following) => {
                RoleChange::Follows { leader: following.leader(), epoch: wanted.leader_epoch }
            }
        };
        let may_have_appended = mirror.is_some() && change == RoleChange::Leads;
        *gate = Gate { leader: wanted.leader, epoch: wanted.leader_epoch, role, mirror };
        drop(gate);
        if may_have_appended {
            self.note_appended();
        }
        self.settle(now);
        self.announce(Event::Changed);
        change
    }

    /// An image without a new leadership: replicas, ISR and brokers may have changed. False if there is one.
    fn change_within_epoch(&self, wanted: &PartitionImage, image: &Image, now: Instant) -> bool {
        let gate = self.gate.read();
        if gate.epoch != wanted.leader_epoch || gate.leader != wanted.leader {
            return false;
        }
        if let Role::Leading(leading) = &gate.role {
            self.image_changed(leading, wanted, image, now);
        }
        true
    }

    fn role_for(&self, wanted: &PartitionImage, image: &Image, mirror: Option<&Mirror>, now: Instant) -> Role {
        if self.failed.load(Ordering::Acquire) {
            return Role::Offline;
        }
        let is_usable = wanted.replicas.contains(&self.node);
        match wanted.leader {
            Some(leader) if is_usable && leader == self.node => self.lead(wanted, image, mirror, now),
            Some(leader) if is_usable => Role::Following(Following::new(leader, wanted.leader_epoch, &self.log())),
            _ => Role::Idle,
        }
    }

    fn lead(&self, wanted: &PartitionImage, image: &Image, mirror: Option<&Mirror>, now: Instant) -> Role {
        if let Err(error) = self.begin_reign(wanted.leader_epoch, mirror) {
            self.fail(&error);
            return Role::Offline;
        }
        let settings = *self.settings.lock();
        Role::Leading(Box::new(Leading::new(self.node, &self.log(), wanted, settings, image, now)))
    }

    /// Nobody leads any more as far as this broker is concerned: the partition is deleted or moves away.
    pub(super) fn retire(&self) {
        let mut gate = self.gate.write();
        gate.leader = None;
        gate.role = Role::Idle;
        self.retired.store(true, Ordering::Release); // before the gate opens: a log that goes is not moved
        drop(gate);
        self.announce(Event::Changed);
    }

    /// Wakes everybody, because the partition is closed.
    pub(super) fn ring(&self) {
        self.announce(Event::Changed);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Gives the partition the bells of its followers, none unless it leads.
    fn set_followers(&self, led: Option<&PartitionImage>) {
        let nodes = led.into_iter().flat_map(|image| &image.replicas).filter(|node| **node != self.node);
        self.followers.store(Arc::new(nodes.map(|node| self.all_followers.of(*node)).collect()));
    }

    /// Wakes who waits for this, and the followers.
    fn announce(&self, event: Event) {
        self.waiters.ring(event);
        self.ring_followers();
    }

    fn ring_followers(&self) {
        self.followers.load().iter().for_each(|bell| bell.ring());
    }

    /// The leader's epoch, if that is this broker and the client's epoch is the current one (KIP-320).
    pub(crate) fn check_leader(&self, client_epoch: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
        let gate = self.gate.read();
        gate.check_epoch(client_epoch)?;
        gate.leading().map(|_| gate.epoch)
    }

    /// Whether a consumer may read here.
    pub(crate) fn check_reader(&self, client_epoch: LeaderEpoch, served: Served) -> Result<(), ErrorCode> {
        let gate = self.gate.read();
        gate.check_epoch(client_epoch)?;
        match (&gate.role, served) {
            (Role::Leading(_), _) | (Role::Following(_), Served::ByAnyReplica) => Ok(()),
            (Role::Offline, _) => Err(ErrorCode::KafkaStorageError),
            _ => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Whether this broker leads, in whatever epoch.
    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.gate.read().role, Role::Leading(_))
    }

    /// The newest epoch that this replica has heard of.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.gate.read().epoch
    }

    /// Reads what consumers may see. The caller has passed [`Partition::check_reader`].
    pub(crate) fn read(&self, from: Offset, max_bytes: usize, at_least_one: bool) -> Result<ReadResult, ReadError> {
        let log = self.log();
        log.read(from, max_bytes, at_least_one, log.high_watermark())
    }

    /// Reads what replicas may see, which is all.
    pub(crate) fn read_all(&self, from: Offset, max_bytes: usize, at_least_one: bool) -> Result<ReadResult, ReadError> {
        let log = self.log();
        log.read(from, max_bytes, at_least_one, log.log_end_offset())
    }

    /// Whether a follower that stands here would hear something new. May say yes in vain.
    pub(crate) fn has_news_for(&self, position: &ReplicaPosition) -> bool {
        let log = self.log();
        log.log_end_offset() != position.fetch_offset
            || position.knows_less_than(log.high_watermark(), log.log_start_offset())
            || self.check_leader(position.leader_epoch).is_err()
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.log().high_watermark()
    }

    /// Up to where a reader of committed records may go: the high watermark, or the first open transaction.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        self.log().last_stable_offset()
    }

    /// Moves the log's high watermark and wakes who waits for it.
    fn commit(&self, high_watermark: Offset) {
        if self.log().advance_high_watermark(high_watermark) {
            self.announce(Event::Committed(high_watermark));
        }
    }
}

impl Gate {
    fn check_epoch(&self, client_epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        if client_epoch == LeaderEpoch::NONE || client_epoch == self.epoch {
            return Ok(());
        }
        match client_epoch > self.epoch {
            true => Err(ErrorCode::UnknownLeaderEpoch),
            false => Err(ErrorCode::FencedLeaderEpoch),
        }
    }

    fn leading(&self) -> Result<&Leading, ErrorCode> {
        match &self.role {
            Role::Leading(leading) => Ok(leading),
            Role::Offline => Err(ErrorCode::KafkaStorageError),
            _ => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    fn leading_in(&self, epoch: LeaderEpoch) -> Option<&Leading> {
        self.leading().ok().filter(|_| self.epoch == epoch)
    }
}

/// What the image says of the brokers that have a partition. One whose copy is out of use may not join.
fn standing<'i>(image: &'i Image, wanted: &'i PartitionImage) -> impl Fn(NodeId) -> Option<Standing> + 'i {
    |node| {
        let broker = image.broker(node)?;
        let eligible = broker.is_eligible() && !wanted.offline.contains(&node);
        Some(Standing { broker_epoch: broker.epoch, eligible })
    }
}

fn assignment(wanted: &PartitionImage) -> Assignment {
    Assignment {
        leader_epoch: wanted.leader_epoch,
        partition_epoch: wanted.partition_epoch,
        replicas: wanted.replicas.clone(),
        isr: wanted.isr.clone(),
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gate: RwLockReadGuard<'_, Gate> = self.gate.read();
        let debug = &mut f.debug_struct("Partition");
        debug.field("id", self.id()).field("leader", &gate.leader).field("epoch", &gate.epoch).finish()
    }
}
