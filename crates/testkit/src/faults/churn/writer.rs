//! Writes one record after the other, in turn to all partitions, until it is told to stop.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_client::{Producer, ProducerRecord};
use twinstream_model::PartitionIndex;

use crate::records::{client_settings, topic_name};

/// Two hundred a second.
const PAUSE: Duration = Duration::from_millis(5);

/// Ends with its run, also when that panics.
pub(super) struct Writer {
    running: watch::Sender<bool>,
    task: JoinHandle<BTreeMap<i32, i64>>,
}

impl Writer {
    pub(super) async fn start(bootstrap: &str, topic: &str, partitions: i32) -> Self {
        let (running, told) = watch::channel(true);
        let settings = [("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "0")];
        let producer = Producer::connect(&client_settings(bootstrap, &settings)).await.expect("a producer");
        let task = tokio::spawn(write(producer, topic.to_owned(), partitions, told));
        Self { running, task }
    }

    /// The end of each partition.
    pub(super) async fn stop(&mut self) -> BTreeMap<i32, i64> {
        self.running.send_replace(false);
        (&mut self.task).await.expect("a writer that ends well")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write(producer: Producer, topic: String, partitions: i32, told: watch::Receiver<bool>) -> BTreeMap<i32, i64> {
    let mut ends: BTreeMap<i32, i64> = (0..partitions).map(|partition| (partition, 0)).collect();
    let mut deliveries = Vec::new();
    let mut number: u64 = 0;
    // Every partition gets some, however soon it is told to stop.
    while *told.borrow() || number < partitions.unsigned_abs().into() {
        let partition = i32::try_from(number % u64::from(partitions.unsigned_abs())).expect("a partition");
        let mut record = ProducerRecord::new(topic_name(&topic), None, Some(Bytes::from(number.to_string())));
        record.partition = Some(PartitionIndex(partition));
        deliveries.push(producer.enqueue(&record).await.expect("room in the queue"));
        *ends.get_mut(&partition).expect("a partition") += 1;
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
    for delivery in deliveries {
        delivery.wait().await.expect("an acknowledgement");
    }
    ends
}
