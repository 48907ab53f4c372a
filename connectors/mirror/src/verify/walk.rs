//! One partition, stretch by stretch: fetches it from both sides and compares.
//!
//! A walk begins where both sides have something: behind what retention removed on either, and for a copy not before the
//! offset map does. When retention overtakes it, or a log was cut, it begins anew there.

use std::time::Duration;

use twinstream_client::raw::{FetchFrom, FetchOptions, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, Offset, TopicPartition};

use super::slice::{Answer, Slice};
use super::{Compared, Difference, Side, What, aligned, content};
use crate::figures::Mode;
use crate::offset_map::OffsetMap;
use crate::provenance::Path;

/// Differences of a partition that are told by their offsets.
pub(crate) const NAMED_MAX: usize = 20;
/// Of each side at a time; a single batch may be larger.
const STEP_BYTES: i32 = 1 << 20;
/// A leader that changes is given so long before a difference counts.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a broker may take to bring what its log must have.
const HOLE_WAIT: Duration = Duration::from_secs(1);

/// Both ends of a link, as far as verification reads them.
#[derive(Clone)]
pub(super) struct Sides {
    pub source: RawClient,
    pub target: RawClient,
    /// The copy leaves out records of aborted transactions.
    pub read_committed: bool,
    /// What records of a copy take along.
    pub path: Option<Path>,
    /// Whoever waits for an answer would rather wait for a leader than hear of none.
    pub patient: bool,
}

/// A partition and its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub there: TopicPartition,
    pub here: TopicPartition,
    pub mode: Mode,
    /// Compaction may remove records of one side before it does on the other.
    pub compacted: bool,
}

/// What a walk has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub from: Option<i64>,
    /// Where readers of the source end, as it was last told.
    pub source_end: Option<i64>,
    pub records: u64,
    /// Of both sides.
    pub bytes: u64,
    pub removed: u64,
    pub repeated: u64,
    pub unpaired: u64,
    pub differences: u64,
    pub named: Vec<Difference>,
}

pub(super) struct Walk {
    pub pair: Pair,
    /// Of the source: everything before is compared.
    pub next: Option<i64>,
    pub told: Told,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Moved {
        bytes: u64,
    },
    /// There is nothing more that both sides have.
    AtEnd {
        bytes: u64,
    },
}

/// Both answers.
struct Stretch {
    there: Answer,
    here: Answer,
}

impl Walk {
    pub(super) fn new(pair: Pair, next: Option<i64>) -> Walk {
        let told = Told { from: next, ..Told::default() };
        Walk { pair, next, told }
    }

