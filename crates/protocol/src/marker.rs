//! The end of a transaction in one partition (KIP-98): the control batch that stores it, and how brokers tell each other
//! which protocol its transaction speaks.
//!
//! ```text
//! key:   version i16 = 0 | type i16: 0 abort, 1 commit
//! value: version i16 = 0 | coordinator epoch i32
//! ```
//! Kafka's WriteTxnMarkers has a field for the transaction version since version 2 (KIP-1228), which the codec does not
//! know yet. Version 1 of it is flexible, so brokers of ours put the number into a tagged field; whoever does not know the
//! tag takes the marker for one of an old transaction, which is less strict and not wrong.

use bytes::Bytes;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use twinstream_model::{ProducerEpoch, ProducerId};

use crate::batch::{BatchBuilder, BuildError, NO_SEQUENCE, ProducerStamp};

/// Far from the tags that Kafka gives out, which count up from 0.
const TRANSACTION_VERSION_TAG: i32 = 10_000;

/// A marker that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub commit: bool,
    /// Of the transaction coordinator: the leader epoch of its partition.
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// The control batch of the marker.
    pub fn to_batch(self, timestamp: i64) -> Result<Vec<u8>, BuildError> {
        let stamp = ProducerStamp { id: self.producer_id, epoch: self.producer_epoch, base_sequence: NO_SEQUENCE };
        let key = [0, 0, 0, u8::from(self.commit)];
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional().with_control();
        builder.append(timestamp, Some(&key), Some(&value), []);
        builder.build()
    }
}

/// The transaction version that the sender of a marker told, 0 if it told none.
pub fn transaction_version(marker: &WritableTxnMarker) -> i8 {
    match marker.unknown_tagged_fields.get(&TRANSACTION_VERSION_TAG).map(|value| &value[..]) {
        Some(&[version]) => version as i8,
        _ => 0,
    }
}

/// Tells the transaction version along with a marker.
pub fn tell_transaction_version(marker: &mut WritableTxnMarker, version: i8) {
    marker.unknown_tagged_fields.insert(TRANSACTION_VERSION_TAG, Bytes::copy_from_slice(&version.to_be_bytes()));
}

#[cfg(test)]
mod tests;
