//! The task that replays the topic into the state, for as long as the registry runs.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{debug, error, warn};
use twinstream_client::{ClientError, ClientSettings, Consumer, ConsumerEvent, ConsumerRecord, StartAt};
use twinstream_model::TopicPartition;

use super::Progress;
use crate::state::{RawRecord, State};

/// Starts reading at the first record. Ends with the shutdown, or with a failure that a restart must mend.
pub(super) async fn start(
    settings: &ClientSettings,
    partition: TopicPartition,
    state: Arc<RwLock<State>>,
    shutdown: watch::Receiver<bool>,
) -> Result<watch::Receiver<Progress>, ClientError> {
    let consumer = Consumer::connect(settings).await?;
    consumer.assign(&[(partition, StartAt::Beginning)]).await?;
    let (progress_in, progress) = watch::channel(Progress::At { position: 0, ended: false });
    tokio::spawn(read(consumer, state, progress_in, shutdown));
    Ok(progress)
}

async fn read(
    mut consumer: Consumer,
    state: Arc<RwLock<State>>,
    progress: watch::Sender<Progress>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let event = tokio::select! {
            event = consumer.next() => event,
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        let outcome = match event {
            Some(ConsumerEvent::Record(record)) => take_in(&state, &record).map(|()| false),
            Some(ConsumerEvent::Error { error, fatal }) => trouble(&error, fatal).map(|()| false),
            Some(ConsumerEvent::EndOfPartition(_)) => Ok(true),
            Some(_) => Ok(false),
            None => Err("the consumer ended".to_owned()),
        };
        match outcome {
            Ok(end) => {
                let ended = end || matches!(*progress.borrow(), Progress::At { ended: true, .. });
                progress.send_replace(Progress::At { position: state.read().position(), ended });
            }
            Err(reason) => {
                error!(
                    reason,
                    "reading the schemas topic ended, the registry answers with errors until it is restarted"
                );
                progress.send_replace(Progress::Failed(reason));
                break;
            }
        }
    }
    if let Err(error) = consumer.close().await {
        debug!(%error, "schemas reader did not close cleanly");
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

fn trouble(error: &ClientError, fatal: bool) -> Result<(), String> {
    if fatal || error.code() == Some(twinstream_model::ErrorCode::OffsetOutOfRange) {
        return Err(error.to_string());
    }
    debug!(%error, "schemas reader goes on");
    Ok(())
}
