//! Brokers as processes: kill -9, restart, a second process on the same data, ports in use.

mod support;

use std::net::TcpListener;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, FindCoordinatorRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use support::process::BrokerProcess;
use support::records::{create_topic, fetch, idempotent, list_offset, produce, records_of, text, topic_name, values};
use support::{Client, free_port, wait_until};

/// Commits offset 2 of partition 0 for a group without members, again until its coordinator has loaded.
async fn commit(client: &mut Client, group: &str) {
    wait_until("the coordinator takes the commit", async || {
        let find = FindCoordinatorRequest::default().with_key(text(group));
        if client.call(find, 3).await.error_code != 0 {
            return false;
        }
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(2)
            .with_committed_metadata(Some(text("note")));
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        client.call(request, 7).await.topics[0].partitions[0].error_code == 0
    })
    .await;
}

/// The committed offset and its metadata, once the coordinator has loaded.
async fn committed(client: &mut Client, group: &str) -> (i64, String) {
    let mut found = (0, String::new());
    wait_until("the coordinator answers", async || {
        let topic = OffsetFetchRequestTopic::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![topic]));
        let answer = client.call(request, 5).await;
        if answer.error_code != 0 {
            return false;
        }
        let partition = &answer.topics[0].partitions[0];
        found = (partition.committed_offset, partition.metadata.as_ref().map_or(String::new(), ToString::to_string));
        true
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_offsets_and_topics_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut broker = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 2, &[]).await;
    for round in 0..50 {
        let answer = produce(&mut client, "t", 0, values(&[&format!("r{round}")])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, round));
    }
    commit(&mut client, "g").await;
    broker.kill();

    let mut broker = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    wait_until("the partition is led again", async || list_offset(&mut client, "t", 0, -1).await.error_code == 0).await;
    let records = records_of(&fetch(&mut client, "t", 0, 0).await);
    assert_eq!(records.len(), 50);
    assert_eq!(records[49], (49, "r49".to_owned()));
    assert_eq!(produce(&mut client, "t", 0, values(&["after"])).await.base_offset, 50);
    assert_eq!(committed(&mut client, "g").await, (2, "note".to_owned()));
    assert_eq!(broker.terminate(), Some(0));

    // And once more after a clean stop.
    let broker = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    wait_until("the partition is led again", async || list_offset(&mut client, "t", 0, -1).await.offset == 51).await;
    assert_eq!(committed(&mut client, "g").await, (2, "note".to_owned()));
}

