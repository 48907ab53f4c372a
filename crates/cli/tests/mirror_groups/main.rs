//! Positions of groups follow from one cluster to another, each as a process, with a worker between them.

mod bench;

use twinstream_client::{Consumer, ConsumerEvent};
use twinstream_testkit::{peer, records, wait_until};

use crate::bench::{Bench, FOLLOWS_WITHIN, offsets};

const JUDGE: &str = include_str!("MirrorJudge.java");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_offsets_follow_exactly_forward_and_back_and_survive_a_kill() {
    let mut bench = Bench::start().await;
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
    let bench = Bench::start().await;
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
async fn mirror_makers_own_clients_find_the_link_and_translate_exactly() {
    let bench = Bench::start().await;
    let kafka = peer::kafka();
    bench.produce(300).await;
    // A group of the new protocol, by Kafka's own consumer.
    let arguments = ["--bootstrap-server", &bench.source.bootstrap(), "--topic", "orders", "--group-id", "fresh"];
    let more = ["--group-protocol", "consumer", "--reset-policy", "earliest", "--max-messages", "300"];
    kafka.text("org.apache.kafka.tools.VerifiableConsumer", &[&arguments[..], &more].concat());
    bench.wait_followed("fresh", &[(0, 150), (1, 150)]).await;
    bench.commit("billing", &[(0, 40), (1, 77)]).await;
    bench.wait_followed("billing", &[(0, 40), (1, 77)]).await;
    wait_until("the checkpoints are written", FOLLOWS_WITHIN, || async {
        records::read_all(&bench.target.bootstrap(), "src.checkpoints.internal").await.len() >= 4
    })
    .await;

    let mut command = kafka.program("MirrorJudge", JUDGE);
    command.args([&bench.target.bootstrap(), "src", "billing", "fresh"]);
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
}
