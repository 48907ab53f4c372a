use std::fs;
use std::io;
use std::os::unix::fs::FileExt;

use twinstream_model::LeaderEpoch;

use super::*;
use crate::partition_log::tests::{EPOCH, Fixture, NOW, plain, small};
use crate::{AppendError, Origin, validate};

fn no_room() -> LogError {
    LogError::io("write", Path::new("segment"))(io::Error::from(io::ErrorKind::StorageFull))
}

fn broken() -> LogError {
    LogError::io("write", Path::new("segment"))(io::Error::from_raw_os_error(5))
}

/// Another log of the same directory.
fn neighbour(log: &Fixture) -> Fixture {
    Fixture::new(small()).reopen(|opening| opening.disk = Arc::clone(log.log.disk()))
}

/// Begins an append and finds no room after so many of its batches and some bytes more.
fn fail_after(log: &PartitionLog, batches: usize, error: LogError) -> LogError {
    let records: Vec<u8> = (0..3).flat_map(|_| plain(&[NOW, NOW]).build().unwrap()).collect();
    let config = log.config();
    let mut prepared = validate::prepare(&records, Origin::Coordinator, &config, NOW).unwrap();
    let mut writer = log.writer.lock();
    let (mark, end) = (log.mark(), log.log_end_offset());
    super::super::assign(&mut prepared, end, EPOCH).unwrap();
    log.write(&mut writer, &prepared[..batches], EPOCH, &config).unwrap();
    let half = fs::OpenOptions::new().write(true).open(log.active().log_path()).unwrap();
    half.write_all_at(b"half a batch", log.active().size()).unwrap();
    log.not_written(&mut writer, mark, end, error)
}

#[test]
fn start_after_a_kill_reads_nothing_below_what_was_flushed() {
    for in_background in [false, true] {
        let log = Fixture::new(LogConfig::default());
        for _ in 0..4 {
            let mut batch = twinstream_protocol::batch::BatchBuilder::new();
            batch.append(NOW, None, Some(&vec![7; 1_000_000]), []);
            log.log.append(&batch.build().unwrap(), Origin::Client, EPOCH, NOW).unwrap();
        }
        match in_background {
            true => log.log.end_flush(log.log.begin_flush(NOW).unwrap().unwrap()),
            false => _ = log.log.flush(NOW).unwrap(),
        }
        let indexed = fs::metadata(log.active_file().with_extension("index")).unwrap().len();
        assert_eq!((log.log.recovery_point(), indexed), (Offset(4), 3 * 8), "in the background: {in_background}");
    }
}

#[test]
fn flush_that_finds_no_room_for_index_entries_is_a_flush_nevertheless() {
    for in_background in [false, true] {
        let log = Fixture::new(LogConfig { segment_bytes: 2_500_000, ..LogConfig::default() });
        let append = || {
            let mut batch = twinstream_protocol::batch::BatchBuilder::new();
            batch.append(NOW, None, Some(&vec![7; 1_000_000]), []);
            log.log.append(&batch.build().unwrap(), Origin::Client, EPOCH, NOW).unwrap();
        };
        append();
        append();
        // The index of the next segment takes no byte.
        std::os::unix::fs::symlink("/dev/full", log.dir().join("00000000000000000002.index")).unwrap();
        append();
        append();
        match in_background {
            true => log.log.end_flush(log.log.begin_flush(NOW).unwrap().unwrap()),
            false => _ = log.log.flush(NOW).unwrap(),
        }
        assert_eq!((log.log.recovery_point(), log.log.disk().failure()), (Offset(4), None), "{in_background}");
    }
}

#[test]
fn append_without_room_is_taken_back_to_the_last_byte() {
    for batches in [0, 1, 2] {
        let log = Fixture::new(small());
        log.fill(3);
        let before = (log.end(), log.log.size(), fs::metadata(log.active_file()).unwrap().len());
        assert!(fail_after(&log.log, batches, no_room()).is_out_of_space());
        assert_eq!((log.end(), log.log.size(), fs::metadata(log.active_file()).unwrap().len()), before);
        assert!(log.log.disk().is_full());
        log.fill(2);
        assert_eq!(log.bases(0), [0, 3], "after {batches} batches");
        let log = log.crash();
        assert_eq!((log.end(), log.bases(0)), (5, vec![0, 3]));
    }
}

