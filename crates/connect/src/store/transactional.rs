//! Writes to a topic of one partition in transactions of one id.
//!
//! So that a worker that has lost its place without knowing can write no configurations any more: whoever starts takes the
//! id and with it the right to write.
//! Invariants: one write at a time; after a failure nothing is sent before the id was taken again; the id is taken again only
//! by a worker whose place in the group is confirmed before and after. So a writer that was fenced by a successor never takes
//! it back, and one that was fenced by a worker that had lost its place without knowing does, and writes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::raw::sender::{BatchSender, Outgoing, Told, is_fenced};
use twinstream_client::{ClientError, ClientSettings};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::group::Place;
use crate::state::StateRecord;

/// Kafka's workers take as long for it.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct TransactionalWriter {
    to: TopicPartition,
    settings: ClientSettings,
    id: String,
    place: Place,
    /// None: a write failed, the id is to be taken again.
    sender: Mutex<Option<Box<BatchSender>>>,
}

impl TransactionalWriter {
    pub(super) async fn connect(
        topic: TopicName,
        settings: ClientSettings,
        id: String,
        place: Place,
    ) -> Result<Self, ClientError> {
        let to = TopicPartition::new(topic, PartitionIndex(0));
        let writer = Self { to, settings, id, place, sender: Mutex::new(None) };
        let sender = writer.take_id().await?;
        Ok(Self { sender: Mutex::new(Some(sender)), ..writer })
    }

    async fn take_id(&self) -> Result<Box<BatchSender>, ClientError> {
        self.place.confirm().await?;
        let sender = BatchSender::connect_transactional(&self.settings, &self.id, TIMEOUT).await?;
        self.place.confirm().await?;
        Ok(Box::new(sender))
    }

    /// Writes records as one transaction; where the last one is.
    pub(super) async fn write(&self, records: &[StateRecord]) -> Result<BTreeMap<PartitionIndex, Offset>, ClientError> {
        if records.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut slot = self.sender.lock().await;
        let mut is_second = false;
        loop {
            // Taken out, so that a write that is given up half way leaves none behind.
            let mut sender = match slot.take() {
                Some(sender) => sender,
                None => self.take_id().await?,
            };
            match self.transaction(&mut sender, records).await {
                Ok(base) => {
                    *slot = Some(sender);
                    let last = Offset(base.0 + i64::try_from(records.len()).unwrap_or(1) - 1);
                    return Ok([(self.to.partition, last)].into());
                }
                // These records say what is, not what changes: written twice they say the same.
                Err(error) if is_fenced(&error) && !is_second => is_second = true,
                Err(error) => return Err(error),
            }
        }
    }

    async fn transaction(&self, sender: &mut BatchSender, records: &[StateRecord]) -> Result<Offset, ClientError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let mut batch = BatchBuilder::new();
        for record in records {
            batch.append(now_ms, Some(&record.key), record.value.as_deref(), []);
        }
        let count = u32::try_from(batch.record_count()).unwrap_or(0);
        let unbuilt = |error: twinstream_client::protocol::batch::BuildError| {
            let (what, reason) = (format!("write to {}", self.to), error.to_string());
            ClientError::Library { what, reason, retriable: false }
        };
        let bytes = Bytes::from(batch.build().map_err(unbuilt)?);
        sender.send(&self.to, Outgoing { ticket: 0, bytes, records: count, aligned: None });
        sender.commit();
        let mut base = Offset::NONE;
        loop {
            match sender.told().await {
                Told::Outcome(Ok(delivered)) => base = delivered.base_offset,
                Told::Outcome(Err(failure)) => return Err(failure.error),
                Told::Ended(Ok(())) => return Ok(base),
                Told::Ended(Err(error)) => return Err(error),
            }
        }
    }
}
