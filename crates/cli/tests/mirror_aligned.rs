//! Topics that a link copies at the source's offsets: the mirror is its source, byte for byte, whatever is killed; and what
//! a link does when source and mirror do not fit any more.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::protocol::batch::{BatchBuilder, batches};
use twinstream_client::raw::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{DeleteGroupsRequest, DeleteRecordsRequest};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{FetchFrom, FetchOptions, Node, OffsetAt};
use twinstream_client::{Admin, CommitOffset, NewTopic, RawClient};
use twinstream_model::{GroupId, Offset, TopicPartition};
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::records::{client_settings, create_topic, read_all, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, Folder, Worker, WorkerOptions, wait_until};

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
        // A cleaner that never rests; logs are not synced, so that copies of a broker's folder are small and quick.
        let busy = ClusterOptions::default()
            .set("log.cleaner.backoff.ms", "100")
            .set("log.segment.delete.delay.ms", "100")
            .set("transaction.state.log.num.partitions", "3");
        let (source, target) = tokio::join!(Cluster::start_with(1, busy), Cluster::start(1));
        let worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
        Self { source, target, worker, _folder: folder }
    }

    async fn link(&self, topics: &str, more: &[(&str, &str)]) {
        self.connector("link", "MirrorSourceConnector", topics, more).await;
    }

    async fn connector(&self, name: &str, class: &str, topics: &str, more: &[(&str, &str)]) {
        let mut config = json!({
            "name": name,
            "connector.class": format!("org.apache.kafka.connect.mirror.{class}"),
            "tasks.max": "1",
            "source.cluster.alias": "src",
            "target.cluster.alias": "dst",
            "source.cluster.bootstrap.servers": self.source.bootstrap(),
            "target.cluster.bootstrap.servers": self.target.bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "replication.factor": "1",
            "topics": topics,
            "refresh.topics.interval.seconds": "1",
        });
        for (key, value) in more {
            config[*key] = Value::from(*value);
        }
        self.worker.rest.put(&format!("/connectors/{name}/config"), &config).await.good();
    }

    async fn clients(&self) -> (RawClient, RawClient) {
        (connect(&self.source.bootstrap()).await, connect(&self.target.bootstrap()).await)
    }

    /// Waits until the mirror of a topic is what its source is.
    async fn wait_for_mirror(&self, topic: &str) {
        let (source, target) = self.clients().await;
        wait_until(&format!("{topic} is mirrored"), PATIENCE, || async {
            log_of(&target, topic).await == log_of(&source, topic).await
        })
        .await;
    }

    async fn wait_for_log(&self, parts: &[&str]) {
        wait_until(&format!("the worker tells {parts:?}"), PATIENCE, || async {
            self.worker.server.log_text().lines().any(|line| parts.iter().all(|part| line.contains(part)))
        })
        .await;
    }
}

async fn connect(bootstrap: &str) -> RawClient {
    RawClient::connect(&client_settings(bootstrap, &[])).await.expect("a client")
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition::new(topic_name(topic), 0)
}

/// What a leader has and says of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    bytes: Vec<u8>,
    start: i64,
    stable: i64,
    end: i64,
}

/// A topic that is not there, or has no leader, is empty.
async fn log_of(client: &RawClient, topic: &str) -> Log {
    let mut log = Log { start: -1, ..Log::default() };
    let Ok(leader) = client.leader(&at(topic)).await else { return log };
    let Ok(mut starts) = client.list_offsets_now(&[at(topic)], OffsetAt::Earliest).await else { return log };
    let Some(Ok(mut next)) = starts.remove(&at(topic)) else { return log };
    loop {
        let options = FetchOptions { wait_max: Duration::from_millis(20), ..FetchOptions::default() };
        let wanted = [FetchFrom::new(at(topic), next)];
        let Ok(mut fetched) = client.fetch_batches(leader, &wanted, &options).await else { return Log::default() };
        let answer = fetched.remove(0);
        (log.start, log.stable, log.end) =
            (answer.log_start_offset.0, answer.last_stable_offset.0, answer.high_watermark.0);
        let before = next;
        for batch in batches(&answer.batches).map_while(Result::ok) {
            if batch.header().next_offset() > next {
                log.bytes.extend_from_slice(batch.bytes());
                next = batch.header().next_offset();
            }
        }
        if next == before {
            return log;
        }
    }
}

