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

/// Changes files while the log is down; then opens it as if all of it had been on the disk.
fn reopened_flushed(log: Fixture, last_stop: LastStop, change: impl Fn(&Fixture)) -> Fixture {
    let end = Offset(log.end());
    match last_stop {
        LastStop::Clean => log.log.close(NOW).unwrap(),
        _ => drop(log.log.flush(NOW).unwrap()),
    }
    change(&log);
    log.reopen(|opening| {
        opening.last_stop = last_stop;
        opening.recovery_point = end;
        opening.high_watermark = end;
    })
}

fn cut_file(file: &std::path::Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
}

const STOPS: [LastStop; 3] = [LastStop::Clean, LastStop::Killed, LastStop::Unknown];

/// What each offset tells of damage.
fn hole(log: &Fixture, from: i64) -> Option<(i64, i64)> {
    match read_ready(log, from) {
        Err(ReadError::Damaged { offset, end, .. }) => Some((offset.0, end.0)),
        _ => None,
    }
}

#[test]
fn damaged_last_batch_below_the_recovery_point_is_kept_as_a_hole_and_repaired() {
    let healthy = filled();
    // Base offset, length, epoch, magic, checksum, records.
    for last_stop in STOPS {
        for byte in [0, 8, 10, 16, 17, 70, 300] {
            let case = format!("{last_stop:?}, byte {byte}");
            let log = reopened_flushed(filled(), last_stop, |log| {
                let (file, position, _) = place(log, 195);
                flip(&file, position + byte);
            });
            assert_eq!(log.end(), 200, "{case}");
            assert_eq!(log.log.recovery_point(), Offset(200), "{case}");
            assert_eq!(hole(&log, 197), Some((195, 200)), "{case}");
            assert_eq!(readable(&log), expected_without(&[195]), "{case}");
            // It goes on behind the hole, and the next start sees the hole again.
            log.fill(RECORDS);
            let log = reopened_flushed(log, last_stop, |_| {});
            assert_eq!((log.end(), hole(&log, 195)), (205, Some((195, 200))), "{case}");
            let damage = log.log.damage();
            assert_eq!(log.log.repair(&damage[0], &healthy.read(190)).unwrap(), Repaired::Done, "{case}");
            assert_eq!(readable(&log), [expected_without(&[]), vec![200]].concat(), "{case}");
            assert_eq!(log.read(195), healthy.read(195), "{case}");
            for offset in [194, 195, 199, 200] {
                assert_eq!(log.log.offset_for_time(NOW + offset).unwrap().unwrap().offset, Offset(offset), "{case}");
            }
            let log = log.close();
            assert_eq!(readable(&log).len(), 41, "{case}");
        }
    }
}

#[test]
fn batches_missing_from_the_end_of_a_file_are_a_hole_that_a_repair_fills_to_its_length() {
    let healthy = filled();
    let active = healthy.log.segments().last().unwrap().base().0;
    let (name, start, len) = place(&healthy, 190);
    let (_, last, _) = place(&healthy, 195);
    assert!(active < 190 && last == start + len);
    let whole = std::fs::read(&name).unwrap();
    // A part of the last batch, all of it, the last two and a part, everything.
    for (left, from) in [(last + 100, 195), (last + 7, 195), (last, 195), (start + 9, 190), (start, 190), (0, active)] {
        for last_stop in STOPS {
            let case = format!("{left} bytes are left, {last_stop:?}");
            let log = reopened_flushed(filled(), last_stop, |log| cut_file(&log.active_file(), left));
            let file = log.dir().join(name.file_name().unwrap());
            assert_eq!((log.end(), hole(&log, from)), (200, Some((from, 200))), "{case}");
            assert_eq!(readable(&log), (0..from).step_by(RECORDS as usize).collect::<Vec<_>>(), "{case}");
            let appended = log.fill(RECORDS);
            assert_eq!(appended.base_offset, Offset(200), "{case}");
            let log = reopened_flushed(log, last_stop, |_| {});
            assert_eq!(hole(&log, 199), Some((from, 200)), "{case}");
            let damage = log.log.damage()[0].clone();
            assert_eq!(log.log.room_of(&damage), None, "{case}");
            let good = healthy.read(from);
            // Too few, and none at all.
            for few in [&good[..good.len() - 1], &good[..0]] {
                assert!(matches!(log.log.repair(&damage, few).unwrap(), Repaired::Unfit(_)), "{case}");
            }
            assert_eq!(log.log.repair(&damage, &good).unwrap(), Repaired::Done, "{case}");
            assert!(!log.log.is_damaged());
            assert_eq!(std::fs::read(&file).unwrap(), whole, "{case}");
            assert_eq!(readable(&log), (0..=200).step_by(RECORDS as usize).collect::<Vec<_>>(), "{case}");
            let log = log.close();
            assert_eq!(readable(&log).len(), 41, "{case}");
            assert_eq!(log.log.offset_for_time(NOW + 198).unwrap().unwrap().offset, Offset(198), "{case}");
        }
    }
}

