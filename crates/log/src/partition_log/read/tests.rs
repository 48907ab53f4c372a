use twinstream_model::Offset;
use twinstream_protocol::batch::BatchBuilder;
use twinstream_protocol::compression::Compression;
use twinstream_testkit::peer::missing;

use super::super::tests::{ALL, EPOCH, Fixture, NOW, plain, small};
use crate::segment::Moment;
use crate::{FileSlice, LogConfig, ReadError, Readiness, bring_into_memory, is_in_memory, page_cache};

/// Forty batches of three records, in several segments.
fn small_batches() -> Fixture {
    let log = Fixture::on_disk(small());
    for _ in 0..40 {
        log.fill(3);
    }
    log
}

/// Sixteen batches of one record, in one segment: a MiB.
fn large_batches() -> Fixture {
    let log = Fixture::on_disk(LogConfig::default());
    for _ in 0..16 {
        let mut batch = BatchBuilder::new();
        batch.append(0, None, Some(&vec![7; 64 << 10]), []);
        log.append(batch).unwrap();
    }
    log
}

fn slice_at(log: &Fixture, from: i64) -> FileSlice {
    log.log.read(Offset(from), 1 << 20, true, ALL).unwrap().slice.unwrap()
}

/// Takes all segments out of memory. Where the file system cannot do that, or not tell, nothing is shown.
fn evict(log: &Fixture) {
    let missing = || missing("page cache", "a build folder on a file system that is on a disk and counts its pages");
    log.log.flush(0).unwrap();
    for name in [log.files(".log"), log.files(".index")].concat() {
        let file = std::fs::File::open(log.dir().join(name)).unwrap();
        file.sync_all().unwrap();
        let all = 0..file.metadata().unwrap().len();
        bring_into_memory(&file, &all).unwrap();
        if !is_in_memory(&file, &all) {
            missing();
        }
        page_cache::not_needed(&file, &all);
        if !all.is_empty() && is_in_memory(&file, &all) {
            missing();
        }
    }
}

#[test]
fn what_is_in_memory_is_found_without_waiting() {
    let log = small_batches();
    for from in [0, 1, 17, 60, 118, 119] {
        let expected = slice_at(&log, from);
        let found = log.log.read_at_once(Offset(from), 1 << 20, true, ALL).unwrap().unwrap().slice.unwrap();
        assert_eq!((found.position, found.len), (expected.position, expected.len), "from {from}");
    }
    let end = log.log.read_at_once(Offset(120), 1 << 20, true, ALL).unwrap().unwrap();
    assert!(end.is_empty());
    assert!(log.log.read_at_once(Offset(121), 1 << 20, true, ALL).is_err(), "outside of the log");
}

#[test]
fn a_read_that_would_wait_for_the_disk_says_so_and_can_be_had_by_waiting() {
    let log = small_batches();
    let expected = slice_at(&log, 0).read().unwrap();
    evict(&log);
    assert!(log.log.read_at_once(Offset(0), 1 << 20, true, ALL).unwrap().is_none());
    assert!(log.log.read_committed_at_once(Offset(0), 1 << 20, true).unwrap().is_none());
    let slice = slice_at(&log, 0);
    bring_into_memory(&slice.file, &slice.bytes()).unwrap();
    assert_eq!(slice.readiness(), Readiness::Ready);
    let found = log.log.read_at_once(Offset(0), 1 << 20, true, ALL).unwrap().unwrap().slice.unwrap();
    assert_eq!(found.read().unwrap(), expected);
}

#[test]
fn a_slice_that_left_memory_is_cold_until_it_was_made_ready() {
    let log = large_batches();
    let slice = log.log.read(Offset(0), 200_000, true, ALL).unwrap().slice.unwrap();
    assert_eq!(slice.readiness(), Readiness::Ready);
    evict(&log);
    assert_eq!(slice.readiness(), Readiness::Cold);
    let ready = log.log.make_ready(&slice, slice.len).unwrap();
    assert_eq!((ready.position, ready.readiness()), (slice.position, Readiness::Ready));
}