    /// One stretch further.
    pub(super) async fn step(&mut self, sides: &Sides, map: Option<&OffsetMap>) -> Result<Step, ClientError> {
        let from = match self.next {
            Some(from) => from,
            None => match self.beginning(sides, map).await? {
                Some(from) => {
                    self.told.from.get_or_insert(from);
                    *self.next.insert(from)
                }
                None => return Ok(Step::AtEnd { bytes: 0 }),
            },
        };
        let Some(down) = self.place(from, map) else { return Ok(Step::AtEnd { bytes: 0 }) };
        let Some(stretch) = self.fetch(sides, from, down).await? else {
            self.next = None;
            return Ok(Step::Moved { bytes: 0 });
        };
        let mut bytes = stretch.bytes();
        if stretch.there.end >= 0 {
            self.told.source_end = Some(stretch.there.end);
        }
        let path = sides.path.as_ref();
        let mut compared = self.compare(&stretch, (from, down), map, path)?;
        if !compared.differences.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
            let Some(again) = self.fetch(sides, from, down).await? else {
                self.next = None;
                return Ok(Step::Moved { bytes });
            };
            bytes += again.bytes();
            compared = self.compare(&again, (from, down), map, path)?;
        }
        let moved = compared.next > from;
        self.take(compared, bytes);
        let end = self.told.source_end;
        Ok(if moved && end.is_none_or(|end| self.next.is_some_and(|next| next < end)) {
            Step::Moved { bytes }
        } else {
            Step::AtEnd { bytes }
        })
    }

    fn take(&mut self, compared: Compared, bytes: u64) {
        let told = &mut self.told;
        self.next = Some(compared.next);
        told.bytes += bytes;
        told.records += compared.records;
        told.removed += compared.removed;
        told.repeated += compared.repeated;
        told.unpaired += compared.unpaired;
        told.differences += compared.differences.len() as u64;
        let room = NAMED_MAX.saturating_sub(told.named.len());
        told.named.extend(compared.differences.into_iter().take(room));
    }

    /// Where an offset of the source is on the target.
    fn place(&self, from: i64, map: Option<&OffsetMap>) -> Option<i64> {
        match self.pair.mode {
            Mode::Aligned => Some(from),
            Mode::Generic => map?.to_target(Offset(from)).map(|down| down.0),
        }
    }

    async fn beginning(&self, sides: &Sides, map: Option<&OffsetMap>) -> Result<Option<i64>, ClientError> {
        let there = start_of(&sides.source, &self.pair.there, sides.patient).await?;
        let here = start_of(&sides.target, &self.pair.here, sides.patient).await?;
        if self.pair.mode == Mode::Aligned {
            return Ok(Some(there.max(here)));
        }
        Ok(map.and_then(|map| first_copied(map, there, here)))
    }

    fn unreadable(&self, at: i64, why: &str) -> ClientError {
        ClientError::Malformed {
            address: self.pair.there.to_string(),
            api: "records".to_owned(),
            reason: format!("the source cannot be read at offset {at}: {why}"),
        }
    }

    /// `None`: the offset is outside of one log.
    async fn fetch(&self, sides: &Sides, from: i64, down: i64) -> Result<Option<Stretch>, ClientError> {
        let aligned = self.pair.mode == Mode::Aligned;
        let (there, here) = tokio::join!(
            fetch(&sides.source, &self.pair.there, from, sides.read_committed && !aligned, sides.patient),
            // What a task has under way in a transaction is no copy yet.
            fetch(&sides.target, &self.pair.here, down, !aligned, sides.patient),
        );
        Ok(there?.zip(here?).map(|(there, here)| Stretch { there, here }))
    }

    fn compare(
        &self,
        stretch: &Stretch,
        (from, down): (i64, i64),
        map: Option<&OffsetMap>,
        path: Option<&Path>,
    ) -> Result<Compared, ClientError> {
        let Stretch { there, here } = stretch;
        if self.pair.mode == Mode::Aligned {
            let compared = aligned::compare(there, here, from, self.pair.compacted);
            return match compared.next == from && there.corrupt && here.corrupt {
                true => Err(self.unreadable(from, "both sides are damaged here")),
                false => Ok(compared),
            };
        }
        let Some(map) = map else { return Ok(Compared { next: from, ..Compared::default() }) };
        let source = Slice::of_copy(there, from, Side::Source, path);
        let target = Slice::of_copy(here, down, Side::Target, path);
        let mut compared = content::compare(&source, &target, from, map.runs_from(Offset(from)), self.pair.compacted);
        let mut reached = self.place(compared.next, Some(map)).unwrap_or(down);
        if compared.next == from && source.stuck.is_none() && target.stuck.is_some() {
            // The source says how far it is to the next batch that can be compared.
            let why = target.stuck.clone().unwrap_or_default();
            let what = What::Broken(Side::Target, why);
            compared.differences.push(Difference { source: None, target: Some(down), what });
            compared.next = source.reach;
            reached = down;
        }
        if let Some(why) = source.stuck.as_ref().filter(|_| compared.next == from) {
            return Err(self.unreadable(from, why));
        }
        let before = (compared.next, reached);
        content::add_damage(&mut compared, &source, &target, before);
        for difference in &mut compared.differences {
            // Where the damaged batch came from.
            if let (What::Broken(..), None, Some(down)) = (&difference.what, difference.source, difference.target) {
                difference.source = map.to_source(Offset(down)).map(|up| up.0);
            }
        }
        Ok(compared)
    }
}

