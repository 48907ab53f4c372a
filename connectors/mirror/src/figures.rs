//! What is known of each partition of a link, kept by the process: what an operator, an alert and a fail-over ask for.
//!
//! Picture: a register of links, each with its partitions by their names at the source. A task tells what it sees, batch by
//! batch, into a record of its own (one short lock, nothing is looked up by name); the record stays when the task restarts or
//! moves. Readers take a [`Seen`]: numbers that belong together, at one moment. What depends on the time of day (a lag in
//! milliseconds grows while nothing happens) is computed when it is read.
//! Invariants: F1 a lag is never told smaller than it is: what is counted is the source's end as it was last told, beyond what
//! the target has acknowledged. F2 memory per partition is bounded: [`MARKS_MAX`] marks of time. F3 what a worker has not
//! copied itself it does not know: partitions of tasks on other workers are theirs to tell.
//! Not here: names of metrics (`metrics`), what stands on other workers (`link::lag` asks both clusters).

pub(crate) mod age;
pub(crate) mod behind;
pub(crate) mod rate; // how much a second

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use twinstream_model::{GroupId, NodeId, Offset, TopicName, TopicPartition};

use self::age::{Spread, Summary};
use self::behind::Marks;
use self::rate::{Rate, Rates};
use crate::engine::standing::Standing;
use crate::observer::now_ms;

/// A source that says nothing for so long has something to tell, or is away: fetches wait no longer than a second as a rule.
pub(crate) const SILENCE_MS: i64 = 5_000;

/// How a partition is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// At the source's offsets.
    Aligned,
    /// As any producer would.
    Generic,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Aligned => "aligned",
            Mode::Generic => "generic",
        }
    }
}

/// The aliases of a link.
type LinkKey = (String, String);

static LINKS: LazyLock<Mutex<BTreeMap<LinkKey, Arc<LinkFigures>>>> = LazyLock::new(Mutex::default);

/// The figures of the link of these aliases.
pub(crate) fn link(source: &str, target: &str) -> Arc<LinkFigures> {
    let mut links = lock(&LINKS);
    Arc::clone(links.entry((source.to_owned(), target.to_owned())).or_default())
}

/// Every link that this process copies or copied.
pub(crate) fn links() -> Vec<(LinkKey, Arc<LinkFigures>)> {
    lock(&LINKS).iter().map(|(key, link)| (key.clone(), Arc::clone(link))).collect()
}

/// How far a group on the target is behind the one at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupBehind {
    pub records: i64,
    /// Unix time since when; `None`: it is not behind.
    pub since_ms: Option<i64>,
}

#[derive(Default)]
pub(crate) struct LinkFigures {
    partitions: Mutex<BTreeMap<TopicPartition, Arc<PartitionFigures>>>,
    /// When each leader of the source last answered a fetch.
    contacts: Mutex<BTreeMap<NodeId, i64>>,
    groups: Mutex<BTreeMap<(GroupId, TopicPartition), GroupBehind>>,
    /// How long positions of groups took to the target, by the partition there.
    checkpoints: Mutex<BTreeMap<(GroupId, TopicPartition), Spread>>,
    /// Topics that the target does not take, and why.
    refused: Mutex<BTreeMap<TopicName, String>>,
    /// Topics whose settings or partitions do not follow the source, and why.
    apart: Mutex<BTreeMap<TopicName, String>>,
    /// Topics that were copied and that the source does not show any more, since when.
    gone: Mutex<BTreeMap<TopicName, i64>>,
    /// How the rules about topics stand, in words; empty where they are not copied.
    acls: Mutex<String>,
}

impl LinkFigures {
    /// The record of a partition, by its name at the source; made when it is asked for first.
    pub(crate) fn partition(&self, source: &TopicPartition, target: &TopicPartition) -> Arc<PartitionFigures> {
        let mut partitions = lock(&self.partitions);
        let known = partitions.get(source).filter(|known| known.target == *target).map(Arc::clone);
        known.unwrap_or_else(|| {
            let made = Arc::new(PartitionFigures::new(source.clone(), target.clone()));
            partitions.insert(source.clone(), Arc::clone(&made));
            made
        })
    }

    /// A leader of the source has answered: what it said nothing of is as it was.
    pub(crate) fn heard_from(&self, leader: NodeId) {
        self.heard_at(leader, now_ms());
    }

