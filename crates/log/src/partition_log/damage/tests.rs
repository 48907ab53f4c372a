mod ends; // the end of a log, gaps, and cuts into holes

use std::os::unix::fs::FileExt;

use super::super::tests::{Fixture, NOW, idempotent, plain};
use super::*;
use crate::{LastStop, LogConfig, OpenFiles, Opening, Readiness, ScrubCursor};
use twinstream_model::Offset;

const ALL: Offset = Offset(i64::MAX);
const RECORDS: i64 = 5;

/// Small segments, dense indexes.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 4_000, index_interval_bytes: 1_000, ..LogConfig::default() }
}

/// Forty batches of five records; offsets 0 to 199.
fn filled() -> Fixture {
    let log = Fixture::new(config());
    (0..40).for_each(|_| {
        log.fill(RECORDS);
    });
    log
}

/// Position and length of the batch at an offset, and its segment's file.
fn place(log: &Fixture, offset: i64) -> (std::path::PathBuf, u64, u64) {
    let segments = log.log.segments();
    let segment = segments.iter().rev().find(|segment| segment.base().0 <= offset).unwrap();
    let found = segment.locate(Offset(offset)).unwrap().unwrap();
    (segment.log_path(), found.position, found.header.len as u64)
}

fn flip(file: &std::path::Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Changes a byte of the batch at `offset` while the log is closed.
fn damaged(offset: i64, byte: u64) -> Fixture {
    let log = filled();
    let (file, position, _) = place(&log, offset);
    log.log.close(NOW).unwrap();
    flip(&file, position + byte);
    let end = Offset(log.end());
    log.reopen(|opening| opening.recovery_point = end)
}

/// Reads as a fetch does: nothing but what is ready.
fn read_ready(log: &Fixture, from: i64) -> Result<Option<Vec<u8>>, ReadError> {
    let found = log.log.read(Offset(from), 1 << 20, true, ALL)?;
    let Some(slice) = found.slice else { return Ok(None) };
    let ready = log.log.make_ready(&slice, 1 << 20)?;
    Ok(Some(ready.read().unwrap()))
}

/// Offsets of the batches that can be read, in order, stepping over damage.
fn readable(log: &Fixture) -> Vec<i64> {
    let (mut next, mut found) = (0, Vec::new());
    while next < log.end() {
        match read_ready(log, next) {
            Ok(Some(bytes)) => {
                for batch in batches(whole_batches(&bytes).unwrap()) {
                    let batch = batch.unwrap();
                    batch.check_crc().unwrap();
                    found.push(batch.base_offset().0);
                    next = batch.header().next_offset().0;
                }
            }
            Ok(None) => break,
            Err(ReadError::Damaged { end, .. }) => next = end.0,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

fn scrub(log: &Fixture) {
    let mut cursor = Some(ScrubCursor::default());
    while let Some(at) = cursor {
        cursor = log.log.scrub(at, 700).unwrap().next;
    }
}

fn expected_without(hole: &[i64]) -> Vec<i64> {
    (0..40).map(|i| i * RECORDS).filter(|base| !hole.contains(base)).collect()
}

#[test]
fn changed_byte_of_any_field_is_never_served_and_all_other_batches_are() {
    // Base offset, length, epoch, magic, checksum, attributes, last offset delta, records.
    for byte in [0, 5, 7, 8, 10, 11, 12, 15, 16, 17, 20, 22, 25, 26, 61, 200] {
        let log = damaged(100, byte);
        let read = readable(&log);
        assert_eq!(read, expected_without(&[100]), "byte {byte}");
        let hole = log.log.damage();
        assert_eq!(hole.len(), 1, "byte {byte}");
        assert_eq!(hole[0].offsets, Offset(100)..Offset(105), "byte {byte}");
    }
}

#[test]
fn first_and_last_batches_of_segments_are_checked_against_their_neighbours() {
    let bases: Vec<i64> = filled().log.segments().iter().map(|segment| segment.base().0).collect();
    for base in [bases[0], bases[1], bases[2] - RECORDS, bases[2]] {
        for byte in [7, 15, 26, 100] {
            let log = damaged(base, byte);
            assert_eq!(readable(&log), expected_without(&[base]), "offset {base}, byte {byte}");
        }
    }
}

#[test]
fn reader_of_damage_hears_which_records_are_damaged() {
    let log = damaged(100, 70);
    let error = read_ready(&log, 102).unwrap_err();
    let ReadError::Damaged { path, offset, end, .. } = error else { panic!("{error}") };
    assert_eq!((offset, end), (Offset(100), Offset(105)));
    assert!(path.to_string_lossy().ends_with(".log"));
    // A read that begins before it ends before it.
    let bytes = read_ready(&log, 95).unwrap().unwrap();
    assert_eq!(batches(&bytes).count(), 1);
}

#[test]
fn records_are_found_by_time_around_damage_and_not_in_it() {
    let log = damaged(100, 70);
    scrub(&log);
    assert_eq!(log.log.offset_for_time(NOW + 99).unwrap().unwrap().offset, Offset(99));
    assert_eq!(log.log.offset_for_time(NOW + 107).unwrap().unwrap().offset, Offset(107));
    let log = damaged(100, 70);
    assert!(log.log.offset_for_time(NOW + 102).is_err());
}

#[test]
fn scrub_finds_what_changed_under_a_running_log() {
    for offset in [0, 45, 100, 150] {
        let log = filled();
        scrub(&log);
        assert!(!log.log.is_damaged());
        let (file, position, _) = place(&log, offset);
        flip(&file, position + 90);
        scrub(&log);
        let damage = log.log.damage();
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].offsets, Offset(offset)..Offset(offset + RECORDS));
        assert_eq!(readable(&log), expected_without(&[offset]));
    }
}

#[test]
fn scrub_builds_indexes_anew_that_do_not_fit_the_records() {
    for (extension, at) in [(".index", 3), (".index", 6), (".timeindex", 6), (".timeindex", 11)] {
        let log = filled();
        let name = log.files(extension)[1].clone();
        let before = std::fs::read(log.dir().join(&name)).unwrap();
        flip(&log.dir().join(&name), at);
        scrub(&log);
        assert_eq!(std::fs::read(log.dir().join(&name)).unwrap(), before, "{name} byte {at}");
        assert!(!log.log.is_damaged());
    }
}

#[test]
fn damaged_or_missing_indexes_of_closed_segments_cost_nothing_but_time() {
    let whole = filled();
    let bases = whole.bases(0);
    for extension in [".index", ".timeindex"] {
        let len = std::fs::metadata(whole.dir().join(&whole.files(extension)[1])).unwrap().len();
        for at in (0..len).step_by(3) {
            let log = filled();
            log.log.close(NOW).unwrap();
            flip(&log.dir().join(&log.files(extension)[1]), at);
            let end = Offset(log.end());
            let log = log.reopen(|opening| opening.recovery_point = end);
            assert_eq!(log.bases(0), bases);
            for time in [30, 77, 120] {
                let found = log.log.offset_for_time(NOW + time).unwrap().unwrap();
                assert_eq!(found.offset, Offset(time), "{extension} byte {at}");
            }
            assert!((0..200).all(|offset| read_ready(&log, offset).unwrap().is_some()), "{extension} byte {at}");
        }
        for len in [0, len / 2, len - 1] {
            let log = filled();
            log.log.close(NOW).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(log.dir().join(&log.files(extension)[1])).unwrap();
            file.set_len(len).unwrap();
            let end = Offset(log.end());
            let log = log.reopen(|opening| opening.recovery_point = end);
            assert_eq!(log.log.offset_for_time(NOW + 77).unwrap().unwrap().offset, Offset(77));
            assert_eq!(log.bases(0), bases);
        }
    }
}

#[test]
fn good_bytes_of_another_replica_repair_damage_and_only_those() {
    let healthy = filled();
    let log = damaged(100, 12);
    scrub(&log);
    let [damage] = &log.log.damage()[..] else { panic!("one stretch is damaged") };
    let good = healthy.read(95);
    // Too few, too many for the place, damaged as well.
    for bad in [&good[..200], &[][..]] {
        assert!(matches!(log.log.repair(damage, bad).unwrap(), Repaired::Unfit(_)));
    }
    let mut flipped = good.clone();
    let len = batches(&good).next().unwrap().unwrap().len();
    flipped[len + 70] ^= 1;
    assert!(matches!(log.log.repair(damage, &flipped).unwrap(), Repaired::Unfit(_)));
    assert!(read_ready(&log, 100).is_err());
    assert_eq!(log.log.repair(damage, &good).unwrap(), Repaired::Done);
    assert!(!log.log.is_damaged());
    assert_eq!(log.read(0), healthy.read(0));
    assert_eq!(log.bases(0), healthy.bases(0));
    assert_eq!(log.log.repair(damage, &good).unwrap(), Repaired::Gone);
}

#[test]
fn repaired_records_outlive_a_crash() {
    let healthy = filled();
    let log = damaged(100, 70);
    scrub(&log);
    assert_eq!(log.log.repair(&log.log.damage()[0], &healthy.read(100)).unwrap(), Repaired::Done);
    let log = log.crash();
    assert_eq!(log.bases(0), healthy.bases(0));
}

#[test]
fn cut_before_damage_takes_it_along() {
    let log = damaged(100, 70);
    scrub(&log);
    assert_eq!(log.log.truncate_to(Offset(100)).unwrap().log_end, Offset(100));
    assert!(!log.log.is_damaged());
    (0..5).for_each(|_| {
        log.fill(RECORDS);
    });
    assert_eq!(readable(&log), (0..25).map(|i| i * RECORDS).collect::<Vec<i64>>());
}

#[test]
fn what_this_process_wrote_is_ready_and_what_it_found_is_not() {
    let log = filled();
    let slice = |log: &Fixture| log.log.read(Offset(0), 1 << 20, true, ALL).unwrap().slice.unwrap();
    assert_eq!(slice(&log).readiness(), Readiness::Ready);
    let end = Offset(log.end());
    log.log.close(NOW).unwrap();
    let log = log.reopen(|opening| opening.recovery_point = end);
    assert_eq!(slice(&log).readiness(), Readiness::Unchecked);
    let ready = log.log.make_ready(&slice(&log), 1 << 20).unwrap();
    assert_eq!((ready.readiness(), ready.len), (Readiness::Ready, slice(&log).len));
    assert_eq!(slice(&log).readiness(), Readiness::Ready);
}

#[test]
fn step_of_making_ready_ends_at_a_batch_and_brings_one_at_least() {
    let log = filled();
    let slice = log.log.read(Offset(0), 1 << 20, true, ALL).unwrap().slice.unwrap();
    let ready = log.log.make_ready(&slice, 1).unwrap();
    assert_eq!(whole_batches(&ready.read().unwrap()).unwrap().len(), ready.len);
    assert_eq!(batches(&ready.read().unwrap()).count(), 1);
}

#[test]
fn opening_after_a_clean_stop_opens_no_file_of_closed_segments() {
    let log = filled();
    assert!(log.log.segment_count() > 4);
    let end = Offset(log.end());
    log.log.close(NOW).unwrap();
    let files = OpenFiles::new(100);
    let log = log.reopen(|opening| {
        opening.recovery_point = end;
        opening.files = Arc::clone(&files);
    });
    assert!(files.open() <= 3, "{} are open", files.open());
    assert_eq!(log.bases(0).len(), 40);
}

#[test]
fn log_works_with_hardly_any_descriptors() {
    let files = OpenFiles::new(1);
    let log = Fixture::new(config()).reopen(|opening| opening.files = Arc::clone(&files));
    (0..40).for_each(|_| {
        log.fill(RECORDS);
    });
    assert_eq!(log.bases(0).len(), 40);
    log.log.flush(NOW).unwrap();
    assert_eq!(files.open(), 1);
    assert_eq!(log.crash().bases(0).len(), 40);
}

#[test]
fn hole_below_the_recovery_point_is_kept_with_all_that_follows() {
    for last_stop in [LastStop::Killed, LastStop::Unknown, LastStop::Clean] {
        let log = filled();
        let active = log.log.segments().last().unwrap().base().0;
        let (file, position, _) = place(&log, active);
        log.log.flush(NOW).unwrap();
        let end = Offset(log.end());
        flip(&file, position + 70);
        let log = log.reopen(|opening| {
            opening.last_stop = last_stop;
            opening.recovery_point = end;
        });
        assert_eq!(log.end(), end.0);
        assert_eq!(readable(&log), expected_without(&[active]), "{last_stop:?}");
    }
}

#[test]
fn hole_above_the_recovery_point_is_kept_after_a_kill_and_cut_after_a_power_loss() {
    for (last_stop, kept) in [(LastStop::Killed, true), (LastStop::Unknown, false)] {
        let log = filled();
        let active = log.log.segments().last().unwrap().base().0;
        let (file, position, _) = place(&log, active + RECORDS);
        flip(&file, position + 70);
        let log = log.reopen(|opening| opening.last_stop = last_stop);
        assert_eq!(log.end() == 200, kept, "{last_stop:?}");
        let bases = expected_without(&[active + RECORDS]);
        assert_eq!(readable(&log), if kept { bases } else { bases[..(active / RECORDS) as usize + 1].to_vec() });
    }
}

#[test]
fn torn_tail_is_cut_after_any_stop() {
    for last_stop in [LastStop::Clean, LastStop::Killed, LastStop::Unknown] {
        let log = filled();
        let (file, position, len) = place(&log, 195);
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(position + len - 7).unwrap();
        let log = log.reopen(|opening| opening.last_stop = last_stop);
        assert_eq!(log.end(), 195, "{last_stop:?}");
        assert!(!log.log.is_damaged());
        log.append(plain(&[NOW])).unwrap();
        assert_eq!(readable(&log).last(), Some(&195));
    }
}

#[test]
fn damage_that_a_start_meets_on_its_way_is_marked_and_the_rest_is_served() {
    // Lengths and magic, which lead the way from batch to batch; closed segments, which no start checks.
    for byte in [8, 16] {
        let log = Fixture::new(config());
        (0..40).for_each(|i| {
            log.append(idempotent(9, 0, i * 5, 5)).unwrap();
        });
        let (file, position, _) = place(&log, 100);
        log.log.close(NOW).unwrap();
        flip(&file, position + byte);
        let end = Offset(log.end());
        let log = log.reopen(|opening| opening.recovery_point = end);
        assert_eq!(log.end(), 200);
        assert_eq!(readable(&log), expected_without(&[100]));
        assert!(log.append(idempotent(9, 0, 195, 5)).unwrap().duplicate);
    }
}

#[test]
fn marker_behind_a_hole_ends_its_transaction() {
    let log = Fixture::new(LogConfig::default());
    log.put_transactional(1, 0, "a=1");
    log.put("n=1");
    log.end_transaction(1, true);
    let (file, position, _) = place(&log, 1);
    log.log.close(NOW).unwrap();
    flip(&file, position + 65);
    for snapshot in log.files(".snapshot") {
        std::fs::remove_file(log.dir().join(snapshot)).unwrap();
    }
    let log = log.reopen(|opening| opening.recovery_point = Offset(3));
    assert!(log.log.is_damaged());
    assert_eq!(log.log.last_stable_offset(), Offset(3));
}

#[test]
fn what_follows_a_cut_goes_before_it() {
    let log = filled();
    let bases: Vec<i64> = log.log.segments().iter().map(|segment| segment.base().0).collect();
    let (file, position, _) = place(&log, bases[1] + RECORDS);
    let len = std::fs::metadata(&file).unwrap().len();
    log.log.close(NOW).unwrap();
    flip(&file, position + 70);
    // The last segment cannot be removed.
    let last = log.dir().join(log.files(".log").pop().unwrap());
    std::fs::remove_file(&last).unwrap();
    std::fs::create_dir(&last).unwrap();
    let opening = Opening { last_stop: LastStop::Unknown, ..log.opening(false) };
    assert!(PartitionLog::open(&log.dir(), opening).is_err());
    assert_eq!(
        std::fs::metadata(&file).unwrap().len(),
        len,
        "a cut would leave a log that lacks records and looks whole"
    );
    std::fs::remove_dir(&last).unwrap();
    let log = log.crash();
    assert_eq!(log.end(), bases[1] + RECORDS);
    assert_eq!(log.files(".log").len(), 2);
}

#[test]
fn damage_is_marked_and_repaired_while_somebody_writes() {
    let log = damaged(100, 70);
    // A reader of committed records holds what a writer may wait for.
    let _writes = log.log.writer.lock();
    assert!(matches!(read_ready(&log, 100), Err(ReadError::Damaged { .. })));
    assert!(log.log.is_damaged());
    assert_eq!(log.log.repair(&log.log.damage()[0], &filled().read(100)).unwrap(), Repaired::Done);
}

#[test]
fn damage_that_was_measured_before_a_cut_is_not_marked_after_it() {
    let log = damaged(100, 70);
    let uncut = log.log.cuts.seen();
    let _cut = log.log.truncate_to(Offset(100)).unwrap();
    log.log.cuts.unless_cut(uncut, || panic!("it is another log now"));
}
