//! Reads committed records of a topic as they come: how many there are, and how long none came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use twinstream_client::{Consumer, ConsumerEvent, StartAt};

use super::WORKS_WITHIN;
use super::site::partition;
use crate::load::quick_settings;
use crate::records::client_settings;
use crate::wait::wait_until;

const POLL: Duration = Duration::from_millis(100);

pub(super) struct Follower {
    what: String,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    records: usize,
    last: Option<Instant>,
    longest_pause: Duration,
}

impl Follower {
    /// From the beginning of these partitions.
    pub(super) async fn start(bootstrap: &str, topic: &str, partitions: i32) -> Self {
        let quick = quick_settings().into_iter().filter(|(name, _)| name.starts_with("librdkafka."));
        let quick: Vec<_> = quick.chain([("isolation.level", "read_committed")]).collect();
        let mut consumer = Consumer::connect(&client_settings(bootstrap, &quick)).await.expect("a consumer");
        let start: Vec<_> = (0..partitions).map(|index| (partition(topic, index), StartAt::Beginning)).collect();
        consumer.assign(&start).await.expect("an assignment");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn({
            let (seen, topic) = (Arc::clone(&seen), topic.to_owned());
            async move {
                loop {
                    for event in consumer.next_batch(POLL).await {
                        match event {
                            ConsumerEvent::Record(_) => seen.lock().one_more(),
                            ConsumerEvent::Error { error, fatal: true } => panic!("read {topic}: {error}"),
                            _ => {}
                        }
                    }
                }
            }
        });
        Self { what: topic.to_owned(), seen, task }
    }

    pub(super) fn records(&self) -> usize {
        self.seen.lock().records
    }

    /// The longest time between two records.
    pub(super) fn longest_pause(&self) -> Duration {
        self.seen.lock().longest_pause
    }

    pub(super) async fn until(&self, records: usize) {
        let what = format!("{} has {records} committed records", self.what);
        wait_until(&what, WORKS_WITHIN, || async {
            assert!(!self.task.is_finished(), "the reader of {} ended", self.what);
            self.records() >= records
        })
        .await;
    }

    /// Waits until so many more have come.
    pub(super) async fn until_more(&self, records: usize) {
        self.until(self.records() + records).await;
    }
}

impl Seen {
    fn one_more(&mut self) {
        let now = Instant::now();
        let pause = self.last.map_or(Duration::ZERO, |last| now - last);
        self.longest_pause = self.longest_pause.max(pause);
        self.last = Some(now);
        self.records += 1;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}
