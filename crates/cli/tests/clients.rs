//! Clients that are not ours: two of Python, kcat, and librdkafka through Rust.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use twinstream_client::{CommitOffset, Consumer, ConsumerEvent, Header, ProducerRecord};
use twinstream_model::Offset;
use twinstream_testkit::{Cluster, ClusterOptions, peer, records};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const READ_TIME_MAX: Duration = Duration::from_secs(60);

async fn cluster() -> Cluster {
    Cluster::start_with(3, ClusterOptions::default().set("num.partitions", "3")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_clients_read_what_each_other_wrote() {
    let python = peer::python();
    let cluster = cluster().await;
    let claims = python.text(include_str!("judges/clients.py"), &[&cluster.bootstrap()]);
    // Two writers, five codecs: one claim for the writing, two for each of two readers; five for administration.
    assert_eq!(claims.lines().filter(|line| line.starts_with("ok ")).count(), 2 * 5 * 5 + 5, "{claims}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_produces_and_consumes_with_every_codec() {
    let kcat = peer::kcat();
    let cluster = cluster().await;
    let bootstrap = cluster.bootstrap();
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        let produce = ["-P", "-b", &bootstrap, "-t", &topic, "-K:", "-Z", "-z", codec, "-H", "from=kcat", "-p", "0"];
        kcat.text(&produce, "k1:v1\n:no key\nk2:\n");
        let format = "%k|%K|%s|%S|%h\\n";
        let consume = ["-C", "-b", &bootstrap, "-t", &topic, "-e", "-q", "-Z", "-f", format];
        let read = kcat.text(&consume, "");
        assert_eq!(read, "k1|2|v1|2|from=kcat\nNULL|-1|no key|6|from=kcat\nk2|2|NULL|-1|from=kcat\n", "{codec}");
    }
    let listing = kcat.text(&["-L", "-b", &bootstrap], "");
    assert!(listing.contains("3 brokers"), "{listing}");
    assert!(listing.contains("topic \"kcat-none\" with 3 partitions"), "{listing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_in_a_group_goes_on_where_the_last_one_stopped() {
    let kcat = peer::kcat();
    let cluster = cluster().await;
    let bootstrap = cluster.bootstrap();
    let produce = ["-P", "-b", &bootstrap, "-t", "grouped"];
    let group = ["-b", &bootstrap, "-q", "-X", "auto.offset.reset=earliest", "-c", "2", "-G", "readers", "grouped"];
    kcat.text(&produce, "one\ntwo\n");
    let mut first: Vec<String> = kcat.text(&group, "").lines().map(str::to_owned).collect();
    first.sort();
    assert_eq!(first, ["one", "two"]);
    kcat.text(&produce, "three\nfour\n");
    let mut second: Vec<String> = kcat.text(&group, "").lines().map(str::to_owned).collect();
    second.sort();
    assert_eq!(second, ["four", "three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rdkafka_reads_in_a_group_what_it_wrote_with_every_codec() {
    let cluster = cluster().await;
    let bootstrap = cluster.bootstrap();
    for codec in CODECS {
        let topic = format!("rdkafka-{codec}");
        records::create_topic(&bootstrap, &topic, 3).await;
        let sent = batch(&topic);
        let settings = [("compression.type", codec), ("linger.ms", "20"), ("enable.idempotence", "true")];
        records::produce(&bootstrap, &settings, &sent).await;
        let first = read_in_group(&bootstrap, &topic, 150).await;
        let second = read_in_group(&bootstrap, &topic, sent.len() - 150).await;
        let mut read = [first, second].concat();
        let mut wanted: Vec<Content> =
            sent.into_iter().map(|record| (record.key, record.value, record.headers)).collect();
        let order = |a: &Content, b: &Content| format!("{a:?}").cmp(&format!("{b:?}"));
        read.sort_by(order);
        wanted.sort_by(order);
        assert_eq!(read, wanted, "{codec}: two members, one after the other, read every record once");
    }
}

type Content = (Option<Bytes>, Option<Bytes>, Vec<Header>);

/// Joins the group, reads exactly this many records, commits them and leaves.
async fn read_in_group(bootstrap: &str, topic: &str, count: usize) -> Vec<Content> {
    let group = format!("{topic}-readers");
    let more = [("group.id", group.as_str()), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")];
    let mut consumer = Consumer::connect(&records::client_settings(bootstrap, &more)).await.expect("consumer");
    consumer.subscribe(&[topic.to_owned()]).await.expect("a subscription");
    let mut read = Vec::new();
    let mut positions = BTreeMap::new();
    let reading = async {
        while read.len() < count {
            match consumer.next().await.expect("an open consumer") {
                ConsumerEvent::Record(record) => {
                    positions.insert(record.topic_partition(), CommitOffset::from(Offset(record.offset.0 + 1)));
                    read.push((record.key, record.value, record.headers));
                }
                ConsumerEvent::Error { error, fatal: true } => panic!("{error}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(READ_TIME_MAX, reading).await.unwrap_or_else(|_| panic!("{topic}: {count} records came"));
    consumer.commit(&positions).await.expect("a commit");
    consumer.close().await.expect("a clean leave");
    read
}

fn batch(topic: &str) -> Vec<ProducerRecord> {
    let record = |index: usize| {
        let key = (!index.is_multiple_of(3)).then(|| Bytes::from(format!("key {index}")));
        let value = (!index.is_multiple_of(4)).then(|| Bytes::from(format!("value {index} ").repeat(index)));
        let mut record = ProducerRecord::new(records::topic_name(topic), key, value);
        record.headers.push(Header { key: "index".to_owned(), value: Some(Bytes::from(index.to_string())) });
        record.headers.push(Header { key: "null".to_owned(), value: None });
        record
    };
    (0..400).map(record).collect()
}
