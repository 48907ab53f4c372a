//! A short selection of the faults: brokers die, hang, are cut off and get other replicas while clients write and read.
//!
//! Seeds are fixed, so that a failure here can be repeated: `cargo xtask faults --only NAME --seed N`. Scenarios run one
//! after the other, since two clusters at a time would measure the machine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use twinstream_testkit::checker::{self, Kind};
use twinstream_testkit::faults::{Subject, Trial, by_name, survives, survives_as, turn};
use twinstream_testkit::history::{self, What, Worker};
use twinstream_testkit::load::{LoadOptions, be_rival_if_told};
use twinstream_testkit::nemesis::files;
use twinstream_testkit::{Cluster, ClusterOptions, Operator, Program, SETTLES_WITHIN, wait_until_some};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_leaders_are_killed() {
    survives("leader-killed", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_all_are_killed_at_once() {
    survives("all-killed", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hung_is_fenced_when_it_wakes() {
    survives("leader-hung", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_only_clients_reach_acknowledges_nothing() {
    survives("leader-cut-from-followers", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_leader_of_the_quorum_is_replaced() {
    survives("controller-hung", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridges_and_one_way_links_heal_without_an_operator() {
    survives("bridges", 7).await;
}

/// Groups of both protocols and transactions, too. This seed once left members of a group without records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_when_links_are_clogged_one_by_one_and_cleared_in_any_order() {
    survives("swizzle-clog", 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_with_an_empty_disk_forgets_nothing_for_the_others() {
    survives("voter-wiped", 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_reaches_no_client() {
    survives("rolling-restart", 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_under_load_while_brokers_die() {
    survives("reassignment", 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_fenced_for_a_wall_clock_that_jumps() {
    survives("clock-jumps", 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_goes_and_comes_while_leaders_of_the_quorum_die() {
    survives("voters-change", 13).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_ends_whole_at_whatever_step_its_coordinator_dies() {
    survives("coordinator-killed", 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_its_transactional_id_is_fenced() {
    survives("rivals", 16).await;
}

/// What the producers of the test below run: this one, in processes of their own. Without being told it is nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rival_process() {
    be_rival_if_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_wakes_up_after_another_took_its_transactional_id_is_fenced() {
    survives_as("zombies", 19, Program::this(&["--exact", "rival_process", "--nocapture"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_id_without_epochs_is_replaced() {
    survives("epochs-exhausted", 17).await;
}

/// Readers that see what is not committed, and are taken for others, are found out: whoever never sees an aborted record
/// cannot tell whether it would be noticed. So are groups that commit over what none of their members polled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_what_was_aborted_and_a_group_that_skips_are_found() {
    let _turn = turn().await;
    let report = by_name("transactions-quiet").run(18).await;
    assert!(report.is_good() && report.verdict.counts.aborted > 0, "{report}");
    let events = history::read(&report.history).expect("the history of a trial");
    let mut curious = events.clone();
    curious.retain(|event| event.what != What::ReadsUncommitted);
    let verdict = checker::judge(&curious);
    assert!(verdict.count(Kind::AbortedRead) > 0 && verdict.count(Kind::PrecommittedRead) > 0, "{verdict}");
    let committed = events.iter().filter(|event| matches!(event.what, What::Committed { .. }));
    let members: BTreeSet<Worker> = committed.map(|event| event.worker).collect();
    let mut skipping = events.clone();
    skipping.retain(|event| !members.contains(&event.worker) || !matches!(event.what, What::Polled { .. }));
    let verdict = checker::judge(&skipping);
    assert_eq!(verdict.kinds().into_iter().filter(|kind| !kind.is_allowed()).collect::<Vec<_>>(), [Kind::GroupSkip]);
}

/// Nobody may say that nothing hangs in a topic that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_in_a_topic_that_is_not_there_is_unknown() {
    let _turn = turn().await;
    let cluster = Cluster::start(1).await;
    let operator = Operator::connect(&cluster.bootstrap(), 1).await;
    operator.create_topic("somewhere", 1, 1, &[]).await;
    let open =
        wait_until_some("the broker answers", SETTLES_WITHIN, || operator.open_transactions("somewhere", 1)).await;
    assert_eq!(open, Vec::<String>::new());
    assert_eq!(operator.open_transactions("nowhere", 1).await, None);
}

/// The other side of [`a_leader_that_only_clients_reach_acknowledges_nothing`]: with `acks=1` it does, and what it
/// acknowledged alone goes when it follows again. A harness that does not see that sees nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_acknowledged_alone_is_found_to_be_lost() {
    let _turn = turn().await;
    let mut load = LoadOptions::new("weak", 3);
    load.native_settings =
        [("acks", "1"), ("enable.idempotence", "false")].map(|(name, value)| (name.into(), value.into())).into();
    let report = by_name("leader-cut-from-followers").run_with(10, load).await;
    assert!(report.verdict.count(Kind::LostWrite) > 0, "{report}");
}

/// The same for records that every replica had: brokers that are down are robbed of the end of their logs, all of the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_off_from_all_replicas_is_found_to_be_lost() {
    const BYTES: u64 = 1_000;
    let _turn = turn().await;
    let cluster = Cluster::start_with(3, ClusterOptions::replicated()).await;
    // Without librdkafka's producer, which would ask for two minutes where the batch before its next one has gone.
    let load = LoadOptions { native_rate: 0, ..LoadOptions::new("robbed", 1) };
    let mut trial = Trial::start("robbed", Subject::Ours(cluster), 11, load).await;
    trial.wait_acknowledged(200).await;
    trial.kill_all();
    let logs = [1, 2, 3].map(|id| files::active_segment(&trial.subject.data(id), "robbed", 0).expect("a segment"));
    let length = |log: &PathBuf| std::fs::metadata(log).expect("a log").len();
    let shortest = logs.iter().map(length).min().expect("three logs");
    for log in &logs {
        files::cut_tail(log, length(log) - (shortest - BYTES));
    }
    trial.step(format!("all logs are cut to {} bytes", shortest - BYTES));
    let report = trial.finish().await;
    assert!(report.verdict.count(Kind::LostWrite) > 0, "{report}");
}
