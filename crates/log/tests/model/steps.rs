//! What happens, to the log and to the model.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use twinstream_log::{
    AppendError, Applicant, CleanerLimits, CleanupPolicy, FlushMark, FullSpeed, LastStop, LogConfig, LogMetrics,
    MarkerEpoch, Opening, Origin, PartitionLog, ReadError,
};
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchMut, BatchView, ProducerStamp, batches};
use twinstream_protocol::compression::Compression;
use uuid::Uuid;

use crate::model::{Model, Seen, What};

const ALL: Offset = Offset(i64::MAX);
const BEGIN: i64 = 1_700_000_000_000;
const DELETE_RETENTION_MS: i64 = 10_000;
const READ_BYTES: usize = 700;
/// Records that are looked up by their time after each step.
const BY_TIME: usize = 3;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append {
        records: Vec<(u8, Option<u16>)>,
        codec: usize,
    },
    /// Into an open transaction or a new one.
    Transact {
        records: Vec<(u8, Option<u16>)>,
        pick: usize,
        anew: bool,
    },
    End {
        pick: usize,
        commit: bool,
    },
    Compact {
        map_keys: usize,
    },
    Pass {
        ms: i64,
    },
    Retain {
        bytes: u64,
    },
    DeleteRecords {
        percent: i64,
    },
    Truncate {
        percent: i64,
    },
    /// Batches of one record that a leader sent, after a gap, in an epoch that is newer or not.
    Follow {
        keys: Vec<u8>,
        gap: i64,
        epochs: i32,
    },
    /// Drops everything and goes on behind the end.
    RestartAt {
        behind: i64,
    },
    Flush,
    /// The flush of the whole file system that goes on in the background, its two ends.
    BeginFlush,
    EndFlush,
    Restart,
    /// The process is killed; the last write may be cut short by some bytes.
    Crash {
        torn: u64,
    },
    /// The machine goes down: only so much of what was not flushed is there afterwards.
    PowerLoss {
        left_percent: usize,
        after: After,
    },
    LoseHints {
        extension: &'static str,
    },
}

/// What a power loss leaves of the file that it tore, and of those behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After {
    /// Nothing.
    Gone,
    /// Their names and lengths, and no bytes.
    Zeros,
    /// The files behind it, whole: they were written back first.
    Newer,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let records = || prop::collection::vec((0u8..8, prop::option::weighted(0.75, any::<u16>())), 1..6);
    let after = prop_oneof![Just(After::Gone), Just(After::Zeros), Just(After::Newer)];
    prop_oneof![
        8 => (records(), 0..Compression::ALL.len()).prop_map(|(records, codec)| Step::Append { records, codec }),
        5 => (records(), any::<usize>(), any::<bool>())
            .prop_map(|(records, pick, anew)| Step::Transact { records, pick, anew }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(pick, commit)| Step::End { pick, commit }),
        4 => (2usize..40).prop_map(|map_keys| Step::Compact { map_keys }),
        2 => (1i64..30_000).prop_map(|ms| Step::Pass { ms }),
        1 => (0u64..3_000).prop_map(|bytes| Step::Retain { bytes }),
        1 => (0i64..=100).prop_map(|percent| Step::DeleteRecords { percent }),
        1 => (50i64..=100).prop_map(|percent| Step::Truncate { percent }),
        1 => Just(Step::Restart),
        2 => (prop::collection::vec(0u8..8, 1..12), 0i64..3, 0i32..2)
            .prop_map(|(keys, gap, epochs)| Step::Follow { keys, gap, epochs }),
        1 => (0i64..20).prop_map(|behind| Step::RestartAt { behind }),
        1 => Just(Step::Flush),
        2 => Just(Step::BeginFlush),
        2 => Just(Step::EndFlush),
        1 => (0u64..300).prop_map(|torn| Step::Crash { torn }),
        2 => (0usize..=100, after).prop_map(|(left_percent, after)| Step::PowerLoss { left_percent, after }),
        1 => prop_oneof![Just("index"), Just("timeindex"), Just("snapshot"), Just("txnindex")]
            .prop_map(|extension| Step::LoseHints { extension }),
    ]
}

