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

/// Whose delegate takes the surplus and never comes.
fn folder_without_help(max: usize) -> Folder {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path(), OpenFiles::with_delegate(max, |_| true));
    Folder { _root: root, place }
}

fn dirty(handles: &[Arc<Handle>]) -> usize {
    handles.iter().filter(|handle| handle.is_dirty()).count()
}

#[test]
fn who_opens_a_file_flushes_none_as_long_as_the_surplus_is_small() {
    let max = 2 * SURPLUS_SHARE;
    let folder = folder_without_help(max);
    let surplus = folder.place.files.surplus_max();
    let handles = folder.made(max + surplus + 1);
    for handle in &handles[..max + surplus] {
        drop(handle.get_for_writing().unwrap());
    }
    assert_eq!((folder.open(), dirty(&handles)), (max + surplus, max + surplus));
    // One more is more than can be put up with: now the caller has to do it.
    drop(handles[max + surplus].get_for_writing().unwrap());
    assert!(folder.open() <= max && dirty(&handles) < max + surplus);
}

#[test]
fn clean_files_are_closed_before_dirty_ones() {
    let max = 2 * SURPLUS_SHARE;
    let folder = folder_without_help(max);
    let handles = folder.made(2 * max);
    for handle in &handles[..max / 2] {
        drop(handle.get_for_writing().unwrap());
    }
    for handle in &handles[max / 2..] {
        handle.get().unwrap();
    }
    assert_eq!(dirty(&handles), max / 2);
    assert!(handles[..max / 2].iter().all(|handle| handle.get_open().is_some()));
    assert!(folder.open() <= max + folder.place.files.surplus_max());
}

#[test]
fn surplus_is_flushed_and_closed_by_a_thread() {
    let max = 4 * SURPLUS_SHARE;
    let folder = Folder::new(max);
    let handles = folder.made(max + 1);
    for handle in &handles {
        drop(handle.get_for_writing().unwrap());
    }
    while folder.open() > max {
        std::thread::yield_now();
    }
    assert!(handles.iter().filter(|handle| handle.get_open().is_none()).all(|handle| !handle.is_dirty()));
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