    fn heard_at(&self, leader: NodeId, now: i64) {
        lock(&self.contacts).insert(leader, now);
    }

    pub(crate) fn partitions(&self) -> Vec<Seen> {
        self.partitions_at(now_ms())
    }

    pub(crate) fn partitions_at(&self, now: i64) -> Vec<Seen> {
        let partitions: Vec<_> = lock(&self.partitions).values().map(Arc::clone).collect();
        let contacts = lock(&self.contacts).clone();
        partitions.iter().map(|partition| partition.seen(&contacts, now)).collect()
    }

    /// The topics that are not copied, because the target does not take them.
    pub(crate) fn refuses(&self, topics: BTreeMap<TopicName, String>) {
        *lock(&self.refused) = topics;
    }

    pub(crate) fn refused(&self) -> BTreeMap<TopicName, String> {
        lock(&self.refused).clone()
    }

    /// The topics whose settings or partitions do not follow the source.
    pub(crate) fn keeps_apart(&self, topics: BTreeMap<TopicName, String>) {
        *lock(&self.apart) = topics;
    }

    pub(crate) fn apart(&self) -> BTreeMap<TopicName, String> {
        lock(&self.apart).clone()
    }

    /// The topics that the source does not show any more, though they have copies.
    pub(crate) fn misses(&self, topics: BTreeMap<TopicName, i64>) {
        *lock(&self.gone) = topics;
    }

    pub(crate) fn gone(&self) -> BTreeMap<TopicName, i64> {
        lock(&self.gone).clone()
    }

    pub(crate) fn acls_stand(&self, text: &str) {
        text.clone_into(&mut lock(&self.acls));
    }

    pub(crate) fn acls(&self) -> String {
        lock(&self.acls).clone()
    }

    pub(crate) fn group_behind(&self, group: &GroupId, source: &TopicPartition, behind: GroupBehind) {
        lock(&self.groups).insert((group.clone(), source.clone()), behind);
    }

    /// A group that is not followed any more.
    pub(crate) fn group_gone(&self, group: &GroupId) {
        lock(&self.groups).retain(|(known, _), _| known != group);
        lock(&self.checkpoints).retain(|(known, _), _| known != group);
    }

    /// A group's position reached the target so long after it was read at the source.
    pub(crate) fn checkpoint_took(&self, group: &GroupId, target: &TopicPartition, after_ms: i64, now: i64) {
        let mut checkpoints = lock(&self.checkpoints);
        checkpoints.entry((group.clone(), target.clone())).or_default().add(after_ms, now);
    }

    pub(crate) fn checkpoints(&self, now: i64) -> Vec<((GroupId, TopicPartition), Summary)> {
        let checkpoints = lock(&self.checkpoints);
        checkpoints.iter().filter_map(|(key, took)| Some((key.clone(), took.summary(now)?))).collect()
    }

    pub(crate) fn groups(&self) -> Vec<((GroupId, TopicPartition), GroupBehind)> {
        lock(&self.groups).iter().map(|(key, behind)| (key.clone(), *behind)).collect()
    }

    /// Partitions that are not copied any more leave the register.
    pub(crate) fn keep(&self, copied: impl Fn(&TopicPartition) -> bool) {
        lock(&self.partitions).retain(|partition, figures| copied(partition) || Arc::strong_count(figures) > 1);
        lock(&self.groups).retain(|(_, partition), _| copied(partition));
    }
}

/// What a whole link would lose if the source were gone for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rpo {
    /// Known at the source and not on the target.
    pub records: i64,
    /// The worst partition: how old the oldest of them may be, and how long the source has told nothing.
    pub ms: i64,
    /// How long the source has told nothing of some partition; 0 while it tells of all. The records are as of then.
    pub silent_ms: i64,
    /// Partitions of another topic by now than the one that was copied: all of that one would be lost, however much it is.
    pub unknown: usize,
}