/// Appends one batch of these values, under the key of the first one.
async fn append(client: &RawClient, topic: &str, values: &[&str]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as i64;
    let mut builder = BatchBuilder::new();
    for value in values {
        let key = value.split(' ').next().map(str::as_bytes);
        builder.append(now, key, Some(value.as_bytes()), []);
    }
    let batch = Bytes::from(builder.build().expect("a batch"));
    client.produce_batch(&at(topic), batch).await.unwrap_or_else(|error| panic!("{error}"));
}

/// One that commits, one that aborts, and one that stays open, side by side.
async fn transactions(bootstrap: &str, topic: &str, name: &str) {
    let begin = async |fate: &str| {
        let timeout = Duration::from_secs(600);
        let mut transactor = Transactor::new(bootstrap, &format!("{name}-{fate}"), Protocol::Second, timeout);
        transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        for number in 0..3 {
            let value = format!("{name} {fate} {number}");
            transactor.write(&at(topic), None, Some(&value)).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        }
        transactor
    };
    let (mut commits, mut aborts, _open) = (begin("commits").await, begin("aborts").await, begin("open").await);
    commits.end(true).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    aborts.end(false).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
}

async fn delete_before(client: &RawClient, topic: &str, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let wanted = DeleteRecordsTopic::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
    let leader = client.leader(&at(topic)).await.expect("a leader");
    let answer = client.request(Node::Id(leader), &request).await.expect("an answer");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

/// Offsets that no batch has any more.
fn holes(log: &Log) -> i64 {
    let records: i64 =
        batches(&log.bytes).map_while(Result::ok).map(|batch| i64::from(batch.header().record_count)).sum();
    log.end - log.start.max(0) - records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_its_source_byte_for_byte_after_kills_of_the_worker() {
    let mut sites = Sites::start().await;
    let (source, target) = sites.clients().await;
    create_topic(&sites.source.bootstrap(), "ledger", 1).await;
    let admin = Admin::connect(&client_settings(&sites.source.bootstrap(), &[])).await.expect("admin");
    let compacted = [("cleanup.policy", "compact"), ("segment.ms", "500"), ("min.cleanable.dirty.ratio", "0.01")];
    let compacted = compacted
        .iter()
        .fold(NewTopic::new(topic_name("latest"), 1, 1), |topic, (name, value)| topic.with_config(name, value));
    admin.create_topic(&compacted).await.expect("a compacted topic");

    // Holes of compaction, and a log that begins in the middle of a batch.
    wait_until("compaction has left holes", PATIENCE, || async {
        for key in ["a", "b", "a"] {
            append(&source, "latest", &[&format!("{key} 1"), &format!("{key} 2"), &format!("only-{key} 3")]).await;
        }
        holes(&log_of(&source, "latest").await) > 10
    })
    .await;
    append(&source, "ledger", &["0", "1", "2", "3", "4", "5"]).await;
    transactions(&sites.source.bootstrap(), "ledger", "first").await;
    delete_before(&source, "ledger", 4).await;

    sites.link("ledger,latest", &[("twinstream.link.mode", "aligned")]).await;
    wait_until("the first records are mirrored", PATIENCE, || async { log_of(&target, "ledger").await.end > 0 }).await;
    for round in ["second", "third"] {
        sites.worker.server.kill();
        let before = log_of(&target, "ledger").await.end;
        transactions(&sites.source.bootstrap(), "ledger", round).await;
        append(&source, "ledger", &["a", "b"]).await;
        sites.worker.server.start().await;
        sites.worker.wait_ready().await;
        wait_until("more is mirrored", PATIENCE, || async { log_of(&target, "ledger").await.end > before }).await;
    }
    sites.wait_for_mirror("ledger").await;
    let mirror = log_of(&target, "ledger").await;
    assert_eq!((mirror.start, holes(&mirror)), (4, -4), "the first batch is whole, as at the source");
    assert!(mirror.stable < mirror.end, "transactions that are open there are open here");
    // The cleaner still works on the source: what it leaves out later the mirror has, at the same offsets.
    let values = async |bootstrap: String| {
        let records = read_all(&bootstrap, "latest").await;
        records.into_iter().map(|record| (record.offset, record.value)).collect::<BTreeMap<_, _>>()
    };
    let end = log_of(&source, "latest").await.end;
    wait_until("the compacted topic is mirrored", PATIENCE, || async { log_of(&target, "latest").await.end == end })
        .await;
    let (there, here) = (values(sites.source.bootstrap()).await, values(sites.target.bootstrap()).await);
    assert!(there.iter().all(|(offset, value)| here.get(offset) == Some(value)));
    assert!(holes(&log_of(&target, "latest").await) > 10, "holes are mirrored");

    // Nothing new comes, and the log start moves all the same.
    delete_before(&source, "ledger", mirror.end - 1).await;
    sites.wait_for_mirror("ledger").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_there_is_copied_as_before_and_refused_when_it_must_be_aligned() {
    let sites = Sites::start().await;
    let (source, target) = sites.clients().await;
    for topic in ["old", "new"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append(&source, topic, &["1", "2"]).await;
    }
    create_topic(&sites.target.bootstrap(), "old", 1).await;
    append(&target, "old", &["own"]).await;
    sites.link("old,new", &[]).await;
    wait_until("both are copied", PATIENCE, || async {
        log_of(&target, "old").await.end == 3 && log_of(&target, "new").await.end == 2
    })
    .await;
    assert_eq!(log_of(&target, "new").await, log_of(&source, "new").await);
    let marks = target.mirror_marks(&[topic_name("old"), topic_name("new")]).await.expect("marks");
    assert_eq!(marks.keys().cloned().collect::<Vec<_>>(), [topic_name("new")]);
    sites.link("old,new", &[("twinstream.link.mode", "aligned")]).await;
    sites.wait_for_log(&["REFUSED", "old", "is no mirror"]).await;
    append(&source, "new", &["3"]).await;
    sites.wait_for_mirror("new").await;
    assert_eq!(log_of(&target, "old").await.end, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_topic_is_left_alone_and_the_others_go_on() {
    let sites = Sites::start().await;
    let (source, target) = sites.clients().await;
    for topic in ["one", "two"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        append(&source, topic, &["1"]).await;
    }
    sites.link("one,two", &[("twinstream.link.mode", "aligned")]).await;
    sites.wait_for_mirror("one").await;
    sites.wait_for_mirror("two").await;
    let promoted = target.promote_mirrors(&[topic_name("one")], false).await.expect("an answer");
    promoted.into_values().for_each(|result| result.expect("promoted"));
    for topic in ["one", "two"] {
        append(&source, topic, &["2"]).await;
    }
    sites.wait_for_log(&["PROMOTED", "one-0"]).await;
    append(&target, "one", &["own"]).await;
    sites.wait_for_mirror("two").await;
    let status = sites.worker.rest.get("/connectors/link/status").await.good();
    assert_eq!(status["tasks"][0]["state"], "RUNNING", "{status}");
    let here: Vec<_> =
        read_all(&sites.target.bootstrap(), "one").await.into_iter().map(|record| record.value).collect();
    assert_eq!(here, [Some(Bytes::from("1")), Some(Bytes::from("own"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_stand_in_a_mirror_where_they_are_at_the_source_and_never_beyond_it() {
    let sites = Sites::start().await;
    let (source, target) = sites.clients().await;
    create_topic(&sites.source.bootstrap(), "read", 1).await;
    transactions(&sites.source.bootstrap(), "read", "holes").await;
    append(&source, "read", &["1", "2", "3"]).await;
    let end = log_of(&source, "read").await.end;
    let group = GroupId::from("readers");
    let commit = async |offset: i64| {
        let offset = CommitOffset { offset: Offset(offset), metadata: String::new() };
        source.commit_offsets(&group, &BTreeMap::from([(at("read"), offset)])).await.expect("a commit");
    };
    let there = async || {
        let committed = target.committed_offsets(&group).await.unwrap_or_default();
        committed.get(&at("read")).map(|commit| commit.offset.0)
    };
    commit(4).await;
    let aligned = [("twinstream.link.mode", "aligned")];
    sites.link("read", &aligned).await;
    sites.connector("groups", "MirrorCheckpointConnector", "read", &aligned).await;
    wait_until("the group stands in the mirror", PATIENCE, || async { there().await == Some(4) }).await;
    sites.wait_for_mirror("read").await;
    commit(end).await;
    wait_until("the group follows", PATIENCE, || async { there().await == Some(end) }).await;

    // Paused: the mirror does not grow, and the group waits at its end.
    sites.worker.rest.put("/connectors/link/pause", &json!({})).await.good();
    wait_until("the link is paused", PATIENCE, || async {
        let status = sites.worker.rest.get("/connectors/link/status").await.good();
        status["tasks"][0]["state"] == "PAUSED"
    })
    .await;
    append(&source, "read", &["4", "5"]).await;
    commit(end - 1).await;
    wait_until("the group follows back", PATIENCE, || async { there().await == Some(end - 1) }).await;
    commit(end + 2).await;
    wait_until("the group is at the end of the mirror", PATIENCE, || async { there().await == Some(end) }).await;
    sites.worker.rest.put("/connectors/link/resume", &json!({})).await.good();
    wait_until("the group follows the mirror", PATIENCE, || async { there().await == Some(end + 2) }).await;

    // Nothing moves, and what expires on the target comes again.
    let name = group.to_string();
    let request = DeleteGroupsRequest::default().with_groups_names(vec![StrBytes::from_string(name).into()]);
    let deleted = target.request(Node::Any, &request).await.expect("an answer");
    assert_eq!(deleted.results[0].error_code, 0);
    assert_eq!(there().await, None);
    wait_until("the group has its offset again", PATIENCE, || async { there().await == Some(end + 2) }).await;
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restored_source_has_lost_is_cut_from_the_mirror_and_nothing_else() {
    let mut sites = Sites::start().await;
    let (source, target) = sites.clients().await;
    for topic in ["forks", "still"] {
        create_topic(&sites.source.bootstrap(), topic, 1).await;
        for number in 0..5 {
            append(&source, topic, &[&format!("{number} kept"), &format!("{number} kept too")]).await;
        }
    }
    let aligned = [("twinstream.link.mode", "aligned"), ("twinstream.on.source.truncation", "resume")];
    sites.link("forks,still", &aligned).await;
    sites.wait_for_mirror("forks").await;
    sites.wait_for_mirror("still").await;

    // Its disk as it was before the last records.
    let (data, backup) = (sites.source.data(1), sites.source.folder().path().join("backup"));
    sites.source.broker(1).stop().await;
    copy_folder(&data, &backup);
    sites.source.broker(1).start().await;
    sites.source.wait_ready().await;
    let again = connect(&sites.source.bootstrap()).await;
    for number in 0..3 {
        append(&again, "forks", &[&format!("{number} lost")]).await;
    }
    sites.wait_for_mirror("forks").await;
    assert_eq!(log_of(&target, "forks").await.end, 13);
    sites.source.broker(1).stop().await;
    std::fs::remove_dir_all(&data).expect("the disk is lost");
    copy_folder(&backup, &data);
    // Started once more than in the life that it has forgotten, so that its epochs are newer.
    sites.source.broker(1).start().await;
    sites.source.wait_ready().await;
    sites.source.broker(1).stop().await;
    sites.source.broker(1).start().await;
    sites.source.wait_ready().await;
    let restored = connect(&sites.source.bootstrap()).await;
    for number in 0..6 {
        append(&restored, "forks", &[&format!("{number} instead")]).await;
    }
    append(&restored, "still", &["6 more"]).await;
    sites.wait_for_mirror("forks").await;
    sites.wait_for_mirror("still").await;
    sites.wait_for_log(&["TRUNCATED", "forks-0", "part at offset 10", "3 records"]).await;
    let here = read_all(&sites.target.bootstrap(), "forks").await;
    assert_eq!(here.len(), 16);
    assert!(here.iter().all(|record| record.value.as_deref().is_some_and(|value| !value.ends_with(b"lost"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_topic_is_mirrored_without_a_restart_of_the_task() {
    let sites = Sites::start().await;
    let (source, _) = sites.clients().await;
    create_topic(&sites.source.bootstrap(), "live-1", 1).await;
    append(&source, "live-1", &["1"]).await;
    sites.link("live-.*", &[("twinstream.link.mode", "aligned")]).await;
    sites.wait_for_mirror("live-1").await;
    create_topic(&sites.source.bootstrap(), "live-2", 1).await;
    append(&source, "live-2", &["1", "2"]).await;
    sites.wait_for_mirror("live-2").await;
    let admin = Admin::connect(&client_settings(&sites.source.bootstrap(), &[])).await.expect("admin");
    for (topic, deleted) in admin.delete_topics(&[topic_name("live-2")]).await.expect("an answer") {
        deleted.unwrap_or_else(|error| panic!("delete {topic}: {error}"));
    }
    sites.wait_for_log(&["partitions of the task change", "gone=1"]).await;
    append(&source, "live-1", &["2"]).await;
    sites.wait_for_mirror("live-1").await;
    let log = sites.worker.server.log_text();
    assert_eq!(log.lines().filter(|line| line.contains("mirror task starts")).count(), 1, "{log}");
}
