//! Order of records and events, seeks, commits, rebalances.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use twinstream_model::{Offset, PartitionIndex};

use super::*;
use crate::test_support::{PATIENCE, TestCluster, commit_of, fill, partition, values};
use crate::{Header, Producer, ProducerRecord};

async fn next(consumer: &mut Consumer) -> ConsumerEvent {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("an event in time").expect("an open consumer")
}

async fn next_record(consumer: &mut Consumer) -> ConsumerRecord {
    loop {
        match next(consumer).await {
            ConsumerEvent::Record(record) => return record,
            ConsumerEvent::Error { error, fatal: true } => panic!("{error}"),
            _ => {}
        }
    }
}

fn group_settings(cluster: &TestCluster, group: &str) -> ClientSettings {
    let mut settings = cluster.settings();
    settings.set("group.id", group).unwrap().set("auto.offset.reset", "earliest").unwrap();
    settings.set("session.timeout.ms", "6000").unwrap().set("heartbeat.interval.ms", "500").unwrap();
    settings
}

fn group() -> String {
    format!("group-{}", Uuid::new_v4())
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_nulls_and_timestamps_come_back_as_they_were_sent() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("whole", 1).await;
    let producer = Producer::connect(&cluster.settings()).await.unwrap();
    let headers = vec![
        Header { key: "a".to_owned(), value: Some(Bytes::from_static(b"1")) },
        Header { key: "a".to_owned(), value: None },
        Header { key: "empty".to_owned(), value: Some(Bytes::new()) },
    ];
    let mut full = ProducerRecord::new(topic.clone(), Some(Bytes::from_static(b"k")), None);
    full.headers = headers.clone();
    full.timestamp = Some(1_517_363_399_650);
    producer.send(&full).await.unwrap();
    producer.send(&ProducerRecord::new(topic.clone(), None, Some(Bytes::new()))).await.unwrap();

    let mut consumer = Consumer::connect(&cluster.settings()).await.unwrap();
    consumer.assign(&[(partition(&topic, 0), StartAt::Beginning)]).await.unwrap();
    let first = next_record(&mut consumer).await;
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k"[..]), None));
    assert_eq!((first.timestamp, first.headers), (Some(1_517_363_399_650), headers));
    let second = next_record(&mut consumer).await;
    assert_eq!((second.key, second.value, second.offset), (None, Some(Bytes::new()), Offset(1)));
    assert!(second.headers.is_empty());
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_from_before_a_seek_comes_after_it() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("seek", 1).await, 0);
    fill(&cluster, &at, 2_000).await;
    let mut consumer = Consumer::connect(&cluster.settings()).await.unwrap();
    consumer.assign(&[(at.clone(), StartAt::Offset(Offset(100)))]).await.unwrap();
    assert_eq!(values(&mut consumer, 3).await, ["value-100", "value-101", "value-102"]);
    consumer.seek(&at, StartAt::Offset(Offset(7))).await.unwrap();
    assert_eq!(values(&mut consumer, 2).await, ["value-7", "value-8"]);
    consumer.seek(&at, StartAt::Offset(Offset(1_999))).await.unwrap();
    assert_eq!(values(&mut consumer, 1).await, ["value-1999"]);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_receiver_gets_every_record_in_order() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("slow", 1).await, 0);
    fill(&cluster, &at, 3_000).await;
    let mut consumer = Consumer::connect(&cluster.settings()).await.unwrap();
    consumer.assign(&[(at, StartAt::Beginning)]).await.unwrap();
    let mut seen = 0;
    while seen < 3_000 {
        for event in consumer.next_batch(PATIENCE).await {
            if let ConsumerEvent::Record(record) = event {
                assert_eq!(record.offset, Offset(seen));
                seen += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_and_their_notes_come_back() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("commit", 1).await, 0);
    fill(&cluster, &at, 10).await;
    let settings = group_settings(&cluster, &group());
    let mut consumer = Consumer::connect(&settings).await.unwrap();
    consumer.subscribe(&[at.topic.to_string()]).await.unwrap();
    assert_eq!(values(&mut consumer, 10).await.len(), 10);
    consumer.commit(&commit_of(&at, 4, "note")).await.unwrap();
    let committed = consumer.committed(std::slice::from_ref(&at)).await.unwrap();
    assert_eq!(committed, commit_of(&at, 4, "note"));
    assert_eq!(consumer.watermarks(&at).await.unwrap(), (Offset(0), Offset(10)));
    consumer.close().await.unwrap();

    let mut next = Consumer::connect(&settings).await.unwrap();
    next.subscribe(&[at.topic.to_string()]).await.unwrap();
    assert_eq!(values(&mut next, 1).await, ["value-4"]);
    next.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_waits_until_its_work_is_committed() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("rebalance", 2).await;
    for index in 0..2 {
        fill(&cluster, &partition(&topic, index), 5).await;
    }
    let settings = group_settings(&cluster, &group());
    let mut first = Consumer::connect(&settings).await.unwrap();
    first.subscribe(&[topic.to_string()]).await.unwrap();
    assert_eq!(values(&mut first, 10).await.len(), 10);
    assert_eq!(first.assignment().len(), 2);

    let mut second = Consumer::connect(&settings).await.unwrap();
    second.subscribe(&[topic.to_string()]).await.unwrap();
    let revocation = loop {
        if let ConsumerEvent::Revoked(revocation) = next(&mut first).await {
            break revocation;
        }
    };
    assert!(!revocation.lost);
    assert_eq!(revocation.partitions.len(), 2);
    let refused = first.seek(&revocation.partitions[0], StartAt::Beginning).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RebalanceInProgress));
    let done: BTreeMap<_, _> =
        revocation.partitions.iter().map(|at| (at.clone(), CommitOffset::from(Offset(5)))).collect();
    if matches!(cluster, TestCluster::Real(_)) {
        first.commit(&done).await.unwrap(); // the mock coordinator refuses commits while it rebalances
    }
    drop(revocation);

    let real = matches!(cluster, TestCluster::Real(_));
    let both = [partition(&topic, 0), partition(&topic, 1)];
    let shared = |first: &Consumer, second: &Consumer| {
        let mut shares = [first.assignment(), second.assignment()].concat();
        shares.sort();
        shares == both && first.assignment().len() == 1
    };
    while !shared(&first, &second) {
        let event = tokio::select! {
            event = next(&mut first) => event,
            event = next(&mut second) => event,
        };
        if let (true, ConsumerEvent::Record(record)) = (real, event) {
            panic!("{record:?} was committed before");
        }
    }
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_partitions_are_silent_until_they_are_resumed() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("pause", 2).await;
    let (quiet, loud) = (partition(&topic, 0), partition(&topic, 1));
    let mut consumer = Consumer::connect(&cluster.settings()).await.unwrap();
    let both = [(quiet.clone(), StartAt::Beginning), (loud.clone(), StartAt::Beginning)];
    consumer.assign(&both).await.unwrap();
    consumer.pause(std::slice::from_ref(&quiet)).await.unwrap();
    fill(&cluster, &quiet, 1).await;
    fill(&cluster, &loud, 1).await;
    assert_eq!(next_record(&mut consumer).await.partition, PartitionIndex(1));
    assert!(tokio::time::timeout(Duration::from_millis(700), consumer.next()).await.is_err());
    consumer.resume(std::slice::from_ref(&quiet)).await.unwrap();
    assert_eq!(next_record(&mut consumer).await.partition, PartitionIndex(0));
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_with_a_full_channel_can_still_be_closed() {
    let cluster = TestCluster::start();
    let at = partition(&cluster.topic("full", 1).await, 0);
    fill(&cluster, &at, 2_000).await;
    let mut consumer = Consumer::connect(&cluster.settings()).await.unwrap();
    consumer.assign(&[(at, StartAt::Beginning)]).await.unwrap();
    next_record(&mut consumer).await;
    tokio::time::timeout(PATIENCE, consumer.close()).await.expect("close in time").unwrap();
}

