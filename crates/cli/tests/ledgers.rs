//! Books of clients that are not ours, held against what the brokers have after some of them were killed.
//!
//! Short versions of `cargo xtask judge coordinators` and `cargo xtask judge verifiable`; that of `judge transactions` is
//! among the tests of transactions.

use std::time::Duration;

use twinstream_testkit::faults::turn;
use twinstream_testkit::ledger::{Side, commits, verifiable};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_commit_is_in_the_log_when_coordinators_are_killed() {
    let _turn = turn().await;
    let only = ["librdkafka-simple", "librdkafka-classic", "java-consumer"].map(str::to_owned).into();
    let report = commits::judge(Side::Ours, &commits::Options { kills: 2, only }).await;
    assert!(report.is_good(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_verifiable_programs_find_nothing_wrong_when_brokers_are_killed() {
    let _turn = turn().await;
    let options = verifiable::Options { time: Duration::from_secs(8), producers: 1, members: 2 };
    let report = verifiable::judge(Side::Ours, &options).await;
    assert!(report.is_good(), "{report}");
}
