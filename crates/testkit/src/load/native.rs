//! librdkafka as producer and reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use twinstream_client::{
    ClientError, Consumer, ConsumerEvent, ConsumerRecord, DeliveryFuture, Producer, ProducerRecord, StartAt,
};
use twinstream_model::{ErrorCode, PartitionIndex};

use super::{Isolation, Place, Polls, Values, goes_on, payload};
use crate::history::{Recorder, Value, What, Worker};
use crate::records::{client_settings, topic_name};

/// Deliveries that one partition's waiter may be behind; beyond it the producer waits, as with a full queue.
const IN_FLIGHT_MAX: usize = 100_000;
const POLL: Duration = Duration::from_millis(200);

/// Produces at an even rate, partition after partition; a producer that died of a fatal error is replaced.
pub(super) async fn produce(place: Place, recorder: Recorder, running: watch::Receiver<bool>) {
    while goes_on(&running) {
        one_producer(&place, &recorder, &running).await;
    }
}

async fn one_producer(place: &Place, recorder: &Recorder, running: &watch::Receiver<bool>) {
    let options = &place.options;
    let named = options.native_settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = client_settings(&place.bootstrap, &named.collect::<Vec<_>>());
    let producer = Producer::new(&settings).unwrap_or_else(|error| panic!("{error}"));
    let mut values = Values::new(recorder);
    let dead = Arc::new(AtomicBool::new(false));
    let mut waiters = JoinSet::new();
    let mut deliveries = BTreeMap::new();
    for partition in 0..options.partitions {
        let (sender, queue) = mpsc::channel(IN_FLIGHT_MAX);
        deliveries.insert(partition, sender);
        waiters.spawn(note_deliveries(partition, values.worker, queue, recorder.clone(), Arc::clone(&dead)));
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.native_rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let topic = topic_name(&options.topic);
    for partition in (0..options.partitions).cycle() {
        ticks.tick().await;
        if !goes_on(running) || dead.load(Ordering::Relaxed) {
            break;
        }
        let value = values.next();
        let record = ProducerRecord {
            partition: Some(PartitionIndex(partition)),
            ..ProducerRecord::new(topic.clone(), None, Some(payload(value)))
        };
        recorder.note(values.worker, What::Send { partition, values: vec![value] });
        match producer.enqueue(&record).await {
            Ok(delivery) => _ = deliveries[&partition].send((value, delivery)).await,
            Err(error) => {
                let reason = error.to_string();
                recorder.note(values.worker, What::Failed { values: vec![value], reason });
                // Not even queued: either the queue is full for a minute, or the producer is beyond help.
                dead.store(true, Ordering::Relaxed);
            }
        }
    }
    drop(deliveries);
    waiters.join_all().await;
}

/// librdkafka keeps the order within a partition, so one delivery after the other loses no time.
async fn note_deliveries(
    partition: i32,
    worker: Worker,
    mut queue: mpsc::Receiver<(Value, DeliveryFuture)>,
    recorder: Recorder,
    dead: Arc<AtomicBool>,
) {
    while let Some((value, delivery)) = queue.recv().await {
        let values = vec![value];
        let what = match delivery.wait().await {
            Ok(delivery) => What::Sent { partition, values, offset: delivery.offset.0 },
            Err(error) => {
                if !error.is_retriable() {
                    dead.store(true, Ordering::Relaxed);
                }
                let reason = error.to_string();
                // After its own retries librdkafka tells the last error only; an earlier try may have been written.
                if surely_not_written(&error) {
                    What::Failed { values, reason }
                } else {
                    What::Unknown { values, reason }
                }
            }
        };
        recorder.note(worker, what);
    }
}

fn surely_not_written(error: &ClientError) -> bool {
    matches!(error, ClientError::TooLarge { .. }) || error.code() == Some(ErrorCode::MessageTooLarge)
}

/// Reads all partitions from the beginning, along with the producers.
pub(super) async fn read(place: Place, isolation: Isolation, recorder: Recorder, running: watch::Receiver<bool>) {
    let reader = recorder.worker();
    isolation.note(&recorder, reader);
    let mut consumer = assigned(&place, &recorder, reader, &[("isolation.level", isolation.name())]).await;
    while goes_on(&running) {
        let events = consumer.next_batch(POLL).await;
        let mut polls = Polls::default();
        for event in events {
            if let ConsumerEvent::Record(record) = event {
                take(&mut polls, &recorder, reader, &record);
            }
        }
        polls.note(&recorder, reader);
    }
    consumer.close().await.unwrap_or_else(|error| panic!("{error}"));
}

/// Reads all that is committed of all partitions from the beginning to the end, once.
pub(super) async fn read_once(place: &Place, recorder: &Recorder, within: Duration) {
    let reader = recorder.worker();
    let committed = [("librdkafka.enable.partition.eof", "true"), ("isolation.level", Isolation::Committed.name())];
    let mut consumer = assigned(place, recorder, reader, &committed).await;
    let mut open = place.partitions();
    let deadline = Instant::now() + within;
    while !open.is_empty() {
        let mut polls = Polls::default();
        for event in consumer.next_batch(POLL).await {
            match event {
                ConsumerEvent::Record(record) => take(&mut polls, recorder, reader, &record),
                ConsumerEvent::EndOfPartition(partition) => open.retain(|other| *other != partition),
                ConsumerEvent::Error { error, fatal: true } => panic!("read {}: {error}", place.options.topic),
                _ => {}
            }
        }
        polls.note(recorder, reader);
        assert!(Instant::now() < deadline, "librdkafka did not reach the end of {open:?} within {within:?}");
    }
    consumer.close().await.unwrap_or_else(|error| panic!("{error}"));
}

async fn assigned(place: &Place, recorder: &Recorder, reader: Worker, more: &[(&str, &str)]) -> Consumer {
    let quick = [
        ("auto.offset.reset", "earliest"),
        ("librdkafka.reconnect.backoff.ms", "20"),
        ("librdkafka.reconnect.backoff.max.ms", "100"),
        ("librdkafka.topic.metadata.refresh.interval.ms", "1000"),
    ];
    let settings = client_settings(&place.bootstrap, &[&quick[..], more].concat());
    let consumer = Consumer::new(&settings).unwrap_or_else(|error| panic!("{error}"));
    let start: Vec<_> = place.partitions().into_iter().map(|partition| (partition, StartAt::Beginning)).collect();
    recorder
        .note(reader, What::Assigned { partitions: (0..place.options.partitions).map(|index| (index, 0)).collect() });
    consumer.assign(&start).await.unwrap_or_else(|error| panic!("{error}"));
    consumer
}

fn take(polls: &mut Polls, recorder: &Recorder, reader: Worker, record: &ConsumerRecord) {
    polls.take(recorder, reader, record.partition.0, record.offset.0, record.value.as_deref());
}
