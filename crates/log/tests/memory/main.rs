//! What a small batch that unpacks to very much costs in memory: a window, wherever a log looks inside.
//!
//! Limits are the default ones, with which such a batch is accepted. An allocator counts what the work takes; what C code
//! takes (zstd's window) it does not see. Tests take turns, since they share the count.

mod counting; // the allocator

use std::io::Write;

use counting::growth_of;
use parking_lot::Mutex;
use tempfile::TempDir;
use twinstream_log::{
    CleanError, CleanerLimits, CleanupPolicy, FullSpeed, LogConfig, LogMetrics, Opening, Origin, PartitionLog,
    RecordChecks,
};
use twinstream_model::{LeaderEpoch, Offset, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchView, HEADER_BYTES, Surveyed};
use twinstream_protocol::compression::{Compression, CompressionSpec};

const NOW: i64 = 1_800_000_000_000;
/// What the large record unpacks to.
const LARGE_BYTES: usize = 32 << 20;
/// Snappy packs 21 to 1 at best, so that less fits into a batch of the default size.
const LARGE_SNAPPY_BYTES: usize = 16 << 20;
/// Far below both: the packed batch some times over, blocks of the codecs, the map of keys.
const GROWTH_MAX: usize = 8 << 20;

static TURNS: Mutex<()> = Mutex::new(());

fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| *codec != Compression::None)
}