impl Rpo {
    pub(crate) fn of(partitions: &[Seen], now: i64) -> Rpo {
        let copied = partitions.iter().filter(|seen| seen.is_live && seen.standing != Standing::Promoted);
        // Tasks of such end, and nobody copies them.
        let unknown = partitions.iter().filter(|seen| seen.standing == Standing::Recreated).count();
        copied.fold(Rpo { unknown, ..Rpo::default() }, |all, seen| {
            // What was never heard of may have had records all the time.
            let silent = now - seen.contact_ms.unwrap_or(seen.since_ms);
            let silent = if silent > SILENCE_MS { silent } else { 0 };
            Rpo {
                records: all.records.saturating_add(seen.lag.records),
                ms: all.ms.max(seen.lag.ms.unwrap_or(0)).max(silent),
                silent_ms: all.silent_ms.max(silent),
                ..all
            }
        })
    }
}

/// How far a partition is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    pub records: i64,
    /// Estimated: as many times the bytes of a record as the last fetch that brought any had; `None` before that.
    pub bytes: Option<i64>,
    /// How long the next record has waited at most; `None` where nothing was copied that tells it.
    pub ms: Option<i64>,
}

/// One partition at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub source: TopicPartition,
    pub target: TopicPartition,
    /// A task of this process copies it.
    pub is_live: bool,
    pub mode: Option<Mode>,
    pub standing: Standing,
    /// Why it stands so, if it does not just copy.
    pub cause: String,
    /// Of the source: what comes before is on the target.
    pub arrived: Option<Offset>,
    pub source_end: Option<Offset>,
    pub log_start: Option<Offset>,
    pub lag: Lag,
    /// Bytes of a record as it travels, as the last fetch that brought any had them.
    pub record_bytes: Option<f64>,
    /// Unix time of the last word of its leader at the source.
    pub contact_ms: Option<i64>,
    /// Unix time at which it came into the register.
    pub since_ms: i64,
    pub record_age: Option<Summary>,
    pub latency: Option<Summary>,
    /// What was acknowledged a second.
    pub rates: Rates,
    /// Of the source: what comes before was compared with the target.
    pub verified: Option<Offset>,
    pub differences: u64,
}

pub(crate) struct PartitionFigures {
    source: TopicPartition,
    target: TopicPartition,
    since_ms: i64,
    state: Mutex<State>,
}

struct State {
    /// Tasks that copy it: while it moves, two do.
    holders: usize,
    mode: Option<Mode>,
    standing: Standing,
    cause: String,
    arrived: Option<Offset>,
    source_end: Option<Offset>,
    log_start: Option<Offset>,
    leader: Option<NodeId>,
    contact_ms: Option<i64>,
    /// When it had everything and stopped copying: what its leader answered until then was about it as well.
    stopped_ms: Option<i64>,
    /// Of the last fetch that brought records.
    record_bytes: Option<f64>,
    marks: Marks,
    record_age: Spread,
    latency: Spread,
    rate: Rate,
    verified: Option<Offset>,
    differences: u64,
}

/// What a fetch said of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub leader: NodeId,
    pub source_end: Offset,
    pub log_start: Offset,
    /// Offsets that it brought, and their bytes as they travel.
    pub offsets: i64,
    pub bytes: usize,
}

impl PartitionFigures {
    fn new(source: TopicPartition, target: TopicPartition) -> PartitionFigures {
        let state = State {
            holders: 0,
            mode: None,
            standing: Standing::Starting,
            cause: String::new(),
            arrived: None,
            source_end: None,
            log_start: None,
            leader: None,
            contact_ms: None,
            stopped_ms: None,
            record_bytes: None,
            marks: Marks::default(),
            record_age: Spread::default(),
            latency: Spread::default(),
            rate: Rate::default(),
            verified: None,
            differences: 0,
        };
        PartitionFigures { source, target, since_ms: now_ms(), state: Mutex::new(state) }
    }

    /// A task begins to copy it.
    pub(crate) fn held(&self) {
        self.state().holders += 1;
    }

    pub(crate) fn let_go(&self) {
        let mut state = self.state();
        state.holders = state.holders.saturating_sub(1);
    }

    pub(crate) fn stands(&self, standing: Standing, cause: &str) {
        self.stands_at(standing, cause, now_ms());
    }

    fn stands_at(&self, standing: Standing, cause: &str, now: i64) {
        let mut state = self.state();
        let had_all = state.lag(now).records == 0;
        state.stopped_ms = match (standing, state.standing) {
            (Standing::Copying, _) => None,
            (_, Standing::Copying) => Some(now).filter(|_| had_all),
            _ => state.stopped_ms,
        };
        state.standing = standing;
        cause.clone_into(&mut state.cause);
    }

