//! Groups that change their protocol while their members work.

use twinstream_testkit::records::create_topic;
use twinstream_testkit::{Cluster, ClusterOptions};

use crate::churn::{check_faults, joining, until_read, until_shared, write};
use crate::java::{self, Bench, NEW};
use crate::lively;
use crate::member::{Joining, Ledger, Member};

const OLD: [&str; 2] = ["--group-protocol", "classic"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_of_classic_members_is_taken_over_by_members_of_the_new_protocol_and_back() {
    let cluster = Cluster::start_with(1, lively(ClusterOptions::default())).await;
    let bootstrap = cluster.bootstrap();
    create_topic(&bootstrap, "moved", 6).await;
    let ledger = Ledger::default();
    let new = joining(&cluster, "movers", "moved");
    let old = Joining { protocol: "classic", ..new.clone() };

    // One after the other: from its second generation on librdkafka's assignor keeps data with the assignment.
    let first = Member::join(0, &old, &ledger);
    until_shared(&ledger, [(0, 6)].into()).await;
    let second = Member::join(1, &old, &ledger);
    until_shared(&ledger, [(0, 3), (1, 3)].into()).await;
    let third = Member::join(2, &new, &ledger);
    until_shared(&ledger, [(0, 2), (1, 2), (2, 2)].into()).await;
    write(&bootstrap, "moved", 0..60).await;
    until_read(&ledger, 60).await;
    first.leave().await;
    let fourth = Member::join(3, &new, &ledger);
    second.leave().await;
    until_shared(&ledger, [(2, 3), (3, 3)].into()).await;

    let fifth = Member::join(4, &old, &ledger);
    until_shared(&ledger, [(2, 2), (3, 2), (4, 2)].into()).await;
    third.leave().await;
    fourth.leave().await;
    until_shared(&ledger, [(4, 6)].into()).await;
    write(&bootstrap, "moved", 60..120).await;
    until_read(&ledger, 120).await;
    check_faults(&ledger);
    fifth.leave().await;
}

/// One old member, then a new one beside it, then the old one alone again; with what the old one offers to assign by.
async fn take_over_and_hand_back(strategy: &str) {
    let bench = Bench::start().await;
    let strategy = format!("org.apache.kafka.clients.consumer.{strategy}");
    let mut old = bench.member("old", "left", &[&OLD[..], &["--assignment-strategy", &strategy]].concat());
    bench.until_assigned(&["left:0,1,2,3"]).await;
    bench.write("left", 40);
    java::until_read(&[&old], 40).await;
    let mut new = bench.member("new", "left", &NEW);
    bench.until_shares(&[2, 2]).await;
    bench.write("left", 40);
    java::until_read(&[&old, &new], 80).await;
    new.stop().await;
    bench.until_assigned(&["left:0,1,2,3"]).await;
    bench.write("left", 40);
    java::until_read(&[&old, &new], 120).await;
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cooperative_group_of_java_is_taken_over_and_handed_back() {
    take_over_and_hand_back("CooperativeStickyAssignor").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eager_group_of_java_is_taken_over_and_handed_back() {
    take_over_and_hand_back("RangeAssignor").await;
}
