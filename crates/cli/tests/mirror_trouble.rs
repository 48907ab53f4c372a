//! What the mirror makes of batches that cannot go as they are, and of a source that does not keep its word.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::protocol::batch::{BatchBuilder, batches};
use twinstream_client::protocol::compression::Compression;
use twinstream_client::raw::kafka_protocol::messages::DeleteRecordsRequest;
use twinstream_client::raw::kafka_protocol::messages::IncrementalAlterConfigsRequest;
use twinstream_client::raw::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{FetchFrom, FetchOptions, Node};
use twinstream_client::{Admin, NewTopic, RawClient};
use twinstream_model::{Offset, TopicPartition};
use twinstream_testkit::records::{client_settings, create_topic, read_all, topic_name};
use twinstream_testkit::{Cluster, Folder, Worker, WorkerOptions, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);

struct Sites {
    source: Cluster,
    target: Cluster,
    worker: Worker,
    _folder: Folder,
}

impl Sites {
    async fn start() -> Self {
        let folder = Folder::new();
        let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
        let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
        Self { source, target, worker, _folder: folder }
    }

    async fn mirror(&self, name: &str, topics: &str, more: &[(&str, &str)]) {
        let mut config = json!({
            "name": name,
            "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
            "tasks.max": "1",
            "source.cluster.alias": "src",
            "target.cluster.alias": "dst",
            "source.cluster.bootstrap.servers": self.source.bootstrap(),
            "target.cluster.bootstrap.servers": self.target.bootstrap(),
            "replication.factor": "1",
            "topics": topics,
            "sync.topic.configs.enabled": "false",
            "twinstream.link.mode": "generic",
        });
        for (key, value) in more {
            config[*key] = Value::from(*value);
        }
        self.worker.rest.put(&format!("/connectors/{name}/config"), &config).await.good();
    }

    async fn source(&self) -> RawClient {
        RawClient::connect(&client_settings(&self.source.bootstrap(), &[])).await.expect("source")
    }

    /// The values of the copy.
    async fn copied(&self, topic: &str) -> Vec<String> {
        let records = read_all(&self.target.bootstrap(), &format!("src.{topic}")).await;
        records.iter().map(|record| text(record.value.as_ref())).collect()
    }

    async fn wait_for_copy(&self, topic: &str, expected: &[String]) {
        wait_until("as many records are copied as there are", PATIENCE, || async {
            self.copied(topic).await.len() >= expected.len()
        })
        .await;
        assert_eq!(self.copied(topic).await, expected);
    }

    async fn wait_for_log(&self, parts: &[&str]) {
        wait_until("the worker tells what happened", PATIENCE, || async {
            self.worker.server.log_text().lines().any(|line| parts.iter().all(|part| line.contains(part)))
        })
        .await;
    }
}

fn text(value: Option<&Bytes>) -> String {
    String::from_utf8_lossy(value.map_or(b"", |value| value)).into_owned()
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic_name(topic), 0)
}

/// Appends one batch of these values.
async fn append(client: &RawClient, topic: &str, codec: Compression, values: &[String]) {
    let mut builder = BatchBuilder::new().with_compression(codec);
    for (index, value) in values.iter().enumerate() {
        builder.append(1_700_000_000_000 + index as i64, None, Some(value.as_bytes()), []);
    }
    let batch = Bytes::from(builder.build().expect("a batch"));
    client.produce_batch(&at(topic), batch).await.unwrap_or_else(|error| panic!("{error}"));
}

async fn append_each(client: &RawClient, topic: &str, values: &[String]) {
    for value in values {
        append(client, topic, Compression::None, std::slice::from_ref(value)).await;
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("value {number}")).collect()
}

