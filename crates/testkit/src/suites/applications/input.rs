//! What goes in: records that are written until it is enough, each acknowledged by all replicas.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_client::{Producer, ProducerRecord};

use crate::load::quick_settings;
use crate::records::{client_settings, topic_name};

/// Records that are on their way at the same time.
const BATCH: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Writes in the background.
pub(super) struct Input {
    going: watch::Sender<bool>,
    task: JoinHandle<Vec<String>>,
}

impl Input {
    /// Values by their number; keys are the same numbers, so that there is some order.
    pub(super) fn start(bootstrap: &str, topic: &str, mut value: impl FnMut(usize) -> String + Send + 'static) -> Self {
        let (going, watched) = watch::channel(true);
        let producer = Producer::new(&client_settings(bootstrap, &quick_settings())).expect("a producer");
        let topic = topic_name(topic);
        let task = tokio::spawn(async move {
            let mut values: Vec<String> = Vec::new();
            let mut pace = tokio::time::interval(PAUSE);
            while *watched.borrow() {
                pace.tick().await;
                let mut deliveries = Vec::new();
                for number in values.len()..values.len() + BATCH {
                    let value = value(number);
                    let (key, bytes) = (Bytes::from(number.to_string()), Bytes::from(value.clone()));
                    let record = ProducerRecord::new(topic.clone(), Some(key), Some(bytes));
                    deliveries.push(producer.enqueue(&record).await.expect("room in the queue"));
                    values.push(value);
                }
                for delivery in deliveries {
                    delivery.wait().await.expect("an acknowledgement");
                }
            }
            values
        });
        Self { going, task }
    }

    /// Ends it; what was written.
    pub(super) async fn stop(self) -> Vec<String> {
        self.going.send_replace(false);
        self.task.await.expect("a writer")
    }
}
