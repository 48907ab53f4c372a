//! Fetch sessions (KIP-227): what a consumer fetches is remembered, so that it only sends what changes.
//!
//! Picture: a session is a list of partitions with the positions that the client last named, plus what the client
//! was last told about each (high watermark, log start). An incremental request changes the list; an incremental
//! answer leaves out partitions about which there is nothing new.
//!
//! Rules: epoch -1 means no session; epoch 0 asks for a new one and ends the old one, if an id is named; any
//! other epoch must be the expected one, which goes up by one with each request and wraps from the largest to 1. A session
//! without partitions ends.
//!
//! Bound: as many sessions as `max.incremental.fetch.session.cache.slots`, and as many partitions in all of them together
//! as weigh [`WEIGHT_MAX`]. A new one takes the place of those that were silent longest if that was for [`EVICTION_MS`];
//! otherwise the client gets no session, which costs it only longer requests. One that outgrows the bound ends, and its
//! client begins anew.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};

/// "No session", in requests and answers.
pub(crate) const NO_SESSION: i32 = 0;
/// Epoch of a request that wants no session, or ends its session.
pub(crate) const FINAL_EPOCH: i32 = -1;
/// Epoch of a request that wants a new session.
pub(crate) const INITIAL_EPOCH: i32 = 0;

/// A session that was used within this time is not given up for another, as in Kafka.
const EVICTION_MS: i64 = 120_000;

/// Partitions in all sessions; each is remembered with about 150 bytes. A thousand consumers with 250 each, or 25 that read
/// all of a broker with 10,000.
const WEIGHT_MAX: usize = 250_000;

/// A name that is no topic's weighs one for each of so many bytes.
const NAME_BYTES_PER_WEIGHT: usize = 128;

/// A topic as the session's client names it: by id from version 13 on, by name before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TopicKey {
    Name(TopicName),
    Id(TopicId),
    /// A name that cannot be a topic's; kept to be answered.
    Invalid(String),
}

/// A partition as the client names it.
pub(crate) type Key = (TopicKey, PartitionIndex);

/// What the client wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) fetch_offset: Offset,
    pub(crate) bytes_max: usize,
    pub(crate) current_epoch: LeaderEpoch,
    pub(crate) last_fetched_epoch: LeaderEpoch,
}

/// What the client knows of a partition from the last answer that named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    pub(crate) was_error: bool,
}

#[derive(Clone, Debug)]
struct Tracked {
    key: Key,
    position: Position,
    told: Option<Told>,
}

#[derive(Debug)]
struct Session {
    next_epoch: i32,
    used_ms: i64,
    by_id: bool,
    /// In the order in which answers go through them: a partition that got records goes to the end, so that those
    /// that follow it are not starved by the size limit.
    partitions: Vec<Tracked>,
    /// Of the partitions together.
    weight: usize,
}

/// All sessions of a broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    sessions: Mutex<Sessions>,
}

#[derive(Debug)]
struct Sessions {
    slots: usize,
    weight_max: usize,
    by_id: HashMap<i32, Session>,
    last_id: i32,
    /// Of all sessions together.
    weight: usize,
    /// How many have made room for others.
    evicted: u64,
}

/// What one request fetches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) partitions: Vec<(Key, Position)>,
    /// The session that the answer belongs to, [`NO_SESSION`] for none.
    pub(crate) session_id: i32,
    /// Whether partitions without news are left out of the answer.
    pub(crate) incremental: bool,
}

/// A request's session fields and lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) session_id: i32,
    pub(crate) epoch: i32,
    pub(crate) by_id: bool,
    pub(crate) partitions: Vec<(Key, Position)>,
    pub(crate) forgotten: Vec<Key>,
}

impl FetchSessions {
    pub(crate) fn new(slots: usize) -> FetchSessions {
        // Clients that outlive a restart come with the ids that they had, so this run must not give the same ones to others.
        let last_id = (RandomState::new().hash_one(slots) & 0x7fff_ffff) as i32;
        let sessions =
            Sessions { slots, weight_max: WEIGHT_MAX, by_id: HashMap::new(), last_id, weight: 0, evicted: 0 };
        FetchSessions { sessions: Mutex::new(sessions) }
    }

    /// Sessions, partitions in all of them, and sessions that made room for others since the start.
    pub(crate) fn counts(&self) -> (usize, usize, u64) {
        let sessions = self.sessions.lock();
        let partitions = sessions.by_id.values().map(|session| session.partitions.len()).sum();
        (sessions.by_id.len(), partitions, sessions.evicted)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.counts().0
    }

    /// Decides what a request fetches and keeps its session up to date.
    pub(crate) fn plan(&self, ask: Ask, now: i64) -> Result<Plan, ErrorCode> {
        let mut sessions = self.sessions.lock();
        if ask.epoch == FINAL_EPOCH || ask.epoch == INITIAL_EPOCH {
            if ask.session_id != NO_SESSION {
                sessions.end(ask.session_id);
            }
            let session_id = match ask.epoch {
                INITIAL_EPOCH => sessions.begin(&ask, now),
                _ => NO_SESSION,
            };
            return Ok(Plan { partitions: ask.partitions, session_id, incremental: false });
        }
        sessions.go_on(ask, now)
    }

