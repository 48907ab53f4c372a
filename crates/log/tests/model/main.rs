//! A log against a simple model: append, follow a leader, transactions, roll, retain, compact, delete, truncate, flush,
//! restart, crash, lose power, lose index files, in any order.
//!
//! The model is the list of records that a reader must see, each with the batch it came in. What the log may decide for
//! itself (which old versions a compaction takes, where retention stops, how much of a torn tail is whole) is held against
//! rules, and then taken over; all else must be exactly as the model says: offsets, keys, values, epochs, records by their
//! time, which transactions are aborted, how far readers of committed records may go.
//!
//! A killed process leaves its last write cut short. A power loss leaves what was flushed and some of the bytes behind it,
//! with nothing, zeros, or files that were written back out of turn after them.

mod model; // what a reader must see
mod steps; // what happens, to the log and to the model

use proptest::prelude::*;
use steps::{After, Step, Subject, step};

const CASES: u32 = 1_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn log_holds_what_its_readers_must_see(steps in prop::collection::vec(step(), 1..60)) {
        let mut subject = Subject::new();
        for step in &steps {
            subject.apply(step);
            subject.check();
        }
    }
}

/// The first record of the transaction was deleted, its marker lost with the power, and a snapshot from between the two
/// knows that it is open from where no record is.
#[test]
fn transaction_that_began_below_the_log_start_is_open_after_its_marker_was_lost() {
    let record = |count: usize| vec![(0, None); count];
    let append = |count| Step::Append { records: record(count), codec: 0 };
    let transact = || Step::Transact { records: record(1), pick: 0, anew: false };
    let steps = [
        Step::Follow { keys: vec![0; 6], gap: 0, epochs: 0 },
        Step::Truncate { percent: 50 },
        transact(),
        Step::Flush,
        append(1),
        transact(),
        append(3),
        Step::Follow { keys: vec![0; 4], gap: 0, epochs: 0 },
        Step::End { pick: 0, commit: false },
        append(5),
        Step::DeleteRecords { percent: 22 },
        Step::PowerLoss { left_percent: 43, after: After::Gone },
    ];
    let mut subject = Subject::new();
    for step in &steps {
        subject.apply(step);
        subject.check();
    }
}
