//! A small log with a file of every kind, and what is true of it.
//!
//! Three segments of a few batches each, over three leader epochs; an idempotent producer, an aborted transaction whose
//! marker lies in a later segment than its begin, and a committed one. Every batch has an index entry.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use twinstream_log::{
    AppendError, LastStop, LogConfig, LogError, LogMetrics, OpenFiles, Opening, Origin, PartitionLog,
};
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchHeader, ProducerStamp, batches};
use uuid::Uuid;

pub(crate) const NOW: i64 = 1_700_000_000_000;
pub(crate) const ALL: Offset = Offset(i64::MAX);
pub(crate) const FOLDER: &str = "t-0";
pub(crate) const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(0x1234_5678_9abc_def0_0fed_cba9_8765_4321));
const IDEMPOTENT: i64 = 8;
const ABORTING: i64 = 7;
const COMMITTING: i64 = 9;
/// Of the leader that appends after a damaged log was opened.
const NEXT_EPOCH: LeaderEpoch = LeaderEpoch(200);

/// A folder in memory where there is such a place: thousands of logs are laid out, and none has to outlive its test.
pub(crate) fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

pub(crate) fn config() -> LogConfig {
    LogConfig { segment_bytes: 560, index_interval_bytes: 1, ..LogConfig::default() }
}

/// What a log says beyond its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    by_time: Vec<Option<(i64, i64)>>,
    last_stable: i64,
    /// For readers of everything, and of a part.
    aborted: Vec<Vec<(i64, i64)>>,
    /// Where a batch of the idempotent producer lies that comes once more.
    repeated: (bool, i64),
    /// What a batch gets that leaves one out.
    out_of_order: bool,
}

pub(crate) struct Original {
    /// Of the partition's folder, by name, after a clean stop.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// By base offset.
    pub(crate) batches: BTreeMap<i64, Vec<u8>>,
    pub(crate) answers: Answers,
    /// Largest epochs of at most 0 to 4, and where they end.
    pub(crate) epochs: Vec<Option<(i32, i64)>>,
    pub(crate) end: i64,
    pub(crate) aborted_count: u64,
}

impl Original {
    pub(crate) fn new() -> Original {
        let root = temporary();
        let dir = root.path().join(FOLDER);
        let log =
            PartitionLog::create(&dir, TOPIC_ID, Opening::fresh(config(), LogMetrics::new(), NOW)).expect("a log");
        let mut batches = BTreeMap::new();
        for (epoch, batch) in written() {
            let base = log.log_end_offset();
            let batch =
                batch(base).with_base_offset(base).with_leader_epoch(LeaderEpoch(epoch)).build().expect("a batch");
            log.append_as_follower(&batch, LeaderEpoch(epoch), NOW).expect("an append");
            batches.insert(base.0, batch);
        }
        log.advance_high_watermark(ALL);
        let (answers, epochs, end) = (answers(&log), epochs(&log), log.log_end_offset().0);
        log.close(NOW).expect("a clean stop");
        let (files, aborted_count) = (files_of(&dir), log.aborted_count());
        Original { files, batches, answers, epochs, end, aborted_count }
    }

    /// The files of a kind, oldest segment first.
    pub(crate) fn names(&self, suffix: &str) -> Vec<String> {
        self.files.keys().filter(|name| name.ends_with(suffix)).cloned().collect()
    }

    /// Writes the folder anew.
    pub(crate) fn lay_out(&self, dir: &Path) {
        if dir.exists() {
            fs::remove_dir_all(dir).expect("remove a folder");
        }
        fs::create_dir_all(dir).expect("a folder");
        for (name, bytes) in &self.files {
            fs::write(dir.join(name), bytes).expect("a file");
        }
    }

    /// Opens the folder as after such a stop. After a kill the last segment was flushed in part.
    pub(crate) fn open(&self, dir: &Path, last_stop: LastStop) -> Result<PartitionLog, LogError> {
        let mut opening = opening(last_stop, 0);
        opening.aborted_count = (last_stop == LastStop::Clean).then_some(self.aborted_count);
        opening.recovery_point = Offset(self.flushed_at(last_stop));
        PartitionLog::open(dir, opening)
    }

    /// Up to where all was on the disk at such a stop.
    pub(crate) fn flushed_at(&self, last_stop: LastStop) -> i64 {
        match last_stop {
            LastStop::Clean => self.end,
            LastStop::Killed => *self.batches.keys().nth_back(1).expect("batches"),
            LastStop::Unknown => 0,
        }
    }

