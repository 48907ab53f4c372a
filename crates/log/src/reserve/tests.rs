use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;

const SEGMENT: u64 = 1 << 30;

#[test]
fn a_step_is_half_of_what_is_there_and_ends_with_the_segment() {
    assert_eq!(target(2 << 20, SEGMENT), 3 << 20);
    assert_eq!(target(100 << 20, SEGMENT), 116 << 20);
    assert_eq!(target(SEGMENT - 5, SEGMENT), SEGMENT);
    assert_eq!(target(SEGMENT + 5, SEGMENT), SEGMENT + 5);
}

#[test]
fn small_segments_reserve_nothing() {
    let file = tempfile::tempfile().unwrap();
    let reserved = Reserved::default();
    reserved.ahead_of(&file, 0, SIZE_MIN - 1, SEGMENT);
    assert_eq!((file.metadata().unwrap().blocks(), reserved.to.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn reserved_space_does_not_show_in_the_length_and_is_given_back() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; 3 << 20]).unwrap();
    file.sync_all().unwrap(); // blocks are counted when they have a place
    let written = file.metadata().unwrap();
    let reserved = Reserved::default();
    reserved.ahead_of(&file, 3 << 20, 1 << 20, SEGMENT);
    let to = reserved.to.load(Ordering::Relaxed);
    let reserving = file.metadata().unwrap();
    assert_eq!(reserving.len(), 3 << 20);
    reserved.give_back(&file, 3 << 20);
    let after = file.metadata().unwrap();
    assert_eq!((after.len(), after.blocks()), (written.len(), written.blocks()));
    assert_eq!((after.mtime(), after.mtime_nsec()), (reserving.mtime(), reserving.mtime_nsec()));
    // Where the file system cannot do it, or is nearly full, nothing was asked of it a second time.
    assert!(to == OFF || to == 6 << 20, "{to}");
    reserved.ahead_of(&file, 6 << 20, 1 << 20, SEGMENT);
    assert_eq!(file.metadata().unwrap().blocks(), written.blocks());
}