impl Stretch {
    fn bytes(&self) -> u64 {
        (self.there.bytes.len() + self.here.bytes.len()) as u64
    }
}

/// The first offset of the source whose copy may still be there, by where both logs start. Retention can end in a hole of the
/// map, which a reader of the source has passed only with the record behind it.
pub(super) fn first_copied(map: &OffsetMap, there: i64, here: i64) -> Option<i64> {
    let from = there.max(map.first()?.up);
    if map.to_target(Offset(from)).is_some_and(|down| down.0 >= here) {
        return Some(from);
    }
    let behind = map.runs_from(Offset(from)).find(|run| run.up_end() > from && run.down_end() > here)?;
    Some(from.max(behind.up + (here - behind.down).max(0)))
}

async fn start_of(client: &RawClient, partition: &TopicPartition, patient: bool) -> Result<i64, ClientError> {
    let asked = std::slice::from_ref(partition);
    let mut found = match patient {
        true => client.list_offsets(asked, OffsetAt::Earliest).await?,
        false => client.list_offsets_now(asked, OffsetAt::Earliest).await?,
    };
    let unanswered = || Err(ClientError::broker(format!("list offsets of {partition}"), ErrorCode::LeaderNotAvailable));
    found.remove(partition).unwrap_or_else(unanswered).map(|offset| offset.0)
}

async fn fetch(
    client: &RawClient,
    partition: &TopicPartition,
    from: i64,
    read_committed: bool,
    patient: bool,
) -> Result<Option<Answer>, ClientError> {
    let answer = fetch_within(client, partition, from, read_committed, patient, Duration::ZERO).await?;
    // Readers may see something, and there is nothing: a broker that fetches it from afar first, or a log that ends in a hole.
    // It is given a moment, as what is taken for a hole counts as compared.
    let is_odd = |answer: &Answer| answer.bytes.is_empty() && !answer.corrupt && from < answer.end;
    if answer.as_ref().is_some_and(is_odd) {
        return fetch_within(client, partition, from, read_committed, patient, HOLE_WAIT).await;
    }
    Ok(answer)
}

async fn fetch_within(
    client: &RawClient,
    partition: &TopicPartition,
    from: i64,
    read_committed: bool,
    patient: bool,
    wait_max: Duration,
) -> Result<Option<Answer>, ClientError> {
    let options = FetchOptions {
        wait_max,
        bytes_max: STEP_BYTES,
        partition_bytes_max: STEP_BYTES,
        read_committed,
        ..FetchOptions::default()
    };
    let ask = || async {
        let leader = client.leader(partition).await?;
        let wanted = FetchFrom::new(partition.clone(), Offset(from));
        let answer = client.fetch_batches(leader, &[wanted], &options).await?.pop();
        let what = || format!("fetch {partition} from offset {from}");
        let answer = answer.ok_or_else(|| ClientError::broker(what(), ErrorCode::LeaderNotAvailable))?;
        match answer.error {
            ErrorCode::None | ErrorCode::OffsetOutOfRange => Ok(answer),
            // Our brokers serve no batch that they know to be damaged.
            ErrorCode::CorruptMessage | ErrorCode::KafkaStorageError => Ok(answer),
            code => {
                client.forget_leader(partition);
                Err(ClientError::broker(what(), code))
            }
        }
    };
    let answer = if patient { client.retry(ask).await? } else { ask().await? };
    if answer.error == ErrorCode::OffsetOutOfRange {
        return Ok(None);
    }
    let end = if read_committed { answer.last_stable_offset } else { answer.high_watermark };
    let corrupt = answer.error != ErrorCode::None;
    Ok(Some(Answer { bytes: answer.batches, aborted: answer.aborted, end: end.0, corrupt }))
}