    /// The base of the batch at a position of a segment, where that one begins, and whether another one follows.
    pub(crate) fn batch_at(&self, segment: &str, position: usize) -> (i64, usize) {
        let mut start = 0;
        for batch in batches(&self.files[segment]) {
            let batch = batch.expect("whole batches");
            if position < start + batch.len() {
                return (batch.base_offset().0, start);
            }
            start += batch.len();
        }
        panic!("{segment} has no position {position}");
    }
}

pub(crate) fn opening(last_stop: LastStop, recovery_point: i64) -> Opening {
    Opening {
        last_stop,
        recovery_point: Offset(recovery_point),
        high_watermark: ALL,
        files: OpenFiles::new(100),
        ..Opening::fresh(config(), LogMetrics::new(), NOW)
    }
}

pub(crate) fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file")))
        .collect()
}

type Make = Box<dyn Fn(Offset) -> BatchBuilder>;

/// The batches with their epochs.
fn written() -> Vec<(i32, Make)> {
    let plain = || -> Make { Box::new(filled) };
    let of = |id: i64, sequence: i32| -> Make { Box::new(move |at| filled(at).with_producer(stamp(id, sequence))) };
    let transactional = |id: i64, sequence: i32| -> Make {
        Box::new(move |at| filled(at).with_producer(stamp(id, sequence)).with_transactional())
    };
    let marker = |id: i64, commit: bool| -> Make { Box::new(move |at| end_of_transaction(at, id, commit)) };
    vec![
        (0, plain()),
        (0, transactional(ABORTING, 0)),
        (0, of(IDEMPOTENT, 0)),
        (0, plain()),
        (2, transactional(COMMITTING, 0)),
        (2, marker(ABORTING, false)),
        (2, of(IDEMPOTENT, 2)),
        (2, marker(COMMITTING, true)),
        (2, plain()),
        (3, transactional(ABORTING, 2)),
        (3, marker(ABORTING, false)),
        (3, of(IDEMPOTENT, 4)),
        (3, plain()),
    ]
}

fn stamp(id: i64, base_sequence: i32) -> ProducerStamp {
    ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence }
}

/// Two records whose timestamps and values tell their offsets.
fn filled(base: Offset) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for offset in base.0..base.0 + 2 {
        builder.append(NOW + offset, Some(b"key"), Some(format!("value {offset:04}").as_bytes()), []);
    }
    builder
}

/// A marker as Kafka writes it: version and type, version and epoch of the coordinator.
fn end_of_transaction(base: Offset, id: i64, commit: bool) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    builder.append(NOW + base.0, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0, 0, 0, 0, 0, 1]), []);
    builder.with_producer(stamp(id, -1)).with_transactional().with_control()
}

/// Asks a log all there is to ask but for records and epochs.
pub(crate) fn answers(log: &PartitionLog) -> Answers {
    let by_time = (-1..30).map(|time| {
        let found = log.offset_for_time(NOW + time).expect("indexes that work");
        found.map(|found| (found.offset.0, found.timestamp))
    });
    let aborted = |from, upper| {
        let found = log.aborted_transactions(Offset(from), Offset(upper)).expect("an index that works");
        found.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset.0)).collect::<Vec<_>>()
    };
    let end = log.log_end_offset().0;
    let again = filled(Offset(0)).with_producer(stamp(IDEMPOTENT, 4)).build().expect("a batch");
    let again = log.append(&again, Origin::Client, NEXT_EPOCH, NOW).expect("what was appended before");
    let gap = filled(Offset(0)).with_producer(stamp(IDEMPOTENT, 40)).build().expect("a batch");
    let gap = log.append(&gap, Origin::Client, NEXT_EPOCH, NOW);
    Answers {
        by_time: by_time.collect(),
        last_stable: log.last_stable_offset().0,
        aborted: (0..end).flat_map(|at| [aborted(0, at), aborted(at, end)]).collect(),
        repeated: (again.duplicate, again.base_offset.0),
        out_of_order: matches!(gap, Err(AppendError::OutOfOrderSequence { .. })),
    }
}

pub(crate) fn epochs(log: &PartitionLog) -> Vec<Option<(i32, i64)>> {
    let ends = (0..5).map(|epoch| log.end_offset_for_epoch(LeaderEpoch(epoch)));
    ends.map(|end| end.map(|(epoch, end)| (epoch.0, end.0))).collect()
}

/// Appends a batch of a new leader; its base and its bytes in the log.
pub(crate) fn append_one(log: &PartitionLog) -> Result<(i64, BatchHeader), AppendError> {
    let batch = filled(log.log_end_offset()).build().expect("a batch");
    let appended = log.append(&batch, Origin::Client, NEXT_EPOCH, NOW)?;
    log.advance_high_watermark(ALL);
    Ok((appended.base_offset.0, BatchHeader::parse(&batch).expect("a batch")))
}
