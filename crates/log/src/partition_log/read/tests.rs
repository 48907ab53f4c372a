use twinstream_model::Offset;
use twinstream_protocol::batch::BatchBuilder;

use super::super::tests::{Fixture, small};
use crate::{FileSlice, LogConfig, Readiness, bring_into_memory, is_in_memory, page_cache};

const ALL: Offset = Offset(i64::MAX);

/// Forty batches of three records, in several segments.
fn small_batches() -> Fixture {
    let log = Fixture::new(small());
    for _ in 0..40 {
        log.fill(3);
    }
    log
}

fn slice_at(log: &Fixture, from: i64) -> FileSlice {
    log.log.read(Offset(from), 1 << 20, true, ALL).unwrap().slice.unwrap()
}

/// Takes all segments out of memory. False if the file system cannot do that.
fn evict(log: &Fixture) -> bool {
    log.log.flush(0).unwrap();
    let mut is_out = true;
    for name in [log.files(".log"), log.files(".index")].concat() {
        let file = std::fs::File::open(log.dir().join(name)).unwrap();
        file.sync_all().unwrap();
        let all = 0..file.metadata().unwrap().len();
        page_cache::not_needed(&file, &all);
        is_out &= all.is_empty() || !is_in_memory(&file, &all);
    }
    is_out
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
    if !evict(&log) {
        return; // nothing here ever waits for a disk
    }
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
    let log = Fixture::new(LogConfig::default());
    for _ in 0..16 {
        let mut batch = BatchBuilder::new();
        batch.append(0, None, Some(&vec![7; 64 << 10]), []);
        log.append(batch).unwrap();
    }
    let slice = log.log.read(Offset(0), 200_000, true, ALL).unwrap().slice.unwrap();
    assert_eq!(slice.readiness(), Readiness::Ready);
    if !evict(&log) {
        return; // nothing here ever leaves memory
    }
    assert_eq!(slice.readiness(), Readiness::Cold);
    let ready = log.log.make_ready(&slice, slice.len).unwrap();
    assert_eq!((ready.position, ready.readiness()), (slice.position, Readiness::Ready));
}
