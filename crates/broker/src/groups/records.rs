//! The records of groups as batches, and batches as records again.
//!
//! Picture: what a transaction commits is one batch in the name of its producer, and the end of a transaction is a control
//! batch, as in Apache Kafka: its loaders, its readers of committed records and its compaction tell them by that.
//!
//! Invariant: the records of one decision make one batch, so they are of one kind and of one producer.

use twinstream_coordinator::Engine;
use twinstream_coordinator::group::{BatchKind, DecodeError, GroupShard, Record, decode, decode_marker, encode};
use twinstream_coordinator::transaction::Producer;
use twinstream_model::{ErrorCode, Offset};
use twinstream_protocol::batch::{BatchBuilder, BatchView, NO_SEQUENCE, ProducerStamp};

use super::kind::GroupKind;
use crate::coordinators::{LoadError, Loaded, RecordError, fill_batch, replay_records};

/// The batch that stores the records of a decision.
pub(super) fn batch_of(records: &[Record], timestamp_ms: i64) -> Result<Vec<u8>, ErrorCode> {
    let kind = records.first().map_or(BatchKind::Plain, Record::batch_kind);
    if let Some(other) = records.iter().find(|record| record.batch_kind() != kind) {
        tracing::error!(?kind, other = ?other.batch_kind(), "records of one decision belong to different batches");
        return Err(ErrorCode::UnknownServerError);
    }
    let batch = match kind {
        BatchKind::Plain => BatchBuilder::new(),
        BatchKind::Transactional(producer) => of_producer(producer),
        BatchKind::Marker(producer) => of_producer(producer).with_control(),
    };
    fill_batch::<GroupKind>(batch, records.iter().map(encode), timestamp_ms)
}

fn of_producer(Producer { id, epoch }: Producer) -> BatchBuilder {
    let stamp = ProducerStamp { id, epoch, base_sequence: NO_SEQUENCE };
    BatchBuilder::new().with_transactional().with_producer(stamp)
}

/// Replays a batch that the log holds, from offset `from` on.
pub(super) fn replay(
    engine: &mut Engine<GroupShard>,
    batch: &BatchView<'_>,
    from: Offset,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let header = batch.header();
    let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
    let (is_marker, is_transactional) = (header.attributes.is_control(), header.attributes.is_transactional());
    replay_records(batch, from, loaded, |offset, key, value| {
        let record = match is_marker {
            true => decode_marker(producer, key, value).map_err(refused)?,
            false => Some(decode(key, value).map_err(refused)?),
        };
        match record {
            Some(record) if is_transactional => engine.load(offset, &record.in_transaction(producer)),
            Some(record) => engine.load(offset, &record),
            None => (), // a control record that says nothing about transactions
        }
        Ok(())
    })
}

fn refused(error: DecodeError) -> RecordError {
    match error {
        DecodeError::UnknownKind(kind) => RecordError::UnknownKind(kind),
        broken => RecordError::Broken(Box::new(broken)),
    }
}

#[cfg(test)]
mod tests;