#[test]
fn append_without_room_that_began_a_segment_is_taken_back() {
    let log = Fixture::new(small());
    while log.log.segment_count() < 2 {
        log.fill(3);
    }
    let (end, bases) = (log.end(), log.bases(0));
    // Batch after batch, until one of them has begun another segment.
    let before = log.log.segment_count();
    for batches in (0..200).map(|_| 3) {
        fail_after(&log.log, batches, no_room());
        assert_eq!((log.end(), log.bases(0)), (end, bases.clone()));
        assert_eq!(log.log.segment_count(), before);
        if before == log.files(".log").len() {
            break;
        }
    }
    log.fill(1);
    assert_eq!(log.end(), end + 1);
}

#[test]
fn failed_write_takes_all_logs_of_the_directory_out() {
    let log = Fixture::new(small());
    let other = neighbour(&log);
    other.fill(1);
    fail_after(&log.log, 1, broken());
    for log in [&log, &other] {
        let refused = log.append(plain(&[NOW])).unwrap_err();
        assert!(matches!(refused, AppendError::Storage(LogError::Offline { .. })), "{refused}");
        assert!(matches!(log.log.flush(NOW), Err(LogError::Offline { .. })));
    }
}

#[test]
fn what_is_wrong_with_one_log_costs_no_other() {
    let log = Fixture::new(small());
    let other = neighbour(&log);
    log.log.poison(LogError::damaged(Path::new("segment"), "nonsense"));
    assert!(matches!(log.append(plain(&[NOW])), Err(AppendError::Storage(LogError::Poisoned { .. }))));
    other.fill(1);
}

#[test]
fn records_are_refused_while_there_is_no_room_for_them() {
    let log = Fixture::new(small());
    let disk = Disk::new(&log.dir(), 0);
    let log = log.reopen(|opening| opening.disk = Arc::clone(&disk));
    log.fill(1);
    // Larger than the file system: the next look finds no room for it.
    assert!(log.log.check_room(usize::MAX / 4).unwrap_err().is_out_of_space());
    assert!(log.log.disk().is_full());
    log.fill(1);
    assert!(!log.log.disk().is_full());
}

#[test]
fn unflushed_bytes_are_counted_from_flush_to_flush() {
    let log = Fixture::new(small());
    log.fill(3);
    assert_eq!(log.log.unflushed(), log.log.size());
    assert!(!log.log.is_flushed());
    log.log.flush(NOW).unwrap();
    assert_eq!((log.log.unflushed(), log.log.disk().unflushed()), (0, 0));
    assert!(log.log.is_flushed());
}

#[test]
fn what_an_earlier_process_left_in_memory_counts_as_unflushed() {
    let log = Fixture::new(small());
    log.fill(3);
    let size = log.log.size();
    let log = log.crash();
    assert_eq!((log.log.unflushed(), log.log.disk().unflushed()), (size, size));
}

#[test]
fn topic_that_is_deleted_while_its_log_is_flushed_costs_nobody_the_directory() {
    let gone = || LogError::io("flush", Path::new("segment"))(io::ErrorKind::NotFound.into());
    let log = Fixture::new(small());
    log.fill(3);
    log.log.close_for_deletion("t-0.gone-delete").unwrap();
    log.log.poison(gone()); // the flush went on under a name that it had read before
    assert_eq!((log.log.disk().failure(), log.log.is_poisoned()), (None, false));
    // A file that somebody removed costs its log only.
    let log = Fixture::new(small());
    log.log.poison(gone());
    assert_eq!((log.log.disk().failure(), log.log.is_poisoned()), (None, true));
}

#[test]
fn flush_without_a_descriptor_is_made_up_for_and_a_full_disk_at_a_flush_is_a_failure() {
    let log = Fixture::new(small());
    log.fill(3);
    log.log.flush(NOW).unwrap();
    let errno = |errno: rustix::io::Errno| LogError::io("open", Path::new("f"))(errno.into());
    assert!(log.log.not_flushed(errno(rustix::io::Errno::MFILE)).is_passing());
    assert!(log.log.new_names.load(Ordering::Acquire));
    assert!(log.log.epochs.write().take_unflushed().is_some());
    log.fill(3);
    assert_eq!(log.log.flush(NOW).unwrap(), Offset(6));
    // What was written back without room is lost.
    let _failed = log.log.not_flushed(errno(rustix::io::Errno::NOSPC));
    assert!(log.log.disk().failure().is_some());
}

