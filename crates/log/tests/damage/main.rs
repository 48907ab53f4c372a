//! Every kind of file that a partition or a log directory has, changed while nobody had it open.
//!
//! One flipped bit in each byte, and a file that ends too early. A log that is opened on it either refuses and names the
//! file, or serves the records that were written and no others: never a wrong one, never an offset twice, never a panic.
//! What is only derived from the records (indexes, snapshots, epochs) costs nothing but the time to make it again.
//!
//! Damage that shows up while a log is open: `partition_log::damage`. Brokers as processes: `crates/cli/tests/damage.rs`.

mod directory; // files of a log directory
mod matrix; // a case and what may come of it
mod original; // the log as it was written

use matrix::{Bench, Case, Change, STOPS, goes_on, served};
use original::epochs;
use twinstream_log::{LastStop, LogError};
use twinstream_protocol::batch::BatchView;

/// Where a batch says which offset it has.
const OFFSET: std::ops::Range<usize> = 0..8;
/// Fields of a batch that its checksum does not cover and that no neighbour need contradict.
const EPOCH: std::ops::Range<usize> = 12..16;

/// Whether a cell is tried after this stop: all of them after one kind, a part of them after the others.
fn is_chosen(cell: usize, stop: LastStop) -> bool {
    match stop {
        LastStop::Clean => true,
        LastStop::Killed => cell % 3 == 1,
        LastStop::Unknown => cell % 3 == 2,
    }
}

