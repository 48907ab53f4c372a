//! Two sites, what is written there, and what is read.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::raw::kafka_protocol::messages::CreatePartitionsRequest;
use twinstream_client::raw::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{Node, OffsetAt};
use twinstream_client::{ClientError, CommitOffset, Consumer, ConsumerEvent, RawClient};
use twinstream_model::{ErrorCode, GroupId, Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::nemesis::Relay;
use twinstream_testkit::records::{client_settings, create_topic, read_all, topic_name};
use twinstream_testkit::{
    Cluster, ClusterOptions, Folder, Rest, Worker, WorkerOptions, die_with_test, twinstream, wait_until,
    wait_until_some,
};

pub(crate) const PARTITIONS: i32 = 2;
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Between two batches of the load.
const PAUSE: Duration = Duration::from_millis(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Records by partition and offset.
pub(crate) type Book = BTreeMap<(i32, i64), String>;
/// An offset for each partition.
pub(crate) type Places = BTreeMap<i32, i64>;

/// What the copy of a topic is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Kept,
    Prefixed,
}

pub(crate) struct Sites {
    pub(crate) east: Cluster,
    /// The link's way to the east.
    pub(crate) doors: Vec<Relay>,
    pub(crate) west: Cluster,
    pub(crate) worker: Worker,
    names: Names,
    /// The worker's own cluster, if it is at neither site.
    home: Option<Cluster>,
    _folder: Folder,
}

impl Sites {
    pub(crate) async fn start(names: Names) -> Self {
        Self::start_with(names, 1, ClusterOptions::default()).await
    }

    /// With so many brokers in the east.
    pub(crate) async fn start_with(names: Names, brokers: usize, options: ClusterOptions) -> Self {
        let folder = Folder::new();
        let ((east, doors), west) = tokio::join!(Cluster::start_with_side_door(brokers, options), Cluster::start(1));
        Self::with_worker_at(None, names, east, doors, west, folder).await
    }

    /// With a worker whose own cluster is a third one.
    pub(crate) async fn start_with_worker_elsewhere(names: Names) -> Self {
        let east = Cluster::start_with_side_door(1, ClusterOptions::default());
        let ((east, doors), west, home) = tokio::join!(east, Cluster::start(1), Cluster::start(1));
        Self::with_worker_at(Some(home), names, east, doors, west, Folder::new()).await
    }

    async fn with_worker_at(
        home: Option<Cluster>,
        names: Names,
        east: Cluster,
        doors: Vec<Relay>,
        west: Cluster,
        folder: Folder,
    ) -> Self {
        let own = home.as_ref().unwrap_or(&west);
        let worker = Worker::start(&folder, &own.bootstrap(), WorkerOptions::default()).await;
        create_topic(&east.bootstrap(), "orders", PARTITIONS).await;
        Self { east, doors, west, worker, names, home, _folder: folder }
    }

    /// The topic in the east, and its copy in the west.
    pub(crate) fn topics(&self) -> (String, String) {
        let copy = match self.names {
            Names::Kept => "orders",
            Names::Prefixed => "east.orders",
        };
        ("orders".to_owned(), copy.to_owned())
    }

    pub(crate) async fn link(&self) {
        self.link_topics("orders").await;
    }

    pub(crate) async fn link_topics(&self, topics: &str) {
        self.link_as(topics, "aligned").await;
    }

    pub(crate) async fn link_as(&self, topics: &str, mode: &str) {
        self.link_with(topics, &[("twinstream.link.mode", mode)]).await;
    }

    pub(crate) async fn link_with(&self, topics: &str, more: &[(&str, &str)]) {
        let doors: Vec<String> = self.doors.iter().map(Relay::address).collect();
        let mut config = json!({
            "source.cluster.bootstrap.servers": doors.join(","),
            "target.cluster.bootstrap.servers": self.west.bootstrap(),
            "tasks.max": "1",
            "topics": topics,
            "twinstream.link.mode": "aligned",
            "offset-syncs.topic.location": "target",
            "refresh.topics.interval.seconds": "1",
            "refresh.groups.interval.seconds": "1",
            "heartbeats.replication.enabled": "false",
        });
        if self.names == Names::Kept {
            config["replication.policy.class"] = "org.apache.kafka.connect.mirror.IdentityReplicationPolicy".into();
        }
        if self.home.is_some() {
            config["producer.override.bootstrap.servers"] = self.west.bootstrap().into();
        }
        for (name, value) in more {
            config[*name] = Value::from(*value);
        }
        self.worker.rest.put("/links/east->west", &config).await.good();
    }

    pub(crate) async fn link_state(&self) -> String {
        let link = self.worker.rest.get("/links/east->west").await.good();
        link["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Gives the topic in the east so many partitions.
    pub(crate) async fn grow_upstream(&self, partitions: i32) {
        let topic = CreatePartitionsTopic::default()
            .with_name(StrBytes::from_string(self.topics().0).into())
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let client = connect(&self.east.bootstrap()).await;
        let answer = client.request(Node::Controller, &request).await.expect("an answer");
        assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    }

    pub(crate) async fn clients(&self) -> (RawClient, RawClient) {
        (connect(&self.east.bootstrap()).await, connect(&self.west.bootstrap()).await)
    }

    pub(crate) async fn upstream(&self) -> Book {
        records(&self.east.bootstrap(), &self.topics().0).await
    }

    pub(crate) async fn downstream(&self) -> Book {
        records(&self.west.bootstrap(), &self.topics().1).await
    }

    pub(crate) async fn ends_upstream(&self) -> Places {
        ends(&self.east.bootstrap(), &self.topics().0).await
    }

    pub(crate) async fn ends_downstream(&self) -> Places {
        ends(&self.west.bootstrap(), &self.topics().1).await
    }

    /// Waits until all of this is downstream, at the same offsets.
    pub(crate) async fn wait_for_mirrored(&self, book: &Book) {
        wait_until("what was acknowledged is mirrored", PATIENCE, || async {
            let there = self.downstream().await;
            book.iter().all(|(at, value)| there.get(at) == Some(value))
        })
        .await;
    }

    /// What a producer downstream is told; `None` when its record is taken.
    pub(crate) async fn refusal_downstream(&self) -> Option<ErrorCode> {
        let client = connect(&self.west.bootstrap()).await;
        let refused = client.produce_batch(&at(&self.topics().1, 0), batch(&["own".to_owned()])).await.err()?;
        Some(refused.code().unwrap_or_else(|| panic!("{refused}")))
    }

    pub(crate) async fn commit_upstream(&self, group: &str, places: &Places) {
        let client = connect(&self.east.bootstrap()).await;
        let commit = |(partition, offset): (&i32, &i64)| {
            let commit = CommitOffset { offset: Offset(*offset), metadata: String::new() };
            (at(&self.topics().0, *partition), commit)
        };
        client.commit_offsets(&GroupId::from(group), &places.iter().map(commit).collect()).await.expect("a commit");
    }

    /// A name for a group that this broker of the east coordinates.
    pub(crate) async fn group_upstream_at(&self, broker: i32) -> String {
        let client = connect(&self.east.bootstrap()).await;
        for number in 0..100 {
            let name = format!("group-{number}");
            let group = GroupId::from(name.as_str());
            let coordinator =
                wait_until_some("a coordinator", PATIENCE, || async { client.find_coordinator(&group).await.ok() })
                    .await;
            if coordinator.0 == broker {
                return name;
            }
        }
        panic!("broker {broker} coordinates none of 100 groups");
    }

    /// The partition that this broker of the east leads.
    pub(crate) async fn led_upstream_by(&self, broker: i32) -> i32 {
        let client = connect(&self.east.bootstrap()).await;
        for partition in 0..PARTITIONS {
            if client.leader(&at(&self.topics().0, partition)).await.expect("a leader").0 == broker {
                return partition;
            }
        }
        panic!("broker {broker} leads nothing");
    }

    pub(crate) async fn wait_for_group_downstream(&self, group: &str, places: &Places) {
        wait_until("the group has followed", PATIENCE, || async { self.group_downstream(group).await == *places })
            .await;
    }

    pub(crate) async fn group_downstream(&self, group: &str) -> Places {
        committed(&self.west.bootstrap(), group, &self.topics().1).await
    }

    pub(crate) async fn group_upstream(&self, group: &str) -> Places {
        committed(&self.east.bootstrap(), group, &self.topics().0).await
    }

    /// What a member of the group reads up to the present end, and where it has committed then.
    pub(crate) async fn read_downstream(&self, group: &str) -> (Book, Places) {
        read_as(&self.west.bootstrap(), group, &self.topics().1).await
    }

    pub(crate) async fn read_upstream(&self, group: &str) -> (Book, Places) {
        read_as(&self.east.bootstrap(), group, &self.topics().0).await
    }

    /// Counts the records that links from this alias copy, as long as it lives.
    pub(crate) fn watch_copies(&self, source: &str) -> Copies {
        let (rest, label) = (self.worker.rest.clone(), format!("source=\"{source}\""));
        let most = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = Arc::clone(&most);
        let watching = tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                look(&rest, &label, &seen).await;
            }
        });
        Copies { most, watching }
    }
}