pub(crate) struct Subject {
    _root: TempDir,
    dir: PathBuf,
    log: PartitionLog,
    model: Model,
    now: i64,
    next_transaction: i64,
    /// Up to here the log was committed when it was compacted last.
    decided: i64,
    /// The flush that is under way, and up to where what it brings to the disk is in the log still.
    flushing: Option<(FlushMark, i64)>,
    /// Sequences of open transactions.
    sequences: std::collections::BTreeMap<i64, i32>,
}

impl Subject {
    pub(crate) fn new() -> Subject {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.expect("a temporary folder");
        let dir = root.path().join("t-0");
        let opening = Opening::fresh(config(), LogMetrics::new(), BEGIN);
        let log = PartitionLog::create(&dir, TopicId(Uuid::from_u128(1)), opening).expect("a new log");
        let (model, sequences) = (Model::default(), std::collections::BTreeMap::new());
        Subject { _root: root, dir, log, model, now: BEGIN, next_transaction: 0, decided: 0, flushing: None, sequences }
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Append { records, codec } => self.append(records, Compression::ALL[*codec]),
            Step::Transact { records, pick, anew } => self.transact(records, *pick, *anew),
            Step::End { pick, commit } => self.end(*pick, *commit),
            Step::Compact { map_keys } => self.compact(*map_keys),
            Step::Pass { ms } => self.now += ms,
            Step::Retain { bytes } => self.retain(*bytes),
            Step::DeleteRecords { percent } => {
                // Not into a transaction that is open: half of one is no state that clients can bring about on purpose.
                let stable = self.log.last_stable_offset().0;
                let before = self.model.start + (stable - self.model.start) * percent / 100;
                let start = self.log.delete_records(Offset(before), self.now).expect("an offset of the log").0;
                assert!(start >= before && start <= self.model.end, "{start}, not {before} at least");
                assert!(self.model.entries.range(before..start).next().is_none(), "records before {start} are lost");
                self.model.begin(start);
            }
            Step::Truncate { percent } => {
                let end = self.decided.max(self.model.start + (self.model.end - self.model.start) * percent / 100);
                let cut = self.log.truncate_to(Offset(end)).expect("an offset of the log").log_end.0;
                let batches = &self.model.batches;
                let kept = batches.iter().take_while(|batch| batch.last < end).last();
                let lost = batches.iter().find(|batch| batch.last >= end);
                let (floor, upper) = (kept.map_or(0, |batch| batch.last + 1), lost.map_or(end, |batch| batch.base));
                assert!((floor..=upper.max(floor).max(end)).contains(&cut), "{cut}, not {floor} to {upper}");
                self.take_cut(cut);
            }
            Step::Restart => {
                self.log.close(self.now).expect("a sound log");
                self.reopen(LastStop::Clean);
            }
            Step::Follow { keys, gap, epochs } => self.follow(keys, *gap, *epochs),
            Step::RestartAt { behind } => {
                let start = self.model.end + behind;
                assert_eq!(self.log.restart_at(Offset(start)).expect("an offset behind").log_end.0, start);
                self.model = Model { start, end: start, epoch: self.model.epoch, ..Model::default() };
                self.sequences.clear();
            }
            Step::Flush => assert_eq!(self.log.flush(self.now).expect("a sound log").0, self.model.end),
            Step::BeginFlush => {
                let mark = self.log.begin_flush(self.now).expect("a sound log");
                self.flushing = mark.map(|mark| (mark, self.model.end));
            }
            Step::EndFlush => self.end_flush(),
            Step::Crash { torn } => self.crash(*torn),
            Step::PowerLoss { left_percent, after } => self.power_loss(*left_percent, *after),
            Step::LoseHints { extension } => {
                self.log.close(self.now).expect("a sound log");
                files(&self.dir, extension).iter().for_each(|path| fs::remove_file(path).expect("remove a file"));
                // Nothing but the records tells of transactions: who takes their index away has to say so.
                match *extension == "txnindex" {
                    true => {
                        self.reopen_from(LastStop::Unknown, Offset(0));
                        self.log.flush(self.now).expect("a sound log"); // as it was before
                    }
                    false => self.reopen(LastStop::Clean),
                }
            }
        }
    }

    /// A log that was cut meanwhile must not take what came since for flushed.
    fn end_flush(&mut self) {
        let Some((mark, on_disk)) = self.flushing.take() else { return };
        let before = self.log.recovery_point().0;
        self.log.end_flush(mark);
        let after = self.log.recovery_point().0;
        assert!(
            (before..=before.max(on_disk)).contains(&after),
            "{after} counts as flushed, {on_disk} is, {before} was"
        );
    }

    fn append(&mut self, records: &[(u8, Option<u16>)], codec: Compression) {
        let batch = self.batch(BatchBuilder::new().with_compression(codec), records);
        let appended =
            self.log.append(&batch, Origin::Client, LeaderEpoch(self.model.epoch), self.now).expect("a sound batch");
        assert_eq!(appended.base_offset.0, self.model.end);
        self.model.append(&whats(records), None);
        self.log.advance_high_watermark(ALL);
    }

    fn transact(&mut self, records: &[(u8, Option<u16>)], pick: usize, anew: bool) {
        let open: Vec<i64> = self.sequences.keys().copied().collect();
        let id = match open.get(pick.checked_rem(open.len()).unwrap_or(0)) {
            Some(id) if !anew => *id,
            _ => {
                self.next_transaction += 1;
                self.next_transaction
            }
        };
        let sequence = self.sequences.entry(id).or_insert(0);
        let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: *sequence };
        *sequence += records.len() as i32;
        let batch = self.batch(BatchBuilder::new().with_producer(stamp).with_transactional(), records);
        let (producer_id, epoch) = (stamp.id, stamp.epoch);
        let applicant = Applicant { producer_id, epoch, base_sequence: stamp.base_sequence, adds: false };
        let guard = self.log.begin_verification(&applicant, self.now).expect("a sound log");
        let origin = guard.map_or(Origin::Client, Origin::Verified);
        self.log.append(&batch, origin, LeaderEpoch(self.model.epoch), self.now).expect("a sound batch");
        self.model.append(&whats(records), Some(id));
        self.log.advance_high_watermark(ALL);
    }

    fn end(&mut self, pick: usize, commit: bool) {
        let open: Vec<i64> = self.model.open().into_keys().collect();
        let Some(id) = open.get(pick.checked_rem(open.len()).unwrap_or(0)) else { return };
        let sequence = self.sequences.remove(id);
        let stamp = ProducerStamp { id: ProducerId(*id), epoch: ProducerEpoch(0), base_sequence: -1 };
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional().with_control();
        // version 0, type 0 is an abort and 1 a commit; coordinator epoch 0
        builder.append(BEGIN + self.model.end, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]), []);
        let batch = builder.build().expect("a small batch");
        let origin = Origin::Marker(MarkerEpoch::NotOlder);
        self.log.append(&batch, origin, LeaderEpoch(self.model.epoch), self.now).expect("a marker");
        if let Some(base_sequence) = sequence {
            self.come_late(ProducerStamp { base_sequence, ..stamp });
        }
        let what = if commit { What::Commit } else { What::Abort };
        self.model.append(&[what], Some(*id));
        self.log.advance_high_watermark(ALL);
    }

    /// A batch of a transaction that has just ended finds no way in, whatever it knew before.
    fn come_late(&mut self, stamp: ProducerStamp) {
        let batch = self.batch(BatchBuilder::new().with_producer(stamp).with_transactional(), &[(0, Some(0))]);
        let refused = self.log.append(&batch, Origin::Client, LeaderEpoch(self.model.epoch), self.now);
        assert!(matches!(refused, Err(AppendError::NotInTransaction { .. })), "{refused:?}");
    }

    fn follow(&mut self, keys: &[u8], gap: i64, epochs: i32) {
        self.model.epoch += epochs;
        self.model.end += gap;
        let mut sent = Vec::new();
        for key in keys {
            let records = [(*key, Some(u16::from(*key)))];
            let mut batch = self.batch(BatchBuilder::new(), &records);
            let mut header = BatchMut::parse(&mut batch).expect("our own batch");
            header.set_base_offset(Offset(self.model.end));
            header.set_leader_epoch(LeaderEpoch(self.model.epoch));
            self.model.append(&whats(&records), None);
            sent.extend(batch);
        }
        let epoch = LeaderEpoch(self.model.epoch);
        let appended = self.log.append_as_follower(&sent, epoch, self.now).expect("sound batches");
        self.log.advance_high_watermark(ALL);
        assert_eq!((appended.log_end.0, appended.last_epoch), (self.model.end, epoch));
    }

    fn batch(&self, mut builder: BatchBuilder, records: &[(u8, Option<u16>)]) -> Vec<u8> {
        for (offset, (key, value)) in (self.model.end..).zip(records) {
            let value = value.map(|value| value.to_be_bytes());
            // Each has a time of its own, so that it is found by it.
            builder.append(BEGIN + offset, Some(&[*key]), value.as_ref().map(|value| &value[..]), []);
        }
        builder.build().expect("a small batch")
    }

    fn compact(&mut self, map_keys: usize) {
        let limits = CleanerLimits { map_bytes: map_keys * 24, load_factor: 0.9, io_bytes: 4096 };
        // Only what is committed is compacted, by markers that are committed, and what is committed is never lost.
        self.decided = self.log.flush(self.now).expect("a sound log").0;
        self.log.clean(&limits, &FullSpeed, self.now).expect("a sound log");
        let cleaned_to = self.log.cleaned_to().map_or(0, |offset| offset.0);
        let [stable, _] = self.model.last_stable();
        assert!(cleaned_to <= stable, "compacted to {cleaned_to}, a transaction is open at {stable}");
        let left = self.seen(false);
        self.model.compacted(&left, cleaned_to, self.now, DELETE_RETENTION_MS);
    }

    fn retain(&mut self, bytes: u64) {
        let before = self.log.log_start_offset().0;
        self.log.set_config(LogConfig { retention_bytes: Some(bytes), ..config() });
        self.log.maintain(self.now).expect("a sound log");
        self.log.set_config(config());
        let start = self.log.log_start_offset().0;
        assert!(start >= before && start <= self.model.end);
        assert!(start == before || self.log.size() >= bytes, "{} of {bytes} bytes are left", self.log.size());
        self.model.begin(start);
    }

    /// A write that was under way, so nobody had seen what it brings, is cut short.
    fn crash(&mut self, torn: u64) {
        let last = layout(&self.dir).pop().expect("a log has a segment");
        let seen = self.log.log_start_offset().max(self.log.recovery_point()).0;
        let before = last.batches.iter().rev().nth(1).map_or(0, |(end, ..)| *end);
        let is_new = last.batches.last().is_some_and(|(_, base, _)| *base >= seen);
        let left = if is_new { last.bytes.saturating_sub(torn).max(before) } else { last.bytes };
        resize(&last.path, left);
        self.reopen(LastStop::Killed);
        self.take_loss(&last, left, None);
    }

    /// Takes away what was never flushed, from some byte on.
    fn power_loss(&mut self, left_percent: usize, after: After) {
        let flushed = self.log.recovery_point().0;
        let segments = layout(&self.dir);
        let unflushed = |segment: &OnDisk| segment.bytes - segment.flushed_bytes(flushed);
        let mut left = segments.iter().map(unflushed).sum::<u64>() * left_percent as u64 / 100;
        let Some(at) = segments.iter().position(|segment| {
            let here = unflushed(segment);
            let is_torn = left < here;
            left -= if is_torn { 0 } else { here };
            is_torn
        }) else {
            return self.reopen(LastStop::Unknown); // all of it had been written back
        };
        let (torn, behind) = (&segments[at], &segments[at + 1..]);
        let mut keep = torn.flushed_bytes(flushed) + left;
        if let After::Zeros = after {
            let bytes = fs::read(&torn.path).expect("a segment");
            keep += bytes[keep as usize..].iter().take_while(|byte| **byte == 0).count() as u64; // these are as they were
        }
        resize(&torn.path, keep);
        let remove = |segments: &[OnDisk]| {
            segments.iter().for_each(|segment| fs::remove_file(&segment.path).expect("remove a file"));
        };
        match after {
            After::Gone => remove(behind),
            After::Zeros => {
                resize(&torn.path, torn.bytes);
                behind.iter().for_each(|segment| resize_zeroed(&segment.path, segment.bytes));
            }
            // Nothing would tell that batches are missing between two files.
            After::Newer if torn.is_border(keep) => remove(behind),
            After::Newer => {}
        }
        self.reopen(LastStop::Unknown);
        let end = self.log.log_end_offset().0;
        assert!(end >= flushed, "{end}: records up to {flushed} were flushed");
        self.take_loss(torn, keep, behind.first());
    }

    /// The segment lost all but its first `left` bytes, and the log what came behind them.
    fn take_loss(&mut self, torn: &OnDisk, left: u64, behind: Option<&OnDisk>) {
        let end = self.log.log_end_offset().0;
        let kept = torn.batches.iter().take_while(|(end, ..)| *end <= left).last();
        let lost = torn.batches.iter().find(|(end, ..)| *end > left).map(|(_, base, _)| *base);
        let Some(lost) = lost.or(behind.map(|segment| segment.base)) else {
            return assert_eq!(end, self.model.end, "nothing was torn");
        };
        let (floor, start) = (kept.map_or(torn.base, |(_, _, next)| *next), self.model.start);
        assert!((floor.max(start)..=lost.max(start)).contains(&end), "{end}, not {floor} to {lost}");
        self.take_cut(end);
    }

    /// The log ends here now.
    fn take_cut(&mut self, end: i64) {
        self.model.cut(end);
        if let Some((_, on_disk)) = &mut self.flushing {
            *on_disk = end.min(*on_disk);
        }
        // What is left of open transactions may have lost its last batch: nobody goes on with them.
        self.sequences.clear();
    }

    fn reopen(&mut self, last_stop: LastStop) {
        self.reopen_from(last_stop, self.log.recovery_point());
    }

    fn reopen_from(&mut self, last_stop: LastStop, recovery_point: Offset) {
        let opening = Opening {
            last_stop,
            log_start: self.log.log_start_offset(),
            high_watermark: ALL,
            cleaned_to: self.log.cleaned_to(),
            recovery_point,
            ..Opening::fresh(config(), LogMetrics::new(), self.now)
        };
        self.log = PartitionLog::open(&self.dir, opening).expect("a log that was sound");
        self.flushing = None; // it was the earlier process's
        self.log.advance_high_watermark(ALL);
    }

    pub(crate) fn check(&self) {
        let (log, model) = (&self.log, &self.model);
        assert_eq!((log.log_start_offset().0, log.log_end_offset().0), (model.start, model.end));
        assert_eq!(self.seen(false), model.uncommitted(), "read uncommitted");
        let (stable, may) = (log.last_stable_offset().0, model.last_stable());
        assert!(may.contains(&stable), "last stable offset {stable}, not one of {may:?}");
        assert_eq!(self.seen(true), model.committed(stable), "read committed");
        assert!(log.read(Offset(model.end), 1, true, ALL).expect("the end").is_empty());
        let beyond = log.read(Offset(model.end + 1), 1, true, ALL);
        assert!(matches!(beyond, Err(ReadError::OutOfRange { .. })), "{beyond:?}");
        for (at, entry) in model.entries.range(model.start..) {
            assert_eq!(log.epoch_at(Offset(*at)).0, entry.epoch, "epoch at {at}");
        }
        let seen = model.uncommitted();
        for (at, ..) in seen.iter().step_by(seen.len().div_ceil(BY_TIME).max(1)).chain(seen.last()) {
            let found = log.offset_for_time(BEGIN + at).expect("a readable log").expect("a record of this time");
            assert_eq!(found.offset.0, *at, "by time");
        }
    }

    /// What a consumer sees, in reads of a few batches.
    fn seen(&self, committed: bool) -> Vec<Seen> {
        let log = &self.log;
        let mut seen = Vec::new();
        let mut at = log.log_start_offset();
        let end = if committed { log.last_stable_offset() } else { log.log_end_offset() };
        while at < end {
            let (read, aborted) = match committed {
                true => log.read_committed(at, READ_BYTES, true).expect("a readable log"),
                false => (log.read(at, READ_BYTES, true, ALL).expect("a readable log"), Vec::new()),
            };
            let Some(slice) = read.slice else { break };
            let ready = log.make_ready(&slice, 1 << 20).expect("sound bytes").read().expect("a range of a file");
            let mut waiting: Vec<(Offset, ProducerId)> =
                aborted.iter().map(|a| (a.first_offset, a.producer_id)).collect();
            let mut aborting = std::collections::BTreeSet::new();
            let from = at;
            for batch in batches(&ready).map_while(Result::ok) {
                batch.check_crc().expect("a good checksum");
                take(batch, from, &mut waiting, &mut aborting, &mut seen);
                at = at.max(batch.header().next_offset());
            }
            assert!(at > from, "no batch at {from}");
        }
        seen
    }
}

