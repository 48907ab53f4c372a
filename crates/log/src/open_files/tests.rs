use std::os::unix::fs::FileExt;

use super::*;

const TEN: usize = 10;

struct Folder {
    _root: tempfile::TempDir,
    place: Place,
}

impl Folder {
    fn new(max: usize) -> Folder {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path(), OpenFiles::new(max));
        Folder { _root: root, place }
    }

    fn made(&self, count: usize) -> Vec<Arc<Handle>> {
        (0..count)
            .map(|i| {
                let handle = Handle::new(&self.place, Offset(i as i64), files::LOG, "");
                handle.create().unwrap().write_all_at(&[i as u8], 0).unwrap();
                handle.sync().unwrap();
                handle
            })
            .collect()
    }

    fn open(&self) -> usize {
        self.place.files.open()
    }
}

#[test]
fn no_more_files_are_open_than_the_bound_and_all_can_be_read() {
    let folder = Folder::new(3);
    let handles = folder.made(TEN);
    assert_eq!(folder.open(), 3);
    for (i, handle) in handles.iter().enumerate() {
        let mut byte = [0];
        handle.get().unwrap().read_exact_at(&mut byte, 0).unwrap();
        assert_eq!(byte, [i as u8]);
        assert!(folder.open() <= 3);
    }
    drop(handles);
    assert_eq!(folder.open(), 0);
}

#[test]
fn file_that_is_used_stays_open() {
    let folder = Folder::new(3);
    let handles = folder.made(TEN);
    let used = handles[0].get().unwrap();
    for handle in &handles[1..] {
        assert!(Arc::ptr_eq(&used, &handles[0].get().unwrap()));
        handle.get().unwrap();
    }
}

#[test]
fn dirty_file_is_flushed_before_it_is_closed() {
    let folder = Folder::new(1);
    let handles = folder.made(2);
    handles.iter().for_each(|handle| drop(handle.get_for_writing().unwrap()));
    assert_eq!(folder.open(), 1);
    assert!(handles.iter().any(|handle| !handle.is_dirty()));
}

#[test]
fn descriptor_in_hand_outlives_the_closing() {
    let folder = Folder::new(1);
    let handles = folder.made(3);
    let held = handles[0].get().unwrap();
    handles[1].get().unwrap();
    handles[2].get().unwrap();
    let mut byte = [9];
    held.read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(byte, [0]);
}

#[test]
fn renamed_file_is_opened_under_its_new_name() {
    let folder = Folder::new(1);
    let handles = folder.made(2);
    handles[0].rename(files::DELETED).unwrap();
    handles[1].get().unwrap(); // closes the other
    handles[0].get().unwrap();
    assert!(handles[0].path().to_string_lossy().ends_with("00000000000000000000.log.deleted"));
}

#[test]
fn lost_write_back_is_told_to_every_later_flush_and_write() {
    let folder = Folder::new(1);
    let handle = &folder.made(1)[0];
    handle.lose(io::Error::other("the disk is gone"));
    for _ in 0..2 {
        assert!(handle.sync().is_err());
        assert!(handle.get_for_writing().is_err());
    }
    handle.get().unwrap();
}

#[test]
fn flush_in_the_middle_of_a_write_does_not_hide_it() {
    let folder = Folder::new(1);
    let handle = &folder.made(1)[0];
    let writing = handle.get_for_writing().unwrap();
    handle.sync().unwrap();
    writing.write_all_at(b"later", 0).unwrap();
    drop(writing);
    assert!(handle.is_dirty(), "what came after the flush is not on the disk");
}