async fn look(rest: &Rest, label: &str, seen: &Mutex<BTreeMap<String, i64>>) {
    let Some(answer) = rest.try_get("/metrics").await else { return };
    let text = answer.body.as_str().unwrap_or_default().to_owned();
    let name = "kafka_connect_mirror_mirrorsourceconnector_record_count{";
    for line in text.lines().filter(|line| line.starts_with(name) && line.contains(label)) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let value = value.parse::<f64>().expect("a number") as i64;
        let mut seen = seen.lock().unwrap();
        let most = seen.entry(series.to_owned()).or_insert(0);
        *most = value.max(*most);
    }
}

/// Figures of a task go with it, so they are looked at while it runs.
pub(crate) struct Copies {
    most: Arc<Mutex<BTreeMap<String, i64>>>,
    watching: tokio::task::JoinHandle<()>,
}

impl Copies {
    pub(crate) fn most(&self) -> i64 {
        self.watching.abort();
        self.most.lock().unwrap().values().sum()
    }
}

/// A producer for each partition that writes down what it was told.
pub(crate) struct Load {
    told: Arc<Told>,
    writing: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    ends: AtomicBool,
    book: Mutex<Book>,
    /// Unix time of each acknowledgement.
    times: Mutex<BTreeMap<(i32, i64), i64>>,
    trouble: Mutex<Vec<(ErrorCode, i64)>>,
    /// Records that were sent and not answered.
    unanswered: AtomicI64,
}

