use super::*;
use crate::LogConfig;
use crate::partition_log::tests::{Fixture, NOW, idempotent, small};

#[test]
fn snapshot_of_a_flush_that_a_new_segment_overtook_is_no_snapshot_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let mut snapshots = Snapshots::default();
    assert_eq!(snapshots.saved(Offset(10)), []);
    snapshots.rolled(&Producers::default(), dir.path(), Offset(20)).unwrap();
    assert_eq!(snapshots.saved(Offset(15)), [Offset(15)], "older than the segment's: not needed");
    assert_eq!(snapshots.saved(Offset(20)), [], "the segment's own, which stays with it");
    snapshots.rolled(&Producers::default(), dir.path(), Offset(30)).unwrap();
    assert_eq!(list(dir.path()).unwrap(), [Offset(20), Offset(30)]);
}

#[test]
fn only_the_newest_snapshots_between_segments_stay() {
    let mut snapshots = Snapshots::default();
    let surplus: Vec<Offset> = [1, 3, 2, 4].into_iter().flat_map(|at| snapshots.saved(Offset(at))).collect();
    assert_eq!(surplus, [Offset(1), Offset(2)]);
}

#[test]
fn dedupe_window_survives_a_clean_restart_and_a_crash() {
    for clean in [true, false] {
        let log = Fixture::new(LogConfig::default());
        for i in 0..6 {
            log.append(idempotent(9, 0, i * 2, 2)).unwrap();
        }
        let log = if clean { log.close() } else { log.crash() };
        assert_eq!(log.files(".snapshot").len(), usize::from(clean));
        for i in 1..6 {
            let again = log.append(idempotent(9, 0, i * 2, 2)).unwrap();
            assert!(again.duplicate && again.base_offset.0 == i64::from(i) * 2, "clean {clean}, batch {i}");
        }
        assert!(!log.append(idempotent(9, 0, 12, 1)).unwrap().duplicate);
    }
}

#[test]
fn producers_are_known_from_the_snapshot_when_their_segment_is_gone() {
    let config = LogConfig { retention_bytes: Some(1_500), ..small() };
    let log = Fixture::new(config);
    log.append(idempotent(9, 0, 0, 2)).unwrap();
    for _ in 0..30 {
        log.fill(1);
    }
    assert!(log.log.maintain(NOW).unwrap().deleted_segments > 0);
    let log = log.crash();
    assert!(log.append(idempotent(9, 0, 0, 2)).unwrap().duplicate);
    log.append(idempotent(9, 0, 2, 1)).unwrap();
}

#[test]
fn damaged_snapshot_is_passed_over() {
    let log = Fixture::new(LogConfig::default());
    log.append(idempotent(9, 0, 0, 2)).unwrap();
    log.log.close(NOW).unwrap();
    let snapshot = log.dir().join(&log.files(".snapshot")[0]);
    fs::write(&snapshot, b"\0\x01garbage").unwrap();
    let log = log.reopen(|_| {});
    assert!(log.append(idempotent(9, 0, 0, 2)).unwrap().duplicate);
}