#[test]
fn last_segment_that_is_gone_is_a_hole_behind_the_one_before() {
    let healthy = filled();
    let active = healthy.log.segments().last().unwrap().base().0;
    let log = reopened_flushed(filled(), LastStop::Killed, |log| std::fs::remove_file(log.active_file()).unwrap());
    assert_eq!((log.end(), hole(&log, active)), (200, Some((active, 200))));
    assert_eq!(log.log.repair(&log.log.damage()[0], &healthy.read(active)).unwrap(), Repaired::Done);
    assert_eq!(readable(&log), expected_without(&[]));
}

#[test]
fn replica_whose_end_is_damaged_tells_its_epoch_and_takes_what_its_leader_sends() {
    for damage_it in
        [|at: u64, file: &std::path::Path| flip(file, at + 70), |at: u64, file: &std::path::Path| cut_file(file, at)]
    {
        let log = filled();
        let batch = |epoch| {
            let batch =
                plain(&[NOW; 5]).with_base_offset(Offset(200)).with_leader_epoch(twinstream_model::LeaderEpoch(epoch));
            batch.build().unwrap()
        };
        let leader = twinstream_model::LeaderEpoch(3);
        log.log.append_as_follower(&batch(3), leader, NOW).unwrap();
        let (file, position, _) = place(&log, 200);
        let log = reopened_flushed(log, LastStop::Killed, |_| damage_it(position, &file));
        assert_eq!((log.end(), log.log.last_epoch()), (205, leader));
        assert_eq!(log.log.end_offset_for_epoch(leader), Some((leader, Offset(205))));
        let next = plain(&[NOW]).with_base_offset(Offset(205)).with_leader_epoch(leader).build().unwrap();
        assert_eq!(log.log.append_as_follower(&next, leader, NOW).unwrap().log_end, Offset(206));
        assert_eq!(log.log.repair(&log.log.damage()[0], &batch(3)).unwrap(), Repaired::Done);
        log.log.advance_high_watermark(ALL);
        assert_eq!(readable(&log).last_chunk(), Some(&[200, 205]));
    }
}

/// The checkpoint has no checksum.
#[test]
fn recovery_point_above_the_end_that_nothing_else_bears_out_makes_no_hole() {
    for last_stop in STOPS {
        let log = filled();
        log.log.close(NOW).unwrap();
        let log = log.reopen(|opening| {
            opening.last_stop = last_stop;
            opening.recovery_point = Offset(900);
            opening.high_watermark = Offset(200);
        });
        assert_eq!((log.end(), log.log.is_damaged()), (200, false), "{last_stop:?}");
        assert_eq!(readable(&log), expected_without(&[]));
    }
}

#[test]
fn hole_that_reaches_above_the_recovery_point_ends_there_after_a_power_loss() {
    let log = filled();
    let (file, position, _) = place(&log, 185);
    let (_, next, _) = place(&log, 190);
    assert!(next > position, "in one segment");
    let log = reopened_flushed(log, LastStop::Unknown, |_| {});
    drop(log.log.flush(NOW));
    flip(&file, position + 70);
    flip(&file, next + 70);
    let log = log.reopen(|opening| {
        opening.last_stop = LastStop::Unknown;
        opening.recovery_point = Offset(190);
    });
    assert_eq!((log.end(), hole(&log, 185)), (190, Some((185, 190))));
    // What came behind is gone for good, also from the file in which the hole is.
    assert_eq!(log.fill(RECORDS).base_offset, Offset(190));
    assert_eq!(log.log.repair(&log.log.damage()[0], &filled().read(185)).unwrap(), Repaired::Done);
    assert_eq!(readable(&log), (0..=190).step_by(RECORDS as usize).collect::<Vec<_>>());
}

