use std::os::unix::fs::FileExt;

use super::*;
use crate::partition_log::tests::{Fixture, NOW, small};

#[test]
fn torn_tail_is_cut_to_last_valid_batch() {
    for torn in [1usize, 30, 61, 100] {
        let log = Fixture::new(LogConfig::default());
        log.fill(2);
        log.fill(2);
        let size = fs::metadata(log.active_file()).unwrap().len();
        let third = log.fill(2).bytes;
        let file = fs::OpenOptions::new().write(true).open(log.active_file()).unwrap();
        file.set_len(size + third as u64 - torn as u64).unwrap();
        let log = log.crash();
        assert_eq!(log.end(), 4, "{torn} bytes are missing");
        assert_eq!(fs::metadata(log.active_file()).unwrap().len(), size);
        assert_eq!(log.fill(1).base_offset, Offset(4));
        assert_eq!(log.bases(0), [0, 2, 4]);
    }
}

#[test]
fn flipped_bit_behind_the_recovery_point_cuts_the_log_there() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    let segments = log.files(".log");
    let victim = log.dir().join(&segments[1]);
    let file = fs::OpenOptions::new().write(true).read(true).open(&victim).unwrap();
    file.write_all_at(b"X", fs::metadata(&victim).unwrap().len() - 1).unwrap();
    let log = log.crash();
    assert_eq!(log.files(".log"), segments[..2]);
    assert_eq!(log.bases(0), (0..log.end()).collect::<Vec<_>>());
    assert!(log.end() > 0 && log.end() < 30);
}

#[test]
fn segments_below_the_recovery_point_are_not_scanned() {
    let log = Fixture::new(small());
    for _ in 0..30 {
        log.fill(1);
    }
    log.log.flush(NOW).unwrap();
    let first = log.dir().join(&log.files(".log")[0]);
    let file = fs::OpenOptions::new().write(true).open(first).unwrap();
    file.write_all_at(b"X", 80).unwrap();
    let log = log.reopen(|opening| {
        opening.last_stop = LastStop::Unknown;
        opening.recovery_point = Offset(30);
    });
    assert_eq!(log.end(), 30);
}

#[test]
fn damaged_and_missing_indexes_are_rebuilt() {
    let damages: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, [1; 7]).unwrap(),
        |path| fs::write(path, [0xee; 48]).unwrap(),
        |path| fs::write(path, b"").unwrap(),
    ];
    for (i, damage) in damages.iter().enumerate() {
        for extension in [".index", ".timeindex"] {
            let log = Fixture::new(small());
            for _ in 0..40 {
                log.fill(2);
            }
            log.log.close(NOW).unwrap();
            let names = log.files(extension);
            let before: Vec<_> = names.iter().map(|name| fs::read(log.dir().join(name)).unwrap()).collect();
            names.iter().for_each(|name| damage(&log.dir().join(name)));
            let log = log.reopen(|_| {});
            assert_eq!(log.end(), 80);
            for offset in 0..80 {
                assert_eq!(log.bases(offset)[0], offset / 2 * 2);
                let found = log.log.offset_for_time(NOW + offset).unwrap().unwrap();
                assert_eq!(found.offset, Offset(offset), "damage {i} of {extension}");
            }
            if i < 3 {
                log.log.close(NOW).unwrap();
                let after: Vec<_> = names.iter().map(|name| fs::read(log.dir().join(name)).unwrap()).collect();
                assert_eq!(after, before, "damage {i} of {extension}");
            }
        }
    }
}

#[test]
fn clean_restart_goes_on_where_it_was() {
    let mut log = Fixture::new(small());
    for round in 0..5 {
        for _ in 0..7 {
            log.fill(3);
        }
        log = log.close();
        assert_eq!(log.end(), (round + 1) * 21);
    }
    assert_eq!(log.bases(0), (0..35).map(|i| i * 3).collect::<Vec<_>>());
}

#[test]
fn crash_loses_nothing_that_was_written() {
    let log = Fixture::new(small());
    for _ in 0..20 {
        log.fill(3);
    }
    let log = log.crash();
    assert_eq!(log.end(), 60);
    assert_eq!(log.log.max_timestamp().unwrap().unwrap().offset, Offset(59));
}

#[test]
fn log_that_ends_before_its_start_begins_anew_there() {
    let log = Fixture::new(LogConfig::default());
    log.fill(3);
    let log = log.reopen(|opening| opening.log_start = Offset(10));
    assert_eq!((log.log.log_start_offset(), log.log.log_end_offset()), (Offset(10), Offset(10)));
    assert_eq!(log.fill(1).base_offset, Offset(10));
}
