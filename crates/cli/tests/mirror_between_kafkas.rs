//! The worker mirrors between two clusters of Apache Kafka: nothing in it depends on our brokers.

mod earthquakes;

use std::time::Duration;

use bytes::Bytes;
use twinstream_client::{Header, ProducerRecord};
use twinstream_model::PartitionIndex;
use twinstream_testkit::{Folder, Worker, WorkerOptions, peer, records, wait_until};

const MIRRORED_WITHIN: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 3;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_mirrors_between_two_apache_kafka_clusters() {
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(kafka.cluster(1, &[]), kafka.cluster(1, &[]));
    records::create_topic(&source.bootstrap(), "earthquakes", PARTITIONS).await;
    for codec in CODECS {
        let settings = [("compression.type", codec), ("linger.ms", "20")];
        records::produce(&source.bootstrap(), &settings, &batch(codec)).await;
    }
    let mut worker = Worker::start(&folder, &target.bootstrap(), WorkerOptions::default()).await;
    let config = earthquakes::mirror_config(&source.bootstrap(), &target.bootstrap());
    worker.rest.put("/connectors/mirror/config", &config).await.good();
    wait_for_copy(&source.bootstrap(), &target.bootstrap()).await;

    // What comes later, and what comes while the worker is away, arrives as well; nothing is copied twice after a stop.
    worker.server.stop().await;
    records::produce(&source.bootstrap(), &[("compression.type", "lz4")], &batch("later")).await;
    worker.server.start().await;
    worker.wait_ready().await;
    wait_for_copy(&source.bootstrap(), &target.bootstrap()).await;
    let status = worker.rest.get("/connectors/mirror/status").await.good();
    assert_eq!(status["connector"]["state"], "RUNNING", "{status}");
    assert_eq!(status["type"], "source", "{status}");
}

/// Waits until the target holds the same records in the same partitions and order, and not one more.
async fn wait_for_copy(source: &str, target: &str) {
    let sent = content(source, "earthquakes").await;
    wait_until("the target holds as many records as the source", MIRRORED_WITHIN, || async {
        content(target, "src.earthquakes").await.len() >= sent.len()
    })
    .await;
    assert_eq!(content(target, "src.earthquakes").await, sent);
}

type Content = (PartitionIndex, Option<Bytes>, Option<Bytes>, Vec<Header>, Option<i64>);

async fn content(bootstrap: &str, topic: &str) -> Vec<Content> {
    let all = records::read_all(bootstrap, topic).await;
    all.into_iter().map(|r| (r.partition, r.key, r.value, r.headers, r.timestamp)).collect()
}

/// Records with everything that a record may have, and may lack.
fn batch(tag: &str) -> Vec<ProducerRecord> {
    let topic = records::topic_name("earthquakes");
    let record = |index: i32| {
        let key = (index % 7 != 0).then(|| Bytes::from(format!("{tag}-{index}")));
        let value = (index % 11 != 0).then(|| Bytes::from(format!("{tag} value {index} ").repeat(20)));
        let mut record = ProducerRecord::new(topic.clone(), key, value);
        record.partition = Some(PartitionIndex(index % PARTITIONS));
        record.timestamp = Some(1_517_363_399_650 + i64::from(index));
        if index % 5 == 0 {
            record.headers = vec![
                Header { key: "codec".to_owned(), value: Some(Bytes::from(tag.to_owned())) },
                Header { key: "null".to_owned(), value: None },
            ];
        }
        record
    };
    (0..400).map(record).collect()
}
