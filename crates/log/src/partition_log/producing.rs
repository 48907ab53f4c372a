//! What a log knows of producers, for those who decide about their next batch.

use twinstream_model::{Offset, ProducerId};

use super::{Appended, PartitionLog, Writer};
use crate::producers::{ActiveProducer, Applicant, VerificationGuard};
use crate::transactions::Marker;
use crate::validate::Prepared;
use crate::{AppendError, Origin};

impl PartitionLog {
    /// A client has a transactional batch for this log. `None` if its transaction is open here. Otherwise its coordinator
    /// has to be asked, and the append has to come with the guard (KIP-890).
    pub fn begin_verification(
        &self,
        applicant: &Applicant,
        now: i64,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let mut writer = self.writer.lock();
        self.check_usable()?;
        let is_open = writer.producers.has_open(applicant.producer_id, applicant.epoch)?;
        Ok((!is_open).then(|| writer.verifications.begin(applicant, now)))
    }

    /// Whether the producer has written so little from this offset on that what it had under way before may be missing.
    pub fn is_arriving(&self, id: ProducerId, from: Offset) -> bool {
        self.writer.lock().producers.oldest_batch(id).is_some_and(|oldest| oldest < from)
    }

    /// Whether a batch or a marker of this producer is remembered. Of others any sequence is taken (KIP-360).
    pub fn remembers(&self, id: ProducerId) -> bool {
        self.writer.lock().producers.remembers(id)
    }

    /// Every producer that is remembered, by id.
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        let mut active = self.writer.lock().producers.active();
        active.sort_unstable_by_key(|producer| producer.id);
        active
    }

    /// Whether the batches may follow what their producers wrote before. What was appended before is answered as then.
    pub(super) fn check_producers(
        &self,
        writer: &Writer,
        batches: &[Prepared<'_>],
        origin: Origin,
    ) -> Result<Option<Appended>, AppendError> {
        for batch in batches.iter().filter(|batch| batch.header.is_idempotent()) {
            let header = &batch.header;
            if header.attributes.is_control() {
                let marker = Marker::in_batch(&[&batch.head[..], &batch.body].concat())?;
                writer.producers.check_marker(header, marker, origin)?;
                continue;
            }
            let verification = writer.verifications.get(header.producer_id);
            if let Some(repeated) = writer.producers.check(header, origin, verification)? {
                return Ok(Some(Appended {
                    base_offset: repeated.base_offset(),
                    last_offset: repeated.last_offset,
                    // Its timestamp whoever's time that is, as from Kafka.
                    log_append_time: Some(repeated.timestamp),
                    log_start_offset: self.log_start_offset(),
                    duplicate: true,
                    bytes: 0,
                    records: 0,
                }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