/// As a client does it with the list of aborted transactions that comes with the records (KIP-98).
fn take(
    batch: BatchView<'_>,
    from: Offset,
    waiting: &mut Vec<(Offset, ProducerId)>,
    aborting: &mut std::collections::BTreeSet<ProducerId>,
    seen: &mut Vec<Seen>,
) {
    let header = batch.header();
    waiting.retain(|(first, id)| match *first <= header.last_offset() {
        true => {
            aborting.insert(*id);
            false
        }
        false => true,
    });
    if header.attributes.is_control() {
        aborting.remove(&header.producer_id);
        return;
    }
    if header.attributes.is_transactional() && aborting.contains(&header.producer_id) {
        return;
    }
    for record in &batch.records(1 << 20).expect("records") {
        let record = record.expect("a record");
        if record.offset >= from {
            let value = record.value.map(|value| u16::from_be_bytes(value.try_into().expect("two bytes")));
            seen.push((record.offset.0, record.key.expect("a key")[0], value));
        }
    }
}

fn whats(records: &[(u8, Option<u16>)]) -> Vec<What> {
    records.iter().map(|(key, value)| What::Record { key: *key, value: *value }).collect()
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 100,
        cleanup: CleanupPolicy { delete: true, compact: true },
        retention_ms: None,
        delete_retention_ms: DELETE_RETENTION_MS,
        min_cleanable_dirty_ratio: 0.0,
        ..LogConfig::default()
    }
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found
}

