//! The task that replays the topic into the state, for as long as the registry runs.
//!
//! Picture: one consumer reads from the first record on. A topic whose end goes back (a link that leads back cuts its mirror to where
//! both sites agree), or that was made anew, is read from its beginning into an empty state by a new consumer; until that one has
//! reached the end, nobody is answered from either.
//! Bounds: after [`READINGS_MAX`] readings in a row that did not come to an end the reader gives up.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use twinstream_client::{ClientError, ClientSettings, Consumer, ConsumerEvent, ConsumerRecord, StartAt};
use twinstream_model::{ErrorCode, TopicPartition};

use super::Progress;
use crate::state::{RawRecord, State};

/// Readings from the beginning without one that reaches the end, before it takes a restart.
const READINGS_MAX: u32 = 5;
/// Before the next try of a reader that does not reach the cluster.
const PAUSE: Duration = Duration::from_secs(1);

struct Reader {
    settings: ClientSettings,
    partition: TopicPartition,
    state: Arc<RwLock<State>>,
    progress: watch::Sender<Progress>,
    shutdown: watch::Receiver<bool>,
}

/// How a reading ended.
enum Ending {
    Stopped,
    /// What was read is not in the topic any more.
    Cut(String),
    /// For good.
    Failed(String),
}

/// Starts reading at the first record. Ends with the shutdown, or with a failure that a restart must mend.
pub(super) async fn start(
    settings: &ClientSettings,
    partition: TopicPartition,
    state: Arc<RwLock<State>>,
    shutdown: watch::Receiver<bool>,
) -> Result<watch::Receiver<Progress>, ClientError> {
    let (progress_in, progress) = watch::channel(Progress::At { position: 0, ended: false });
    let reader = Reader { settings: settings.clone(), partition, state, progress: progress_in, shutdown };
    let consumer = reader.consumer().await?;
    tokio::spawn(reader.run(consumer));
    Ok(progress)
}

impl Reader {
    async fn consumer(&self) -> Result<Consumer, ClientError> {
        let consumer = Consumer::connect(&self.settings).await?;
        consumer.assign(&[(self.partition.clone(), StartAt::Beginning)]).await?;
        Ok(consumer)
    }

    async fn run(mut self, mut consumer: Consumer) {
        let mut unfinished = 0;
        loop {
            let ending = self.read(&mut consumer).await;
            if let Err(error) = consumer.close().await {
                debug!(%error, "schemas reader did not close cleanly");
            }
            unfinished = if self.has_ended() { 1 } else { unfinished + 1 };
            let reason = match ending {
                Ending::Stopped => return,
                Ending::Cut(reason) if unfinished < READINGS_MAX => reason,
                Ending::Cut(reason) | Ending::Failed(reason) => return self.fail(reason),
            };
            warn!(topic = %self.partition.topic, reason, "the schemas topic was cut or made anew, it is read from its beginning");
            // Before the state goes, so that nobody is answered from an empty one.
            self.progress.send_replace(Progress::Again(reason));
            let known = std::mem::take(&mut *self.state.write()).position();
            consumer = match self.next_consumer(known).await {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(reason) => return self.fail(reason),
            };
        }
    }

    /// A consumer at the beginning, as soon as there is one; `None` with the shutdown. Records that were deleted before they were read
    /// are no cut: which schemas they had nobody knows.
    async fn next_consumer(&mut self, known: i64) -> Result<Option<Consumer>, String> {
        loop {
            match self.consumer_with_start().await {
                Ok((_, start)) if start > known => {
                    return Err(format!(
                        "it begins at offset {start}, and was read up to {known}: records between are lost"
                    ));
                }
                Ok((consumer, _)) => return Ok(Some(consumer)),
                Err(error) => warn!(%error, "the schemas topic cannot be read now, trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = self.shutdown.wait_for(|stop| *stop) => return Ok(None),
            }
        }
    }

    async fn consumer_with_start(&self) -> Result<(Consumer, i64), ClientError> {
        let consumer = self.consumer().await?;
        let (start, _) = consumer.watermarks(&self.partition).await?;
        Ok((consumer, start.0))
    }

    async fn read(&mut self, consumer: &mut Consumer) -> Ending {
        loop {
            let event = tokio::select! {
                event = consumer.next() => event,
                _ = self.shutdown.wait_for(|stop| *stop) => return Ending::Stopped,
            };
            let at_end = match event {
                Some(ConsumerEvent::Record(record)) => match take_in(&self.state, &record) {
                    Ok(()) => false,
                    Err(reason) => return Ending::Cut(reason),
                },
                Some(ConsumerEvent::Error { error, .. }) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                    return Ending::Cut(error.to_string());
                }
                Some(ConsumerEvent::Error { error, fatal: true }) => return Ending::Failed(error.to_string()),
                Some(ConsumerEvent::Error { error, .. }) => {
                    debug!(%error, "schemas reader goes on");
                    false
                }
                Some(ConsumerEvent::EndOfPartition(_)) => true,
                Some(_) => false,
                None => return Ending::Failed("the consumer ended".to_owned()),
            };
            self.note(at_end);
        }
    }

    fn note(&self, at_end: bool) {
        let position = self.state.read().position();
        let is_again = matches!(*self.progress.borrow(), Progress::Again(_));
        if is_again && at_end {
            info!(topic = %self.partition.topic, position, "the schemas topic was read again to its end");
        }
        if !is_again || at_end {
            self.progress.send_replace(Progress::At { position, ended: at_end || self.has_ended() });
        }
    }

    fn has_ended(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::At { ended: true, .. })
    }

    fn fail(&self, reason: String) {
        error!(reason, "reading the schemas topic ended, the registry answers with errors until it is restarted");
        self.progress.send_replace(Progress::Failed(reason));
    }
}

fn take_in(state: &RwLock<State>, record: &ConsumerRecord) -> Result<(), String> {
    let offset = record.offset.0;
    let mut state = state.write();
    if offset < state.position() {
        return Err(format!("offset {offset} came again after {}: the topic was made anew", state.position() - 1));
    }
    let raw = RawRecord {
        offset,
        key: record.key.as_deref().unwrap_or_default().to_vec(),
        value: record.value.as_deref().map(<[u8]>::to_vec),
    };
    if let Err(reason) = state.replay(&raw) {
        warn!(offset, reason, "record of the schemas topic skipped");
    } else if state.is_rejected(offset) {
        warn!(offset, "record of the schemas topic claims an id or a version that another schema already has");
    }
    Ok(())
}
