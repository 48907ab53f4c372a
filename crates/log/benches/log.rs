//! One log without a broker around it: append, look-up, read, recovery. `cargo bench -p twinstream-log`.
//!
//! Logs lie in the folder for temporary files; what a bench writes in all is bounded by its number of samples.

use std::path::PathBuf;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use tempfile::TempDir;
use twinstream_log::{LastStop, LogConfig, LogMetrics, Opening, Origin, PartitionLog};
use twinstream_model::{LeaderEpoch, Offset, TopicId};
use twinstream_protocol::batch::BatchBuilder;
use uuid::Uuid;

const NOW: i64 = 1_700_000_000_000;
const EPOCH: LeaderEpoch = LeaderEpoch(0);
const ALL: Offset = Offset(i64::MAX);
/// Batches of the log that is read.
const FILLED: i64 = 64_000;
const FILLED_BATCH: usize = 2_000;

fn main() {
    divan::main();
}

struct Fixture {
    root: TempDir,
    log: PartitionLog,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        let opening = Opening::fresh(LogConfig::default(), LogMetrics::new(), NOW);
        let topic = TopicId(Uuid::from_u128(7));
        let log = PartitionLog::create(&root.path().join("t-0"), topic, opening).expect("a fresh log");
        Self { root, log }
    }

    /// Batches of one record, each a millisecond later than the one before.
    fn filled(batches: i64) -> Self {
        let fixture = Self::new();
        for number in 0..batches {
            fixture.append(&batch(1, FILLED_BATCH, NOW + number));
        }
        fixture
    }

    fn append(&self, bytes: &[u8]) {
        self.log.append(bytes, Origin::Client, EPOCH, NOW).expect("an append");
        self.log.advance_high_watermark(self.log.log_end_offset());
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("t-0")
    }
}

/// A batch of so many records whose values have so many bytes together.
fn batch(records: usize, bytes: usize, time: i64) -> Vec<u8> {
    let value: Vec<u8> = (0..bytes / records).map(|at| (at * 31 % 251) as u8).collect();
    let mut batch = BatchBuilder::new();
    for _ in 0..records {
        batch.append(time, None, Some(&value), []);
    }
    batch.build().expect("a batch that is not too large")
}

/// What a produce request costs below the network: checks, CRC, write, index.
#[divan::bench(args = [(1, 100), (100, 10_000), (100, 100_000), (1_000, 1_000_000)], sample_count = 50, sample_size = 8)]
fn append(bencher: Bencher<'_, '_>, (records, bytes): (usize, usize)) {
    let fixture = Fixture::new();
    let batch = batch(records, bytes, NOW);
    bencher.counter(BytesCount::new(batch.len())).bench_local(|| fixture.append(&batch));
}

/// Where an offset lies: segment, index, a stretch of headers; no record is read.
#[divan::bench]
fn offset_lookup(bencher: Bencher<'_, '_>) {
    let fixture = Fixture::filled(FILLED);
    let mut offset = 0;
    bencher.bench_local(|| {
        offset = (offset + 7_919) % FILLED;
        black_box(fixture.log.read(Offset(offset), 1 << 20, true, ALL).expect("a read"))
    });
}

#[divan::bench]
fn time_lookup(bencher: Bencher<'_, '_>) {
    let fixture = Fixture::filled(FILLED);
    let mut time = 0;
    bencher.bench_local(|| {
        time = (time + 7_919) % FILLED;
        black_box(fixture.log.offset_for_time(NOW + time).expect("a look-up"))
    });
}

/// What a crash costs: every byte past the recovery point is checked.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn recovery(bencher: Bencher<'_, '_>) {
    let fixture = Fixture::filled(FILLED);
    let folder = fixture.folder();
    let size = fixture.log.size();
    let Fixture { root, log } = fixture;
    drop(log);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let fresh = Opening::fresh(LogConfig::default(), LogMetrics::new(), NOW);
        let opening = Opening { last_stop: LastStop::Unknown, ..fresh };
        black_box(PartitionLog::open(&folder, opening).expect("a log that opens"))
    });
    drop(root);
}