/// A record up to its value.
fn record_head(index: u64, key: &str, time: u64, value: usize) -> Vec<u8> {
    let mut head = vec![0];
    put_number(&mut head, time);
    put_number(&mut head, index);
    put_number(&mut head, key.len() as u64);
    head.extend_from_slice(key.as_bytes());
    put_number(&mut head, value as u64);
    let mut framed = Vec::new();
    put_number(&mut framed, (head.len() + value + 1) as u64);
    framed.extend(head);
    framed
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut rest = number << 1; // zigzag
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A batch of a record `large` whose value is zeros, and of a record `small` one second later.
fn bomb(codec: Compression) -> Vec<u8> {
    let len = if codec == Compression::Snappy { LARGE_SNAPPY_BYTES } else { LARGE_BYTES };
    let mut packer = CompressionSpec::from(codec).writer().unwrap();
    packer.write_all(&record_head(0, "large", 0, len)).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..len / zeros.len() {
        packer.write_all(&zeros).unwrap();
    }
    packer.write_all(&[0]).unwrap(); // headers
    packer.write_all(&record_head(1, "small", 1_000, 1)).unwrap();
    packer.write_all(b"v\0").unwrap();
    let body = packer.finish().unwrap();
    let mut frame = BatchBuilder::new().with_compression(codec);
    frame.append(NOW, None, None, []).append(NOW + 1_000, None, None, []);
    let mut batch = frame.build().unwrap()[..HEADER_BYTES].to_vec();
    batch.extend(body);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn plain(key: &str, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.append(NOW + 2_000, Some(key.as_bytes()), Some(value), []);
    builder.build().unwrap()
}

/// An empty log.
fn open(config: LogConfig) -> (TempDir, PartitionLog) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("t-0");
    let opening = Opening::fresh(config, LogMetrics::new(), NOW);
    let log = PartitionLog::create(&dir, TopicId(uuid::Uuid::from_u128(1)), opening).unwrap();
    (root, log)
}

fn append(log: &PartitionLog, batch: &[u8]) {
    log.append(batch, Origin::Client, LeaderEpoch(0), NOW).unwrap();
    log.advance_high_watermark(log.log_end_offset());
}

/// A compacted log whose segments hold a batch each.
fn compacted(batch: &[u8]) -> LogConfig {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    LogConfig { cleanup, segment_bytes: batch.len() as u32, ..LogConfig::default() }
}

/// Offsets of the records in the log, and the lengths of its batches.
fn held(log: &PartitionLog) -> (Vec<i64>, Vec<usize>) {
    let (mut offsets, mut lens) = (Vec::new(), Vec::new());
    let mut at = Offset(0);
    while let Some(slice) = log.read(at, 1, true, log.log_end_offset()).unwrap().slice {
        let bytes = slice.read().unwrap();
        let batch = BatchView::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        let mut note = |record: Surveyed| {
            offsets.push(record.offset.0);
            std::ops::ControlFlow::Continue(())
        };
        batch.walk(usize::MAX, &mut note).unwrap();
        lens.push(batch.len());
        at = batch.last_offset().next();
    }
    (offsets, lens)
}

#[test]
fn whole_batch_would_take_all_that_it_unpacks_to() {
    let _turn = TURNS.lock();
    for codec in codecs() {
        let batch = bomb(codec);
        let (len, growth) = growth_of(|| BatchView::parse(&batch).unwrap().records(usize::MAX).unwrap().bytes().len());
        assert!(growth >= len && len > LARGE_SNAPPY_BYTES, "{codec}: {growth} of {len}");
        assert!(batch.len() <= LogConfig::default().message_bytes_max, "{codec}: {}", batch.len());
    }
}

#[test]
fn look_up_by_time_takes_a_window_of_what_a_batch_unpacks_to() {
    let _turn = TURNS.lock();
    for codec in codecs() {
        let (_root, log) = open(LogConfig::default());
        append(&log, &bomb(codec));
        let (found, growth) = growth_of(|| log.offset_for_time(NOW + 1).unwrap());
        assert_eq!(found.map(|found| (found.offset, found.timestamp)), Some((Offset(1), NOW + 1_000)), "{codec}");
        assert!(growth < GROWTH_MAX, "{codec}: {growth}");
        let (latest, growth) = growth_of(|| log.max_timestamp().unwrap());
        assert_eq!(latest.map(|latest| latest.offset), Some(Offset(1)), "{codec}");
        assert!(growth < GROWTH_MAX, "{codec}: {growth}");
    }
}

#[test]
fn append_that_looks_at_every_record_takes_a_window_of_what_a_batch_unpacks_to() {
    let _turn = TURNS.lock();
    for codec in codecs() {
        let (_root, log) = open(LogConfig { record_checks: RecordChecks::Records, ..LogConfig::default() });
        let batch = bomb(codec);
        let ((), growth) = growth_of(|| append(&log, &batch));
        assert!(growth < GROWTH_MAX, "{codec}: {growth}");
    }
}

#[test]
fn compaction_takes_a_window_of_what_a_batch_unpacks_to() {
    let _turn = TURNS.lock();
    for codec in codecs() {
        for (superseded, left) in [("large", [1, 2, 3]), ("small", [0, 2, 3])] {
            let batch = bomb(codec);
            let (_root, log) = open(compacted(&batch));
            append(&log, &batch);
            append(&log, &plain(superseded, b"new"));
            append(&log, &plain("active", &vec![b'x'; batch.len() - 100]));
            let (cleaned, growth) = growth_of(|| log.clean(&CleanerLimits::default(), &FullSpeed, NOW));
            assert_eq!(cleaned.unwrap().records_after, 2, "{codec}");
            assert!(growth < GROWTH_MAX, "{codec}, without {superseded}: {growth}");
            assert_eq!(held(&log).0, left, "{codec}");
        }
    }
}

#[test]
fn batch_that_unpacks_to_more_than_allowed_is_not_compacted_and_stays_readable() {
    let _turn = TURNS.lock();
    let batch = bomb(Compression::Zstd);
    let (_root, log) = open(compacted(&batch));
    append(&log, &batch);
    append(&log, &plain("large", b"new"));
    append(&log, &plain("active", &vec![b'x'; batch.len() - 100]));
    log.set_config(LogConfig { decompressed_bytes_max: 1 << 20, ..compacted(&batch) });
    let before = held(&log);
    let error = log.clean(&CleanerLimits::default(), &FullSpeed, NOW).unwrap_err();
    assert!(matches!(error, CleanError::Unworkable { position: 0, .. }), "{error}");
    assert_eq!(held(&log), before);
    assert!(log.damage().is_empty(), "its checksum is right");
}
