//! Fetch sessions of followers (KIP-227): where each follower stands in each partition that it copies from here.
//!
//! Picture: a session belongs to one connection of one follower and lists its partitions, each with the partition
//! itself at hand, so that a fetch that changes one of a thousand positions costs about as much as one of one. While a
//! request is served it has the session to itself: taken out of the store, and put back with the answer.
//!
//! Rules of epochs as in `fetch_sessions`. A follower that breaks off leaves its session behind, perhaps with a request
//! that still waits; its next session names the old one, which ends both. Bounds: [`SESSIONS_MAX`], and [`PARTITIONS_MAX`] in
//! all idle sessions together; beyond them those go that were silent longest, and one that alone is too large is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};

use super::Partition;
use super::fetch_sessions::{FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION};

/// A few per broker of a large cluster.
const SESSIONS_MAX: usize = 1_000;

/// A few followers' worth of a broker with 10,000 partitions, with some room; each takes about 200 bytes.
const PARTITIONS_MAX: usize = 250_000;

/// A partition as followers name it.
pub(crate) type ReplicaKey = (TopicId, PartitionIndex);

/// Where a follower stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaPosition {
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) fetch_offset: Offset,
    pub(crate) last_fetched_epoch: LeaderEpoch,
    pub(crate) log_start: Offset,
    /// The high watermark that it knows (KIP-1166).
    pub(crate) high_watermark: Offset,
    pub(crate) bytes_max: usize,
}

impl ReplicaPosition {
    /// Whether the follower could move its high watermark or the start of its log if it heard of these.
    pub(crate) fn knows_less_than(&self, high_watermark: Offset, log_start: Offset) -> bool {
        let has = self.fetch_offset;
        self.high_watermark < high_watermark.min(has) || (self.log_start < log_start && log_start <= has)
    }
}

/// One partition of a session.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: ReplicaKey,
    pub(crate) position: ReplicaPosition,
    pub(crate) partition: Result<Arc<Partition>, ErrorCode>,
    /// The position is new, and has not been taken in yet.
    pub(crate) is_new: bool,
}