    pub(crate) fn copied_as(&self, mode: Mode) {
        self.state().mode = Some(mode);
    }

    /// The source has told how far it is.
    pub(crate) fn heard(&self, heard: &Heard, arrived: Offset, now: i64) {
        let mut state = self.state();
        state.leader = Some(heard.leader);
        state.contact_ms = Some(now);
        (state.source_end, state.log_start) = (Some(heard.source_end), Some(heard.log_start));
        if heard.offsets > 0 {
            state.record_bytes = Some(heard.bytes as f64 / heard.offsets as f64);
        }
        state.arrived = Some(arrived);
        state.marks.ends_at(heard.source_end.0, arrived.0, now);
    }

    /// The same, told to somebody who does not fetch because the partition is held back. An answer that was overtaken by a fetch
    /// makes nothing smaller.
    pub(crate) fn ends_at(&self, end: Offset, now: i64) {
        let mut state = self.state();
        let (Some(known), Some(arrived)) = (state.source_end, state.arrived) else { return };
        let end = known.max(end);
        (state.source_end, state.contact_ms) = (Some(end), Some(now));
        state.marks.ends_at(end.0, arrived.0, now);
    }

    /// The target has acknowledged a batch.
    pub(crate) fn copied(&self, records: u64, bytes: u64, now: i64) {
        self.state().rate.add(records, bytes, now);
    }

    pub(crate) fn handed_on(&self, age_ms: i64, now: i64) {
        self.state().record_age.add(age_ms, now);
    }

    /// The target has acknowledged everything before `arrived`. `newest` are the latency and the time of the newest record, if
    /// there was one.
    pub(crate) fn arrived(&self, arrived: Offset, newest: Option<(i64, i64)>, now: i64) {
        let mut state = self.state();
        state.arrived = Some(arrived);
        if let Some((latency, timestamp)) = newest {
            state.latency.add(latency, now);
            state.marks.newest(timestamp);
        }
        state.marks.arrived(arrived.0);
    }

    /// Everything before was compared.
    pub(crate) fn verified(&self, up_to: Offset) {
        self.state().verified = Some(up_to);
    }

    /// So many differences more.
    pub(crate) fn differs(&self, differences: u64) {
        self.state().differences += differences;
    }

    fn seen(&self, contacts: &BTreeMap<NodeId, i64>, now: i64) -> Seen {
        let mut state = self.state();
        let lag = state.lag(now);
        // A leader that answers and says nothing of a partition in its session has nothing new for it. One that is behind may
        // be held back, and is not in the session then; nor is one that stands.
        let copies = lag.records == 0 && state.standing == Standing::Copying;
        let is_asked = copies || state.stopped_ms.is_some();
        let leader = state.leader.filter(|_| is_asked).and_then(|leader| contacts.get(&leader)).copied();
        let leader = leader.map(|contact| contact.min(state.stopped_ms.unwrap_or(i64::MAX)));
        Seen {
            source: self.source.clone(),
            target: self.target.clone(),
            is_live: state.holders > 0,
            mode: state.mode,
            standing: state.standing,
            cause: state.cause.clone(),
            arrived: state.arrived,
            source_end: state.source_end,
            log_start: state.log_start,
            lag,
            record_bytes: state.record_bytes,
            contact_ms: state.contact_ms.max(leader),
            since_ms: self.since_ms,
            record_age: state.record_age.summary(now),
            latency: state.latency.summary(now),
            rates: state.rate.rates(now),
            verified: state.verified,
            differences: state.differences,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn lag(&self, now: i64) -> Lag {
        let (Some(arrived), Some(end)) = (self.arrived, self.source_end) else { return Lag::default() };
        // What the source has removed can be copied by nobody.
        let from = arrived.max(self.log_start.unwrap_or(arrived));
        let records = (end.0 - from.0).max(0);
        let bytes = match records {
            0 => Some(0),
            records => self.record_bytes.map(|each| (records as f64 * each) as i64),
        };
        let ms = if records == 0 { Some(0) } else { self.marks.waited(arrived.0, now) };
        Lag { records, bytes, ms }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
