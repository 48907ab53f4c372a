//! Keeps partitions and groups in line with the image.
//!
//! Picture: one task that looks at the newest image, opens and closes logs, starts and stops group shards, forgets
//! what belonged to deleted topics, says how far it has come, and waits for the next image. Images that come while it
//! works are seen as one.
//!
//! Invariants: logs are opened before a group shard may want one; only this task reconciles, so there is one order of
//! events. A data directory of another cluster ends the broker; a log that cannot be opened costs its partition only.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use twinstream_metadata::Image;
use twinstream_model::TopicName;

use crate::BrokerError;
use crate::context::Broker;
use crate::partitions::{LedPartition, PartitionsError};

/// Pause before logs that could not be opened are tried again, without a new image.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// What others see of the task.
#[derive(Clone)]
pub(crate) struct Followed {
    reached: watch::Receiver<u64>,
}

impl Followed {
    /// Returns when logs and groups agree with an image at least this new. An error of the task is reported by
    /// [`run`]'s own result; this then waits for ever.
    pub(crate) async fn until(&mut self, index: u64) {
        if self.reached.wait_for(|reached| *reached >= index).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The task, and the view of it.
pub(crate) fn start(broker: Arc<Broker>) -> (impl Future<Output = Result<(), BrokerError>>, Followed) {
    let reached = watch::Sender::new(0);
    let followed = Followed { reached: reached.subscribe() };
    (run(broker, reached), followed)
}

async fn run(broker: Arc<Broker>, reached: watch::Sender<u64>) -> Result<(), BrokerError> {
    let mut changes = broker.controller.watch_image();
    let mut before = Arc::new(Image::default());
    loop {
        // The count first: the image may be newer than it, never older.
        let index = *changes.borrow_and_update();
        let image = broker.image.load_full();
        let opened = reconcile(&broker, &before, &image).await;
        let is_whole = match opened {
            Ok(()) => true,
            Err(PartitionsError::Open { .. }) => false, // logged where it happened
            Err(error) => return Err(error.into()),
        };
        before = image;
        reached.send_replace(index);
        tokio::select! {
            () = broker.shutdown.cancelled() => return Ok(()),
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(RETRY_PAUSE), if !is_whole => {}
        }
    }
}

async fn reconcile(broker: &Arc<Broker>, before: &Image, image: &Arc<Image>) -> Result<(), PartitionsError> {
    let (partitions, wanted) = (Arc::clone(&broker.partitions), Arc::clone(image));
    let opened = tokio::task::spawn_blocking(move || partitions.reconcile(&wanted)).await;
    let opened = match opened {
        Ok(opened) => opened,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    };
    broker.groups.reconcile(image, |at, epoch| {
        let partition = broker.partitions.led(at, epoch)?;
        Some(Arc::new(LedPartition::new(partition, epoch)))
    });
    for topic in deleted_topics(before, image) {
        broker.metrics.topics.forget(topic.as_str());
    }
    opened
}

/// Topics whose id the image no longer has. One that was made again under its name counts as deleted, too.
fn deleted_topics(before: &Image, image: &Image) -> Vec<TopicName> {
    if before.same_topics(image) {
        return Vec::new();
    }
    let gone = before.topics().filter(|topic| image.topic_by_id(topic.id).is_none());
    gone.map(|topic| topic.name.clone()).collect()
}
