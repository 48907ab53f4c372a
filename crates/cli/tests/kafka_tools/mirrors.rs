//! A mirror of a topic of Apache Kafka, at the same offsets, as Kafka's own clients and tools see it.

use bytes::Bytes;
use twinstream_client::raw::{
    AlignedAppend, BatchSender, FetchFrom, FetchOptions, MirrorSource, NewTopic, Outgoing, RawClient,
};
use twinstream_model::{LeaderEpoch, Offset, TopicPartition};
use twinstream_testkit::records;
use uuid::Uuid;

use super::bench::{Bench, CONSUMER};

const CONFIGS: &str = "kafka.admin.ConfigCommand";
const PRODUCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const RECORDS: &str = "500";
const LINK: Uuid = Uuid::from_u128(7);

/// Copies everything as a link does; the bytes as the source has them.
async fn copy(source: &str, target: &str, at: &TopicPartition) -> Bytes {
    let settings = records::client_settings(source, &[]);
    let source = RawClient::connect(&settings).await.expect("the source");
    let target_settings = records::client_settings(target, &[]);
    let target = RawClient::connect(&target_settings).await.expect("the target");
    let id = source.refresh(std::slice::from_ref(&at.topic)).await.expect("the source's topics").topics[&at.topic].id;
    let cluster = source.cluster_id().expect("the source's id");
    let of = MirrorSource { link: LINK, cluster, topic: at.topic.clone(), topic_id: id };
    let topic = NewTopic::new(at.topic.clone(), 1, -1).mirroring(of);
    let created = target.create_topics(&[topic], false).await.expect("an answer");
    created[&at.topic].as_ref().expect("a mirror");

    let mut sender = BatchSender::connect(&target_settings).await.expect("a sender");
    let (mut next, mut copied) = (Offset(0), Vec::new());
    loop {
        let leader = source.leader(at).await.expect("a leader");
        let wanted = FetchFrom::new(at.clone(), next);
        let fetched =
            source.fetch_batches(leader, &[wanted], &FetchOptions::default()).await.expect("an answer").remove(0);
        if next >= fetched.high_watermark {
            return copied.into();
        }
        let aligned = AlignedAppend {
            link: LINK,
            from: next,
            log_start: fetched.log_start_offset,
            source_epoch: 0.into(),
            high_watermark: fetched.high_watermark,
            last_epoch: LeaderEpoch::NONE,
            cut: false,
        };
        copied.extend_from_slice(&fetched.batches);
        sender.send(at, Outgoing { ticket: 1, bytes: fetched.batches, records: 0, aligned: Some(aligned) });
        let delivered = sender.next().await.expect("an acknowledgement");
        assert_eq!(delivered.base_offset, next);
        next = delivered.log_end.expect("the log end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_of_a_topic_with_transactions_reads_like_its_source_and_kafkas_tool_promotes_it() {
    let bench = Bench::start(1).await;
    let source = bench.kafka.cluster(1, &[]).await;
    let source = source.bootstrap();
    let at = TopicPartition::new(records::topic_name("orders"), 0);
    records::create_topic(&source, "orders", 1).await;
    let load = ["--bootstrap-server", &source, "--topic", "orders", "--num-records", RECORDS, "--record-size", "50"];
    let load = [&load[..], &["--throughput", "-1"]].concat();
    bench.kafka.text(PRODUCE, &load);
    bench.kafka.text(PRODUCE, &[&load[..], &["--transactional-id", "tx", "--transaction-duration-ms", "5"]].concat());
    let copied = copy(&source, &bench.bootstrap, &at).await;

    let target = RawClient::connect(&records::client_settings(&bench.bootstrap, &[])).await.expect("the target");
    let leader = target.leader(&at).await.expect("a leader");
    let wanted = FetchFrom::new(at.clone(), Offset(0));
    let found = target.fetch_batches(leader, &[wanted], &FetchOptions::default()).await.expect("an answer").remove(0);
    assert_eq!(found.batches, copied, "byte for byte, markers included");
    let offsets = |bootstrap: &str| bench.kafka.text(OFFSETS, &["--bootstrap-server", bootstrap, "--topic", "orders"]);
    assert_eq!(offsets(&bench.bootstrap), offsets(&source));
    let read =
        ["--topic", "orders", "--from-beginning", "--isolation-level", "read_committed", "--max-messages", "1000"];
    let read = [&read[..], &["--timeout-ms", "30000"]].concat();
    let of_source = bench.kafka.text(CONSUMER, &[&["--bootstrap-server", &source], &read[..]].concat());
    assert_eq!(bench.text(CONSUMER, &read), of_source);

    let own = ["--topic", "orders", "--num-records", "1", "--record-size", "50", "--throughput", "-1"];
    let (_, said) = bench.outcome(PRODUCE, &own);
    let expected = format!("topic orders is a mirror of orders over link {LINK}, promote it first");
    assert!(said.contains("PolicyViolationException"), "{said} does not say {expected}");
    let entity = ["--entity-type", "topics", "--entity-name", "orders"];
    let shown = bench.text(CONFIGS, &[&["--describe"], &entity[..]].concat());
    assert!(shown.contains("twinstream.mirror.state=mirroring"), "{shown}");
    bench.text(CONFIGS, &[&["--alter", "--add-config", "twinstream.mirror.state=promoted"], &entity[..]].concat());
    assert!(bench.text(PRODUCE, &own).contains("1 records sent"));
}