/// The last owner of librdkafka's handle runs the rebalance of the goodbye; on the runtime that would panic and hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_partitions_closes_however_fast_the_polling_thread_is() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("goodbye", 1).await;
    fill(&cluster, &partition(&topic, 0), 10).await;
    for _ in 0..10 {
        let mut consumer = Consumer::connect(&group_settings(&cluster, &group())).await.unwrap();
        consumer.subscribe(&[topic.as_str().to_owned()]).await.unwrap();
        next_record(&mut consumer).await;
        let handle = Weak::clone(&consumer.client);
        consumer.close().await.unwrap();
        assert!(handle.upgrade().is_none(), "close waits until the polling thread has let go of the handle");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_of_empty_partitions_are_never_missed() {
    let cluster = TestCluster::start();
    let topic = cluster.topic("empty", 8).await;
    let start: Vec<_> = (0..8).map(|index| (partition(&topic, index), StartAt::Beginning)).collect();
    let settings = cluster.settings().with("librdkafka.enable.partition.eof", "true").unwrap();
    for _ in 0..10 {
        let mut consumer = Consumer::connect(&settings).await.unwrap();
        consumer.assign(&start).await.unwrap();
        let mut missing: BTreeSet<TopicPartition> = start.iter().map(|(partition, _)| partition.clone()).collect();
        while !missing.is_empty() {
            if let ConsumerEvent::EndOfPartition(end) = next(&mut consumer).await {
                missing.remove(&end);
            }
        }
        consumer.close().await.unwrap();
    }
}

/// What a coordinator says that has just lost the group, which librdkafka takes for the last word (issue 5586).
#[tokio::test(flavor = "multi_thread")]
async fn start_is_asked_for_again_when_the_coordinator_has_moved() {
    let TestCluster::Mock(mock) = &TestCluster::start() else { return }; // only the mock refuses when told to
    for protocol in ["range", "cooperative-sticky", "assigned by hand"] {
        let cluster = TestCluster::Real(mock.bootstrap_servers());
        let topic = TopicName::parse(&format!("moved-{}", Uuid::new_v4())).unwrap();
        mock.create_topic(topic.as_str(), 1, 1).unwrap();
        let at = partition(&topic, 0);
        fill(&cluster, &at, 3).await;
        let mut settings = group_settings(&cluster, &group());
        let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 2];
        mock.request_errors(RDKafkaApiKey::OffsetFetch, &refusals);
        let mut consumer = match protocol {
            "assigned by hand" => {
                let consumer = Consumer::connect(&settings).await.unwrap();
                consumer.assign(&[(at.clone(), StartAt::Committed)]).await.unwrap();
                consumer
            }
            strategy => {
                settings.set("partition.assignment.strategy", strategy).unwrap();
                let consumer = Consumer::connect(&settings).await.unwrap();
                consumer.subscribe(&[topic.to_string()]).await.unwrap();
                consumer
            }
        };
        assert_eq!(values(&mut consumer, 3).await, ["value-0", "value-1", "value-2"], "{protocol}");
        consumer.close().await.unwrap();
    }
}