#[test]
fn records_can_be_deleted_on_a_full_disk() {
    let log = Fixture::new(small());
    (0..40).for_each(|_| {
        log.fill(1);
    });
    // Whatever is written beside the old epochs finds no room.
    std::os::unix::fs::symlink("/dev/full", log.dir().join("leader-epoch-checkpoint.tmp")).unwrap();
    let segments = log.log.segment_count();
    assert_eq!(log.log.delete_records(Offset(30), NOW).unwrap(), Offset(30));
    assert!(log.log.segment_count() < segments);
    assert_eq!(log.log.disk().failure(), None);
    fs::remove_file(log.dir().join("leader-epoch-checkpoint.tmp")).unwrap();
    log.fill(1);
    let text = fs::read_to_string(log.dir().join("leader-epoch-checkpoint")).unwrap();
    assert_eq!(text, "0\n1\n0 30\n", "it is written when there is room again");
}

#[test]
fn flush_under_way_touches_nothing_of_a_partition_that_is_made_where_its_folder_was() {
    let log = Fixture::new(small());
    log.fill(3);
    let flushing = log.log.flushing.lock();
    // The file that tells of this is still to be written.
    log.log.epochs.write().note(LeaderEpoch(9), log.log.log_end_offset());
    let moved = log.log.close_for_deletion("t-0.ab-delete").unwrap();
    fs::create_dir(log.dir()).unwrap();
    let end = log.log.flush_segments(&log.log.segments.load_full(), log.log.log_end_offset()).unwrap();
    drop(flushing);
    assert_eq!(end, Offset(3));
    assert_eq!(fs::read_dir(log.dir()).unwrap().count(), 0);
    assert!(fs::read_to_string(moved.join("leader-epoch-checkpoint")).unwrap().contains("9 3"));
}

#[test]
fn flush_under_way_of_a_log_whose_folder_is_removed_speaks_against_nothing() {
    let log = Fixture::new(small());
    log.fill(3);
    let other = neighbour(&log);
    let flushing = log.log.flushing.lock();
    let moved = log.log.close_for_deletion("t-0.ab-delete").unwrap();
    fs::remove_dir_all(moved).unwrap();
    let flushed = log.log.flush_segments(&log.log.segments.load_full(), log.log.log_end_offset());
    drop(flushing);
    assert!(matches!(flushed, Err(LogError::Closed)), "{flushed:?}");
    assert!(!log.log.is_poisoned() && log.log.disk().failure().is_none());
    other.fill(1);
    other.log.flush(NOW).unwrap();
}

#[test]
fn failed_write_puts_the_log_out_of_use() {
    let log = Fixture::new(small());
    log.fill(1);
    // The next segment cannot be made, because its name is taken by a folder.
    for i in 2..40 {
        fs::create_dir(log.dir().join(format!("{i:020}.log"))).unwrap();
    }
    let failed = (0..40).find_map(|_| log.append(plain(&[NOW])).err()).unwrap();
    assert!(matches!(failed, AppendError::Storage(LogError::Io { .. })), "{failed:?}");
    assert!(log.log.is_poisoned());
    let end = log.end();
    assert!(matches!(log.append(plain(&[NOW])), Err(AppendError::Storage(LogError::Poisoned { .. }))));
    assert_eq!(log.end(), end);
    assert!(matches!(log.log.flush(NOW), Err(LogError::Poisoned { .. })));
}

#[test]
fn flush_moves_the_recovery_point() {
    let log = Fixture::new(LogConfig { flush_messages: 5, ..LogConfig::default() });
    log.fill(3);
    assert_eq!(log.log.recovery_point(), Offset(0));
    log.fill(3);
    assert_eq!(log.log.recovery_point(), Offset(6));
    let log = Fixture::new(LogConfig { flush_ms: 100, ..LogConfig::default() });
    log.fill(3);
    assert!(!log.log.maintain(NOW + 99).unwrap().flushed);
    assert!(log.log.maintain(NOW + 100).unwrap().flushed);
    assert_eq!(log.log.recovery_point(), Offset(3));
}

#[test]
fn rolled_segments_are_flushed_by_maintenance() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    log.log.maintain(NOW).unwrap();
    let point = log.log.recovery_point();
    assert!(point > Offset(0) && point < Offset(30));
}

#[test]
fn closed_and_deleted_logs_take_nothing() {
    let log = Fixture::new(LogConfig::default());
    log.fill(1);
    let renamed = log.log.close_for_deletion("t-0.ab-delete").unwrap();
    assert!(renamed.join("00000000000000000000.log").exists() && !log.dir().exists());
    assert!(matches!(log.append(plain(&[NOW])), Err(AppendError::Storage(LogError::Closed))));
}