    /// Notes what an answer told, and returns which of its partitions an incremental answer must name.
    ///
    /// `answers` says for each partition what the client would now know, and whether there are records for it.
    pub(crate) fn settle(&self, session_id: i32, answers: &[(Key, Told, bool)]) -> Vec<bool> {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.by_id.get_mut(&session_id) else {
            return vec![true; answers.len()];
        };
        let places = session.places(answers.iter().map(|(key, ..)| key));
        let mut named = Vec::with_capacity(answers.len());
        let mut served = Vec::new();
        for ((_, told, has_records), place) in answers.iter().zip(places) {
            let Some(at) = place else {
                named.push(true);
                continue;
            };
            let tracked = &mut session.partitions[at];
            let news = *has_records || told.was_error || tracked.told != Some(*told);
            tracked.told = Some(*told);
            if *has_records {
                served.push(at);
            }
            named.push(news);
        }
        session.rotate(served);
        named
    }
}

impl Sessions {
    fn begin(&mut self, ask: &Ask, now: i64) -> i32 {
        let weight = ask.partitions.iter().map(|(key, _)| weight(key)).sum();
        if weight > self.weight_max {
            return NO_SESSION;
        }
        while self.by_id.len() >= self.slots || self.weight + weight > self.weight_max {
            if !self.evict(now) {
                return NO_SESSION;
            }
        }
        self.last_id = match self.last_id {
            i32::MAX => 1,
            last => last + 1,
        };
        while self.by_id.contains_key(&self.last_id) {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        }
        let partitions = ask.partitions.iter();
        let partitions =
            partitions.map(|(key, position)| Tracked { key: key.clone(), position: *position, told: None });
        let session =
            Session { next_epoch: 1, used_ms: now, by_id: ask.by_id, partitions: partitions.collect(), weight };
        self.by_id.insert(self.last_id, session);
        self.weight += weight;
        self.last_id
    }

    fn end(&mut self, id: i32) -> bool {
        let ended = self.by_id.remove(&id);
        self.weight -= ended.as_ref().map_or(0, |session| session.weight);
        ended.is_some()
    }

    /// Makes room; false if all sessions are in use.
    fn evict(&mut self, now: i64) -> bool {
        let oldest = self.by_id.iter().min_by_key(|(_, session)| session.used_ms).map(|(id, s)| (*id, s.used_ms));
        match oldest {
            Some((id, used)) if now.saturating_sub(used) >= EVICTION_MS => {
                self.evicted += 1;
                self.end(id)
            }
            _ => false,
        }
    }

    fn go_on(&mut self, ask: Ask, now: i64) -> Result<Plan, ErrorCode> {
        let session = self.by_id.get_mut(&ask.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.next_epoch != ask.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != ask.by_id {
            // The client changed between names and ids, so it must begin anew.
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.next_epoch = if ask.epoch == i32::MAX { 1 } else { ask.epoch + 1 };
        session.used_ms = now;
        let before = session.weight;
        session.change(ask.partitions, &ask.forgotten);
        self.weight = self.weight - before + session.weight;
        if self.weight > self.weight_max {
            self.end(ask.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if session.partitions.is_empty() {
            self.end(ask.session_id);
            return Ok(Plan { partitions: Vec::new(), session_id: NO_SESSION, incremental: false });
        }
        Ok(Plan {
            partitions: session.partitions.iter().map(|tracked| (tracked.key.clone(), tracked.position)).collect(),
            session_id: ask.session_id,
            incremental: true,
        })
    }
}

impl Session {
    fn change(&mut self, wanted: Vec<(Key, Position)>, forgotten: &[Key]) {
        if wanted.is_empty() && forgotten.is_empty() {
            return;
        }
        let mut wanted: BTreeMap<Key, Position> = wanted.into_iter().collect();
        let forgotten: std::collections::BTreeSet<&Key> = forgotten.iter().collect();
        for tracked in &mut self.partitions {
            if let Some(position) = wanted.remove(&tracked.key) {
                tracked.position = position;
            }
        }
        self.partitions.extend(wanted.into_iter().map(|(key, position)| Tracked { key, position, told: None }));
        self.partitions.retain(|tracked| !forgotten.contains(&tracked.key));
        self.weight = self.partitions.iter().map(|tracked| weight(&tracked.key)).sum();
    }

    /// Where partitions stand. Mostly where they stood when the request began, so that nothing has to be looked up.
    fn places<'a>(&self, keys: impl Iterator<Item = &'a Key> + Clone) -> Vec<Option<usize>> {
        if keys.clone().eq(self.partitions.iter().map(|tracked| &tracked.key)) {
            return (0..self.partitions.len()).map(Some).collect();
        }
        let places: HashMap<&Key, usize> =
            self.partitions.iter().enumerate().map(|(at, tracked)| (&tracked.key, at)).collect();
        keys.map(|key| places.get(key).copied()).collect()
    }

    /// Moves the partitions at these places to the end, in their order.
    fn rotate(&mut self, mut served: Vec<usize>) {
        served.sort_unstable();
        if served.is_empty() || served.len() == self.partitions.len() {
            return;
        }
        let mut last = Vec::with_capacity(served.len());
        let mut first = Vec::with_capacity(self.partitions.len());
        for (at, tracked) in std::mem::take(&mut self.partitions).into_iter().enumerate() {
            match served.binary_search(&at).is_ok() {
                true => last.push(tracked),
                false => first.push(tracked),
            }
        }
        first.append(&mut last);
        self.partitions = first;
    }
}

/// What a partition counts for in the bound of all sessions.
fn weight((topic, _): &Key) -> usize {
    match topic {
        TopicKey::Invalid(name) => 1 + name.len() / NAME_BYTES_PER_WEIGHT,
        TopicKey::Name(_) | TopicKey::Id(_) => 1,
    }
}

#[cfg(test)]
mod tests;