#[derive(Debug)]
pub(crate) struct ReplicaSession {
    id: i32,
    follower: NodeId,
    next_epoch: i32,
    used: Instant,
    slots: Vec<Slot>,
    places: HashMap<ReplicaKey, usize>,
    /// Where the next answer begins, so that a size limit starves nobody.
    first: usize,
    /// Fires when the follower has begun another session in place of this one.
    replaced: CancellationToken,
    /// Whether the answer under way is the first, which names every partition.
    pub(crate) is_first_answer: bool,
    /// When a request of the follower, at its coming, last spoke for all partitions.
    pub(crate) spoke: Option<Instant>,
    /// When all partitions were looked at last.
    pub(crate) reviewed: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct ReplicaSessions {
    partitions_max: usize,
    inner: Mutex<Inner>,
}

impl Default for ReplicaSessions {
    fn default() -> ReplicaSessions {
        ReplicaSessions { partitions_max: PARTITIONS_MAX, inner: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Those that no request holds.
    idle: HashMap<i32, ReplicaSession>,
    /// Those that one holds.
    busy: HashMap<i32, (NodeId, CancellationToken)>,
    last_id: i32,
    /// Partitions of the idle ones.
    partitions: usize,
}

impl ReplicaSessions {
    /// The session of a request, which has it until it puts it back.
    pub(crate) fn take(
        &self,
        follower: NodeId,
        id: i32,
        epoch: i32,
        now: Instant,
    ) -> Result<ReplicaSession, ErrorCode> {
        let mut inner = self.inner.lock();
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            inner.end(id, follower);
            let id = if epoch == INITIAL_EPOCH { inner.next_id() } else { NO_SESSION };
            let session = ReplicaSession::new(id, follower, now);
            inner.hold(&session);
            return Ok(session);
        }
        let known = inner.idle.get(&id).filter(|session| session.follower == follower);
        let expected = known.ok_or(ErrorCode::FetchSessionIdNotFound)?.next_epoch;
        if expected != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let mut session = inner.remove(id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        session.next_epoch = epoch.checked_add(1).unwrap_or(1);
        session.is_first_answer = false;
        session.used = now;
        inner.hold(&session);
        Ok(session)
    }

    /// A session that is too large will not be kept, which a follower hears with its first answer: it gets no session.
    pub(crate) fn decline_if_too_large(&self, session: &mut ReplicaSession) {
        if session.slots.len() > self.partitions_max && session.is_first_answer {
            self.inner.lock().busy.remove(&session.id);
            session.id = NO_SESSION;
        }
    }

    /// Keeps a session for the follower's next request.
    pub(crate) fn put_back(&self, session: ReplicaSession) {
        let mut inner = self.inner.lock();
        inner.busy.remove(&session.id);
        let partitions = session.slots.len();
        if session.id == NO_SESSION || session.replaced.is_cancelled() || partitions > self.partitions_max {
            return;
        }
        while inner.idle.len() >= SESSIONS_MAX || inner.partitions + partitions > self.partitions_max {
            let oldest = inner.idle.values().min_by_key(|session| session.used).map(|session| session.id);
            let Some(oldest) = oldest else { break };
            inner.remove(oldest);
        }
        inner.partitions += partitions;
        inner.idle.insert(session.id, session);
    }
}

impl Inner {
    fn remove(&mut self, id: i32) -> Option<ReplicaSession> {
        let session = self.idle.remove(&id)?;
        self.partitions -= session.slots.len();
        Some(session)
    }

    fn end(&mut self, id: i32, follower: NodeId) {
        if self.idle.get(&id).is_some_and(|session| session.follower == follower) {
            self.remove(id);
        }
        if let Some((_, replaced)) = self.busy.get(&id).filter(|(node, _)| *node == follower) {
            replaced.cancel();
        }
    }

    fn hold(&mut self, session: &ReplicaSession) {
        if session.id != NO_SESSION {
            self.busy.insert(session.id, (session.follower, session.replaced.clone()));
        }
    }

    fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        while self.idle.contains_key(&self.last_id) || self.busy.contains_key(&self.last_id) {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        }
        self.last_id
    }
}

impl ReplicaSession {
    fn new(id: i32, follower: NodeId, now: Instant) -> ReplicaSession {
        ReplicaSession {
            id,
            follower,
            next_epoch: 1,
            used: now,
            slots: Vec::new(),
            places: HashMap::new(),
            first: 0,
            replaced: CancellationToken::new(),
            is_first_answer: true,
            spoke: None,
            reviewed: None,
        }
    }

    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Resolves when nobody waits for this session's answer any more.
    pub(crate) fn replaced(&self) -> CancellationToken {
        self.replaced.clone()
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// A partition that the request names; `find` looks it up.
    pub(crate) fn set(
        &mut self,
        key: ReplicaKey,
        position: ReplicaPosition,
        find: impl FnOnce() -> Result<Arc<Partition>, ErrorCode>,
    ) {
        match self.places.get(&key) {
            Some(&place) => {
                let slot = &mut self.slots[place];
                slot.position = position;
                slot.is_new = true;
                if slot.partition.as_ref().map_or(true, |partition| partition.is_retired()) {
                    slot.partition = find();
                }
            }
            None => {
                self.places.insert(key, self.slots.len());
                self.slots.push(Slot { key, position, partition: find(), is_new: true });
            }
        }
    }

    /// A partition that is not fetched any more.
    pub(crate) fn forget(&mut self, key: &ReplicaKey) {
        let Some(place) = self.places.remove(key) else { return };
        self.slots.swap_remove(place);
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.key, place);
        }
    }

    /// The order in which the next answer goes through the partitions.
    pub(crate) fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.slots.len();
        let first = if count == 0 { 0 } else { self.first % count };
        (first..count).chain(0..first)
    }

    /// The last partition that an answer had records of; the next answer begins behind it.
    pub(crate) fn served(&mut self, last: usize) {
        self.first = last + 1;
    }
}

#[cfg(test)]
mod tests;
