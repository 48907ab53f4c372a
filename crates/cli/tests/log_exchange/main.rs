//! Data directories go from Apache Kafka 4.3.1 to us and back, and hold the same records on both sides.
//!
//! Picture: Kafka is written to through librdkafka (`write.py`), read from (`read.py`) and stopped. Its partition folders
//! take the place of those of a broker of ours, which serves them, is killed, writes more and compacts. Then the folders go
//! back to Kafka, which serves what we left, and its DumpLogSegments looks at every file of ours.
//!
//! Topics are made on both sides, so each keeps its own `partition.metadata`: it holds the topic's id.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use twinstream_client::{Admin, NewTopic, ProducerRecord};
use twinstream_model::PartitionIndex;
use twinstream_testkit::peer::{self, Kafka, Python};
use twinstream_testkit::{Cluster, ClusterOptions, records, wait_until};

const WRITE: &str = include_str!("write.py");
const READ: &str = include_str!("read.py");
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
const IDENTITY: &str = "partition.metadata";
const TOPICS: [(&str, i32); 4] = [("plain", 3), ("stamped", 1), ("transactional", 1), ("compacted", 1)];
const ISOLATIONS: [&str; 2] = ["read_committed", "read_uncommitted"];
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// `write.py` brings the compacted topic to an end beyond 500.
const KAFKA_COMPACTED: i64 = 400;
const FOLDERS_WITHIN: Duration = Duration::from_secs(30);
const COMPACTED_WITHIN: Duration = Duration::from_secs(60);

/// What a consumer reads, by topic and isolation.
type Rows = BTreeMap<(&'static str, &'static str), String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_of_kafka_is_served_record_for_record_and_goes_back() {
    let (kafka, python) = (peer::kafka(), peer::python());
    let settings = [("log.cleaner.backoff.ms", "100"), ("transaction.state.log.num.partitions", "1")];
    let mut theirs = kafka.cluster(1, &settings).await;
    python.text(WRITE, &[&theirs.bootstrap()]);
    until_compacted(&theirs.data(1), KAFKA_COMPACTED).await;
    let of_kafka = read(&python, &theirs.bootstrap());
    assert_ne!(of_kafka[&("transactional", ISOLATIONS[0])], of_kafka[&("transactional", ISOLATIONS[1])]);
    theirs.stop(1).await;

    let options = ClusterOptions::default().set("log.cleaner.backoff.ms", "100");
    let mut ours = Cluster::start_with(1, options).await;
    create_topics(&ours.bootstrap()).await;
    wait_until("each partition has its folder", FOLDERS_WITHIN, || async {
        partitions().all(|partition| ours.data(1).join(partition).join(IDENTITY).exists())
    })
    .await;
    ours.broker(1).stop().await;
    take_over(&theirs.data(1), &ours.data(1));
    ours.broker(1).start().await;
    ours.wait_ready().await;
    assert_same(&read(&python, &ours.bootstrap()), &of_kafka, "Kafka's directory, served by us");
    ours.broker(1).crash_and_restart().await;
    ours.wait_ready().await;
    assert_same(&read(&python, &ours.bootstrap()), &of_kafka, "Kafka's directory, after our broker was killed");

    write_more(&ours.bootstrap()).await;
    let cleaned = end_of(&of_kafka[&("compacted", ISOLATIONS[1])]);
    until_compacted(&ours.data(1), cleaned).await;
    let of_us = read(&python, &ours.bootstrap());
    assert!(of_us[&("plain", ISOLATIONS[0])].starts_with("[0, 0, "));
    assert!(of_us[&("plain", ISOLATIONS[0])].lines().count() > of_kafka[&("plain", ISOLATIONS[0])].lines().count());
    ours.broker(1).stop().await;
    dump(&kafka, &ours.data(1));

    take_over(&ours.data(1), &theirs.data(1));
    theirs.spawn(1);
    theirs.wait_for_port(1).await;
    assert_same(&read(&python, &theirs.bootstrap()), &of_us, "our directory, served by Kafka");
}

async fn create_topics(bootstrap: &str) {
    let admin = Admin::connect(&records::client_settings(bootstrap, &[])).await.expect("admin client");
    for (name, partitions) in TOPICS {
        let topic = NewTopic::new(records::topic_name(name), partitions, 1)
            .with_config("retention.ms", "-1")
            .with_config("index.interval.bytes", "512");
        let topic = match name {
            "compacted" => topic
                .with_config("cleanup.policy", "compact")
                .with_config("segment.ms", "100")
                .with_config("min.cleanable.dirty.ratio", "0.01"),
            "stamped" => topic.with_config("message.timestamp.type", "LogAppendTime"),
            _ => topic.with_config("segment.bytes", "1048576"),
        };
        admin.create_topic(&topic).await.unwrap_or_else(|error| panic!("create topic {name}: {error}"));
    }
}

