//! Clusters of real processes for tests, and judges that are not ours.
//!
//! Picture: a test starts [`Cluster`]s, [`Server`]s and [`peer`]s, drives them as a user would, kills some of them, and
//! waits for what must become true with [`wait_until`]. Our processes are the binary that was built together with the
//! test; judges are fetched once into a cache folder with pinned versions and found again without a network.
//!
//! Invariants:
//! - A child never outlives its test: it is killed on drop, and by the kernel when the test process dies.
//! - Ports lie below the range of outgoing connections and are reserved across test processes.
//! - A folder of logs and data is removed with its test, unless the test panics or `TWINSTREAM_KEEP` is set; then its
//!   path is printed.
//! - A judge that is not there fails the test, and says so in a way that `cargo xtask test` understands ([`peer`]).
//!
//! What goes wrong in here panics with the reason and the last log lines, since that is what a test would do with it.

mod apart; // one run of a judge, as a task of its own
mod binary; // where the binary under test is
pub mod checker; // judges a history
mod cluster; // brokers
pub mod faults; // clusters under load that break
mod folder; // logs and data of one test
pub mod history; // what happened in one run
pub mod hosts; // machines that are booted
pub mod ledger; // books of clients, held against what brokers have
pub mod links; // two clusters, and what mirrors from one to the other
pub mod load; // producers and readers with a history
pub mod nemesis; // what breaks things
mod operator; // asks and commands while things are broken
pub mod peer; // judges
mod ports; // free ports
mod process; // a child that dies with the test
mod program; // what clients in processes of their own are
pub mod reading; // what one replica serves
pub mod records; // produce, read back, compare
mod rest; // JSON over HTTP
mod server; // one server process: kill, stop, restart
pub mod settings; // of topics
pub mod suites; // other people's tests, on both sides
mod wait; // wait_until

pub use binary::twinstream;
pub use cluster::{Cluster, ClusterOptions};
pub use folder::Folder;
pub use operator::{Operator, PartitionState, QuorumState, SETTLES_WITHIN};
pub use ports::{free_port, free_port_range};
pub use process::{Process, die_with_test};
pub use program::Program;
pub use rest::{Answer, Rest};
pub use server::{Registry, Search, Server, Worker, WorkerOptions};
pub use wait::{wait_until, wait_until_some};