impl Load {
    pub(crate) fn start(bootstrap: &str, topic: &str) -> Self {
        let told = Arc::<Told>::default();
        let writer = |partition| {
            let (told, bootstrap, topic) = (Arc::clone(&told), bootstrap.to_owned(), topic.to_owned());
            tokio::spawn(async move { told.write(&bootstrap, &topic, partition).await })
        };
        let writing = (0..PARTITIONS).map(writer).collect();
        Self { told, writing }
    }

    pub(crate) fn book(&self) -> Book {
        self.told.book.lock().unwrap().clone()
    }

    pub(crate) fn told_at(&self) -> BTreeMap<(i32, i64), i64> {
        self.told.times.lock().unwrap().clone()
    }

    /// Records whose fate no producer knows.
    pub(crate) fn unanswered(&self) -> i64 {
        self.told.unanswered.load(Ordering::Relaxed)
    }

    /// An offset in the middle of each partition.
    pub(crate) fn middle(&self) -> Places {
        let book = self.book();
        let offsets = |partition: i32| book.keys().filter(move |at| at.0 == partition).map(|at| at.1);
        (0..PARTITIONS).map(|partition| (partition, offsets(partition).max().unwrap_or(0) / 2)).collect()
    }

    pub(crate) async fn wait_for(&self, records: usize) {
        wait_until(&format!("{records} records are acknowledged"), PATIENCE, || async {
            assert_eq!(self.trouble(), None, "producers are refused");
            self.told.book.lock().unwrap().len() >= records
        })
        .await;
    }

