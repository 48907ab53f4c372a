//! The life of topics on a link: made again when they go on the target, tried again when they are refused, deleted when that is
//! wished. And where a link's records go: to the cluster of its topics, and in transactions only as a producer's.

use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::raw::kafka_protocol::messages::CreatePartitionsRequest;
use twinstream_client::raw::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{Node, OffsetAt};
use twinstream_client::{Admin, NewTopic, ProducerRecord, RawClient};
use twinstream_model::{Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::links::mirrored::same;
use twinstream_testkit::records::{
    append_batches, client_settings, create_topic, first_partition, produce, read_all, topic_name,
};
use twinstream_testkit::settings::{own_setting, set};
use twinstream_testkit::{Cluster, Folder, Worker, WorkerOptions, peer, wait_until, wait_until_some};

const PATIENCE: Duration = Duration::from_secs(60);
const SOURCE: &str = "/connectors/link";

struct Sites {
    source: Cluster,
    target: Cluster,
    upstream: RawClient,
    downstream: RawClient,
    worker: Worker,
    _folder: Folder,
}

impl Sites {
    async fn start(options: WorkerOptions) -> Self {
        Self::of(1, options).await
    }

    /// With so many brokers on either side.
    async fn of(brokers: usize, options: WorkerOptions) -> Self {
        let (source, target) = tokio::join!(Cluster::start(brokers), Cluster::start(brokers));
        let [upstream, downstream] = [client(&source).await, client(&target).await];
        let folder = Folder::new();
        let worker = Worker::start(&folder, &target.bootstrap(), options).await;
        Self { source, target, upstream, downstream, worker, _folder: folder }
    }

    async fn link(&self, more: &[(&str, &str)]) {
        let mut config = json!({
            "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
            "source.cluster.alias": "west",
            "target.cluster.alias": "east",
            "source.cluster.bootstrap.servers": self.source.bootstrap(),
            "target.cluster.bootstrap.servers": self.target.bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "offset-syncs.topic.replication.factor": "1",
            "refresh.topics.interval.seconds": "1",
            "topics": "news.*",
        });
        for (name, value) in more {
            config[*name] = Value::from(*value);
        }
        self.worker.rest.put(&format!("{SOURCE}/config"), &config).await.good();
    }

    async fn until_copied(&self, topic: &str, end: i64) {
        wait_until(&format!("the copy of {topic} ends at {end}"), PATIENCE, || async {
            let ends = self.downstream.list_offsets_now(&[first_partition(topic)], OffsetAt::Latest).await;
            ends.is_ok_and(|ends| ends.into_values().all(|found| found.is_ok_and(|found| found == Offset(end))))
        })
        .await;
    }

    async fn has_copy(&self, topic: &str) -> bool {
        self.downstream.refresh_all().await.expect("topics").topics.contains_key(&topic_name(topic))
    }
}

async fn client(cluster: &Cluster) -> RawClient {
    RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("client")
}

async fn delete(cluster: &Cluster, topic: &str) {
    let admin = Admin::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("admin");
    for (topic, deleted) in admin.delete_topics(&[topic_name(topic)]).await.expect("an answer") {
        deleted.unwrap_or_else(|error| panic!("delete {topic}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_was_deleted_on_the_target_is_made_again_and_filled_from_its_beginning() {
    let sites = Sites::start(WorkerOptions::default()).await;
    for topic in ["news", "news-other"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_batches(&sites.upstream, topic, 20).await;
    }
    sites.link(&[("twinstream.link.mode", "aligned")]).await;
    sites.until_copied("news", 20).await;
    sites.until_copied("news-other", 20).await;
    delete(&sites.target, "news").await;
    append_batches(&sites.upstream, "news", 5).await;
    append_batches(&sites.upstream, "news-other", 5).await;
    sites.until_copied("news-other", 25).await;
    // Positions that were stored before say 20; the new mirror's own end says 0.
    sites.until_copied("news", 25).await;
    let size = same(&sites.upstream, &sites.downstream, &first_partition("news")).await;
    assert_eq!(size.map(|size| size.batches), Ok(25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_somebody_made_in_the_place_of_a_mirror_is_not_gone_on_with() {
    let sites = Sites::start(WorkerOptions::default()).await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 20).await;
    sites.link(&[]).await;
    sites.until_copied("news", 20).await;
    delete(&sites.target, "news").await;
    create_topic(&sites.target.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 5).await;
    let link = wait_until_some("the link says what is wrong, or has mended it", PATIENCE, || async {
        let link = sites.worker.rest.get("/links/west->east").await.good();
        let is_told = link["partitions"]["not_copying"].to_string().contains("without the mark");
        let ends = sites.downstream.list_offsets_now(&[first_partition("news")], OffsetAt::Latest).await.ok()?;
        let is_whole = ends.into_values().all(|end| end.is_ok_and(|end| end == Offset(25)));
        (is_told || is_whole).then_some(link)
    })
    .await;
    // Nothing is written behind a hole.
    let end = sites
        .downstream
        .list_offsets_now(&[first_partition("news")], OffsetAt::Latest)
        .await
        .expect("ends")
        .remove(&first_partition("news"));
    let end = end.expect("an end").expect("an end");
    assert!(end == Offset(0) || end == Offset(25), "{end:?}: {link}");
    if end == Offset(0) {
        delete(&sites.target, "news").await;
        sites.until_copied("news", 25).await;
    }
    same(&sites.upstream, &sites.downstream, &first_partition("news"))
        .await
        .unwrap_or_else(|difference| panic!("{difference}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_the_target_refuses_stops_no_other_and_is_copied_once_the_target_takes_it() {
    let mut sites = Sites::start(WorkerOptions::default()).await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    create_topic(&sites.source.bootstrap(), "news-known", 1).await;
    create_topic(&sites.target.bootstrap(), "news-known", 1).await;
    append_batches(&sites.upstream, "news", 3).await;
    append_batches(&sites.upstream, "news-known", 3).await;
    // The target has one broker.
    sites.link(&[("replication.factor", "2")]).await;
    sites.until_copied("news-known", 3).await;
    let refused = wait_until_some("the link tells of the topic", PATIENCE, || async {
        let link = sites.worker.rest.get("/links/west->east").await;
        link.body["topics_refused"].as_array().and_then(|refused| refused.first()).cloned()
    })
    .await;
    assert_eq!(refused["topic"], "news");
    assert!(refused["cause"].as_str().is_some_and(|cause| cause.contains("replication factor")), "{refused}");
    let status = sites.worker.rest.get(&format!("{SOURCE}/status")).await.good();
    assert_eq!(status["connector"]["state"], "RUNNING", "{status}");

    sites.target.add_broker().await;
    sites.until_copied("news", 3).await;
    let link = sites.worker.rest.get("/links/west->east").await.good();
    assert_eq!(link["topics_refused"], json!([]), "{link}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_deleted_topics_are_deleted_where_that_is_wished_and_only_those() {
    let sites = Sites::start(WorkerOptions::default()).await;
    for topic in ["news", "news-kept", "news-copied"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_batches(&sites.upstream, topic, 3).await;
    }
    // Is there before the link, so that it is copied as by any producer; and one that no link made.
    create_topic(&sites.target.bootstrap(), "news-copied", 1).await;
    create_topic(&sites.target.bootstrap(), "news-own", 1).await;
    sites.link(&[]).await;
    for topic in ["news", "news-kept", "news-copied"] {
        sites.until_copied(topic, 3).await;
    }
    delete(&sites.source, "news").await;
    wait_until("the topic is seen to be gone", PATIENCE, || async {
        sites.worker.server.log_text().contains("topic is gone from the source, its copy stays on the target")
    })
    .await;
    assert!(sites.has_copy("news").await, "nobody wished it");

    let deletes = [("twinstream.sync.topic.deletes.enabled", "true"), ("twinstream.topic.delete.grace.ms", "1500")];
    sites.link(&deletes).await;
    wait_until("the mirror is deleted", PATIENCE, || async { !sites.has_copy("news").await }).await;
    // Of one that was there before nobody knows whose records it has.
    delete(&sites.source, "news-copied").await;
    create_topic(&sites.source.bootstrap(), "news-last", 1).await;
    append_batches(&sites.upstream, "news-last", 3).await;
    sites.until_copied("news-last", 3).await;
    delete(&sites.source, "news-last").await;
    wait_until("the last mirror is deleted", PATIENCE, || async { !sites.has_copy("news-last").await }).await;
    append_batches(&sites.upstream, "news-kept", 3).await;
    sites.until_copied("news-kept", 6).await;
    for topic in ["news-own", "news-copied"] {
        assert!(sites.has_copy(topic).await, "{topic} is no mirror of this link");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_under_names_of_the_links_own_are_deleted_with_their_topics_and_others_of_such_names_are_not() {
    let sites = Sites::start(WorkerOptions::default()).await;
    for topic in ["news", "news-kept"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_batches(&sites.upstream, topic, 3).await;
    }
    // Looks like a copy, and no task has ever made it.
    create_topic(&sites.target.bootstrap(), "west.news-own", 1).await;
    let generic = [
        ("replication.policy.class", "org.apache.kafka.connect.mirror.DefaultReplicationPolicy"),
        ("twinstream.link.mode", "generic"),
        ("twinstream.sync.topic.deletes.enabled", "true"),
        ("twinstream.topic.delete.grace.ms", "1500"),
    ];
    sites.link(&generic).await;
    sites.until_copied("west.news", 3).await;
    sites.until_copied("west.news-kept", 3).await;
    delete(&sites.source, "news").await;
    wait_until("the copy is deleted", PATIENCE, || async { !sites.has_copy("west.news").await }).await;
    append_batches(&sites.upstream, "news-kept", 2).await;
    sites.until_copied("west.news-kept", 5).await;
    assert!(sites.has_copy("west.news-own").await, "it is nobody's copy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_records_would_go_to_another_cluster_than_its_topics_is_refused_by_name() {
    let sites = Sites::start(WorkerOptions::default()).await;
    let elsewhere = sites.source.bootstrap();
    let default = "org.apache.kafka.connect.mirror.DefaultReplicationPolicy";
    sites
        .link(&[("target.cluster.bootstrap.servers", elsewhere.as_str()), ("replication.policy.class", default)])
        .await;
    let status = wait_until_some("the connector is refused", PATIENCE, || async {
        let status = sites.worker.rest.get(&format!("{SOURCE}/status")).await;
        (status.body["connector"]["state"] == "FAILED").then_some(status.body)
    })
    .await;
    let trace = status["connector"]["trace"].as_str().unwrap_or_default();
    assert!(trace.contains("records would go to cluster") && trace.contains("producer.override"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_an_exactly_once_worker_copies_as_a_producer_by_itself() {
    let options = WorkerOptions::default().set("exactly.once.source.support", "enabled");
    let sites = Sites::start(options).await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 3).await;
    sites.link(&[("source.consumer.isolation.level", "read_committed")]).await;
    wait_until("all is copied", PATIENCE, || async {
        let ends = sites.downstream.list_offsets_now(&[first_partition("news")], OffsetAt::LastStable).await;
        // Three records and the marker of their transaction, or of each one's own.
        ends.is_ok_and(|ends| ends.into_values().all(|found| found.is_ok_and(|found| found >= Offset(4))))
    })
    .await;
    let marks = sites.downstream.mirror_marks(&[topic_name("news")]).await.expect("marks");
    assert!(marks.is_empty(), "{marks:?}");
    assert!(sites.worker.server.log_text().contains("twinstream.link.mode=generic"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_mirror_follow_its_source_and_its_mark_is_none_of_them() {
    let sites = Sites::start(WorkerOptions::default()).await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 3).await;
    sites.link(&[("sync.topic.configs.interval.seconds", "1")]).await;
    sites.until_copied("news", 3).await;
    let marks = sites.downstream.mirror_marks(&[topic_name("news")]).await.expect("marks");
    assert!(marks.contains_key(&topic_name("news")), "it is a mirror");
    for retention in [Some("777000"), Some("888000"), None] {
        set(&sites.upstream, "news", "retention.ms", retention).await;
        wait_until(&format!("retention.ms is {retention:?} on both sides"), PATIENCE, || async {
            own_setting(&sites.downstream, "news", "retention.ms").await.as_deref() == retention
        })
        .await;
    }
    assert_eq!(sites.downstream.mirror_marks(&[topic_name("news")]).await.expect("marks"), marks);
    append_batches(&sites.upstream, "news", 2).await;
    sites.until_copied("news", 5).await;
    let log = sites.worker.server.log_text();
    assert!(!log.contains("settings are not copied"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_made_with_the_settings_of_their_source_also_where_later_changes_do_not_follow() {
    const KEPT: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("retention.ms", "-1")];
    let sites = Sites::start(WorkerOptions::default()).await;
    let make = async |topic: &str| {
        let mut new = NewTopic::new(topic_name(topic), 1, 1);
        new.configs = KEPT.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for made in sites.upstream.create_topics(&[new], false).await.expect("an answer").into_values() {
            made.unwrap_or_else(|error| panic!("make {topic}: {error}"));
        }
        // A record of a compacted topic has a key.
        let record = ProducerRecord::new(topic_name(topic), Some("a".into()), Some("1".into()));
        produce(&sites.source.bootstrap(), &[], &[record]).await;
    };
    let is_kept = async |topic: &str| {
        for (name, value) in KEPT {
            assert_eq!(own_setting(&sites.downstream, topic, name).await.as_deref(), Some(value), "{topic} {name}");
        }
    };
    make("news").await;
    sites.link(&[("sync.topic.configs.enabled", "false"), ("sync.topic.configs.interval.seconds", "1")]).await;
    sites.until_copied("news", 1).await;
    is_kept("news").await;
    set(&sites.upstream, "news", "retention.ms", Some("777000")).await;
    // One made in a later look, and another one in a look after that.
    for topic in ["news-later", "news-last"] {
        make(topic).await;
        sites.until_copied(topic, 1).await;
        is_kept(topic).await;
    }
    is_kept("news").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_have_as_many_replicas_as_their_topics() {
    let sites = Sites::of(2, WorkerOptions::default()).await;
    let topics = [("news-one", 1), ("news-two", 2)];
    let new = topics.map(|(topic, replicas)| NewTopic::new(topic_name(topic), 2, replicas));
    for made in sites.upstream.create_topics(&new, false).await.expect("an answer").into_values() {
        made.expect("a topic");
    }
    sites.link(&[]).await;
    for (topic, replicas) in topics {
        wait_until(&format!("{topic} is copied"), PATIENCE, || sites.has_copy(topic)).await;
        let view = sites.downstream.refresh_all().await.expect("topics");
        let copy = &view.topics[&topic_name(topic)];
        let found: Vec<usize> = copy.partitions.values().map(|partition| partition.replicas.len()).collect();
        assert_eq!(found, [usize::try_from(replicas).expect("a number"); 2], "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_not_copied_back_into_the_topic_that_it_is_a_mirror_of() {
    let sites = Sites::start(WorkerOptions::default()).await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 3).await;
    sites.link(&[]).await;
    sites.until_copied("news", 3).await;
    // The way back, as somebody makes it who knows nothing of the first link.
    let back = json!({
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "source.cluster.alias": "east",
        "target.cluster.alias": "west",
        "source.cluster.bootstrap.servers": sites.target.bootstrap(),
        "target.cluster.bootstrap.servers": sites.source.bootstrap(),
        "producer.override.bootstrap.servers": sites.source.bootstrap(),
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "offset-syncs.topic.replication.factor": "1",
        "refresh.topics.interval.seconds": "1",
        "sync.topic.configs.interval.seconds": "1",
        "topics": "news.*",
    });
    sites.worker.rest.put("/connectors/back/config", &back).await.good();
    let refused = wait_until_some("the way back tells of the topic", PATIENCE, || async {
        let link = sites.worker.rest.get("/links/east->west").await;
        link.body["topics_refused"].as_array().and_then(|refused| refused.first()).cloned()
    })
    .await;
    assert_eq!(refused["topic"], "news");
    assert!(refused["cause"].as_str().is_some_and(|cause| cause.contains("go round")), "{refused}");
    append_batches(&sites.upstream, "news", 2).await;
    sites.until_copied("news", 5).await;
    let size = same(&sites.upstream, &sites.downstream, &first_partition("news")).await;
    assert_eq!(size.map(|size| size.batches), Ok(5), "and no record came back");
    let marks = sites.upstream.mirror_marks(&[topic_name("news")]).await.expect("marks");
    assert!(marks.is_empty(), "the original is no mirror of its own mirror: {marks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_at_the_source_are_copied_without_a_restart_of_the_task() {
    let sites = Sites::start(WorkerOptions::default()).await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    create_topic(&sites.source.bootstrap(), "news-copied", 1).await;
    // Is there before the link, so that it is copied as by any producer.
    create_topic(&sites.target.bootstrap(), "news-copied", 1).await;
    for topic in ["news", "news-copied"] {
        append_batches(&sites.upstream, topic, 3).await;
    }
    sites.link(&[]).await;
    for topic in ["news", "news-copied"] {
        sites.until_copied(topic, 3).await;
    }
    for topic in ["news", "news-copied"] {
        grow(&sites.upstream, topic, 3).await;
        let records = [1, 2].map(|index| in_partition(topic, index));
        produce(&sites.source.bootstrap(), &[], &records).await;
        append_batches(&sites.upstream, topic, 2).await;
        sites.until_copied(topic, 5).await;
        for index in [1, 2] {
            let added = TopicPartition::new(topic_name(topic), index);
            wait_until(&format!("the record of {added} is there"), PATIENCE, || ends_at(&sites.downstream, &added, 1))
                .await;
        }
    }
    let log = sites.worker.server.log_text();
    assert_eq!(log.lines().filter(|line| line.contains("mirror task starts")).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_as_by_a_producer_that_was_deleted_on_the_target_is_made_again_and_goes_on_at_its_position() {
    let sites = Sites::start(WorkerOptions::default()).await;
    for topic in ["news", "news-other"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append_batches(&sites.upstream, topic, 20).await;
    }
    sites.link(&[("twinstream.link.mode", "generic")]).await;
    sites.until_copied("news", 20).await;
    sites.until_copied("news-other", 20).await;
    delete(&sites.target, "news").await;
    wait_until("the copy is made again", PATIENCE, || sites.has_copy("news")).await;
    append_batches(&sites.upstream, "news", 5).await;
    append_batches(&sites.upstream, "news-other", 5).await;
    sites.until_copied("news-other", 25).await;
    sites.until_copied("news", 5).await;
    assert!(sites.worker.server.log_text().contains("the copy is gone from the target and is made again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_live_on_apache_kafka_as_on_a_target_of_ours() {
    let kafka = peer::kafka();
    let (source, target) = tokio::join!(Cluster::start(1), kafka.cluster(1, &[]));
    let upstream = client(&source).await;
    let downstream = RawClient::connect(&client_settings(&target.bootstrap(), &[])).await.expect("client");
    let folder = Folder::new();
    let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
    for topic in ["news", "news.late"] {
        create_topic(&source.bootstrap(), topic, 1).await;
        append_batches(&upstream, topic, 3).await;
    }
    // Kafka takes no two topics whose names its metrics would not tell apart.
    create_topic(&target.bootstrap(), "news_late", 1).await;
    let config = json!({
        "connector.class": "org.apache.kafka.connect.mirror.MirrorSourceConnector",
        "source.cluster.alias": "west",
        "target.cluster.alias": "east",
        "source.cluster.bootstrap.servers": source.bootstrap(),
        "target.cluster.bootstrap.servers": target.bootstrap(),
        "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
        "offset-syncs.topic.replication.factor": "1",
        "refresh.topics.interval.seconds": "1",
        "sync.topic.configs.interval.seconds": "1",
        "topics": "news.*",
    });
    worker.rest.put(&format!("{SOURCE}/config"), &config).await.good();
    let news = first_partition("news");
    wait_until("one topic is copied", PATIENCE, || ends_at(&downstream, &news, 3)).await;
    let refused = wait_until_some("the link tells of the other", PATIENCE, || async {
        let link = worker.rest.get("/links/west->east").await;
        link.body["topics_refused"].as_array().and_then(|refused| refused.first()).cloned()
    })
    .await;
    assert_eq!(refused["topic"], "news.late");

    let admin = Admin::connect(&client_settings(&target.bootstrap(), &[])).await.expect("admin");
    for (topic, deleted) in admin.delete_topics(&[topic_name("news_late")]).await.expect("an answer") {
        deleted.unwrap_or_else(|error| panic!("delete {topic}: {error}"));
    }
    let late = first_partition("news.late");
    wait_until("the other is taken", PATIENCE, || ends_at(&downstream, &late, 3)).await;

    set(&upstream, "news", "retention.ms", Some("777000")).await;
    grow(&upstream, "news", 2).await;
    produce(&source.bootstrap(), &[], &[in_partition("news", 1)]).await;
    let added = TopicPartition::new(topic_name("news"), 1);
    wait_until("the new partition is copied", PATIENCE, || ends_at(&downstream, &added, 1)).await;
    wait_until("the setting is there", PATIENCE, || async {
        own_setting(&downstream, "news", "retention.ms").await.as_deref() == Some("777000")
    })
    .await;
    assert_eq!(read_all(&target.bootstrap(), "news").await.len(), 4, "no record twice");
    let log = worker.server.log_text();
    assert!(!log.contains("settings are not copied"), "{log}");
}

async fn ends_at(client: &RawClient, partition: &TopicPartition, end: i64) -> bool {
    let ends = client.list_offsets_now(std::slice::from_ref(partition), OffsetAt::Latest).await;
    ends.is_ok_and(|ends| ends.into_values().all(|found| found.is_ok_and(|found| found == Offset(end))))
}

fn in_partition(topic: &str, index: i32) -> ProducerRecord {
    let mut record = ProducerRecord::new(topic_name(topic), None, Some("1".into()));
    record.partition = Some(PartitionIndex(index));
    record
}

async fn grow(client: &RawClient, topic: &str, partitions: i32) {
    let topic = CreatePartitionsTopic::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let answer = client.request(Node::Controller, &request).await.expect("an answer");
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
}
