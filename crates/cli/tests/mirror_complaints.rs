//! What users of MirrorMaker 2 complain about and nothing else shows (connectors/mirror/docs/complaints.md has the list).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::raw::kafka_protocol::messages::DeleteRecordsRequest;
use twinstream_client::raw::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{Node, OffsetAt};
use twinstream_client::{CommitOffset, RawClient};
use twinstream_model::{GroupId, Offset};
use twinstream_testkit::links::mirrored::same;
use twinstream_testkit::records::{append_batches, client_settings, create_topic, first_partition};
use twinstream_testkit::{Cluster, Folder, Operator, Worker, WorkerOptions, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
/// Of topics that come: the link looks for them every two seconds.
const SOON: Duration = Duration::from_secs(30);

struct Sites {
    source: Cluster,
    target: Cluster,
    upstream: RawClient,
    downstream: RawClient,
    folder: Folder,
}

impl Sites {
    async fn start() -> Self {
        let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
        let [upstream, downstream] = [client(&source).await, client(&target).await];
        Self { source, target, upstream, downstream, folder: Folder::new() }
    }

    async fn worker(&self) -> Worker {
        Worker::start(&self.folder, &self.target.bootstrap(), WorkerOptions::default()).await
    }

    /// A connector of the link from west to east.
    async fn connect(&self, worker: &Worker, class: &str, more: &[(&str, &str)]) {
        let mut config = json!({
            "connector.class": format!("org.apache.kafka.connect.mirror.{class}"),
            "tasks.max": "2",
            "source.cluster.alias": "west",
            "target.cluster.alias": "east",
            "source.cluster.bootstrap.servers": self.source.bootstrap(),
            "target.cluster.bootstrap.servers": self.target.bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "replication.factor": "1",
            "offset-syncs.topic.location": "target",
            "topics": "news.*",
        });
        for (name, value) in more {
            config[*name] = Value::from(*value);
        }
        let path = format!("/connectors/{class}/config");
        wait_until("the worker takes the connector", PATIENCE, || async {
            let answer = worker.rest.put(&path, &config).await;
            assert!(answer.is_good() || answer.status == 409, "HTTP {}: {}", answer.status, answer.body);
            answer.is_good()
        })
        .await;
    }

    async fn until_mirrored(&self, topic: &str, end: i64) {
        wait_until(&format!("the copy of {topic} ends at {end}"), SOON, || async {
            let ends = self.downstream.list_offsets_now(&[first_partition(topic)], OffsetAt::Latest).await;
            ends.is_ok_and(|ends| ends.into_values().all(|found| found.is_ok_and(|found| found == Offset(end))))
        })
        .await;
    }
}

async fn client(cluster: &Cluster) -> RawClient {
    RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("client")
}

async fn delete_before(client: &RawClient, topic: &str, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let wanted = DeleteRecordsTopic::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
    let leader = client.leader(&first_partition(topic)).await.expect("a leader");
    let answer = client.request(Node::Id(leader), &request).await.expect("an answer");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_in_an_empty_partition_of_the_source_is_not_taken_for_one_of_the_copy() {
    let sites = Sites::start().await;
    for topic in ["news", "news-empty"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_batches(&sites.upstream, topic, 10).await;
    }
    delete_before(&sites.upstream, "news-empty", 10).await;
    let group = GroupId::from("readers");
    let offset = |offset| CommitOffset { offset: Offset(offset), metadata: String::new() };
    let committed = BTreeMap::from([(first_partition("news"), offset(7)), (first_partition("news-empty"), offset(10))]);
    sites.upstream.commit_offsets(&group, &committed).await.expect("a commit");
    let worker = sites.worker().await;
    let generic = [("twinstream.link.mode", "generic")];
    sites.connect(&worker, "MirrorSourceConnector", &generic).await;
    sites.connect(&worker, "MirrorCheckpointConnector", &generic).await;
    // The first round that has the group, and two more, each begun after the one before.
    for next in [7, 8, 9] {
        let moved = BTreeMap::from([(first_partition("news"), offset(next))]);
        sites.upstream.commit_offsets(&group, &moved).await.expect("a commit");
        wait_until(&format!("the group has followed to {next} where there are records"), PATIENCE, || async {
            let found = sites.downstream.committed_offsets(&group).await.unwrap_or_default();
            found.get(&first_partition("news")).is_some_and(|commit| commit.offset == Offset(next))
        })
        .await;
        let found = sites.downstream.committed_offsets(&group).await.expect("offsets");
        let there = found.get(&first_partition("news-empty")).map(|commit| commit.offset);
        assert!(there.is_none_or(|offset| offset <= Offset(0)), "beyond the end of an empty copy: {there:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_on_a_broker_that_was_added_to_the_source_are_mirrored() {
    let mut sites = Sites::start().await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 3).await;
    let worker = sites.worker().await;
    sites.connect(&worker, "MirrorSourceConnector", &[]).await;
    sites.until_mirrored("news", 3).await;
    let added = sites.source.add_broker().await;
    let operator = Operator::connect(&sites.source.bootstrap(), added).await;
    operator.reassign("news", 0, Some(&[added])).await;
    wait_until("the new broker leads", PATIENCE, || async {
        operator.partition("news", 0).await.leader == Some(added)
    })
    .await;
    sites.upstream.forget_leader(&first_partition("news"));
    append_batches(&sites.upstream, "news", 4).await;
    sites.until_mirrored("news", 7).await;
    same(&sites.upstream, &sites.downstream, &first_partition("news"))
        .await
        .unwrap_or_else(|difference| panic!("{difference}"));
}