    /// Waits until no producer gets on.
    pub(crate) async fn wait_for_trouble(&mut self) {
        wait_until("producers are refused", PATIENCE, || async { self.writing.iter().all(|task| task.is_finished()) })
            .await;
    }

    /// What the first producer was told that was refused.
    pub(crate) fn trouble(&self) -> Option<ErrorCode> {
        self.told.trouble.lock().unwrap().first().map(|(code, _)| *code)
    }

    /// Records that were acknowledged to a producer that had been refused already.
    pub(crate) fn acknowledged_after_trouble(&self) -> usize {
        let trouble = self.told.trouble.lock().unwrap();
        let Some(last) = trouble.iter().map(|(_, at)| *at).max() else { return 0 };
        self.told.times.lock().unwrap().values().filter(|at| **at > last).count()
    }

    pub(crate) async fn stop(&mut self) {
        self.told.ends.store(true, Ordering::Relaxed);
        self.wait_for_trouble().await;
    }
}

impl Told {
    async fn write(&self, bootstrap: &str, topic: &str, partition: i32) {
        // One that does not wait for a site that is gone.
        let settings = [("default.api.timeout.ms", "3000"), ("request.timeout.ms", "2000")];
        let client = RawClient::connect(&client_settings(bootstrap, &settings)).await.expect("a client");
        let at = at(topic, partition);
        let mut pace = tokio::time::interval(PAUSE);
        for number in 0.. {
            pace.tick().await;
            if self.ends.load(Ordering::Relaxed) {
                return;
            }
            let values: Vec<String> =
                (0..=number % 3).map(|part| format!("load {partition} {number} {part}")).collect();
            match client.produce_batch(&at, batch(&values)).await {
                Ok(appended) => {
                    let now = now_ms();
                    for (offset, value) in (appended.base_offset.0..).zip(values) {
                        self.book.lock().unwrap().insert((partition, offset), value);
                        self.times.lock().unwrap().insert((partition, offset), now);
                    }
                }
                Err(refused) => {
                    let count = values.len() as i64;
                    if refused.code().is_none() {
                        self.unanswered.fetch_add(count, Ordering::Relaxed);
                    }
                    self.trouble.lock().unwrap().push((code(&refused), now_ms()));
                    return;
                }
            }
        }
    }
}

fn code(error: &ClientError) -> ErrorCode {
    error.code().unwrap_or(ErrorCode::NetworkException)
}

/// Writes so many records into each partition; what was acknowledged, and where.
pub(crate) async fn write(bootstrap: &str, topic: &str, what: &str, count: i64) -> Book {
    let client = connect(bootstrap).await;
    let mut book = Book::new();
    for partition in 0..PARTITIONS {
        for number in 0..count {
            let value = format!("{what} {number}");
            let appended = client.produce_batch(&at(topic, partition), batch(std::slice::from_ref(&value))).await;
            let appended = appended.unwrap_or_else(|error| panic!("{error}"));
            book.insert((partition, appended.base_offset.0), value);
        }
    }
    book
}

/// One partition as a report has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition {
    /// The time of the source's last word, if it did not answer.
    pub(crate) as_of_ms: Option<i64>,
    pub(crate) source_end: Option<i64>,
    pub(crate) mirrored: Option<i64>,
    pub(crate) lost: Option<i64>,
    pub(crate) given_up: Option<i64>,
    pub(crate) to_copy: Option<i64>,
}

