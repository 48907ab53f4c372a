//! What a link looks after beside its records: copies that cannot be grown, copies that are lost while nobody looks for new topics,
//! topics that were promoted, and a source that was wiped.

use std::time::Duration;

use serde_json::{Value, json};
use twinstream_client::raw::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use twinstream_client::raw::kafka_protocol::messages::{
    CreatePartitionsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{Node, OffsetAt};
use twinstream_client::{Admin, RawClient};
use twinstream_model::Offset;
use twinstream_testkit::records::{append_batches, client_settings, create_topic, first_partition, topic_name};
use twinstream_testkit::{Cluster, Folder, Worker, WorkerOptions, wait_until, wait_until_some};

const PATIENCE: Duration = Duration::from_secs(60);
const LINK: &str = "/links/west->east";
/// Resource types in config requests.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

struct Sites {
    source: Cluster,
    target: Cluster,
    upstream: RawClient,
    downstream: RawClient,
    worker: Worker,
    _folder: Folder,
}

impl Sites {
    /// With these topics at the source, each with three records in its first partition, and a link that copies them.
    async fn linked(topics: &[&str], options: WorkerOptions, more: &[(&str, &str)]) -> Self {
        let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
        let [upstream, downstream] = [client(&source).await, client(&target).await];
        let folder = Folder::new();
        let worker = Worker::start(&folder, &target.bootstrap(), options).await;
        let sites = Self { source, target, upstream, downstream, worker, _folder: folder };
        for topic in topics {
            create_topic(&sites.source.bootstrap(), topic, 1).await;
            append_batches(&sites.upstream, topic, 3).await;
        }
        sites.link(more).await;
        sites
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
            "sync.topic.configs.interval.seconds": "1",
            "topics": "news.*",
        });
        for (name, value) in more {
            config[*name] = Value::from(*value);
        }
        self.worker.rest.put("/connectors/link/config", &config).await.good();
    }

    async fn until_copied(&self, topic: &str, end: i64) {
        wait_until(&format!("the copy of {topic} ends at {end}"), PATIENCE, || async {
            self.end(topic).await == Some(Offset(end))
        })
        .await;
    }

    /// Where the first partition of a copy ends.
    async fn end(&self, topic: &str) -> Option<Offset> {
        let mut ends = self.downstream.list_offsets_now(&[first_partition(topic)], OffsetAt::Latest).await.ok()?;
        ends.remove(&first_partition(topic))?.ok()
    }

    async fn partitions_of_copy(&self, topic: &str) -> usize {
        let view = self.downstream.refresh_all().await.expect("topics");
        view.topics.get(&topic_name(topic)).map_or(0, |topic| topic.partitions.len())
    }

    /// The entry of a topic in a list of the link's status.
    async fn told(&self, list: &str, topic: &str) -> Option<String> {
        let link = self.worker.rest.get(LINK).await;
        let entry = link.body[list].as_array()?.iter().find(|entry| entry["topic"] == topic)?;
        entry["cause"].as_str().map(str::to_owned)
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

async fn grow(client: &RawClient, topic: &str, partitions: i32) {
    let topic = CreatePartitionsTopic::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let answer = client.request(Node::Controller, &request).await.expect("an answer");
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
}

async fn set(client: &RawClient, kind: i8, resource: &str, name: &str, value: &str) {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_config_operation(0)
        .with_value(Some(StrBytes::from_string(value.to_owned())));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(resource.to_owned()))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.request(Node::Controller, &request).await.expect("an answer");
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

async fn retention(client: &RawClient, topic: &str) -> Option<String> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.request(Node::Any, &request).await.expect("an answer");
    let found = answer.results[0].configs.iter().find(|config| config.name.as_str() == "retention.ms")?;
    found.value.as_ref().map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_there_are_copied_while_the_target_lets_their_topic_not_grow() {
    let sites = Sites::linked(&["news"], WorkerOptions::default(), &[]).await;
    sites.until_copied("news", 3).await;
    // Nothing new finds a place on the target.
    set(&sites.downstream, BROKER, "1", "cordoned.log.dirs", "*").await;
    grow(&sites.upstream, "news", 3).await;
    let cause = wait_until_some("the link tells of the topic", PATIENCE, || sites.told("topics_refused", "news")).await;
    assert!(cause.contains("cannot be grown") && cause.contains("1 partition of 3"), "{cause}");
    append_batches(&sites.upstream, "news", 4).await;
    sites.until_copied("news", 7).await;
    assert_eq!(sites.partitions_of_copy("news").await, 1);

    set(&sites.downstream, BROKER, "1", "cordoned.log.dirs", "").await;
    wait_until("the copy has grown", PATIENCE, || async { sites.partitions_of_copy("news").await == 3 }).await;
    wait_until("nothing is refused", PATIENCE, || async { sites.told("topics_refused", "news").await.is_none() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_again_also_where_no_new_topics_are_looked_for_and_those_are_not_followed() {
    let more = [("refresh.topics.enabled", "false")];
    let sites = Sites::linked(&["news"], WorkerOptions::default(), &more).await;
    sites.until_copied("news", 3).await;
    create_topic(&sites.source.bootstrap(), "news-later", 1).await;
    grow(&sites.upstream, "news", 2).await;
    delete(&sites.target, "news").await;
    append_batches(&sites.upstream, "news", 2).await;
    sites.until_copied("news", 5).await;
    assert_eq!(sites.partitions_of_copy("news").await, 1, "as the link has found it");
    assert_eq!(sites.partitions_of_copy("news-later").await, 0, "nobody looks for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_partitions_of_a_promoted_topic_are_the_targets_own() {
    let sites = Sites::linked(&["news", "news-other"], WorkerOptions::default(), &[]).await;
    for topic in ["news", "news-other"] {
        sites.until_copied(topic, 3).await;
    }
    let promoted = sites.downstream.promote_mirrors(&[topic_name("news")], false).await.expect("an answer");
    promoted.into_values().for_each(|promoted| promoted.expect("a promotion"));
    set(&sites.downstream, TOPIC, "news", "retention.ms", "600000").await;
    let cause = wait_until_some("the link tells of the topic", PATIENCE, || sites.told("topics_apart", "news")).await;
    assert!(cause.contains("promoted"), "{cause}");
    for topic in ["news", "news-other"] {
        set(&sites.upstream, TOPIC, topic, "retention.ms", "777000").await;
        grow(&sites.upstream, topic, 2).await;
    }
    wait_until("the other one follows", PATIENCE, || async {
        let follows = retention(&sites.downstream, "news-other").await.as_deref() == Some("777000");
        follows && sites.partitions_of_copy("news-other").await == 2
    })
    .await;
    assert_eq!(retention(&sites.downstream, "news").await.as_deref(), Some("600000"));
    assert_eq!(sites.partitions_of_copy("news").await, 1);
    let log = sites.worker.server.log_text();
    assert_eq!(log.matches("topic is left alone").count(), 1, "it is told once: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_of_a_source_that_was_wiped_and_set_up_again_are_neither_emptied_nor_deleted_nor_made_anew() {
    let more = [
        ("twinstream.sync.topic.deletes.enabled", "true"),
        ("twinstream.topic.delete.grace.ms", "1000"),
        ("twinstream.on.source.recreation", "resume"),
        ("twinstream.on.source.truncation", "resume"),
    ];
    let sites = Sites::linked(&["news", "news-other"], WorkerOptions::default(), &more).await;
    for topic in ["news", "news-other"] {
        sites.until_copied(topic, 3).await;
    }
    let ids = async || {
        let view = sites.downstream.refresh_all().await.expect("topics");
        ["news", "news-other"].map(|topic| view.topics[&topic_name(topic)].id)
    };
    let before = ids().await;
    // The id of the cluster stays, as when disks were lost and it was formatted with the same one.
    for topic in ["news", "news-other"] {
        delete(&sites.source, topic).await;
    }
    let is_told = "most copies of this link have lost their topics at once";
    wait_until("the link says that it deletes none", PATIENCE, || async {
        sites.worker.server.log_text().contains(is_told)
    })
    .await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    append_batches(&sites.upstream, "news", 1).await;
    wait_until("the link tells that it is another topic", PATIENCE, || async {
        let link = sites.worker.rest.get(LINK).await;
        link.body["partitions"]["not_copying"].to_string().contains("RECREATED")
    })
    .await;
    assert_eq!(ids().await, before, "both are the mirrors that they were");
    for topic in ["news", "news-other"] {
        assert_eq!(sites.end(topic).await, Some(Offset(3)), "{topic}");
    }
}

/// Made as Connect's users make connectors: nobody is asked about cycles then, and neither side's topic is marked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connectors_that_lead_round_the_later_one_leaves_the_topics_out() {
    let generic = ("twinstream.link.mode", "generic");
    let sites = Sites::linked(&["news"], WorkerOptions::default(), &[generic]).await;
    sites.until_copied("news", 3).await;
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
        "topics": "news.*",
        generic.0: generic.1,
    });
    sites.worker.rest.put("/connectors/back/config", &back).await.good();
    let link = wait_until_some("the way back tells of the topic", PATIENCE, || async {
        let link = sites.worker.rest.get("/links/east->west").await;
        link.body["topics_refused"][0].is_object().then_some(link.body)
    })
    .await;
    assert!(link["topics_refused"][0]["cause"].to_string().contains("go round"), "{link}");
    assert_eq!(link["state"], "DEGRADED");
    append_batches(&sites.upstream, "news", 2).await;
    sites.until_copied("news", 5).await;
    let ends = sites.upstream.list_offsets_now(&[first_partition("news")], OffsetAt::Latest).await.expect("ends");
    assert_eq!(ends.into_values().next().and_then(Result::ok), Some(Offset(5)), "nothing came back");
}

/// The copy may be the last one: what the new topic is set to says nothing about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_its_settings_when_its_topic_was_deleted_and_made_anew() {
    let sites = Sites::linked(&["news", "news-other"], WorkerOptions::default(), &[]).await;
    set(&sites.upstream, TOPIC, "news", "retention.ms", "777000").await;
    for topic in ["news", "news-other"] {
        sites.until_copied(topic, 3).await;
    }
    wait_until("the setting is there", PATIENCE, || async {
        retention(&sites.downstream, "news").await.as_deref() == Some("777000")
    })
    .await;
    delete(&sites.source, "news").await;
    create_topic(&sites.source.bootstrap(), "news", 1).await;
    let cause = wait_until_some("the link tells of it", PATIENCE, || sites.told("topics_apart", "news")).await;
    assert!(cause.contains("another one than it was made from"), "{cause}");
    // Another round of comparing has been there: the other topic's setting came.
    set(&sites.upstream, TOPIC, "news-other", "retention.ms", "888000").await;
    wait_until("a later setting is there", PATIENCE, || async {
        retention(&sites.downstream, "news-other").await.as_deref() == Some("888000")
    })
    .await;
    assert_eq!(retention(&sites.downstream, "news").await.as_deref(), Some("777000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_the_source_lost_are_named_while_their_copies_are_there_and_a_link_of_none_but_them_does_not_say_that_it_runs()
 {
    let sites = Sites::linked(&["news", "news-other"], WorkerOptions::default(), &[]).await;
    for topic in ["news", "news-other"] {
        sites.until_copied(topic, 3).await;
    }
    let until_gone_are = async |expected: &[&str]| {
        wait_until(&format!("{expected:?} are gone"), PATIENCE, || async {
            let link = sites.worker.rest.get(LINK).await;
            let gone = link.body["topics_gone"].as_array().into_iter().flatten();
            gone.filter_map(|gone| gone["topic"].as_str()).eq(expected.iter().copied())
        })
        .await;
    };
    let until_state_is = async |expected: &str| {
        wait_until(&format!("the link is {expected}"), PATIENCE, || async {
            sites.worker.rest.get(LINK).await.body["state"] == expected
        })
        .await;
    };
    delete(&sites.source, "news-other").await;
    until_gone_are(&["news-other"]).await;
    until_state_is("RUNNING").await;
    delete(&sites.source, "news").await;
    until_gone_are(&["news", "news-other"]).await;
    until_state_is("DEGRADED").await;
    // Until its last task has ended it says what that one has found.
    wait_until("the link says what it lacks", PATIENCE, || async {
        let link = sites.worker.rest.get(LINK).await.good();
        assert_eq!(link["state"], "DEGRADED", "{link}");
        link["state_cause"].to_string().contains("does not show 2 topics any more")
    })
    .await;

    // Nobody is reminded of a topic that is gone on both sides, or back.
    delete(&sites.target, "news").await;
    until_gone_are(&["news-other"]).await;
    create_topic(&sites.source.bootstrap(), "news-other", 1).await;
    until_gone_are(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_became_exactly_once_names_the_way_out_for_mirrors_that_it_finds() {
    let sites = Sites::linked(&["news"], WorkerOptions::default(), &[]).await;
    sites.until_copied("news", 3).await;
    sites.worker.rest.delete("/connectors/link").await;
    let folder = Folder::new();
    let options = WorkerOptions::default().set("exactly.once.source.support", "enabled").set("group.id", "once");
    let worker = Worker::start(&folder, &sites.target.bootstrap(), options).await;
    let sites = Sites { worker, ..sites };
    sites.link(&[("source.consumer.isolation.level", "read_committed")]).await;
    let cause = wait_until_some("the link says why it stands", PATIENCE, || async {
        let link = sites.worker.rest.get(LINK).await;
        let first = link.body["partitions"]["not_copying"].as_array()?.first()?.clone();
        (first["state"] == "REFUSED").then(|| first["cause"].to_string())
    })
    .await;
    assert!(cause.contains("exactly.once.source.support") && cause.contains("delete the topic"), "{cause}");
    assert_eq!(sites.end("news").await, Some(Offset(3)));
}
