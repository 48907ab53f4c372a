use super::*;

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
