//! A log against a list of batches: whatever is done to it, it holds what the list holds.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use twinstream_model::{LeaderEpoch, Offset, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchView};
use uuid::Uuid;

use super::{Opening, Origin, PartitionLog};
use crate::{LastStop, LogConfig, LogMetrics, ReadError};

const NOW: i64 = 1_700_000_000_000;
const ALL: Offset = Offset(i64::MAX);

#[derive(Clone, Debug)]
enum Step {
    /// Appends a batch of records with values of this size.
    Append { records: i32, size: usize },
    /// Closes and opens the log.
    Restart,
    /// Opens the log without closing it, with this many bytes torn off its last segment.
    Crash { torn: u64, stop: LastStop },
    /// Removes one kind of index files while the log is closed.
    LoseIndexes { extension: &'static str },
    /// Moves the log start to this share of the log.
    DeleteRecords { percent: i64 },
    /// Cuts the log at this share.
    Truncate { percent: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..6i32, 0..240usize).prop_map(|(records, size)| Step::Append { records, size }),
        1 => Just(Step::Restart),
        1 => (0..400u64).prop_map(|torn| Step::Crash { torn, stop: LastStop::Unknown }),
        1 => (0..90u64).prop_map(|torn| Step::Crash { torn, stop: LastStop::Killed }),
        1 => prop_oneof![Just("index"), Just("timeindex")].prop_map(|extension| Step::LoseIndexes { extension }),
        1 => (0..100i64).prop_map(|percent| Step::DeleteRecords { percent }),
        1 => (0..100i64).prop_map(|percent| Step::Truncate { percent }),
    ]
}

/// What must be in the log: base offset, records and bytes of each batch, also of those that the log start hides.
#[derive(Default)]
struct Model {
    batches: Vec<(i64, i32, u64)>,
    start: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |(base, records, _)| (base + i64::from(*records)).max(self.start))
    }
}

struct Subject {
    dir: PathBuf,
    log: PartitionLog,
}

impl Subject {
    fn reopen(&mut self, last_stop: LastStop) {
        let log_start = self.log.log_start_offset();
        let opening = Opening { last_stop, log_start, high_watermark: ALL, ..fresh() };
        self.log = PartitionLog::open(&self.dir, opening).unwrap();
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        found.sort();
        found
    }
}

fn fresh() -> Opening {
    let config = LogConfig { segment_bytes: 1_500, index_interval_bytes: 150, ..LogConfig::default() };
    Opening::fresh(config, LogMetrics::new(), NOW)
}

fn shorten(path: &Path, by: u64) -> u64 {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(by)).unwrap();
    by.min(len)
}

fn apply(step: &Step, subject: &mut Subject, model: &mut Model) {
    match step {
        Step::Append { records, size } => {
            let mut builder = BatchBuilder::new();
            for i in 0..*records {
                builder.append(NOW + model.end() + i64::from(i), None, Some(&vec![7; *size]), []);
            }
            let bytes = builder.build().unwrap();
            let appended = subject.log.append(&bytes, Origin::Client, LeaderEpoch(0), NOW).unwrap();
            subject.log.advance_high_watermark(ALL);
            assert_eq!(appended.base_offset.0, model.end());
            model.batches.push((appended.base_offset.0, *records, bytes.len() as u64));
        }
        Step::Restart => {
            subject.log.close(NOW).unwrap();
            subject.reopen(LastStop::Clean);
        }
        Step::Crash { torn, stop } => {
            let last = subject.files("log").pop().unwrap();
            let mut gone = shorten(&last, *torn);
            while gone > 0 {
                let (.., bytes) = model.batches.pop().unwrap();
                gone = gone.saturating_sub(bytes);
            }
            let end = model.batches.last().map_or(0, |(base, records, _)| base + i64::from(*records));
            if end < model.start {
                model.batches.clear(); // the log begins anew at its start
            }
            subject.reopen(*stop);
        }
        Step::LoseIndexes { extension } => {
            subject.log.close(NOW).unwrap();
            subject.files(extension).iter().for_each(|path| fs::remove_file(path).unwrap());
            subject.reopen(LastStop::Clean);
        }
        Step::DeleteRecords { percent } => {
            let before = model.start + (model.end() - model.start) * percent / 100;
            subject.log.delete_records(Offset(before), NOW).unwrap();
            model.start = model.start.max(before);
        }
        Step::Truncate { percent } => {
            let end = model.start + (model.end() - model.start) * percent / 100;
            let cut = subject.log.truncate_to(Offset(end)).unwrap();
            model.batches.retain(|(base, records, _)| base + i64::from(*records) <= end);
            model.start = model.start.min(cut.log_end.0);
        }
    }
}

fn check(subject: &Subject, model: &Model) {
    let log = &subject.log;
    assert_eq!((log.log_start_offset().0, log.log_end_offset().0), (model.start, model.end()));
    for (base, records, bytes) in &model.batches {
        for offset in (*base).max(model.start)..base + i64::from(*records) {
            let found = log.read(Offset(offset), 1, true, ALL).unwrap().slice.unwrap().read().unwrap();
            let batch = BatchView::parse(&found).unwrap();
            batch.check_crc().unwrap();
            assert_eq!((batch.base_offset().0, batch.len() as u64), (*base, *bytes), "offset {offset}");
            let by_time = log.offset_for_time(NOW + offset).unwrap().unwrap();
            assert_eq!(by_time.offset, Offset(offset));
        }
    }
    assert!(log.read(Offset(model.end()), 1, true, ALL).unwrap().is_empty());
    assert!(matches!(log.read(Offset(model.end() + 1), 1, true, ALL), Err(ReadError::OutOfRange { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn log_holds_what_the_model_holds(steps in prop::collection::vec(step(), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("t-0");
        let log = PartitionLog::create(&dir, TopicId(Uuid::from_u128(1)), fresh()).unwrap();
        let mut subject = Subject { dir, log };
        let mut model = Model::default();
        for step in &steps {
            apply(step, &mut subject, &mut model);
            check(&subject, &model);
        }
    }
}
