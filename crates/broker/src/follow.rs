//! Keeps partitions and coordinators in line with the image.
//!
//! Picture: one task that looks at the newest image, gives open partitions their roles, starts and stops shards of coordinators,
//! forgets what belonged to deleted topics, and waits for the next image. Images that come while it works are seen as
//! one. Logs that an image wants here are opened beside it; then it says how far it has come.
//!
//! Invariants: logs are opened before a shard may want one; only this task hands images over, so there is one
//! order of events; nothing is led on the word of an image that does not know this run of the process. A data directory
//! of another cluster ends the broker; a log that cannot be opened costs its partition only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use twinstream_metadata::Image;
use twinstream_model::{LeaderEpoch, TopicName, TopicPartition};

use crate::BrokerError;
use crate::context::Broker;
use crate::coordinators::ShardLog;
use crate::partitions::{LedPartition, PartitionsError};
use crate::reconfigure;

/// Pause before logs that could not be opened are tried again, without a new image.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// What others see of the task.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Logs and groups agree with an image at least this new.
    reached: u64,
    /// Since when they do not agree with the newest one, and no log has been opened for it.
    behind_since: Option<Instant>,
}

impl Followed {
    /// Whether logs and groups agree with an image at least this new.
    pub(crate) fn has_reached(&self, index: u64) -> bool {
        self.progress.borrow().reached >= index
    }

    /// Returns when they do. An error of the task is reported by [`run`]'s own result; this then waits for ever.
    pub(crate) async fn until(&self, index: u64) {
        if self.progress.subscribe().wait_for(|progress| progress.reached >= index).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when they do, when `is_enough` says so, or when the task has been behind for `patience`, however many ask
    /// meanwhile.
    pub(crate) async fn until_enough(&self, index: u64, patience: Duration, is_enough: impl Fn() -> bool) {
        let mut progress = self.progress.subscribe();
        let begun = progress.borrow().behind_since.unwrap_or_else(Instant::now);
        let reached = progress.wait_for(|progress| progress.reached >= index || is_enough());
        // Who has waited in vain sees so by itself.
        _ = tokio::time::timeout_at((begun + patience).into(), reached).await;
    }

    /// There is a new image.
    fn begins(&self) {
        self.progress.send_if_modified(|progress| {
            progress.behind_since.get_or_insert_with(Instant::now);
            false
        });
    }

    /// Partitions that are open have their roles by the newest image.
    fn roles_are_taken(&self) {
        self.progress.send_modify(|_| ());
    }

    /// Logs were opened for an image, which may not be the newest one any more.
    fn reaches(&self, index: u64, is_newest: bool) {
        self.progress.send_modify(|progress| {
            progress.reached = index;
            progress.behind_since = (!is_newest).then(Instant::now);
        });
    }
}

/// The task.
pub(crate) async fn run(broker: Arc<Broker>) -> Result<(), BrokerError> {
    let mut changes = broker.controller.watch_image();
    let mut before = Arc::new(Image::default());
    let mut opening = Opening::default();
    loop {
        // The count first: the image may be newer than it, never older.
        let index = *changes.borrow_and_update();
        broker.followed.begins();
        let image = broker.image.load_full();
        let of_this_run = broker.controller.is_registered_in(&image);
        // Before the partitions: their fetchers start as soon as they are told of a leader.
        broker.replication.throttles.update(&broker.settings, &image, of_this_run, Instant::now());
        reconfigure::take_over(&broker, &before, &image);
        let image = if of_this_run { image } else { led_elsewhere(&broker, &image) };
        take_over(&broker, &before, &image).await?;
        broker.followed.roles_are_taken();
        before = image;
        opening.wanted(index);
        // What this image moved is done; logs that it wants here may take longer.
        loop {
            opening.start_if_due(&broker);
            tokio::select! {
                () = broker.shutdown.cancelled() => {
                    opening.finish().await;
                    return Ok(());
                }
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
                (index, outcome) = opening.ended() => {
                    match outcome {
                        Ok(()) => {}
                        // Logged where it happened.
                        Err(PartitionsError::Open { .. } | PartitionsError::Stranger { .. }) => opening.try_again_later(),
                        Err(error) => return Err(error.into()),
                    }
                    follow_coordinators(&broker, &before);
                    broker.followed.reaches(index, opening.due.is_none());
                }
            }
        }
    }
}

/// An image that does not know this run of the process: nothing is led on its word.
fn led_elsewhere(broker: &Broker, image: &Image) -> Arc<Image> {
    Arc::new(image.without_leaderships_of(broker.settings.node.id))
}

/// Hands an image to the partitions that are open and to the coordinators.
async fn take_over(broker: &Arc<Broker>, before: &Image, image: &Arc<Image>) -> Result<(), PartitionsError> {
    let (partitions, wanted) = (Arc::clone(&broker.partitions), Arc::clone(image));
    unwind(tokio::task::spawn_blocking(move || partitions.take_over(&wanted)).await)?;
    follow_coordinators(broker, image);
    for topic in deleted_topics(before, image) {
        broker.metrics.topics.forget(topic.as_str());
    }
    Ok(())
}

fn follow_coordinators(broker: &Arc<Broker>, image: &Image) {
    let open = |at: &TopicPartition, epoch: LeaderEpoch| -> Option<Arc<dyn ShardLog>> {
        let partition = broker.partitions.led(at, epoch)?;
        Some(Arc::new(LedPartition::new(partition, epoch)))
    };
    broker.groups.reconcile(image, open);
    broker.transactions.reconcile(image, open);
}

/// A panic of a blocking task goes on here.
fn unwind<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
}

