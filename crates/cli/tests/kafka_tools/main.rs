//! Apache Kafka's own tools against our brokers: an operator who knows them needs nothing else.
//!
//! What these tests expect of texts is what the tools print against Apache Kafka 4.3.1 itself.

mod admin; // features, quotas, credentials, configs of groups
mod bench; // a cluster and the tools
mod mirrors; // topics that follow another cluster's
mod movement; // reassignments and elections
mod quorum; // the metadata quorum and its members
mod replicas; // what the tools show of replicas

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::{Bench, CONSUMER, TOPICS};
use twinstream_testkit::peer::Kafka;
use twinstream_testkit::{records, wait_until};

const SETTLED_WITHIN: Duration = Duration::from_secs(30);
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topic_command_creates_lists_describes_grows_and_deletes() {
    let bench = Bench::start(3).await;
    // Without --partitions and --replication-factor the tool sends -1 for both.
    let created = bench.text(TOPICS, &["--create", "--topic", "plain"]);
    assert!(created.contains("Created topic plain."), "{created}");
    bench.text(TOPICS, &["--create", "--topic", "wide", "--partitions", "6", "--config", "retention.ms=3600000"]);
    assert_eq!(bench.text(TOPICS, &["--list"]).lines().collect::<Vec<_>>(), ["plain", "wide"]);

    let described = bench.text(TOPICS, &["--describe", "--topic", "wide"]);
    assert!(described.contains("PartitionCount: 6\tReplicationFactor: 1\t"), "{described}");
    assert!(described.contains("retention.ms=3600000"), "{described}");
    for broker in 1..=3 {
        let leads = described.matches(&format!("Leader: {broker}\tReplicas: {broker}\tIsr: {broker}")).count();
        assert_eq!(leads, 2, "partitions are spread over the brokers:\n{described}");
    }

    bench.text(TOPICS, &["--alter", "--topic", "wide", "--partitions", "8"]);
    let described = bench.text(TOPICS, &["--describe", "--topic", "wide"]);
    assert!(described.contains("PartitionCount: 8"), "{described}");

    let refused = ["--create", "--topic", "safe", "--replication-factor", "4", "--bootstrap-server", &bench.bootstrap];
    let output = bench.kafka.run(TOPICS, &refused);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains("InvalidReplicationFactorException"), "{said}");

    bench.text(TOPICS, &["--delete", "--topic", "plain"]);
    wait_until("the deleted topic is gone from the list", SETTLED_WITHIN, || async {
        bench.text(TOPICS, &["--list"]).trim() == "wide"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_clients_and_group_command_work_as_a_group() {
    let bench = Bench::start(3).await;
    bench.text(TOPICS, &["--create", "--topic", "lines", "--partitions", "3"]);
    let keyed = ["--topic", "lines", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    bench.text_with_input("org.apache.kafka.tools.ConsoleProducer", &keyed, "a:1\nb:2\nc:3\n");
    let read = ["--topic", "lines", "--group", "readers", "--from-beginning", "--max-messages", "3"];
    let keys = ["--formatter-property", "print.key=true", "--timeout-ms", "60000"];
    let text = bench.text(CONSUMER, &[&read[..], &keys[..]].concat());
    let mut lines: Vec<&str> = text.lines().filter(|line| line.contains('\t')).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a\t1", "b\t2", "c\t3"], "{text}");

    let described = bench.text(GROUPS, &["--describe", "--group", "readers"]);
    let rows: Vec<Vec<&str>> = described
        .lines()
        .filter(|line| line.starts_with("readers"))
        .map(|line| line.split_whitespace().take(6).collect())
        .collect();
    assert_eq!(rows.len(), 3, "{described}");
    let ends: i64 = rows.iter().map(|row| row[4].parse::<i64>().expect("a log end offset")).sum();
    assert_eq!(ends, 3, "{described}");
    assert!(rows.iter().all(|row| row[3] == row[4] && row[5] == "0"), "no lag:\n{described}");
    assert!(bench.text(GROUPS, &["--list"]).lines().any(|line| line == "readers"));
    let state = bench.text(GROUPS, &["--describe", "--group", "readers", "--state"]);
    assert!(state.contains("Empty"), "{state}");
    let reset = ["--group", "readers", "--topic", "lines", "--reset-offsets", "--to-earliest", "--execute"];
    bench.text(GROUPS, &reset);
    let described = bench.text(GROUPS, &["--describe", "--group", "readers"]);
    assert!(described.lines().any(|line| line.starts_with("readers") && line.split_whitespace().nth(3) == Some("0")));
    bench.text(GROUPS, &["--delete", "--group", "readers"]);
    assert!(!bench.text(GROUPS, &["--list"]).contains("readers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn performance_tools_run_to_their_end() {
    const RECORDS: &str = "20000";
    let bench = Bench::start(3).await;
    bench.text(TOPICS, &["--create", "--topic", "perf", "--partitions", "3"]);
    let produce = ["--topic", "perf", "--num-records", RECORDS, "--record-size", "200", "--throughput", "-1"];
    let produced = bench.text("org.apache.kafka.tools.ProducerPerformance", &produce);
    assert!(produced.contains("20000 records sent"), "{produced}");
    let consume = ["--topic", "perf", "--num-records", RECORDS, "--timeout", "60000"];
    let consumed = bench.text("org.apache.kafka.tools.ConsumerPerformance", &consume);
    let row: Vec<&str> = consumed.lines().last().expect("a row of figures").split(", ").collect();
    assert_eq!(row.get(4), Some(&RECORDS), "{consumed}");
    let latency = ["--topic", "latency", "--num-records", "200", "--producer-acks", "all", "--record-size", "100"];
    let measured = bench.text("org.apache.kafka.tools.EndToEndLatency", &latency);
    assert!(measured.contains("Percentiles: 50th"), "{measured}");
    let offsets = bench.text("org.apache.kafka.tools.GetOffsetShell", &["--topic", "perf"]);
    let ends: u64 = offsets.lines().filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok()).sum();
    assert_eq!(ends, 20_000, "{offsets}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_command_sees_defaults_and_changes() {
    let bench = Bench::start(1).await;
    bench.text(TOPICS, &["--create", "--topic", "tuned"]);
    let entity = ["--entity-type", "topics", "--entity-name", "tuned"];
    let alter = [&["--alter", "--add-config", "retention.ms=3600000"], &entity[..]].concat();
    bench.text("kafka.admin.ConfigCommand", &alter);
    let described = bench.text("kafka.admin.ConfigCommand", &[&["--describe"], &entity[..]].concat());
    assert!(described.contains("retention.ms=3600000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:"), "{described}");
    let all = bench.text("kafka.admin.ConfigCommand", &[&["--describe", "--all"], &entity[..]].concat());
    for name in ["cleanup.policy=delete", "segment.bytes=1073741824", "max.message.bytes=1048588"] {
        assert!(all.contains(name), "{name} is listed with its default:\n{all}");
    }
    let versions = bench.text("org.apache.kafka.tools.BrokerApiVersionsCommand", &[]);
    assert!(versions.contains("Produce(0): 0 to "), "librdkafka needs the minimum 0: {versions}");
    assert!(!versions.contains("ERROR"), "{versions}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dump_log_segments_reads_segments_indexes_snapshots_and_group_records() {
    let mut bench = Bench::start(1).await;
    // Small segments, so that there are closed ones with full indexes.
    bench.text(TOPICS, &["--create", "--topic", "dumped", "--config", "segment.bytes=1048576"]);
    let produce = ["--topic", "dumped", "--num-records", "20000", "--record-size", "200", "--throughput", "-1"];
    bench.text("org.apache.kafka.tools.ProducerPerformance", &produce);
    let read = ["--topic", "dumped", "--group", "dumpers", "--from-beginning", "--max-messages", "1"];
    bench.text(CONSUMER, &read);
    bench.cluster.broker(1).stop().await;

    let data = bench.cluster.data(1);
    let partition = data.join("dumped-0");
    let logs = files(&partition, "log");
    assert!(logs.len() >= 3, "the log rolled: {logs:?}");
    let mut records = 0;
    for log in &logs {
        let text = dump(&bench.kafka, log, &["--print-data-log"]);
        records += text.matches("| offset: ").count();
        assert!(!text.contains("isvalid: false"), "{text}");
    }
    assert_eq!(records, 20_000, "every record is in the segments that Kafka's tool reads");
    for index in [files(&partition, "index"), files(&partition, "timeindex")].concat() {
        let text = dump(&bench.kafka, &index, &["--index-sanity-check"]);
        // The last segment may have too few bytes for a first entry.
        let is_last = index.file_stem() == logs.last().and_then(|log| log.file_stem());
        assert!(text.contains("passed sanity check") || (is_last && text.contains("is empty")), "{text}");
        let text = dump(&bench.kafka, &index, &["--verify-index-only"]);
        assert!(!text.contains("Index position") && !text.contains("mismatch") && !text.contains("Mismatch"), "{text}");
    }
    let snapshots = files(&partition, "snapshot");
    let text = dump(&bench.kafka, snapshots.last().expect("a producer snapshot"), &[]);
    assert!(text.contains("producerId: "), "an idempotent producer wrote: {text}");
    let offsets = group_logs(&data);
    let text: String = offsets.iter().map(|log| dump(&bench.kafka, log, &["--offsets-decoder"])).collect();
    assert!(
        text.contains("dumpers") && text.contains("\"topic\":\"dumped\""),
        "Kafka decodes our group records: {text}"
    );
}

fn dump(kafka: &Kafka, file: &Path, more: &[&str]) -> String {
    kafka.text(DUMP, &[&["--files", &file.display().to_string()], more].concat())
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

/// The logs of `__consumer_offsets` that hold something.
fn group_logs(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data).expect("a data folder");
    let folders = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("__consumer_offsets-")));
    let logs = folders.flat_map(|folder| files(&folder, "log"));
    logs.filter(|log| log.metadata().is_ok_and(|metadata| metadata.len() > 0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_consumer_reads_what_survived_kill_nine_of_its_broker() {
    let mut bench = Bench::start(3).await;
    bench.text(TOPICS, &["--create", "--topic", "kept", "--partitions", "3"]);
    let produce = ["--topic", "kept", "--num-records", "5000", "--record-size", "100", "--throughput", "-1"];
    bench.text("org.apache.kafka.tools.ProducerPerformance", &produce);
    let read = ["--topic", "kept", "--group", "survivors", "--from-beginning", "--max-messages", "5000"];
    bench.text(CONSUMER, &[&read[..], &["--timeout-ms", "60000"]].concat());
    for id in 1..=3 {
        bench.cluster.broker(id).kill();
    }
    for id in 1..=3 {
        bench.cluster.broker(id).spawn();
    }
    bench.cluster.wait_ready().await;
    assert_eq!(records::read_all(&bench.bootstrap, "kept").await.len(), 5_000, "nothing acknowledged is lost");
    let described = bench.text(GROUPS, &["--describe", "--group", "survivors"]);
    let rows: Vec<&str> = described.lines().filter(|line| line.starts_with("survivors")).collect();
    assert_eq!(rows.len(), 3, "{described}");
    assert!(rows.iter().all(|row| row.split_whitespace().nth(5) == Some("0")), "offsets survived:\n{described}");
}
