//! Replicas that move between the directories of a broker, as clients ask for it and see it (KIP-113).

mod support;

use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, CreateTopicsRequest, DescribeLogDirsRequest, IncrementalAlterConfigsRequest,
};
use support::process::BrokerProcess;
use support::records::{
    create_topic, fetch, idempotent, produce, produce_request, records_of, text, topic_name, values,
};
use support::{Client, TestBroker, free_port, wait_until};

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const LOG_DIR_NOT_FOUND: i16 = 57;
const BROKER: i8 = 4;
const NEWEST: i16 = 2;

/// A partition in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Replica {
    dir: String,
    is_future: bool,
    lag: i64,
}

async fn describe(client: &mut Client, topic: &str, partition: i32) -> Vec<Replica> {
    let answer = client.call(DescribeLogDirsRequest::default().with_topics(None), 4).await;
    let mut found = Vec::new();
    for result in &answer.results {
        let topics = result.topics.iter().filter(|described| described.name.as_str() == topic);
        let partitions = topics.flat_map(|topic| &topic.partitions);
        found.extend(partitions.filter(|found| found.partition_index == partition).map(|partition| Replica {
            dir: result.log_dir.to_string(),
            is_future: partition.is_future_key,
            lag: partition.offset_lag,
        }));
    }
    found
}

async fn ask(client: &mut Client, version: i16, dir: &str, topic: &str, partition: i32) -> i16 {
    let topic = AlterReplicaLogDirTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let dir = AlterReplicaLogDir::default().with_path(text(dir)).with_topics(vec![topic]);
    let answer = client.call(AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]), version).await;
    assert_eq!(answer.results[0].partitions[0].partition_index, partition);
    answer.results[0].partitions[0].error_code
}

async fn set(client: &mut Client, name: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text("1"))
        .with_configs(vec![config]);
    let answer = client.call(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1).await;
    assert_eq!(answer.responses[0].error_code, NONE, "{answer:?}");
}

async fn read_all(client: &mut Client, topic: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let data = fetch(client, topic, 0, all.len() as i64).await;
        let found = records_of(&data);
        let Some((first, _)) = found.first() else { return all };
        let known = usize::try_from(*first).unwrap();
        all.truncate(known);
        all.extend(found.into_iter().map(|(_, value)| value));
        if all.len() as i64 >= data.high_watermark {
            return all;
        }
    }
}

fn dirs(root: &std::path::Path) -> Vec<String> {
    ["a", "b"].map(|name| root.join(name).display().to_string()).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_moves_as_it_is_asked_to_and_clients_see_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = dirs(dir.path());
    let broker = TestBroker::start(dir.path(), &[("log.dirs", &dirs.join(","))]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    for sequence in 0..3 {
        let answer = client.call(produce_request("t", 0, -1, idempotent(7, 0, sequence, 1)), 9).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, NONE);
    }
    let here = describe(&mut client, "t", 0).await.remove(0);
    let other = dirs.iter().find(|dir| **dir != here.dir).unwrap();
    assert_eq!(ask(&mut client, NEWEST, "/nowhere", "t", 0).await, LOG_DIR_NOT_FOUND);
    assert_eq!(ask(&mut client, NEWEST, other, "unknown", 0).await, UNKNOWN_TOPIC_OR_PARTITION);
    set(&mut client, "cordoned.log.dirs", other).await;
    wait_until("a cordoned directory takes no replica", async || {
        ask(&mut client, NEWEST, other, "t", 0).await == INVALID_REPLICA_ASSIGNMENT
    })
    .await;
    set(&mut client, "cordoned.log.dirs", "").await;
    // A rate of one byte a second lets the first step pass and holds up the next.
    set(&mut client, "replica.alter.log.dirs.io.max.bytes.per.second", "1").await;
    let wide = "x".repeat(900_000);
    for _ in 0..2 {
        assert_eq!(produce(&mut client, "t", 0, values(&[&wide])).await.error_code, NONE);
    }
    wait_until("the move begins", async || ask(&mut client, NEWEST, other, "t", 0).await == NONE).await;
    wait_until("a part is copied", async || {
        let replicas = describe(&mut client, "t", 0).await;
        let future = replicas.iter().find(|replica| replica.is_future);
        replicas.len() == 2 && future.is_some_and(|future| future.dir == *other && future.lag > 0)
    })
    .await;
    assert_eq!(ask(&mut client, 1, &here.dir, "t", 0).await, NONE, "it stays after all");
    assert_eq!(describe(&mut client, "t", 0).await, [here]);
    set(&mut client, "replica.alter.log.dirs.io.max.bytes.per.second", "1000000000").await;
    assert_eq!(ask(&mut client, 1, other, "t", 0).await, NONE);
    wait_until("the replica has moved", async || {
        describe(&mut client, "t", 0).await == [Replica { dir: other.clone(), is_future: false, lag: 0 }]
    })
    .await;
    // The producer's last batch is recognised, its next one follows, and readers find all.
    for sequence in [2, 3] {
        let answer = client.call(produce_request("t", 0, -1, idempotent(7, 0, sequence, 1)), 9).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, NONE);
    }
    assert_eq!(read_all(&mut client, "t").await.len(), 6);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_moves_a_broker_has_every_record_once() {
    const ROUNDS: usize = 4;
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path());
    let joined = dirs.join(",");
    let port = free_port();
    let start = async || BrokerProcess::start(root.path(), 1, port, port, &[("log.dirs", &joined)]).await;
    let mut broker = start().await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[("file.delete.delay.ms", "0")]).await;
    let filler = "x".repeat(60_000);
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let here = describe(&mut client, "t", 0).await.into_iter().find(|replica| !replica.is_future).unwrap();
        let other = dirs.iter().find(|dir| **dir != here.dir).unwrap();
        assert_eq!(ask(&mut client, NEWEST, other, "t", 0).await, NONE);
        // Each round ends at another place of the copy, or behind it.
        for number in 0..10 * (round + 1) {
            let value = format!("{round}-{number}-{filler}");
            let answer = produce(&mut client, "t", 0, values(&[&value])).await;
            assert_eq!((answer.error_code, answer.base_offset), (NONE, expected.len() as i64));
            expected.push(value);
        }
        broker.kill();
        broker = start().await;
        client = broker.client().await;
        wait_until("the partition is led", async || fetch(&mut client, "t", 0, 0).await.error_code == NONE).await;
        wait_until("all is committed", async || {
            fetch(&mut client, "t", 0, 0).await.high_watermark == expected.len() as i64
        })
        .await;
        assert!(read_all(&mut client, "t").await == expected, "round {round}");
        wait_until("the move has come to its end", async || describe(&mut client, "t", 0).await.len() == 1).await;
    }
    assert!(read_all(&mut client, "t").await == expected);
    assert_eq!(broker.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_log_is_just_being_made_can_be_given_a_directory() {
    const PARTITIONS: i32 = 30;
    let dir = tempfile::tempdir().unwrap();
    let dirs = dirs(dir.path());
    let broker = TestBroker::start(dir.path(), &[("log.dirs", &dirs.join(","))]).await;
    let mut client = broker.client().await;
    for round in 0..8 {
        let name = format!("t{round}");
        let topic = CreatableTopic::default()
            .with_name(topic_name(&name))
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(-1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        assert_eq!(client.call(request, 7).await.topics[0].error_code, NONE);
        assert_eq!(ask(&mut client, NEWEST, &dirs[0], &name, PARTITIONS - 1).await, NONE, "round {round}");
    }
    broker.stop().await.unwrap();
}