#[test]
fn a_tail_is_believed_to_be_in_memory_for_a_moment_only() {
    let before = Moment::now();
    let log = large_batches();
    evict(&log);
    let tail = log.log.read_at_once(Offset(15), 1 << 20, true, ALL).unwrap().unwrap().slice.unwrap();
    assert_eq!(tail.readiness_at(before), Readiness::Ready, "the kernel is not asked about what came a moment ago");
    let later = Moment::now().later(11);
    assert_eq!(tail.readiness_at(later), Readiness::Cold);
    let ready = log.log.make_ready(&tail, tail.len).unwrap();
    assert_eq!((ready.position, ready.readiness_at(later)), (tail.position, Readiness::Ready));
}

#[test]
fn a_tail_that_an_earlier_process_wrote_is_never_believed_to_be_in_memory() {
    let log = large_batches().close();
    let tail = slice_at(&log, 15);
    log.log.make_ready(&tail, tail.len).unwrap();
    evict(&log);
    assert_eq!(tail.readiness(), Readiness::Cold);
}

#[test]
fn read_inside_a_batch_returns_the_whole_batch() {
    let log = Fixture::new(small());
    for _ in 0..20 {
        log.fill(5);
    }
    for offset in 0..100 {
        assert_eq!(log.bases(offset)[0], offset / 5 * 5, "offset {offset}");
    }
}

#[test]
fn read_honours_limits_but_returns_a_first_batch_whole() {
    let log = Fixture::new(LogConfig::default());
    let one = log.fill(1).bytes;
    log.fill(1);
    let len = |max, at_least_one, upper| log.log.read(Offset(0), max, at_least_one, upper).unwrap().len();
    assert_eq!(len(1, true, ALL), one);
    assert_eq!(len(1, false, ALL), 0);
    assert_eq!(len(one + 10, false, ALL), one + 10);
    assert_eq!(len(1 << 20, true, Offset(1)), one);
    assert_eq!(len(1 << 20, true, Offset(0)), 0);
}

#[test]
fn read_outside_the_log_is_an_error_and_at_its_end_empty() {
    let log = Fixture::new(LogConfig::default());
    log.fill(3);
    assert!(log.log.read(Offset(3), 100, true, ALL).unwrap().is_empty());
    for offset in [-1, 4] {
        let result = log.log.read(Offset(offset), 100, true, ALL);
        assert!(matches!(result, Err(ReadError::OutOfRange { .. })), "{offset}");
    }
}

#[test]
fn offset_for_time_finds_the_record_inside_a_batch() {
    for codec in Compression::ALL {
        let log = Fixture::new(small());
        for i in 0..10 {
            let times: Vec<i64> = (0..5).map(|j| NOW + i * 50 + j * 10).collect();
            log.append(plain(&times).with_compression(codec)).unwrap();
        }
        let at = |time| log.log.offset_for_time(NOW + time).unwrap().map(|f| (f.offset.0, f.timestamp - NOW));
        assert_eq!(at(-5), Some((0, 0)));
        assert_eq!(at(11), Some((2, 20)));
        assert_eq!(at(230), Some((23, 230)));
        assert_eq!(at(490), Some((49, 490)));
        assert_eq!(at(491), None);
    }
}

#[test]
fn max_timestamp_is_a_record_and_not_a_batch() {
    let log = Fixture::new(LogConfig::default());
    assert_eq!(log.log.max_timestamp().unwrap(), None);
    log.append(plain(&[NOW, NOW + 500, NOW + 20])).unwrap();
    log.append(plain(&[NOW + 30])).unwrap();
    let found = log.log.max_timestamp().unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp, found.leader_epoch), (Offset(1), NOW + 500, EPOCH));
}

#[test]
fn time_of_a_batch_is_found_by_any_of_its_offsets_without_its_records() {
    let log = Fixture::on_disk(small());
    for batch in 0..30 {
        let mut builder = BatchBuilder::new();
        for record in 0..3 {
            builder.append(NOW + batch * 100 + record, None, Some(b"value"), []);
        }
        log.append(builder).unwrap();
    }
    for offset in [0, 1, 2, 3, 44, 89] {
        let begun = NOW + offset / 3 * 100;
        assert_eq!(log.log.batch_time(Offset(offset)).unwrap(), Some(begun), "offset {offset}");
    }
    assert_eq!(log.log.batch_time(Offset(-1)).unwrap(), Some(NOW), "what is below the log begins with it");
    assert_eq!(log.log.batch_time(Offset(90)).unwrap(), None, "nothing is there yet");
}
