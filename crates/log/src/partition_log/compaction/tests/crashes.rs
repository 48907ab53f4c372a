//! The exchange of segments, stopped after each of its steps.

use super::*;

type Files = BTreeMap<String, Vec<u8>>;

fn files_of(log: &Fixture) -> Files {
    let names = log.files("").into_iter();
    names.map(|name| (name.clone(), fs::read(log.dir().join(&name)).unwrap())).collect()
}

/// In the order in which they are renamed.
const ORDER: [&str; 4] = [".txnindex", ".index", ".timeindex", ".log"];

fn place_in_order(name: &str) -> Option<usize> {
    ORDER.iter().position(|extension| name.ends_with(extension))
}

/// Puts these files in the place of those of the log and opens it.
fn open_with(log: Fixture, files: &Files, last_stop: LastStop) -> Fixture {
    for name in log.files("") {
        fs::remove_file(log.dir().join(name)).unwrap();
    }
    for (name, bytes) in files {
        fs::write(log.dir().join(name), bytes).unwrap();
    }
    log.reopen(|opening| opening.last_stop = last_stop)
}

struct Crash {
    /// All files before and after.
    old: Files,
    new: Files,
    /// Names of the files of the segment that is made, and of those that go.
    made: Vec<String>,
    gone: Vec<String>,
}

impl Crash {
    /// The first `done` of the new files have one suffix, the others another; the first `deleted` old ones are renamed.
    fn state(&self, (done, first): (usize, &str), others: &str, deleted: usize) -> Files {
        let mut files: Files = self.old.clone();
        for name in self.gone.iter().rev().take(deleted) {
            let bytes = files.remove(name).unwrap();
            files.insert(format!("{name}.deleted"), bytes);
        }
        for name in &self.made {
            let suffix = if place_in_order(name).unwrap() < done { first } else { others };
            files.insert(format!("{name}{suffix}"), self.new[name].clone());
        }
        files
    }
}

/// A log with an aborted transaction, so that all kinds of files are there.
fn prepared() -> (Fixture, Crash) {
    let log = sample();
    log.put_transactional(5, 0, "a=x");
    log.end_transaction(5, false);
    log.roll();
    log.put("z=1");
    log.log.flush(NOW).unwrap();
    log.log.tidy(NOW).unwrap();
    let old = files_of(&log);
    log.log.set_config(LogConfig { segment_bytes: 100_000, ..compacted() });
    log.clean();
    let new = files_of(&log);
    let of_closed = |name: &&String| place_in_order(name).is_some() && !name.starts_with("00000000000000000009");
    let made: Vec<String> = new.keys().filter(of_closed).cloned().collect();
    let gone: Vec<String> = old.keys().filter(of_closed).cloned().collect();
    assert_eq!((made.len(), gone.len()), (4, 3 * 4 + 1));
    (log, Crash { old, new, made, gone })
}

const BEFORE: &str = "0:a=1 1:b=1 2:a=2 3:c=1 4:b=2 5:d=1 6:d=2 7:a=x 8:marker 9:z=1";
const AFTER: &str = "2:a=2 3:c=1 4:b=2 6:d=2 8:marker 9:z=1";

fn check(mut log: Fixture, files: &Files, expected: &str, step: &str) -> Fixture {
    for last_stop in [LastStop::Killed, LastStop::Unknown] {
        log = open_with(log, files, last_stop);
        assert_eq!(log.shown(), expected, "{step}, {last_stop:?}");
        assert!(log.leftovers().is_empty() && log.files(".deleted").is_empty(), "{step}");
        assert_eq!(log.end(), 10, "{step}");
        assert!(!log.committed().contains("a=x"), "{step}");
        // A second start has nothing to do.
        log = log.reopen(|opening| opening.last_stop = LastStop::Killed);
        assert_eq!(log.shown(), expected, "{step}, again");
    }
    log
}

#[test]
fn crash_before_the_copies_are_whole_leaves_the_old_segments() {
    let (mut log, crash) = prepared();
    let whole = crash.state((0, ""), ".cleaned", 0);
    let mut torn = whole.clone();
    torn.iter_mut()
        .filter(|(name, _)| name.ends_with(".cleaned"))
        .for_each(|(_, bytes)| bytes.truncate(bytes.len() / 2));
    torn.remove("00000000000000000000.txnindex.cleaned");
    log = check(log, &torn, BEFORE, "torn .cleaned");
    log = check(log, &whole, BEFORE, "whole .cleaned");
    for done in 1..ORDER.len() {
        log = check(log, &crash.state((done, ".swap"), ".cleaned", 0), BEFORE, &format!("{done} files are .swap"));
    }
}

#[test]
fn crash_after_the_copies_are_whole_finishes_the_exchange() {
    let (mut log, crash) = prepared();
    let all = crash.gone.len();
    for deleted in 0..=all {
        log = check(log, &crash.state((0, ""), ".swap", deleted), AFTER, &format!("{deleted} old files gone"));
    }
    for done in 1..ORDER.len() {
        log = check(log, &crash.state((done, ""), ".swap", all), AFTER, &format!("{done} new files in place"));
    }
    check(log, &crash.new, AFTER, "all in place");
}

#[test]
fn lost_indexes_of_a_finished_copy_are_made_again() {
    let (log, crash) = prepared();
    let mut files = crash.state((0, ""), ".swap", 0);
    files.retain(|name, _| !name.ends_with("0.index.swap") && !name.ends_with("0.timeindex.swap"));
    check(log, &files, AFTER, "only records and aborted transactions");
}
