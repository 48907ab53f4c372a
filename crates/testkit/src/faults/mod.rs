//! Faults: a cluster under load, something that breaks, and a verdict.
//!
//! Picture: a [`Scenario`] says what is broken and when. A [`Trial`] is the cluster that it is tried on: it starts load,
//! lets the scenario break and heal, waits until all replicas are in sync again, reads everything once more, and hands the
//! history to [`crate::checker`]. Scenarios bear the numbers of the list of faults that the project holds itself to. All
//! that is left to chance comes from [`Dice`], so a seed chooses the same faults again; the moments at which they meet the
//! cluster are the machine's.
//!
//! Invariants: a trial ends with nothing broken, or its report is bad; a bad report names the folder with the history and
//! all logs; what a scenario requires beyond the checker (writable again in time, who leads) is in the report as well; a
//! load of transactions that did next to nothing makes a bad report.

pub mod churn; // members of groups that die
pub mod compaction; // of transactions and tombstones
mod deeds; // what a load of transactions did
mod dice; // chance from a seed
pub mod judge; // how long writers wait, ours beside Kafka
pub mod late; // requests of transactions that arrive late
mod progress; // who goes on
pub mod repeats; // batches of idempotent producers that are sent again
mod scenarios; // what is broken
mod story; // what a trial tells
mod subject; // the cluster that suffers
mod trial; // one run
mod turns; // as a test, one after the other
mod watch; // two leaders in one epoch

pub use dice::Dice;
pub use scenarios::{SCENARIOS, Scenario, by_name};
pub use subject::Subject;
pub use trial::{Report, Trial};
pub use turns::{survives, survives_as, turn};