/// The lengths of the batches of a topic.
async fn batch_lengths(bootstrap: &str, topic: &str) -> Vec<usize> {
    let client = RawClient::connect(&client_settings(bootstrap, &[])).await.expect("client");
    let leader = client.leader(&at(topic)).await.expect("a leader");
    let (mut lengths, mut next) = (Vec::new(), Offset(0));
    loop {
        let wanted = [FetchFrom::new(at(topic), next)];
        let options = FetchOptions { wait_max: Duration::from_millis(50), ..FetchOptions::default() };
        let fetched = client.fetch_batches(leader, &wanted, &options).await.expect("an answer");
        let before = next;
        for batch in batches(&fetched[0].batches).map_while(Result::ok).filter(|batch| batch.base_offset() >= before) {
            lengths.push(batch.len());
            next = batch.header().next_offset();
        }
        if next == before {
            return lengths;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_batches_arrive_joined_and_large_ones_in_pieces() {
    const LARGEST: usize = 20_000;
    let sites = Sites::start().await;
    let client = sites.source().await;
    let mut expected = Vec::new();
    create_topic(&sites.source.bootstrap(), "sizes", 1).await;
    for codec in Compression::ALL {
        for number in 0..100 {
            let value = format!("{codec} {number}");
            append(&client, "sizes", codec, std::slice::from_ref(&value)).await;
            expected.push(value);
        }
        let large: Vec<String> = (0..10).map(|number| format!("{codec} {number} {}", "x".repeat(5_000))).collect();
        append(&client, "sizes", codec, &large).await;
        expected.extend(large);
    }
    let smaller = NewTopic::new(topic_name("src.sizes"), 1, 1);
    let smaller = smaller.with_config("max.message.bytes", &LARGEST.to_string());
    let admin = Admin::connect(&client_settings(&sites.target.bootstrap(), &[])).await.expect("admin");
    admin.create_topic(&smaller).await.expect("a topic that takes small batches");
    sites.mirror("sizes", "sizes", &[]).await;
    sites.wait_for_copy("sizes", &expected).await;
    let lengths = batch_lengths(&sites.target.bootstrap(), "src.sizes").await;
    assert!(lengths.iter().all(|length| *length <= LARGEST), "{lengths:?}");
    assert!(lengths.len() < 60, "{} batches for 500 small ones and 5 large ones: {lengths:?}", lengths.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_that_takes_smaller_batches_all_of_a_sudden_gets_them() {
    let sites = Sites::start().await;
    let client = sites.source().await;
    create_topic(&sites.source.bootstrap(), "shrinks", 1).await;
    append_each(&client, "shrinks", &numbered(0..10)).await;
    sites.mirror("shrinks", "shrinks", &[]).await;
    sites.wait_for_copy("shrinks", &numbered(0..10)).await;
    alter_topic(&sites.target.bootstrap(), "src.shrinks", "max.message.bytes", "10000").await;
    let large: Vec<String> = (0..10).map(|number| format!("{number} {}", "x".repeat(4_000))).collect();
    append(&client, "shrinks", Compression::None, &large).await;
    append_each(&client, "shrinks", &numbered(10..12)).await;
    sites.wait_for_copy("shrinks", &[numbered(0..10), large, numbered(10..12)].concat()).await;
    sites.wait_for_log(&["takes smaller batches", "shrinks-0"]).await;
}

async fn alter_topic(bootstrap: &str, topic: &str, name: &str, value: &str) {
    let client = RawClient::connect(&client_settings(bootstrap, &[])).await.expect("client");
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_value(Some(StrBytes::from_string(value.to_owned())));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.request(Node::Controller, &request).await.expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_made_anew_stops_the_copy_by_name_or_goes_on_as_told() {
    let sites = Sites::start().await;
    let client = sites.source().await;
    let topics = ["careful", "resumed", "steady"];
    for topic in topics {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_each(&client, topic, &numbered(0..10)).await;
    }
    sites.mirror("careful", "careful", &[]).await;
    let resume = [("twinstream.on.source.recreation", "resume")];
    sites.mirror("resumed", "resumed,steady", &resume).await;
    for topic in topics {
        sites.wait_for_copy(topic, &numbered(0..10)).await;
    }
    let admin = Admin::connect(&client_settings(&sites.source.bootstrap(), &[])).await.expect("admin");
    let gone = [topic_name("careful"), topic_name("resumed")];
    for (topic, deleted) in admin.delete_topics(&gone).await.expect("an answer") {
        deleted.unwrap_or_else(|error| panic!("delete {topic}: {error}"));
    }
    for topic in ["careful", "resumed"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_each(&client, topic, &numbered(100..115)).await;
    }
    // One that fails says which setting decides, and copies nothing of the other history.
    wait_until("the careful one has failed by name", PATIENCE, || async {
        let status = sites.worker.rest.get("/connectors/careful/status").await.good();
        let trace = status["tasks"][0]["trace"].as_str().unwrap_or_default();
        status["tasks"][0]["state"] == "FAILED" && trace.contains("twinstream.on.source.recreation")
    })
    .await;
    assert_eq!(sites.copied("careful").await, numbered(0..10));
    // One that is told to goes on with the new topic's first record, and keeps no other partition waiting.
    append_each(&client, "steady", &numbered(10..12)).await;
    sites.wait_for_copy("steady", &numbered(0..12)).await;
    sites.wait_for_copy("resumed", &[numbered(0..10), numbered(100..115)].concat()).await;
    sites.wait_for_log(&["RECREATED", "resumed-0"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_made_anew_while_the_worker_was_away_is_known_however_far_it_has_grown() {
    let mut sites = Sites::start().await;
    let client = sites.source().await;
    create_topic(&sites.source.bootstrap(), "regrown", 1).await;
    append_each(&client, "regrown", &numbered(0..10)).await;
    sites.mirror("regrown", "regrown", &[]).await;
    sites.wait_for_copy("regrown", &numbered(0..10)).await;
    sites.worker.server.stop().await;
    let admin = Admin::connect(&client_settings(&sites.source.bootstrap(), &[])).await.expect("admin");
    for (topic, deleted) in admin.delete_topics(&[topic_name("regrown")]).await.expect("an answer") {
        deleted.unwrap_or_else(|error| panic!("delete {topic}: {error}"));
    }
    create_topic(&sites.source.bootstrap(), "regrown", 1).await;
    append_each(&client, "regrown", &numbered(100..130)).await;
    sites.worker.server.start().await;
    sites.worker.wait_ready().await;
    wait_until("the task has failed by name", PATIENCE, || async {
        let status = sites.worker.rest.get("/connectors/regrown/status").await.good();
        let trace = status["tasks"][0]["trace"].as_str().unwrap_or_default();
        status["tasks"][0]["state"] == "FAILED" && trace.contains("twinstream.on.source.recreation")
    })
    .await;
    assert_eq!(sites.copied("regrown").await, numbered(0..10), "nothing of the other history is mixed in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_removed_before_they_were_copied_are_told_and_counted() {
    let mut sites = Sites::start().await;
    let client = sites.source().await;
    create_topic(&sites.source.bootstrap(), "short", 1).await;
    append_each(&client, "short", &numbered(0..10)).await;
    sites.mirror("short", "short", &[]).await;
    sites.wait_for_copy("short", &numbered(0..10)).await;
    sites.worker.server.stop().await;
    append_each(&client, "short", &numbered(10..40)).await;
    delete_before(&client, "short", 25).await;
    sites.worker.server.start().await;
    sites.worker.wait_ready().await;
    sites.wait_for_copy("short", &[numbered(0..10), numbered(25..40)].concat()).await;
    sites.wait_for_log(&["OVERTAKEN", "records 10 to 24", "lost=15"]).await;
}

async fn delete_before(client: &RawClient, topic: &str, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic_request = DeleteRecordsTopic::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic_request]).with_timeout_ms(10_000);
    let leader = client.leader(&at(topic)).await.expect("a leader");
    let answer = client.request(Node::Id(leader), &request).await.expect("an answer");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}