/// A segment as it lies on the disk.
struct OnDisk {
    path: PathBuf,
    base: i64,
    bytes: u64,
    /// Where each batch ends in the file, its first offset, and the one behind it.
    batches: Vec<(u64, i64, i64)>,
}

impl OnDisk {
    /// Bytes of the batches below this offset.
    fn flushed_bytes(&self, flushed: i64) -> u64 {
        let below = self.batches.iter().take_while(|(_, _, next)| *next <= flushed);
        below.last().map_or(0, |(end, ..)| *end)
    }

    fn is_border(&self, position: u64) -> bool {
        position == 0 || self.batches.iter().any(|(end, ..)| *end == position)
    }
}

fn layout(dir: &Path) -> Vec<OnDisk> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a segment");
        let mut end = 0;
        let batches = batches(&bytes).map(|batch| {
            let header = batch.expect("whole batches").header();
            end += header.len as u64;
            (end, header.base_offset.0, header.next_offset().0)
        });
        let batches = batches.collect();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        OnDisk { base: name.parse().expect("an offset"), bytes: bytes.len() as u64, batches, path }
    };
    files(dir, "log").into_iter().map(read).collect()
}

fn resize(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("a segment");
    file.set_len(bytes).expect("another length");
}

fn resize_zeroed(path: &Path, bytes: u64) {
    resize(path, 0);
    resize(path, bytes);
}
