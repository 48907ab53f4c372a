//! Positions of groups follow from one cluster to another, each as a process, with a worker between them.

mod bench;

use std::time::Duration;

use bytes::Bytes;
use twinstream_client::{Consumer, ConsumerEvent};
use twinstream_model::{PartitionIndex, TopicPartition};
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::{peer, records, wait_until};

use crate::bench::{Bench, FOLLOWS_WITHIN, offsets};

/// An offset-sync's value: offset 149 of the source is offset 149 of the target.
const LAST_SYNC: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 149, 0, 0, 0, 0, 0, 0, 0, 149];
const JUDGE: &str = include_str!("MirrorJudge.java");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_offsets_follow_exactly_forward_and_back_and_survive_a_kill() {
    let mut bench = Bench::start("generic").await;
    bench.produce(300).await;
    bench.commit("billing", &[(0, 40), (1, 77)]).await;
    bench.wait_followed("billing", &[(0, 40), (1, 77)]).await;

    bench.commit("billing", &[(0, 5), (1, 140)]).await;
    bench.wait_followed("billing", &[(0, 5), (1, 140)]).await;

    // Further than anything that exists: the end of what is mirrored, and on from there.
    bench.commit("billing", &[(0, 1_000)]).await;
    bench.wait_followed("billing", &[(0, 150)]).await;

    // What is copied twice after a kill moves the offsets of the target; groups still stand at the same records.
    bench.worker.server.kill();
    bench.produce(100).await;
    bench.worker.server.start().await;
    bench.worker.wait_ready().await;
    bench.wait_copied(400).await;
    bench.commit("billing", &[(0, 190), (1, 3)]).await;
    let expected = bench.same_records(&[(0, 190), (1, 3)]).await;
    bench.wait_followed("billing", &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_are_used_on_the_target_are_left_alone() {
    let bench = Bench::start("generic").await;
    bench.produce(300).await;
    bench.commit("busy", &[(0, 10), (1, 10)]).await;
    bench.wait_followed("busy", &[(0, 10), (1, 10)]).await;

    let settings = [("group.id", "busy"), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let mut member = Consumer::connect(&records::client_settings(&bench.target.bootstrap(), &settings)).await.unwrap();
    member.subscribe(&["src.orders".to_owned()]).await.unwrap();
    // It is a member once it has got records.
    while !matches!(member.next().await, Some(ConsumerEvent::Record(_))) {}
    bench.commit("busy", &[(0, 60), (1, 60)]).await;
    bench.wait_round("after the member came").await;
    assert_eq!(bench.on_target("busy").await, offsets(&[(0, 10), (1, 10)]), "the group has a member");
    member.close().await.unwrap();
    bench.wait_followed("busy", &[(0, 60), (1, 60)]).await;

    // Somebody on the target went further than the source's owner: forward only.
    bench.commit_on_target("busy", &[(0, 90)]).await;
    bench.commit("busy", &[(0, 70), (1, 71)]).await;
    bench.wait_followed("busy", &[(1, 71)]).await;
    assert_eq!(bench.on_target("busy").await, offsets(&[(0, 90), (1, 71)]));
    bench.commit("busy", &[(0, 95)]).await;
    bench.wait_followed("busy", &[(0, 95)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_at_the_end_of_the_source_is_at_the_end_of_the_copy_behind_markers_of_transactions() {
    let bench = Bench::start("generic").await;
    bench.produce(20).await;
    let mut transactor = Transactor::new(&bench.source.bootstrap(), "t", Protocol::Second, Duration::from_secs(60));
    let at = TopicPartition::new(records::topic_name("orders"), PartitionIndex(0));
    for commits in [true, false] {
        transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        transactor.write(&at, None, Some("in a transaction")).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        transactor.end(commits).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    }
    wait_until("records are copied, markers are not", FOLLOWS_WITHIN, || async { bench.ends(0).await == [14, 12] })
        .await;
    bench.commit("billing", &[(0, 14), (1, 10)]).await;
    bench.wait_followed("billing", &[(0, 12), (1, 10)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_go_on_following_while_the_coordinator_of_others_is_away() {
    let mut bench = Bench::start_with_two_coordinators().await;
    bench.produce(300).await;
    let (alive, dead) = (bench.group_of(1, "alive").await, bench.group_of(2, "dead").await);
    for group in [&alive, &dead] {
        bench.commit(group, &[(0, 10), (1, 10)]).await;
        bench.wait_followed(group, &[(0, 10), (1, 10)]).await;
    }
    bench.source.broker(2).kill();
    bench.commit(&alive, &[(0, 20), (1, 20)]).await;
    bench.wait_followed(&alive, &[(0, 20), (1, 20)]).await;
    assert_eq!(bench.on_target(&dead).await, offsets(&[(0, 10), (1, 10)]));
    bench.source.broker(2).start().await;
    bench.source.wait_ready().await;
    bench.commit(&dead, &[(0, 30), (1, 30)]).await;
    bench.wait_followed(&dead, &[(0, 30), (1, 30)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connectors_that_find_their_source_away_say_so_and_go_on_when_it_is_back() {
    let mut bench = Bench::start("generic").await;
    bench.produce(20).await;
    bench.commit("billing", &[(0, 5), (1, 5)]).await;
    bench.wait_followed("billing", &[(0, 5), (1, 5)]).await;
    bench.worker.server.kill();
    bench.source.broker(1).stop().await;
    bench.worker.server.start().await;
    bench.worker.wait_ready().await;
    bench.wait_state("Source", "/connector", "RESTARTING").await;
    bench.wait_state("Checkpoint", "/tasks/0", "RESTARTING").await;
    let status = bench.worker.rest.get("/connectors/Source/status").await.good();
    let trace = status["connector"]["trace"].as_str().unwrap_or_default();
    assert!(trace.contains("source cluster 'src' cannot be reached"), "{status}");
    bench.source.broker(1).start().await;
    bench.source.wait_ready().await;
    bench.wait_state("Source", "/connector", "RUNNING").await;
    bench.produce(20).await;
    bench.commit("billing", &[(0, 15), (1, 15)]).await;
    bench.wait_followed("billing", &[(0, 15), (1, 15)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_whose_source_goes_away_say_so_and_go_on_by_themselves() {
    let mut bench = Bench::start("generic").await;
    bench.produce(20).await;
    bench.commit("billing", &[(0, 5), (1, 5)]).await;
    bench.wait_followed("billing", &[(0, 5), (1, 5)]).await;
    let before = bench.worker.server.log_text().matches("mirror task starts").count();
    bench.source.broker(1).kill();
    for (connector, says) in [("Source", "'src' has not answered for"), ("Checkpoint", "not been followed for")] {
        bench.wait_state(connector, "/tasks/0", "RESTARTING").await;
        let status = bench.worker.rest.get(&format!("/connectors/{connector}/status")).await.good();
        let trace = status["tasks"][0]["trace"].as_str().unwrap_or_default();
        assert!(trace.contains(says) && trace.contains("Caused by"), "{status}");
    }
    bench.source.broker(1).start().await;
    bench.source.wait_ready().await;
    for connector in ["Source", "Checkpoint"] {
        bench.wait_state(connector, "/tasks/0", "RUNNING").await;
    }
    bench.produce(20).await;
    bench.commit("billing", &[(0, 15), (1, 15)]).await;
    bench.wait_followed("billing", &[(0, 15), (1, 15)]).await;
    assert_eq!(bench.worker.server.log_text().matches("mirror task starts").count(), before, "in the same life");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_makers_own_clients_find_the_link_and_translate_exactly() {
    judged_by_mirror_makers_clients("generic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_makers_own_clients_find_an_aligned_link_and_translate_to_the_same_offsets() {
    judged_by_mirror_makers_clients("aligned").await;
}

async fn judged_by_mirror_makers_clients(mode: &str) {
    let bench = Bench::start(mode).await;
    let kafka = peer::kafka();
    bench.produce(300).await;
    // A group of the new protocol, by Kafka's own consumer.
    let arguments = ["--bootstrap-server", &bench.source.bootstrap(), "--topic", "orders", "--group-id", "fresh"];
    let more = ["--group-protocol", "consumer", "--reset-policy", "earliest", "--max-messages", "300"];
    kafka.text("org.apache.kafka.tools.VerifiableConsumer", &[&arguments[..], &more].concat());
    bench.wait_followed("fresh", &[(0, 150), (1, 150)]).await;
    bench.commit("billing", &[(0, 40), (1, 77)]).await;
    bench.wait_followed("billing", &[(0, 40), (1, 77)]).await;
    wait_until("the offset-syncs are written", FOLLOWS_WITHIN, || async {
        let syncs = records::read_all(&bench.source.bootstrap(), "mm2-offset-syncs.dst.internal").await;
        syncs.iter().rev().filter(|sync| sync.value == Some(Bytes::copy_from_slice(&LAST_SYNC))).count() >= 2
    })
    .await;
    wait_until("the checkpoints are written", FOLLOWS_WITHIN, || async {
        records::read_all(&bench.target.bootstrap(), "src.checkpoints.internal").await.len() >= 4
    })
    .await;

    let mut command = kafka.program("MirrorJudge", JUDGE);
    let syncs = [&bench.source.bootstrap(), "mm2-offset-syncs.dst.internal"];
    command.args([&bench.target.bootstrap(), "src"]).args(syncs).args(["billing", "fresh"]);
    let output = command.output().expect("java starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&output.stderr);
    let line = |start: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no line '{start}' in\n{said}\n{trouble}")).to_owned()
    };
    assert!(line("heartbeats ").contains("src.heartbeats"), "{said}");
    assert_eq!(line("checkpoints "), "[src.checkpoints.internal]");
    assert_eq!((line("upstream "), line("hops ")), ("[src]".to_owned(), "1".to_owned()));
    assert!(line("remote ").contains("src.orders"), "{said}");
    assert_eq!(line("group billing "), "{src.orders-0=40, src.orders-1=77}");
    assert_eq!(line("group fresh "), "{src.orders-0=150, src.orders-1=150}");
    // For a checkpoint connector of MirrorMaker's beside this link.
    assert_eq!(line("syncs "), "{orders-0=149:149, orders-1=149:149}");
}
