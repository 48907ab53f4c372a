//! Patches the header of a batch in place.
//!
//! Base offset and leader epoch lie outside the checksum and cost nothing to set. Everything else goes
//! through one method each that computes the checksum anew, so a half-patched batch cannot be left behind.

use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use super::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BASE_SEQUENCE, BatchError, BatchView, CRC, HEADER_BYTES, LEADER_EPOCH,
    MAX_TIMESTAMP, PRODUCER_EPOCH, PRODUCER_ID, ProducerStamp, i16_at,
};

/// One batch that may be changed.
#[derive(Debug)]
pub struct BatchMut<'a> {
    bytes: &'a mut [u8],
}

impl<'a> BatchMut<'a> {
    /// Takes hold of the batch at the start of `bytes`.
    pub fn parse(bytes: &'a mut [u8]) -> Result<BatchMut<'a>, BatchError> {
        let len = BatchView::parse(bytes)?.len();
        Ok(BatchMut { bytes: &mut bytes[..len] })
    }

    /// Takes hold of a batch's header whose records lie elsewhere; only what the checksum does not cover may be
    /// set then.
    pub fn header_only(bytes: &'a mut [u8; HEADER_BYTES]) -> HeaderMut<'a> {
        HeaderMut { bytes }
    }

    pub fn view(&self) -> BatchView<'_> {
        BatchView { bytes: self.bytes }
    }

    pub fn set_base_offset(&mut self, offset: Offset) {
        self.put(BASE_OFFSET, &offset.0.to_be_bytes());
    }

    pub fn set_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.put(LEADER_EPOCH, &epoch.0.to_be_bytes());
    }

    /// Makes all records carry the broker's time.
    pub fn set_log_append_time(&mut self, timestamp: i64) {
        let attributes = i16_at(self.bytes, ATTRIBUTES) | Attributes::LOG_APPEND_TIME;
        self.put(ATTRIBUTES, &attributes.to_be_bytes());
        self.put(MAX_TIMESTAMP, &timestamp.to_be_bytes());
        self.update_crc();
    }

    /// Sets the largest timestamp of the producer's clock.
    pub fn set_max_timestamp(&mut self, timestamp: i64) {
        let attributes = i16_at(self.bytes, ATTRIBUTES) & !Attributes::LOG_APPEND_TIME;
        self.put(ATTRIBUTES, &attributes.to_be_bytes());
        self.put(MAX_TIMESTAMP, &timestamp.to_be_bytes());
        self.update_crc();
    }

    /// Claims the batch for an idempotent producer, or for none.
    pub fn set_producer(&mut self, stamp: Option<ProducerStamp>) {
        let stamp = stamp.unwrap_or(ProducerStamp {
            id: ProducerId::NONE,
            epoch: ProducerEpoch::NONE,
            base_sequence: super::NO_SEQUENCE,
        });
        self.put(PRODUCER_ID, &stamp.id.0.to_be_bytes());
        self.put(PRODUCER_EPOCH, &stamp.epoch.0.to_be_bytes());
        self.put(BASE_SEQUENCE, &stamp.base_sequence.to_be_bytes());
        self.update_crc();
    }

    /// Clears the transactional bit, for copies whose transaction has already ended elsewhere.
    pub fn clear_transactional(&mut self) {
        let attributes = i16_at(self.bytes, ATTRIBUTES) & !Attributes::TRANSACTIONAL;
        self.put(ATTRIBUTES, &attributes.to_be_bytes());
        self.update_crc();
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    fn update_crc(&mut self) {
        let crc = crc32c::crc32c(&self.bytes[ATTRIBUTES..]);
        self.put(CRC, &crc.to_be_bytes());
    }
}

/// The header of a batch, open for what lies outside the checksum.
#[derive(Debug)]
pub struct HeaderMut<'a> {
    bytes: &'a mut [u8; HEADER_BYTES],
}

impl HeaderMut<'_> {
    pub fn set_base_offset(&mut self, offset: Offset) {
        self.bytes[BASE_OFFSET..BASE_OFFSET + 8].copy_from_slice(&offset.0.to_be_bytes());
    }

    pub fn set_leader_epoch(&mut self, epoch: LeaderEpoch) {
        self.bytes[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&epoch.0.to_be_bytes());
    }
}
