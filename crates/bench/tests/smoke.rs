//! The bench itself, in small: that rows run to their ends and yield what they promise, not how fast anything is.

use std::path::PathBuf;

use twinstream_bench::judge::{self, Kind, Options};
use twinstream_bench::load::Target;
use twinstream_bench::load::produce::Produce;
use twinstream_bench::load::requests::Requests;
use twinstream_bench::load::transactional::Transactional;
use twinstream_bench::mirror;
use twinstream_bench::payload::Content;
use twinstream_bench::sink::Sink;
use twinstream_bench::targets::{Row, Verdict};
use twinstream_client::ClientSettings;
use twinstream_model::TopicName;

#[tokio::test(flavor = "multi_thread")]
async fn rows_yield_all_their_metrics() {
    let options = Options {
        rows: vec![Row::Produce1, Row::Requests, Row::Transactional, Row::Latency, Row::Start, Row::Groups],
        pairs: 1,
        // Enough that every row takes more processor time than the kernel's tick of 10 ms, in which it is counted.
        scale: 0.05,
        ours: twinstream_testkit::twinstream(),
        rival: None,
        load: PathBuf::from(env!("CARGO_BIN_EXE_load")),
    };
    let mut told = Vec::new();
    let report = judge::run(&options, |row| told.push(row.row)).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(told, ["produce-1", "small-requests", "transactions-v1", "latency", "start", "groups"]);
    for (row, found) in options.rows.iter().zip(&report.rows) {
        let names: Vec<&str> = found.metrics.iter().map(|metric| metric.metric.name).collect();
        let wanted: Vec<&str> = row.metrics().iter().map(|metric| metric.name).collect();
        assert_eq!(names, wanted, "{}", found.row);
        for metric in &found.metrics {
            assert!(metric.ours.median > 0.0, "{} {}", found.row, metric.metric.name);
            let is_ratio = metric.metric.goal.is_ratio();
            assert_eq!(metric.verdict == Verdict::NotCompared, is_ratio, "{} {}", found.row, metric.metric.name);
        }
    }
    let json = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(json["rows"][0]["ours"][0]["runs"][0]["records"], 100_000);
}

/// Between brokers of ours, so that it takes no Java; MirrorMaker is only started by who compares.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_links_yield_all_their_metrics() {
    let ours = twinstream_testkit::twinstream();
    let options = mirror::Options {
        rows: mirror::Row::ALL.into(),
        pairs: 1,
        scale: 0.001,
        ours: ours.clone(),
        rival: None,
        brokers: Kind::Ours(ours),
        load: PathBuf::from(env!("CARGO_BIN_EXE_load")),
    };
    let mut told = Vec::new();
    let report = mirror::run(&options, |row| told.push(row.row)).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(told, ["records", "lz4-json", "lz4-few", "one-record", "latency", "aligned", "partitions"]);
    assert!(report.not_run.is_empty(), "{:?}", report.not_run);
    for found in &report.rows {
        let row = mirror::Row::by_name(found.row).expect("a row of the table");
        let names: Vec<&str> = found.metrics.iter().map(|metric| metric.metric.name).collect();
        let wanted: Vec<&str> = row.metrics().iter().map(|metric| metric.name).collect();
        assert_eq!(names, wanted, "{}", found.row);
        for metric in &found.metrics {
            assert_eq!(metric.verdict == Verdict::NotCompared, metric.metric.goal.is_ratio(), "{}", metric.metric.name);
        }
    }
    let json = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(json["rows"][0]["copies"][0]["stored_upstream"].as_u64().map(|bytes| bytes > 20_000_000), Some(true));
}

/// The client's way to a broker and back without a broker: what was sent is counted on the other side.
#[test]
fn a_broker_that_does_nothing_counts_what_it_acknowledges() {
    let sink = Sink::start(3).expect("a port");
    let settings = ClientSettings::new(&sink.address())
        .and_then(|settings| settings.with("compression.type", "lz4"))
        .expect("settings");
    let target = Target { settings, topic: TopicName::parse("nothing").expect("a name") };
    let produce = Produce { records: 10_000, size: 100, content: Content::Text, clients: 2 };
    let run = produce.run(&target, &[]).expect("all records are acknowledged");
    assert_eq!((run.records, run.bytes), (10_000, 1_000_000));
    let requests = Requests { requests: 1_000, connections: 4, threads: 2, size: 100, acks: 1 };
    let run = requests.run(&target, &[]).expect("all requests are answered");
    assert_eq!(run.acknowledged.map(|latency| latency.count), Some(1_000));
    let transactions = Transactional { transactions: 40, records: 10, size: 100, producers: 2, partitions: Some(2) };
    let run = transactions.run(&target, &[]).expect("all transactions are committed");
    assert_eq!((run.records, run.acknowledged.map(|latency| latency.count)), (400, Some(40)));
}
