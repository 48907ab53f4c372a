use std::fs;

use twinstream_model::{LeaderEpoch, ProducerId};

use super::super::tests::{Fixture, small};
use super::*;
use crate::LastStop;

fn firsts(log: &Fixture, from: i64, upper: i64) -> Vec<i64> {
    let found = log.log.aborted_transactions(Offset(from), Offset(upper)).unwrap();
    found.iter().map(|aborted| aborted.first_offset.0).collect()
}

/// Aborted transactions at 0 to 1, and at 4 to 6; a committed one from 2 to 5.
fn sample() -> Fixture {
    let log = Fixture::new(small());
    log.put_transactional(1, 0, "a=1");
    log.end_transaction(1, false);
    log.put_transactional(2, 0, "b=1");
    log.put("n=1");
    log.put_transactional(1, 1, "c=1");
    log.end_transaction(2, true);
    log.end_transaction(1, false);
    log
}

#[test]
fn readers_of_committed_records_see_no_aborted_ones_and_stop_at_open_transactions() {
    let log = sample();
    assert_eq!(log.committed(), "2:b=1 3:n=1");
    assert_eq!(log.log.last_stable_offset(), Offset(7));
    log.put("n=2");
    log.put_transactional(3, 0, "o=1");
    log.put("n=3");
    assert_eq!(log.log.last_stable_offset(), Offset(8));
    assert_eq!(log.committed(), "2:b=1 3:n=1 7:n=2");
    log.end_transaction(3, true);
    assert_eq!(log.committed(), "2:b=1 3:n=1 7:n=2 8:o=1 9:n=3");
}

#[test]
fn reader_hears_only_of_aborted_transactions_in_what_he_gets() {
    let log = sample();
    assert_eq!(firsts(&log, 0, 7), [0, 4]);
    assert_eq!(firsts(&log, 0, 3), [0]);
    assert_eq!(firsts(&log, 2, 7), [4]);
    let (found, aborted) = log.log.read_committed(Offset(0), 1, true).unwrap();
    assert!(!found.is_empty());
    assert_eq!(aborted, [AbortedTransaction { producer_id: ProducerId(1), first_offset: Offset(0) }]);
}

/// The end of a transaction moves the last stable offset and writes an entry. A reader that sees the one sees the other.
#[test]
fn reader_beside_a_writer_never_takes_aborted_records_for_committed_ones() {
    const TRANSACTIONS: i64 = 3_000;
    let log = Fixture::new(small());
    let end = Offset(2 * TRANSACTIONS);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut next = Offset(0);
                while next < end {
                    assert_eq!(log.committed_from(&mut next), "");
                }
            });
        }
        for producer in 0..TRANSACTIONS {
            log.put_transactional(producer, 0, "a=1");
            log.end_transaction(producer, false);
        }
    });
}

#[test]
fn indexes_survive_restarts_and_are_made_again_when_they_are_lost_or_damaged() {
    let mut log = sample();
    log.put_transactional(4, 0, "d=1");
    let expected = (log.committed(), firsts(&log, 0, 9), log.log.last_stable_offset());
    let index = log.dir().join(&log.files(".txnindex")[0]);
    let whole = fs::read(&index).unwrap();
    assert_eq!(whole.len(), 68);
    for (case, bytes) in [("whole", &whole[..]), ("torn", &whole[..50]), ("empty", &[]), ("foreign", &[7; 68])] {
        for last_stop in [LastStop::Clean, LastStop::Killed, LastStop::Unknown] {
            log.log.close(0).unwrap();
            fs::write(&index, bytes).unwrap();
            log = log.reopen(|opening| opening.last_stop = last_stop);
            let found = (log.committed(), firsts(&log, 0, 9), log.log.last_stable_offset());
            assert_eq!(found, expected, "{case}, {last_stop:?}");
            assert_eq!(fs::read(&index).unwrap(), whole, "{case}, {last_stop:?}");
        }
    }
    log.log.close(0).unwrap();
    fs::remove_file(&index).unwrap();
    let log = log.crash();
    assert_eq!(firsts(&log, 0, 9), expected.1);
}

/// As the broker does it: the count goes along from a clean stop to the next start.
fn stop_and_change(log: Fixture, change: impl FnOnce(&Fixture)) -> Fixture {
    log.log.close(0).unwrap();
    let count = log.log.aborted_count();
    change(&log);
    log.reopen(|opening| opening.aborted_count = Some(count))
}

#[test]
fn entries_that_went_while_the_broker_was_stopped_are_noticed_before_anything_is_served() {
    let mut log = sample();
    log.roll();
    log.put_transactional(5, 0, "e=1");
    log.end_transaction(5, false);
    let expected = (log.committed(), firsts(&log, 0, 9));
    let indexes: Vec<PathBuf> = log.files(".txnindex").iter().map(|name| log.dir().join(name)).collect();
    let whole: Vec<Vec<u8>> = indexes.iter().map(|index| fs::read(index).unwrap()).collect();
    assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [68, 34]);
    let lose = |index: &PathBuf, len: usize| match len {
        usize::MAX => fs::remove_file(index).unwrap(),
        len => fs::OpenOptions::new().write(true).open(index).unwrap().set_len(len as u64).unwrap(),
    };
    for (victims, len) in [(&indexes[..1], 34), (&indexes[..1], usize::MAX), (&indexes[1..], 0), (&indexes, usize::MAX)]
    {
        log = stop_and_change(log, |_| victims.iter().for_each(|index| lose(index, len)));
        assert_eq!((log.committed(), firsts(&log, 0, 9)), expected, "{victims:?} cut to {len}");
        assert_eq!(indexes.iter().map(|index| fs::read(index).unwrap()).collect::<Vec<_>>(), whole);
        assert_eq!(log.log.aborted_count(), 3);
    }
}