/// The opening of logs, which runs beside the images: after a crash it takes seconds, and a leader must not wait for it.
#[derive(Default)]
struct Opening {
    /// The image whose logs are being opened.
    under_way: Option<(u64, JoinHandle<Result<(), PartitionsError>>)>,
    /// An image that came since.
    due: Option<u64>,
    last: u64,
    retry_at: Option<Instant>,
}

impl Opening {
    fn wanted(&mut self, index: u64) {
        self.due = Some(index);
    }

    fn start_if_due(&mut self, broker: &Broker) {
        if self.under_way.is_some() {
            return;
        }
        if let Some(index) = self.due.take() {
            let partitions = Arc::clone(&broker.partitions);
            self.last = index;
            self.retry_at = None;
            self.under_way = Some((index, tokio::task::spawn_blocking(move || partitions.open_wanted())));
        }
    }

    fn try_again_later(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
    }

    /// Returns when an opening has ended, with the image that it was for. Also waits for the time of the next try, which
    /// [`Opening::start_if_due`] then starts.
    async fn ended(&mut self) -> (u64, Result<(), PartitionsError>) {
        if self.under_way.is_none() {
            let Some(at) = self.retry_at else { return std::future::pending().await };
            tokio::time::sleep_until(at.into()).await;
            self.retry_at = None;
            self.due = self.due.or(Some(self.last));
            return (self.last, Ok(()));
        }
        let Some((index, task)) = &mut self.under_way else { return std::future::pending().await };
        let (index, outcome) = (*index, unwind(task.await));
        self.under_way = None;
        (index, outcome)
    }

    async fn finish(&mut self) {
        if let Some((_, task)) = self.under_way.take()
            && let Err(error) = unwind(task.await)
        {
            tracing::debug!(%error, "logs were not opened before the stop");
        }
    }
}

/// Topics whose id the image no longer has. One that was made again under its name counts as deleted, too.
fn deleted_topics(before: &Image, image: &Image) -> Vec<TopicName> {
    if before.same_topics(image) {
        return Vec::new();
    }
    let gone = before.topics().filter(|topic| image.topic_by_id(topic.id).is_none());
    gone.map(|topic| topic.name.clone()).collect()
}

#[cfg(test)]
mod tests;