/// Every codec behind Kafka's records, and new versions of old keys. Not idempotent: the ids of Kafka's producers are
/// known to the logs, and our cluster gives out the same ids again.
async fn write_more(bootstrap: &str) {
    for codec in CODECS {
        let settings = [("compression.type", codec), ("enable.idempotence", "false")];
        let mut more = Vec::new();
        for (topic, partitions) in TOPICS.into_iter().filter(|(topic, _)| *topic != "compacted") {
            more.extend((0..60).map(|index| record(topic, index % partitions, &format!("{codec}-{index}"), 2_000)));
        }
        records::produce(bootstrap, &settings, &more).await;
        let versions: Vec<_> =
            (0..20).map(|index| record("compacted", 0, &format!("version-{}", index % 4), 50)).collect();
        records::produce(bootstrap, &settings, &versions).await;
    }
}

fn record(topic: &str, partition: i32, key: &str, size: usize) -> ProducerRecord {
    let key = Bytes::from(key.to_owned());
    let value = key.iter().copied().cycle().take(size).collect::<Bytes>();
    let mut record = ProducerRecord::new(records::topic_name(topic), Some(key), Some(value));
    record.partition = Some(PartitionIndex(partition));
    record
}

fn read(python: &Python, bootstrap: &str) -> Rows {
    let read = |topic, isolation| python.text(READ, &[bootstrap, topic, isolation]);
    let each = TOPICS.into_iter().flat_map(|(topic, _)| ISOLATIONS.map(|isolation| (topic, isolation)));
    each.map(|(topic, isolation)| ((topic, isolation), read(topic, isolation))).collect()
}

/// The first line that differs says more than two megabytes of hexadecimal.
fn assert_same(found: &Rows, expected: &Rows, what: &str) {
    for ((topic, isolation), expected) in expected {
        let found: Vec<&str> = found[&(*topic, *isolation)].lines().collect();
        let expected: Vec<&str> = expected.lines().collect();
        let differs = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{what}: {topic}, {isolation}");
        assert_eq!(found.len(), expected.len(), "{what}: {topic}, {isolation}");
    }
}

/// The offset behind the last record of one partition.
fn end_of(rows: &str) -> i64 {
    let offset = rows.lines().next_back().and_then(|row| row.split(", ").nth(1));
    offset.expect("a row").parse::<i64>().expect("an offset") + 1
}

/// Waits until the cleaner's checkpoint says that the compacted topic is compacted to an offset, at least.
async fn until_compacted(data: &Path, offset: i64) {
    let checkpoint = data.join("cleaner-offset-checkpoint");
    wait_until(&format!("{} has passed {offset}", checkpoint.display()), COMPACTED_WITHIN, || async {
        let text = fs::read_to_string(&checkpoint).unwrap_or_default();
        let row = text.lines().find_map(|line| line.strip_prefix("compacted 0 "));
        row.and_then(|at| at.parse::<i64>().ok()).is_some_and(|at| at >= offset)
    })
    .await;
}

fn partitions() -> impl Iterator<Item = String> {
    TOPICS.into_iter().flat_map(|(topic, partitions)| (0..partitions).map(move |index| format!("{topic}-{index}")))
}

/// Puts the files of one side's partitions in the place of the other's, which keep their identity.
fn take_over(from: &Path, to: &Path) {
    for partition in partitions() {
        let (from, to) = (from.join(&partition), to.join(&partition));
        files(&to).filter(|path| !path.ends_with(IDENTITY)).for_each(|path| fs::remove_file(path).expect("remove"));
        for path in files(&from).filter(|path| !path.ends_with(IDENTITY)) {
            let name = path.file_name().expect("a file has a name");
            fs::copy(&path, to.join(name)).unwrap_or_else(|error| panic!("copy {}: {error}", path.display()));
        }
    }
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_none_or(|extension| extension != "deleted"))
}

/// Kafka's tool reads each kind of file and finds nothing wrong with it.
fn dump(kafka: &Kafka, data: &Path) {
    let all: Vec<PathBuf> =
        partitions().flat_map(|partition| files(&data.join(partition)).collect::<Vec<_>>()).collect();
    for (extension, option) in [
        ("log", "--deep-iteration"),
        ("index", "--index-sanity-check"),
        ("timeindex", "--index-sanity-check"),
        ("txnindex", "--deep-iteration"),
        ("snapshot", "--deep-iteration"),
    ] {
        let of_kind = all.iter().filter(|path| path.extension().is_some_and(|found| found == extension));
        let names: Vec<String> = of_kind.map(|path| path.display().to_string()).collect();
        assert!(!names.is_empty(), "no file ends with {extension}");
        let text = kafka.text(DUMP, &["--files", &names.join(","), option]);
        for bad in
            ["isvalid: false", "Found timestamp mismatch", "Index position", "not valid", "Mismatches", "corrupt"]
        {
            assert!(!text.contains(bad), "{extension}: {bad}:\n{text}");
        }
    }
}