/// Of a group with the older protocol, which is asked for as a whole: `values` of the first partition were read, the second
/// one is empty.
async fn half_read(cluster: &TestCluster, count: usize, auto_commit: bool) -> (Consumer, [TopicPartition; 2]) {
    let topic = cluster.topic("half", 2).await;
    let [first, second] = [0, 1].map(|index| partition(&topic, index));
    fill(cluster, &first, count).await;
    let mut settings = group_settings(cluster, &group());
    settings.set("partition.assignment.strategy", "range").unwrap();
    settings.set("enable.auto.commit", &auto_commit.to_string()).unwrap();
    settings.set("auto.commit.interval.ms", "3600000").unwrap();
    let mut consumer = Consumer::connect(&settings).await.unwrap();
    consumer.subscribe(&[topic.to_string()]).await.unwrap();
    assert_eq!(values(&mut consumer, count).await.len(), count);
    (consumer, [first, second])
}

async fn ask_again(consumer: &Consumer) {
    let call = |client: &BaseConsumer<GroupContext>| {
        let open = client.context().starts.open();
        assert!(!open.is_empty(), "nothing to ask for");
        starts::ask(client, &open)
    };
    consumer.on_thread("ask again".to_owned(), call).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn seek_is_not_undone_when_the_start_of_another_partition_is_asked_for_again() {
    let cluster = TestCluster::start();
    let (mut consumer, [first, second]) = half_read(&cluster, 3, false).await;
    consumer.pause(std::slice::from_ref(&first)).await.unwrap();
    consumer.seek(&first, StartAt::Offset(Offset(1))).await.unwrap();
    ask_again(&consumer).await;
    ask_again(&consumer).await;
    fill(&cluster, &second, 1).await;
    assert_eq!(next_record(&mut consumer).await.topic_partition(), second, "the other one is still paused");
    consumer.resume(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(values(&mut consumer, 2).await, ["value-1", "value-2"]);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_again_when_the_start_of_another_partition_is_asked_for_again() {
    let cluster = TestCluster::start();
    let (mut consumer, [first, second]) = half_read(&cluster, 3, false).await;
    ask_again(&consumer).await;
    ask_again(&consumer).await;
    fill(&cluster, &first, 1).await;
    let record = next_record(&mut consumer).await;
    assert_eq!((record.topic_partition(), record.offset), (first.clone(), Offset(3)));
    consumer.seek(&first, StartAt::Beginning).await.unwrap();
    ask_again(&consumer).await;
    let mut seen = BTreeSet::new();
    fill(&cluster, &second, 1).await;
    for _ in 0..5 {
        let record = next_record(&mut consumer).await;
        assert!(seen.insert((record.topic_partition(), record.offset)), "{record:?} came twice");
    }
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_next_commit_is_committed_when_a_start_is_asked_for_again() {
    let cluster = TestCluster::start();
    let (consumer, [first, _]) = half_read(&cluster, 3, true).await;
    assert!(consumer.committed(std::slice::from_ref(&first)).await.unwrap().is_empty());
    ask_again(&consumer).await;
    let committed = async {
        while consumer.committed(std::slice::from_ref(&first)).await.unwrap() != commit_of(&first, 3, "") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, committed).await.expect("a commit");
    consumer.close().await.unwrap();
}
