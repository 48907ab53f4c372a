//! What a start makes of damage at the end of a log and of gaps between its files, and what a cut makes of holes.

use super::*;

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

/// The bytes of the batch at an offset.
fn one_batch(log: &Fixture, offset: i64) -> Vec<u8> {
    let (file, position, len) = place(log, offset);
    std::fs::read(file).unwrap()[position as usize..(position + len) as usize].to_vec()
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
fn closed_segment_cut_between_batches_is_no_gap_of_a_compaction() {
    let healthy = filled();
    let second = healthy.log.segments()[1].base().0;
    let third = healthy.log.segments()[2].base().0;
    for lost_from in (second..third).step_by(RECORDS as usize) {
        let (_, position, _) = place(&healthy, lost_from);
        for last_stop in STOPS {
            let case = format!("cut at {lost_from}, {last_stop:?}");
            let log = reopened_flushed(filled(), last_stop, |log| cut_file(&place(log, lost_from).0, position));
            assert_eq!(hole(&log, third - 1), Some((lost_from, third)), "{case}");
            let lost: Vec<i64> = (lost_from..third).step_by(RECORDS as usize).collect();
            assert_eq!(readable(&log), expected_without(&lost), "{case}");
            // The next start sees it as well.
            let log = reopened_flushed(log, last_stop, |_| {});
            assert_eq!(hole(&log, lost_from), Some((lost_from, third)), "{case}");
            let damage = log.log.damage();
            let bytes: Vec<u8> = lost.iter().flat_map(|offset| one_batch(&healthy, *offset)).collect();
            assert_eq!(log.log.repair(&damage[0], &bytes).unwrap(), Repaired::Done, "{case}");
            assert_eq!(readable(&log), expected_without(&[]), "{case}");
            for offset in [lost_from - 1, lost_from, third - 1, third] {
                assert_eq!(log.log.offset_for_time(NOW + offset).unwrap().unwrap().offset, Offset(offset), "{case}");
            }
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

#[test]
fn epochs_of_what_was_read_count_around_a_hole() {
    // What an older version of the file may be, or a wrong one.
    let files = ["0\n1\n1 0\n", "0\n2\n1 0\n2 20\n", "0\n3\n1 0\n2 25\n3 60\n", "0\n4\n1 0\n2 30\n3 59\n4 70\n"];
    // All of the segment is read.
    for (last_stop, recovery_point) in [(LastStop::Killed, 0), (LastStop::Unknown, 90)] {
        for file in files {
            let log = Fixture::new(LogConfig::default());
            for i in 0..18 {
                let batch = plain(&[NOW; 5]).build().unwrap();
                let epoch = twinstream_model::LeaderEpoch(i / 6 + 1);
                log.log.append(&batch, crate::Origin::Client, epoch, NOW).unwrap();
            }
            let (path, position, _) = place(&log, 40);
            flip(&path, position + 8);
            std::fs::write(log.dir().join("leader-epoch-checkpoint"), file).unwrap();
            let log = log.reopen(|opening| {
                opening.last_stop = last_stop;
                opening.recovery_point = Offset(recovery_point);
            });
            assert_eq!((log.end(), hole(&log, 40)), (90, Some((40, 45))));
            let of = |offset| log.log.epoch_at(Offset(offset)).0;
            let told = [0, 29, 30, 39, 45, 59, 60, 89].map(of);
            assert_eq!(told, [1, 1, 2, 2, 2, 2, 3, 3], "{last_stop:?}, file {file:?}");
            assert_eq!(log.log.latest_epoch().map(|epoch| epoch.0), Some(3));
        }
    }
}