/// Sends the five batches of producer 7 that may be in flight; each is `size` records from where the one before ended.
async fn send_window(client: &mut Client) -> Vec<(i16, i64)> {
    let mut answers = Vec::new();
    let mut sequence = 0;
    for size in [1, 2, 3, 1, 2] {
        let answer = produce(client, "t", 0, idempotent(7, 0, sequence, size as usize)).await;
        answers.push((answer.error_code, answer.base_offset));
        sequence += size;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_batch_in_flight_is_known_again_after_kill_9_and_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut broker = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    let first = send_window(&mut client).await;
    assert_eq!(first, [(0, 0), (0, 1), (0, 3), (0, 6), (0, 7)]);
    broker.kill();

    for clean in [false, true] {
        let mut broker = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
        let mut client = broker.client().await;
        wait_until("the partition is led again", async || list_offset(&mut client, "t", 0, -1).await.offset == 9).await;
        assert_eq!(send_window(&mut client).await, first, "the repetitions get the old offsets; clean: {clean}");
        assert_eq!(list_offset(&mut client, "t", 0, -1).await.offset, 9);
        assert_eq!(broker.terminate(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused_with_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let first = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let other_port = free_port();
    let listeners = format!("PLAINTEXT://127.0.0.1:{other_port}");
    let mut second = BrokerProcess::launch(dir.path(), 1, other_port, other_port, &[("listeners", &listeners)]);
    assert_eq!(second.outcome().await, Some(1));
    let log = second.log();
    assert!(log.contains("in use by another process") && log.contains(&dir.path().display().to_string()), "{log}");
    let request = DescribeClusterRequest::default().with_endpoint_type(1);
    assert_eq!(first.client().await.call(request, 1).await.error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_names_the_listener() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut broker = BrokerProcess::launch(dir.path(), 1, port, port, &[]);
    assert_eq!(broker.outcome().await, Some(1));
    let log = broker.log();
    assert!(log.contains(&format!("PLAINTEXT://127.0.0.1:{port}")) && log.contains("listeners"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_setting_ends_the_start_with_the_nearest_name() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut broker = BrokerProcess::launch(dir.path(), 1, port, port, &[("num.partition", "3")]);
    assert_eq!(broker.outcome().await, Some(1));
    assert!(broker.log().contains("did you mean num.partitions?"), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_its_voter_gives_up_in_time_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let limit = [("initial.broker.registration.timeout.ms", "300")];
    let mut broker = BrokerProcess::launch(dir.path(), 2, free_port(), free_port(), &limit);
    assert_eq!(broker.outcome().await, Some(1));
    assert!(broker.log().contains("controller.quorum.voters"), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_waits_for_its_voter_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut broker = BrokerProcess::launch(dir.path(), 2, port, free_port(), &[]);
    wait_until("it accepts", async || Client::try_connect(port).await.is_ok()).await;
    assert_eq!(broker.terminate(), Some(0), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_node_or_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut first = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    assert_eq!(first.terminate(), Some(0));
    let data = dir.path().join("1").display().to_string();
    let mut other =
        BrokerProcess::launch(dir.path(), 2, port, port, &[("log.dirs", &data), ("process.roles", "broker")]);
    assert_eq!(other.outcome().await, Some(1));
    assert!(other.log().contains("belongs to node 1"), "{}", other.log());

    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = free_port();
    let _voter = BrokerProcess::start(elsewhere.path(), 1, foreign, foreign, &[]).await;
    let mut member = BrokerProcess::start(elsewhere.path(), 2, free_port(), foreign, &[]).await;
    assert_eq!(member.terminate(), Some(0));
    let again = BrokerProcess::start(dir.path(), 1, port, port, &[]).await;
    let data = elsewhere.path().join("2").display().to_string();
    let mut stray = BrokerProcess::launch(dir.path(), 2, free_port(), again.port, &[("log.dirs", &data)]);
    assert_eq!(stray.outcome().await, Some(1));
    assert!(stray.log().contains("cluster"), "{}", stray.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_lives_through_kill_9_of_each_node() {
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    let voter = ports[0];
    let more = [("broker.session.timeout.ms", "1500"), ("broker.heartbeat.interval.ms", "200")];
    let mut nodes = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        nodes.push(BrokerProcess::start(dir.path(), index as i32 + 1, port, voter, &more).await);
    }
    let all_alive = async |port: u16| {
        let Ok(mut client) = Client::try_connect(port).await else { return false };
        let answer = client.try_call(MetadataRequest::default().with_topics(Some(vec![])), 12).await;
        answer.is_ok_and(|answer| answer.brokers.len() == 3)
    };
    for port in ports {
        wait_until("every node knows all nodes", async || all_alive(port).await).await;
    }
    // Forwarded by a broker that is no voter.
    let mut client = nodes[2].client().await;
    let leaders = create_and_lead(&mut client, "t", 6).await;
    for (partition, leader) in leaders.iter().enumerate() {
        let mut client = nodes[*leader as usize - 1].client().await;
        // The leader may hear of its partition a moment after the node that was asked.
        wait_until("the leader takes records", async || {
            produce(&mut client, "t", partition as i32, values(&["before"])).await.error_code == 0
        })
        .await;
    }
    for index in 0..3 {
        nodes[index].kill();
        nodes[index] = BrokerProcess::start(dir.path(), index as i32 + 1, ports[index], voter, &more).await;
        for port in ports {
            wait_until("every node knows all nodes again", async || all_alive(port).await).await;
        }
        for (partition, leader) in leaders.iter().enumerate() {
            let mut client = nodes[*leader as usize - 1].client().await;
            wait_until("the records are there", async || {
                records_of(&fetch(&mut client, "t", partition as i32, 0).await).first().is_some_and(|r| r.1 == "before")
            })
            .await;
            assert_eq!(produce(&mut client, "t", partition as i32, values(&["after"])).await.error_code, 0);
        }
    }
    for node in &mut nodes {
        assert_eq!(node.terminate(), Some(0), "{}", node.log());
    }
}

/// Creates a topic and returns the leaders of its partitions, once there are.
async fn create_and_lead(client: &mut Client, name: &str, partitions: i32) -> Vec<i32> {
    use kafka_protocol::messages::CreateTopicsRequest;
    use kafka_protocol::messages::create_topics_request::CreatableTopic;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    let topic = CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(partitions);
    let topic = topic.with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.call(request, 7).await;
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    let mut leaders = Vec::new();
    wait_until("all partitions have leaders", async || {
        let wanted = vec![MetadataRequestTopic::default().with_name(Some(topic_name(name)))];
        let request = MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(false);
        let mut answer = client.call(request, 12).await;
        let mut found = answer.topics.remove(0).partitions;
        found.sort_by_key(|partition| partition.partition_index);
        leaders = found.iter().map(|partition| partition.leader_id.0).collect();
        leaders.len() == partitions as usize && leaders.iter().all(|leader| *leader >= 0)
    })
    .await;
    let mut distinct = leaders.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct, [1, 2, 3], "partitions are spread");
    leaders
}
