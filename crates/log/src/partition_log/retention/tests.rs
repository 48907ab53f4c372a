use twinstream_protocol::batch::batches;

use super::*;
use crate::CleanupPolicy;
use crate::partition_log::Origin;
use crate::partition_log::tests::{ALL, EPOCH, Fixture, NOW, plain, small};

#[test]
fn retention_by_age_deletes_whole_segments_and_the_files_later() {
    let config = LogConfig { retention_ms: Some(10_000), file_delete_delay_ms: 500, ..small() };
    let log = Fixture::new(config);
    for _ in 0..30 {
        log.fill(1);
    }
    assert_eq!(log.log.maintain(NOW + 10_000).unwrap().deleted_segments, 0);
    let kept = log.log.size();
    let done = log.log.maintain(NOW + 10_020).unwrap();
    assert!(done.deleted_segments > 0 && done.deleted_bytes < kept);
    assert!(log.log.log_start_offset() > Offset(0));
    let renamed = log.files(".deleted");
    assert!(!renamed.is_empty());
    log.log.maintain(NOW + 10_519).unwrap();
    assert!(renamed.iter().all(|name| log.dir().join(name).exists()));
    log.log.maintain(NOW + 10_520).unwrap();
    assert!(!renamed.iter().any(|name| log.dir().join(name).exists()));
    log.log.maintain(NOW + 99_000).unwrap();
    assert_eq!((log.log.log_start_offset(), log.log.log_end_offset()), (Offset(30), Offset(30)));
    assert_eq!(log.fill(1).base_offset, Offset(30));
}

#[test]
fn retention_by_size_keeps_at_least_that_much() {
    let log = Fixture::new(LogConfig { retention_bytes: Some(4_000), retention_ms: None, ..small() });
    for _ in 0..60 {
        log.fill(1);
    }
    log.log.maintain(NOW).unwrap();
    assert!((4_000..6_000).contains(&log.log.size()), "{}", log.log.size());
}

#[test]
fn records_above_the_high_watermark_and_of_compacted_topics_stay() {
    let log = Fixture::new(LogConfig { retention_ms: Some(1), ..small() });
    for _ in 0..30 {
        log.log.append(&plain(&[NOW]).build().unwrap(), Origin::Client, EPOCH, NOW).unwrap();
    }
    assert_eq!(log.log.maintain(NOW + 99_000).unwrap().deleted_segments, 0);
    for cleanup in [CleanupPolicy { delete: false, compact: true }, CleanupPolicy { delete: false, compact: false }] {
        let log = Fixture::new(LogConfig { cleanup, retention_ms: Some(1), retention_bytes: Some(1), ..small() });
        for _ in 0..30 {
            log.fill(1);
        }
        assert_eq!(log.log.maintain(NOW + 99_000).unwrap().deleted_segments, 0);
    }
}

#[test]
fn reader_of_a_deleted_segment_can_finish() {
    let config = LogConfig { retention_ms: Some(1), file_delete_delay_ms: 0, ..small() };
    let log = Fixture::new(config);
    log.fill(3);
    let slice = log.log.read(Offset(0), 1 << 20, true, ALL).unwrap().slice.unwrap();
    log.log.maintain(NOW + 99_000).unwrap();
    assert!(log.files(".deleted").is_empty());
    assert_eq!(batches(&slice.read().unwrap()).count(), 1);
}

#[test]
fn delete_records_moves_the_start_and_drops_whole_segments() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    let segments = log.log.segment_count();
    // Records that are too old are left to retention.
    assert_eq!(log.log.delete_records(Offset(17), NOW + 99 * 86_400_000).unwrap(), Offset(17));
    assert!(log.log.segment_count() < segments);
    assert!(matches!(log.log.read(Offset(16), 100, true, ALL), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.bases(17)[0], 17);
    assert_eq!(log.log.offset_for_time(NOW).unwrap().unwrap().offset, Offset(17));
    assert_eq!(log.log.delete_records(Offset(5), NOW).unwrap(), Offset(17));
    assert!(matches!(log.log.delete_records(Offset(31), NOW), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.log.delete_records(Offset::NONE, NOW).unwrap(), Offset(30));
    let log = log.reopen(|opening| opening.log_start = Offset(30));
    assert_eq!((log.log.log_start_offset().0, log.end()), (30, 30));
}