#[test]
fn batch_that_is_missing_between_two_files_above_the_recovery_point_cuts_the_log_after_a_power_loss() {
    let bases: Vec<i64> = filled().log.segments().iter().map(|segment| segment.base().0).collect();
    let (recovery_point, missing) = (bases[1] + RECORDS, bases[3] - RECORDS);
    let case = |change: &dyn Fn(&mut Opening)| {
        let log = filled();
        let (file, position, _) = place(&log, missing);
        cut_file(&file, position);
        let log = log.reopen(|opening| {
            opening.last_stop = LastStop::Unknown;
            opening.recovery_point = Offset(recovery_point);
            change(opening);
        });
        (log.end(), readable(&log))
    };
    let (end, read) = case(&|_| {});
    assert_eq!((end, read), (missing, (0..missing).step_by(RECORDS as usize).collect()));
    // A log that was compacted has gaps, and a process that is killed loses nothing.
    let kept = (200, expected_without(&[missing]));
    assert_eq!(case(&|opening| opening.cleaned_to = Some(Offset(0))), kept);
    assert_eq!(case(&|opening| opening.config.cleanup.compact = true), kept);
    assert_eq!(case(&|opening| opening.last_stop = LastStop::Killed), kept);
    // Below the recovery point it was there: what follows is not, but the end stays.
    let log = filled();
    let (file, position, _) = place(&log, missing);
    cut_file(&file, position);
    let log = log.reopen(|opening| {
        opening.last_stop = LastStop::Unknown;
        opening.recovery_point = Offset(bases[3] - 2);
    });
    assert_eq!((log.end(), hole(&log, missing)), (bases[3] - 2, Some((missing, bases[3] - 2))));
}

#[test]
fn gap_that_a_leaders_compaction_left_does_not_cut_a_follower_after_a_power_loss() {
    let log = Fixture::new(config());
    let leader = twinstream_model::LeaderEpoch(0);
    for i in 0..40 {
        let batch = plain(&[NOW; 5]).with_base_offset(Offset(i * 100)).with_leader_epoch(leader).build().unwrap();
        log.log.append_as_follower(&batch, leader, NOW).unwrap();
    }
    assert!(log.log.segment_count() > 4);
    let log = log.crash();
    assert_eq!((log.end(), readable(&log).len()), (3_905, 40));
}

#[test]
fn cut_into_a_hole_takes_all_of_it() {
    for (at, is_known) in [(100, false), (100, true), (101, true), (104, true)] {
        for byte in [8, 16, 70] {
            let log = damaged(100, byte);
            if is_known {
                scrub(&log);
            }
            let cut = log.log.truncate_to(Offset(at)).unwrap();
            assert_eq!((cut.log_end, log.end()), (Offset(100), 100), "at {at}, byte {byte}");
            assert!(!log.log.is_damaged(), "at {at}, byte {byte}");
            assert!(cut.recovery_point_moved);
            log.fill(RECORDS);
            assert_eq!(readable(&log), (0..=100).step_by(RECORDS as usize).collect::<Vec<_>>());
            let log = log.crash();
            assert_eq!((log.end(), log.log.is_damaged()), (105, false), "at {at}, byte {byte}");
        }
    }
}

#[test]
fn cut_into_a_hole_takes_epochs_and_producers_of_it_along() {
    let log = Fixture::new(config());
    let append = |epoch: i32, sequence: i32| {
        let batch = idempotent(9, 0, sequence, 5).build().unwrap();
        log.log.append(&batch, crate::Origin::Client, twinstream_model::LeaderEpoch(epoch), NOW).unwrap()
    };
    for i in 0..10 {
        append(if i < 6 { 1 } else { 2 }, i * 5);
    }
    log.log.advance_high_watermark(ALL);
    let (file, position, _) = place(&log, 30);
    flip(&file, position + 8);
    let log = log.reopen(|opening| {
        opening.last_stop = LastStop::Killed;
        opening.recovery_point = Offset(50);
    });
    assert_eq!((log.end(), log.log.last_epoch().0, hole(&log, 30)), (50, 2, Some((30, 35))));
    assert_eq!(log.log.truncate_to(Offset(33)).unwrap().log_end, Offset(30));
    assert_eq!((log.end(), log.log.last_epoch().0, log.log.is_damaged()), (30, 1, false));
    assert_eq!(log.log.latest_epoch().map(|epoch| epoch.0), Some(1));
    assert!(log.append(idempotent(9, 0, 25, 5)).unwrap().duplicate);
    assert_eq!(log.append(idempotent(9, 0, 30, 5)).unwrap().base_offset, Offset(30));
}

#[test]
fn cut_right_behind_a_hole_at_the_end_of_a_segment_goes_on_in_a_new_one() {
    let healthy = filled();
    let (_, start, _) = place(&healthy, 190);
    let log = reopened_flushed(filled(), LastStop::Killed, |log| cut_file(&log.active_file(), start));
    log.fill(RECORDS);
    for end in [200, 197] {
        let kept = if end == 200 { 200 } else { 190 };
        assert_eq!(log.log.truncate_to(Offset(end)).unwrap().log_end, Offset(kept));
        assert_eq!(log.log.is_damaged(), end == 200);
        assert_eq!(log.fill(RECORDS).base_offset, Offset(kept));
    }
    assert_eq!(readable(&log), (0..=190).step_by(RECORDS as usize).collect::<Vec<_>>());
}