pub(crate) fn told(report: &Value) -> BTreeMap<i32, Partition> {
    let partitions = report["topics"][0]["partitions"].as_array().unwrap_or_else(|| panic!("{report}"));
    let partition = |json: &Value| {
        let of = |name: &str| json[name].as_i64();
        let index = i32::try_from(of("partition").expect("an index")).expect("an index");
        let partition = Partition {
            as_of_ms: of("as_of_ms"),
            source_end: of("source_end"),
            mirrored: of("mirrored"),
            lost: of("lost"),
            given_up: of("given_up"),
            to_copy: of("to_copy"),
        };
        (index, partition)
    };
    assert_eq!(partitions.len(), PARTITIONS as usize, "{report}");
    partitions.iter().map(partition).collect()
}

/// Exit code, and all that was printed.
pub(crate) fn cli(arguments: &[&str]) -> (i32, String) {
    let (code, stdout, stderr) = run(arguments);
    (code, stdout + &stderr)
}

/// The report of a verb that must succeed.
pub(crate) fn report_of(verb: &[&str], worker: &str) -> Value {
    let arguments = [&["link"], verb, &["-w", worker, "-o", "json"]].concat();
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0, "{arguments:?}: {stdout}\n{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(twinstream());
    command.args(arguments).stdin(Stdio::null()).env("NO_COLOR", "1");
    die_with_test(&mut command);
    let output = tokio::task::block_in_place(|| command.output()).expect("a command");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

pub(crate) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic_name(topic), PartitionIndex(partition))
}

async fn connect(bootstrap: &str) -> RawClient {
    RawClient::connect(&client_settings(bootstrap, &[])).await.expect("a client")
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as i64
}

fn batch(values: &[String]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(now_ms(), None, Some(value.as_bytes()), []);
    }
    Bytes::from(builder.build().expect("a batch"))
}

pub(crate) async fn records(bootstrap: &str, topic: &str) -> Book {
    let text = |value: Option<Bytes>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
    let records = read_all(bootstrap, topic).await;
    records.into_iter().map(|record| ((record.partition.0, record.offset.0), text(record.value))).collect()
}

async fn ends(bootstrap: &str, topic: &str) -> Places {
    let client = connect(bootstrap).await;
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| at(topic, partition)).collect();
    let ends = client.list_offsets_now(&partitions, OffsetAt::Latest).await.expect("ends");
    ends.into_iter().map(|(at, end)| (at.partition.0, end.expect("an end").0)).collect()
}

async fn committed(bootstrap: &str, group: &str, topic: &str) -> Places {
    match connect(bootstrap).await.committed_offsets(&GroupId::from(group)).await {
        Ok(found) => found
            .into_iter()
            .filter(|(at, _)| at.topic.as_str() == topic)
            .map(|(at, commit)| (at.partition.0, commit.offset.0))
            .collect(),
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Places::new(),
        Err(error) => panic!("offsets of {group}: {error}"),
    }
}

async fn read_as(bootstrap: &str, group: &str, topic: &str) -> (Book, Places) {
    let ends = ends(bootstrap, topic).await;
    let settings = [("group.id", group), ("enable.auto.commit", "false"), ("auto.offset.reset", "none")];
    let mut member = Consumer::connect(&client_settings(bootstrap, &settings)).await.expect("a member");
    member.subscribe(&[topic.to_owned()]).await.expect("a subscription");
    let (mut book, mut places) = (Book::new(), Places::new());
    let reading = async {
        while places.len() < ends.len() || places.iter().any(|(partition, next)| *next < ends[partition]) {
            match member.next().await.expect("an open consumer") {
                ConsumerEvent::Record(record) => {
                    let (partition, offset) = (record.partition.0, record.offset.0);
                    let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
                    book.insert((partition, offset), value);
                    places.insert(partition, offset + 1);
                }
                ConsumerEvent::Error { error, fatal: true } => panic!("read {topic}: {error}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the end of each partition");
    let commit = |(partition, next): (&i32, &i64)| {
        (at(topic, *partition), CommitOffset { offset: Offset(*next), metadata: String::new() })
    };
    member.commit(&places.iter().map(commit).collect()).await.expect("a commit");
    member.close().await.expect("a clean close");
    (book, places)
}
