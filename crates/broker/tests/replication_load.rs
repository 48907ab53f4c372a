//! Replication under weight: throttles hold, a thousand partitions change their leader.

mod support;

use std::time::{Duration, Instant};

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use support::records::{produce_request, text, values};
use support::replicas::{Trio, produce_with};
use support::{Client, wait_until};

const OK: i16 = 0;
const ALL: i16 = -1;
const LEADER: i16 = 1;
const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

async fn set(client: &mut Client, kind: i8, resource: &str, name: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let answer = client.call(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1).await;
    assert_eq!(answer.responses[0].error_code, OK, "{answer:?}");
}

/// Copies what a replica missed while it was away, held back to `rate`, and says how long that took.
async fn copy_throttled(side: &str, throttled_node: i32, partitions: usize, rate: u64, bytes: usize) -> Duration {
    let mut trio = Trio::start(&[]).await;
    let replicas: Vec<&[i32]> = vec![&[2, 3]; partitions];
    trio.create("t", &replicas, &[]).await;
    let name = format!("{side}.replication.throttled.rate");
    let mut admin = trio.client(throttled_node).await;
    set(&mut admin, BROKER_RESOURCE, &throttled_node.to_string(), &name, &rate.to_string()).await;
    trio.node(3).kill();
    trio.wait_for_isr("t", &[2]).await;
    let mut leader = trio.client(2).await;
    let value = "x".repeat(50_000);
    for number in 0..bytes / value.len() {
        let partition = (number % partitions) as i32;
        assert_eq!(produce_with(&mut leader, "t", partition, LEADER, 5_000, values(&[&value])).await.error_code, OK);
    }
    let mut admin = trio.client(1).await;
    let throttled: Vec<String> = (0..partitions).map(|index| format!("{index}:2,{index}:3")).collect();
    let throttled = throttled.join(",");
    set(&mut admin, TOPIC_RESOURCE, "t", &format!("{side}.replication.throttled.replicas"), &throttled).await;
    let started = Instant::now();
    trio.restart(3).await;
    wait_until("all is copied", async || trio.states("t").await.iter().all(|state| state.isr == [2, 3])).await;
    started.elapsed()
}

fn assert_holds(took: Duration, rate: u64, bytes: usize) {
    // The last ration goes at once. A slow machine may take longer, but never less.
    let expected = bytes as f64 / rate as f64;
    let found = took.as_secs_f64();
    assert!(found > expected * 0.9 - 0.3, "{found:.2}s instead of {expected:.2}s");
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_sends_no_faster_than_its_throttle() {
    let (rate, bytes) = (1_000_000, 5_000_000);
    assert_holds(copy_throttled("leader", 2, 1, rate, bytes).await, rate, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_share_one_throttle() {
    let (rate, bytes) = (1_000_000, 5_000_000);
    for (side, node) in [("leader", 2), ("follower", 3)] {
        assert_holds(copy_throttled(side, node, 20, rate, bytes).await, rate, bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_fetches_no_faster_than_its_throttle() {
    let (rate, bytes) = (1_000_000, 5_000_000);
    assert_holds(copy_throttled("follower", 3, 1, rate, bytes).await, rate, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sync_replicas_are_never_held_back() {
    let trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3, 1]], &[]).await;
    let mut admin = trio.client(1).await;
    for side in ["leader", "follower"] {
        set(&mut admin, TOPIC_RESOURCE, "t", &format!("{side}.replication.throttled.replicas"), "*").await;
        for node in 1..=3 {
            let name = format!("{side}.replication.throttled.rate");
            set(&mut trio.client(node).await, BROKER_RESOURCE, &node.to_string(), &name, "1").await;
        }
    }
    let mut leader = trio.client(2).await;
    // At a byte a second none of them would be committed within its time.
    for number in 0..20 {
        let done = produce_with(&mut leader, "t", 0, ALL, 20_000, values(&[&format!("{number}")])).await;
        assert_eq!(done.error_code, OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_partitions_change_their_leader_together() {
    const PARTITIONS: usize = 1_000;
    let mut trio = Trio::start(&[]).await;
    let replicas: Vec<&[i32]> = vec![&[2, 3, 1]; PARTITIONS];
    trio.create("t", &replicas, &[("min.insync.replicas", "2")]).await;
    wait_until("all replicas are in sync", async || trio.states("t").await.iter().all(|s| s.isr == [1, 2, 3])).await;
    let all: Vec<i32> = (0..PARTITIONS as i32).collect();
    assert_eq!(write_to(&mut trio.client(2).await, &all).await, [0; 0], "all replicas are in sync");
    trio.node(2).kill();
    trio.wait_for_leader("t", &[1, 3]).await;
    // One step of the controller moves them all, so who sees the first with its new leader sees all with theirs.
    let behind = trio.states("t").await.iter().filter(|state| ![1, 3].contains(&state.leader)).count();
    assert_eq!(behind, 0, "partitions whose leader is the dead one still, or nobody");
    let mut leader = trio.client(3).await;
    let mut left = all;
    wait_until("each partition takes a record", async || {
        left = write_to(&mut leader, &left).await;
        left.is_empty()
    })
    .await;
}

/// Writes a record with acks=all to each of these partitions, a hundred at a time; those that took none.
async fn write_to(client: &mut Client, partitions: &[i32]) -> Vec<i32> {
    let mut refused = Vec::new();
    for some in partitions.chunks(100) {
        let mut request = produce_request("t", some[0], ALL, values(&["v"]));
        let data = request.topic_data[0].partition_data[0].clone();
        request.topic_data[0].partition_data = some.iter().map(|index| data.clone().with_index(*index)).collect();
        let answer = client.call(request, 9).await;
        let failed = answer.responses[0].partition_responses.iter().filter(|response| response.error_code != OK);
        refused.extend(failed.map(|response| response.index));
    }
    refused
}