/// Runs every change of every file of a kind.
fn for_each_case(bench: &Bench, suffix: &str, mut judge: impl FnMut(&Case<'_>)) {
    let names = bench.original.names(suffix);
    assert!(!names.is_empty(), "no file of kind {suffix}");
    for file in &names {
        for (cell, change) in Change::all(bench.original.files[file].len()).enumerate() {
            for stop in STOPS.into_iter().filter(|stop| is_chosen(cell, *stop)) {
                judge(&Case { file, change, stop });
            }
        }
    }
}

fn costs_only_time(suffix: &str) {
    let bench = Bench::new();
    for_each_case(&bench, suffix, |case| {
        bench.run(case, |log| {
            let log = log.unwrap_or_else(|error| panic!("refused: {}", error.chain()));
            assert_eq!(epochs(&log), bench.original.epochs);
            bench.is_whole(&log);
        });
    });
}

#[test]
fn original_has_every_kind_of_file_and_opens_after_any_stop() {
    let bench = Bench::new();
    for (suffix, count) in
        [(".log", 3), (".index", 3), (".timeindex", 3), (".txnindex", 1), (".snapshot", 3), ("checkpoint", 1)]
    {
        assert_eq!(bench.original.names(suffix).len(), count, "{:?}", bench.original.files.keys());
    }
    for stop in STOPS {
        let case = Case { file: "partition.metadata", change: Change::Flip(0, 0), stop };
        bench.run(&case, |log| {
            let log = log.expect("a log");
            assert_eq!(epochs(&log), bench.original.epochs);
            bench.is_whole(&log);
        });
    }
}

#[test]
fn damaged_offset_index_costs_only_time() {
    costs_only_time(".index");
}

#[test]
fn damaged_time_index_costs_only_time() {
    costs_only_time(".timeindex");
}

#[test]
fn damaged_transaction_index_costs_only_time() {
    costs_only_time(".txnindex");
}

#[test]
fn damaged_producer_snapshot_costs_only_time() {
    costs_only_time(".snapshot");
}

/// Text without a checksum, so a digit may become another one; records never suffer.
#[test]
fn damaged_epoch_checkpoint_changes_no_record() {
    let bench = Bench::new();
    let file = "leader-epoch-checkpoint";
    for change in Change::all_of_text(bench.original.files[file].len()) {
        for stop in STOPS {
            bench.run(&Case { file, change, stop }, |log| match log {
                Ok(log) => bench.is_whole(&log),
                Err(error) => assert_names(&error, file),
            });
        }
    }
}

#[test]
fn damaged_partition_metadata_is_refused_or_changes_no_record() {
    let bench = Bench::new();
    let file = "partition.metadata";
    for change in Change::all_of_text(bench.original.files[file].len()) {
        bench.run(&Case { file, change, stop: LastStop::Clean }, |log| match log {
            Ok(log) => bench.is_whole(&log),
            Err(error) => assert_names(&error, file),
        });
    }
}

#[test]
fn flipped_byte_of_a_segment_takes_its_batch_and_no_other() {
    let bench = Bench::new();
    let last = *bench.original.batches.keys().last().expect("batches");
    for file in bench.original.names(".log") {
        for at in 0..bench.original.files[&file].len() {
            for stop in STOPS.into_iter().filter(|stop| is_chosen(at, *stop)) {
                let case = Case { file: &file, change: Change::Flip(at, 1 << (at * 5 % 8)), stop };
                let (damaged, start) = bench.original.batch_at(&file, at);
                bench.run(&case, |log| {
                    let log = log.unwrap_or_else(|error| panic!("refused: {}", error.chain()));
                    let served = served(&log);
                    let mut expected = bench.original.batches.clone();
                    if damaged == last && OFFSET.contains(&(at - start)) && served.holes.is_empty() {
                        // Nothing follows that could contradict it. It is the last one still.
                        assert!(served.batches.range(..damaged).eq(expected.range(..damaged)));
                        assert!(
                            served.batches.range(damaged..).all(|(_, batch)| batch[8..] == expected[&damaged][8..])
                        );
                        return;
                    }
                    if EPOCH.contains(&(at - start)) && served.batches.contains_key(&damaged) {
                        // It fits between its neighbours. The records are right.
                        let (found, whole) = (&served.batches[&damaged], &expected[&damaged]);
                        assert_eq!(found[..EPOCH.start], whole[..EPOCH.start]);
                        assert_eq!(found[EPOCH.end..], whole[EPOCH.end..]);
                        return;
                    }
                    // After a power loss what is behind damage may be older than it. After a kill the last batch, above
                    // the recovery point, may be torn; what lies below cannot.
                    let is_cut = stop == LastStop::Unknown || damaged == last && stop == LastStop::Killed;
                    let behind = expected.split_off(&damaged);
                    if !is_cut {
                        expected.extend(behind.into_iter().skip(1));
                    }
                    assert!(served.batches == expected, "batches at {:?} are served", served.batches.keys());
                    let end = log.log_end_offset().0;
                    if is_cut {
                        assert_eq!((served.holes.as_slice(), end), (&[][..], damaged));
                    } else {
                        let next = BatchView::parse(&bench.original.batches[&damaged]).expect("a batch");
                        let next = next.header().next_offset().0;
                        assert_eq!((served.holes.as_slice(), end), (&[(damaged, next)][..], bench.original.end));
                    }
                    goes_on(&log, &served);
                });
            }
        }
    }
}

#[test]
fn segment_that_ends_early_serves_what_is_left_of_it() {
    let bench = Bench::new();
    let names = bench.original.names(".log");
    for (i, file) in names.iter().enumerate() {
        let is_active = i + 1 == names.len();
        for len in 0..bench.original.files[file].len() {
            for stop in STOPS.into_iter().filter(|stop| is_chosen(len, *stop)) {
                let (damaged, _) = bench.original.batch_at(file, len);
                bench.run(&Case { file, change: Change::Cut(len), stop }, |log| {
                    let log = log.unwrap_or_else(|error| panic!("refused: {}", error.chain()));
                    let served = served(&log);
                    let is_original = |(base, batch): (&i64, &Vec<u8>)| bench.original.batches.get(base) == Some(batch);
                    assert!(
                        served.batches.iter().all(is_original),
                        "batches at {:?} are served",
                        served.batches.keys()
                    );
                    let before = bench.original.batches.range(..damaged);
                    assert!(
                        before.clone().all(|(base, _)| served.batches.contains_key(base)),
                        "{:?}",
                        served.batches.keys()
                    );
                    assert!(!served.batches.contains_key(&damaged));
                    let flushed = bench.original.flushed_at(stop);
                    if is_active && damaged < flushed {
                        let end = log.log_end_offset().0;
                        assert_eq!((end, served.holes.as_slice()), (flushed, &[(damaged, flushed)][..]));
                    }
                    if !is_active && stop != LastStop::Unknown {
                        // What later segments have stays.
                        let next: i64 = names[i + 1].trim_end_matches(".log").parse().expect("an offset");
                        let behind = bench.original.batches.range(next..);
                        assert!(
                            behind.clone().all(|(base, _)| served.batches.contains_key(base)),
                            "{:?}",
                            served.batches.keys()
                        );
                        assert_eq!(log.log_end_offset().0, bench.original.end);
                        assert_eq!(served.holes, [(damaged, next)], "cut at {len}");
                    }
                    goes_on(&log, &served);
                });
            }
        }
    }
}

/// An error tells which file to look at.
fn assert_names(error: &LogError, file: &str) {
    let text = error.chain();
    assert!(text.contains(file), "{text}");
}
