//! Batches of one connection that wait for followers: written in order, answered in order, and not one by one.

mod support;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{DescribeLogDirsRequest, MetadataRequest, MetadataResponse, ProduceResponse};
use kafka_protocol::protocol::Decodable;
use support::records::{idempotent, produce_request, values};
use support::replicas::{Trio, read_all};
use support::{Client, wait_until};

const OK: i16 = 0;
const ALL: i16 = -1;
const LEADER: i16 = 1;
const REQUEST_TIMED_OUT: i16 = 7;

/// The answer to the next request of this connection, whose correlation id must be this one.
async fn answer_to(client: &mut Client, correlation_id: i32) -> Bytes {
    let mut frame = client.next_frame().await.unwrap();
    assert_eq!(frame.get_i32(), correlation_id, "answers come in the order of the requests");
    frame.advance(1);
    frame
}

/// Error code and base offset of a Produce with one partition.
async fn produced(client: &mut Client, correlation_id: i32) -> (i16, i64) {
    let mut frame = answer_to(client, correlation_id).await;
    let answer = ProduceResponse::decode(&mut frame, 9).unwrap();
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// Bytes of the topic's log on the broker of this client.
async fn log_bytes(client: &mut Client, topic: &str) -> i64 {
    let answer = client.call(DescribeLogDirsRequest::default().with_topics(None), 1).await;
    let topics = answer.results.iter().flat_map(|result| &result.topics);
    topics
        .filter(|found| found.name.as_str() == topic)
        .flat_map(|found| &found.partitions)
        .map(|p| p.partition_size)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_written_while_those_before_them_wait_for_a_follower() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let (mut client, mut observer) = (trio.client(2).await, trio.client(2).await);
    let before = log_bytes(&mut observer, "t").await;
    trio.node(3).pause();
    let large = "x".repeat(10_000);
    for number in 0..5 {
        client.send(&produce_request("t", 0, ALL, values(&[&format!("{number}{large}")])), 9).await;
    }
    client.send(&produce_request("t", 0, LEADER, values(&["with acks=1"])), 9).await;
    client.send(&MetadataRequest::default().with_topics(None), 12).await;
    wait_until("all batches are in the leader's log", async || log_bytes(&mut observer, "t").await - before > 50_000)
        .await;
    trio.node(3).go_on();
    for number in 0..6 {
        assert_eq!(produced(&mut client, number + 1).await, (OK, i64::from(number) + 1));
    }
    MetadataResponse::decode(&mut answer_to(&mut client, 7).await, 12).unwrap();
    let read = read_all(&mut observer, "t").await;
    let order: Vec<&str> = read.iter().map(|value| &value[..1]).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "w"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_waits_for_its_own_time_and_repetitions_find_what_was_written() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let mut client = trio.client(2).await;
    trio.node(3).pause();
    let request = |sequence| produce_request("t", 0, ALL, idempotent(4_000, 0, sequence, 1)).with_timeout_ms(300);
    for sequence in 0..3 {
        client.send(&request(sequence), 9).await;
    }
    for number in 1..=3 {
        assert_eq!(produced(&mut client, number).await.0, REQUEST_TIMED_OUT);
    }
    trio.node(3).go_on();
    for sequence in 0..4 {
        let again = request(sequence).with_timeout_ms(20_000);
        client.send(&again, 9).await;
        assert_eq!(
            produced(&mut client, 4 + sequence).await,
            (OK, i64::from(sequence) + 1),
            "nothing is written twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_in_flight_are_all_answered() {
    let trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3, 1]], &[("min.insync.replicas", "2")]).await;
    let mut client = trio.client(2).await;
    for number in 0..200 {
        client.send(&produce_request("t", 0, ALL, values(&[&format!("{number}")])), 9).await;
    }
    for number in 0..200 {
        assert_eq!(produced(&mut client, number + 1).await, (OK, i64::from(number) + 1));
    }
}