#[test]
fn whole_indexes_are_not_made_again() {
    let log = sample();
    let index = log.dir().join(&log.files(".txnindex")[0]);
    let inode = |path: &PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    // A link keeps the inode from being given to another file.
    fs::hard_link(&index, log.dir().join("link")).unwrap();
    let before = inode(&index);
    let log = stop_and_change(log, |_| {});
    assert_eq!((inode(&index), log.log.aborted_count()), (before, 2));
}

#[test]
fn flipped_bits_of_an_index_are_noticed_at_a_start() {
    let mut log = sample();
    let index = log.dir().join(&log.files(".txnindex")[0]);
    let whole = fs::read(&index).unwrap();
    for at in 0..whole.len() {
        log.log.close(0).unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 0x21;
        fs::write(&index, flipped).unwrap();
        log = log.reopen(|opening| opening.last_stop = LastStop::Clean);
        assert_eq!(log.committed(), "2:b=1 3:n=1", "byte {at}");
    }
}

#[test]
fn entry_that_a_crash_came_before_is_written_at_the_start() {
    let log = sample();
    let index = log.dir().join(&log.files(".txnindex")[0]);
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &whole[..34]).unwrap();
    let log = log.reopen(|opening| opening.last_stop = LastStop::Killed);
    assert_eq!(fs::read(&index).unwrap(), whole);
    assert_eq!(firsts(&log, 0, 7), [0, 4]);
}

#[test]
fn cut_takes_markers_back_and_opens_their_transactions_again() {
    let log = sample();
    assert_eq!(log.log.truncate_to(Offset(6)).unwrap().log_end, Offset(6));
    assert_eq!((log.log.last_stable_offset(), firsts(&log, 0, 7)), (Offset(4), vec![0]));
    assert_eq!(log.log.truncate_to(Offset(1)).unwrap().log_end, Offset(1));
    assert_eq!(log.log.last_stable_offset(), Offset(0));
    assert!(firsts(&log, 0, 7).is_empty() && log.files(".txnindex").is_empty());
    assert_eq!(log.log.restart_at(Offset(20)).unwrap().log_end, Offset(20));
    assert_eq!(log.log.last_stable_offset(), Offset(20));
}

#[test]
fn follower_has_the_leaders_transactions() {
    let leader = sample();
    let follower = Fixture::new(small());
    let bytes: Vec<u8> = leader.batches().concat();
    follower.log.append_as_follower(&bytes, LeaderEpoch(0), 0).unwrap();
    follower.log.advance_high_watermark(Offset(5));
    // The marker at 5 is not committed, and the transaction from 4 is open here until 6 is.
    assert_eq!(follower.log.last_stable_offset(), Offset(2));
    follower.log.advance_high_watermark(Offset(7));
    assert_eq!(follower.committed(), leader.committed());
    assert_eq!(firsts(&follower, 0, 7), [0, 4]);
}

#[test]
fn deleted_segments_take_their_index_along() {
    let log = sample();
    log.roll();
    log.put("n=9");
    log.log.delete_records(Offset(7), 0).unwrap();
    assert!(firsts(&log, 0, 9).is_empty() && log.files(".txnindex").is_empty());
    assert_eq!(log.files(".txnindex.deleted").len(), 1);
}

#[test]
fn writer_does_not_wait_for_a_reader_of_committed_records() {
    let log = sample();
    let entries = log.log.with_indexes(|_, indexes| {
        // As long as this takes, a transaction may be aborted.
        assert!(log.log.aborted.try_write().is_some());
        indexes.entries(&log.log.dir, Offset(0), Offset(0), Offset(7))
    });
    assert_eq!(entries.unwrap().len(), 2);
}

#[test]
fn reader_begins_anew_when_entries_went_meanwhile() {
    let log = sample();
    let reads = Cell::new(0);
    let found = log.log.with_indexes(|_, indexes| {
        let found = indexes.entries(&log.log.dir, Offset(0), Offset(0), Offset(7));
        if reads.replace(reads.get() + 1) == 0 {
            assert_eq!(log.log.truncate_to(Offset(6)).unwrap().log_end, Offset(6));
        }
        found.map(|found| found.len())
    });
    assert_eq!((found.unwrap(), reads.get()), (1, 2));
}

#[test]
fn reader_who_is_foiled_again_and_again_keeps_entries_from_going() {
    let log = sample();
    let reads = Cell::new(0);
    log.log
        .with_indexes(|_, _| -> Result<(), LogError> {
            reads.set(reads.get() + 1);
            if let Some(mut indexes) = log.log.aborted.try_write() {
                indexes.replaced(Offset(0), &[]);
                let entry =
                    |first, last| AbortedEntry { producer_id: ProducerId(1), first, last, last_stable: last.next() };
                indexes.replaced(Offset(0), &[entry(Offset(0), Offset(1))]);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(reads.get(), READS_WITHOUT_LOCK + 1);
}

#[test]
fn flush_takes_indexes_to_the_disk_once() {
    let log = sample();
    assert_eq!(log.log.dirty_txn_indexes().unwrap().len(), 1);
    log.end_transaction(9, false);
    log.log.flush(0).unwrap();
    assert!(log.log.dirty_txn_indexes().unwrap().is_empty());
}
