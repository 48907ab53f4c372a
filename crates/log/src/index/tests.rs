use std::path::Path;

use twinstream_model::Offset;

use super::*;
use crate::files::{INDEX, TIME_INDEX};
use crate::open_files::{OpenFiles, Place};

fn handle(dir: &Path, extension: &'static str) -> Arc<Handle> {
    Handle::new(&Place::new(dir, OpenFiles::new(10)), Offset(0), extension, "")
}

fn opened<E: Entry>(handle: &Arc<Handle>) -> Index<E> {
    let mut index = Index::unread(handle);
    index.read().unwrap();
    index
}

fn filled(dir: &Path, entries: u32) -> Index<OffsetEntry> {
    let mut index = Index::create(&handle(dir, INDEX)).unwrap();
    for i in 0..entries {
        index.push(OffsetEntry { relative: i * 10 + 5, position: i * 100 }).unwrap();
    }
    index
}

#[test]
fn floor_finds_the_entry_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 1_000);
    assert!(!index.pending.is_empty());
    for (key, position) in [(5, Some(0)), (14, Some(0)), (15, Some(100)), (5_000, Some(49_900)), (99_999, Some(99_900))]
    {
        assert_eq!(index.floor(Patience::Waits, key).unwrap().map(|e| e.position), position, "key {key}");
    }
    assert_eq!(index.floor(Patience::Waits, 4).unwrap(), None);
}

#[test]
fn entries_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100).write_out().unwrap();
    let index: Index<OffsetEntry> = opened(&handle(dir.path(), INDEX));
    assert_eq!(index.last(), Some(OffsetEntry { relative: 995, position: 9_900 }));
    index.check_order().unwrap();
}

#[test]
fn cleared_index_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = filled(dir.path(), 100);
    index.clear().unwrap();
    assert_eq!((index.last(), index.bytes()), (None, 0));
    index.push(OffsetEntry { relative: 1, position: 0 }).unwrap();
    assert_eq!(index.floor(Patience::Waits, 9).unwrap().map(|e| e.relative), Some(1));
}

#[test]
fn keys_that_do_not_ascend_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut index: Index<TimeEntry> = Index::create(&handle(dir.path(), TIME_INDEX)).unwrap();
    index.push(TimeEntry { timestamp: 50, relative: 1 }).unwrap();
    index.push(TimeEntry { timestamp: 50, relative: 2 }).unwrap();
    index.push(TimeEntry { timestamp: 40, relative: 3 }).unwrap();
    assert_eq!(index.bytes(), 12);
}

#[test]
fn half_an_entry_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("00000000000000000000.index"), [0; 13]).unwrap();
    assert!(matches!(Index::<OffsetEntry>::unread(&handle(dir.path(), INDEX)).read(), Err(LogError::Damaged { .. })));
}

#[test]
fn entries_have_kafkas_bytes() {
    let mut bytes = Vec::new();
    OffsetEntry { relative: 3, position: 0x01020304 }.encode(&mut bytes);
    assert_eq!(bytes, [0, 0, 0, 3, 1, 2, 3, 4]);
    bytes.clear();
    TimeEntry { timestamp: 0x0102, relative: 7 }.encode(&mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 7]);
    assert_eq!(TimeEntry::decode(&bytes), TimeEntry { timestamp: 0x0102, relative: 7 });
}
