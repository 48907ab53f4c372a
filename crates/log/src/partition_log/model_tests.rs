//! A log against a list of batches: whatever is done to it, it holds what the list holds.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use twinstream_model::{LeaderEpoch, Offset, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchMut, BatchView};
use uuid::Uuid;

use super::{Opening, Origin, PartitionLog};
use crate::{LastStop, LogConfig, LogMetrics, ReadError};

const NOW: i64 = 1_700_000_000_000;
const ALL: Offset = Offset(i64::MAX);

#[derive(Clone, Debug)]
enum Step {
    /// Appends a batch of records with values of this size.
    Append { records: i32, size: usize },
    /// Appends what a leader sent: batches of one record of this size, after a gap, in an epoch that is newer or not.
    Follow { batches: i64, size: usize, gap: i64, epochs: i32 },
    /// Drops everything and goes on behind the end.
    RestartAt { behind: i64 },
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
        3 => (1..12i64, 0..240usize, 0..3i64, 0..2i32)
            .prop_map(|(batches, size, gap, epochs)| Step::Follow { batches, size, gap, epochs }),
        1 => (0..20i64).prop_map(|behind| Step::RestartAt { behind }),
        1 => Just(Step::Restart),
        1 => (0..400u64).prop_map(|torn| Step::Crash { torn, stop: LastStop::Unknown }),
        1 => (0..90u64).prop_map(|torn| Step::Crash { torn, stop: LastStop::Killed }),
        1 => prop_oneof![Just("index"), Just("timeindex")].prop_map(|extension| Step::LoseIndexes { extension }),
        1 => (0..100i64).prop_map(|percent| Step::DeleteRecords { percent }),
        1 => (0..100i64).prop_map(|percent| Step::Truncate { percent }),
    ]
}

/// What must be in the log, also of what the log start hides.
#[derive(Default)]
struct Model {
    batches: Vec<Stored>,
    start: i64,
    epoch: i32,
    /// A log that was cut in a gap between two segments ends behind the gap.
    end_min: i64,
}

#[derive(Clone, Copy)]
struct Stored {
    base: i64,
    records: i32,
    bytes: u64,
    epoch: i32,
}

impl Stored {
    fn end(&self) -> i64 {
        self.base + i64::from(self.records)
    }
}

impl Model {
    fn end(&self) -> i64 {
        let last = self.batches.last().map_or(self.start, |batch| batch.end().max(self.start));
        last.max(self.end_min)
    }

    /// The log was cut and ends here, which is before `lost`, the first batch that is gone.
    fn cut(&mut self, end: i64, lost: i64) {
        self.end_min = 0;
        assert!((self.end()..=lost.max(self.end())).contains(&end), "{end}, not {} to {lost}", self.end());
        self.end_min = end;
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
            let appended = subject.log.append(&bytes, Origin::Client, LeaderEpoch(model.epoch), NOW).unwrap();
            subject.log.advance_high_watermark(ALL);
            assert_eq!(appended.base_offset.0, model.end());
            let (base, bytes) = (appended.base_offset.0, bytes.len() as u64);
            model.batches.push(Stored { base, records: *records, bytes, epoch: model.epoch });
        }
        Step::Follow { batches, size, gap, epochs } => {
            model.epoch += epochs;
            let mut sent = Vec::new();
            for i in 0..*batches {
                let base = if i == 0 { model.end() + gap } else { model.end() };
                let mut builder = BatchBuilder::new();
                builder.append(NOW + base, None, Some(&vec![7; *size]), []);
                let mut bytes = builder.build().unwrap();
                let mut header = BatchMut::parse(&mut bytes).unwrap();
                header.set_base_offset(Offset(base));
                header.set_leader_epoch(LeaderEpoch(model.epoch));
                model.batches.push(Stored { base, records: 1, bytes: bytes.len() as u64, epoch: model.epoch });
                sent.extend(bytes);
            }
            let appended = subject.log.append_as_follower(&sent, LeaderEpoch(model.epoch), NOW).unwrap();
            subject.log.advance_high_watermark(ALL);
            assert_eq!((appended.log_end.0, appended.last_epoch.0), (model.end(), model.epoch));
        }
        Step::RestartAt { behind } => {
            let start = model.end() + behind;
            assert_eq!(subject.log.restart_at(Offset(start)).unwrap().log_end, Offset(start));
            *model = Model { start, epoch: model.epoch, ..Model::default() };
        }
        Step::Restart => {
            subject.log.close(NOW).unwrap();
            subject.reopen(LastStop::Clean);
        }
        Step::Crash { torn, stop } => {
            let last = subject.files("log").pop().unwrap();
            let mut gone = shorten(&last, *torn);
            let mut lost = model.end();
            while gone > 0 {
                let batch = model.batches.pop().unwrap();
                gone = gone.saturating_sub(batch.bytes);
                lost = batch.base;
            }
            let end = model.batches.last().map_or(0, Stored::end);
            if end < model.start {
                model.batches.clear(); // the log begins anew at its start
            }
            subject.reopen(*stop);
            model.cut(subject.log.log_end_offset().0, lost);
        }
        Step::LoseIndexes { extension } => {
            subject.log.close(NOW).unwrap();
            subject.files(extension).iter().for_each(|path| fs::remove_file(path).unwrap());
            subject.reopen(LastStop::Clean);
        }
        Step::DeleteRecords { percent } => {
            let before = model.start + (model.end() - model.start) * percent / 100;
            let start = subject.log.delete_records(Offset(before), NOW).unwrap().0;
            // It may be at the end of a gap.
            let next = model.batches.iter().find(|batch| batch.end() > before).map_or(model.end(), |batch| batch.base);
            assert!((before..=next.max(before)).contains(&start), "{start}, not {before} to {next}");
            model.start = model.start.max(start);
        }
        Step::Truncate { percent } => {
            let end = model.start + (model.end() - model.start) * percent / 100;
            let cut = subject.log.truncate_to(Offset(end)).unwrap();
            let lost = model.batches.iter().find(|batch| batch.end() > end).map_or(model.end(), |batch| batch.base);
            model.batches.retain(|batch| batch.end() <= end);
            model.start = model.start.min(cut.log_end.0);
            model.cut(cut.log_end.0, lost);
        }
    }
}

fn check(subject: &Subject, model: &Model) {
    let log = &subject.log;
    assert_eq!((log.log_start_offset().0, log.log_end_offset().0), (model.start, model.end()));
    for stored in &model.batches {
        for offset in stored.base.max(model.start)..stored.end() {
            let found = log.read(Offset(offset), 1, true, ALL).unwrap().slice.unwrap().read().unwrap();
            let batch = BatchView::parse(&found).unwrap();
            batch.check_crc().unwrap();
            assert_eq!((batch.base_offset().0, batch.len() as u64), (stored.base, stored.bytes), "offset {offset}");
            assert_eq!(log.epoch_at(Offset(offset)).0, stored.epoch, "offset {offset}");
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
