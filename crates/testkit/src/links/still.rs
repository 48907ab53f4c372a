//! How long a mirror stood still while there was something to copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use twinstream_client::RawClient;
use twinstream_client::raw::OffsetAt;
use twinstream_model::TopicPartition;

use crate::records::client_settings;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of one question; whoever does not answer has not moved.
const PATIENCE_MS: &str = "800";

/// The longest time from when the source moved on until the target did.
#[derive(Clone, Debug, Default)]
pub(super) struct Still {
    /// What the source had when the target last moved.
    source_then: i64,
    target: i64,
    /// Since when the source has had more.
    since: Option<Instant>,
    longest: Duration,
    moves: u64,
}

impl Still {
    /// Sums of ends of logs, as they are known now; ends are not known to go back.
    fn look(&mut self, now: Instant, source: i64, target: i64) {
        if target > self.target {
            (self.target, self.source_then, self.since) = (target, source, None);
            self.moves += 1;
        } else if source > self.source_then {
            let since = *self.since.get_or_insert(now);
            self.longest = self.longest.max(now.saturating_duration_since(since));
        }
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// How often the target was seen to have more than before.
    pub(super) fn moves(&self) -> u64 {
        self.moves
    }
}

/// Looks until it is dropped.
pub(super) struct Watch {
    still: Arc<Mutex<Still>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(source: &str, target: &str, partitions: &[TopicPartition]) -> Self {
        let still = Arc::new(Mutex::new(Still::default()));
        let (mut source, mut target) = (Ends::of(source, partitions), Ends::of(target, partitions));
        let noted = Arc::clone(&still);
        let task = tokio::spawn(async move {
            loop {
                let (source, target) = tokio::join!(source.sum(), target.sum());
                noted.lock().look(Instant::now(), source, target);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { still, task }
    }

    pub(super) fn seen(&self) -> Still {
        self.still.lock().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends of partitions in one cluster, as far as they are known.
struct Ends {
    bootstrap: String,
    client: Option<RawClient>,
    known: BTreeMap<TopicPartition, i64>,
}

impl Ends {
    fn of(bootstrap: &str, partitions: &[TopicPartition]) -> Self {
        let known = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
        Self { bootstrap: bootstrap.to_owned(), client: None, known }
    }

    async fn sum(&mut self) -> i64 {
        self.ask().await;
        self.known.values().sum()
    }

    /// Nobody who answers leaves all as it is.
    async fn ask(&mut self) -> Option<()> {
        if self.client.is_none() {
            let settings = [("request.timeout.ms", PATIENCE_MS), ("default.api.timeout.ms", PATIENCE_MS)];
            self.client = RawClient::connect(&client_settings(&self.bootstrap, &settings)).await.ok();
        }
        let partitions: Vec<TopicPartition> = self.known.keys().cloned().collect();
        let asked = self.client.as_ref()?.list_offsets_now(&partitions, OffsetAt::Latest).await;
        for (partition, end) in asked.ok()? {
            if let (Ok(end), Some(known)) = (end, self.known.get_mut(&partition)) {
                *known = (*known).max(end.0);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_only_while_the_source_has_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut still = Still::default();
        still.look(at(0), 10, 10);
        still.look(at(50), 10, 10); // nothing to copy
        assert_eq!(still.longest(), Duration::ZERO);
        still.look(at(51), 11, 10);
        still.look(at(55), 20, 10);
        assert_eq!(still.longest(), Duration::from_secs(4));
        still.look(at(56), 20, 15); // it moved, though it has not all
        still.look(at(58), 20, 15);
        still.look(at(59), 21, 15);
        still.look(at(61), 21, 15);
        assert_eq!(still.longest(), Duration::from_secs(4));
        assert_eq!(still.moves(), 2);
    }
}
