//! Blocks of producer ids for brokers.

use twinstream_model::{NodeId, ProducerId};

use super::{BrokerError, Controller, Decision};
use crate::record::Record;

/// Ids in one block, as in Kafka: a broker asks once per thousand producers.
pub const PRODUCER_ID_BLOCK_LEN: i64 = 1000;

/// Producer ids that belong to one broker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    pub len: i64,
}

impl Controller {
    /// Hands the next block to a registered broker. A broker that restarts drops the rest of its block: ids are never used twice.
    pub fn allocate_producer_ids(
        &self,
        node_id: NodeId,
        broker_epoch: i64,
    ) -> Decision<Result<ProducerIdBlock, BrokerError>> {
        if let Err(error) = self.check_epoch(node_id, broker_epoch) {
            return Decision::nothing(Err(error));
        }
        let first = self.image.next_producer_id();
        let Some(next_producer_id) = first.checked_add(PRODUCER_ID_BLOCK_LEN) else {
            return Decision::nothing(Err(BrokerError::ProducerIdsExhausted));
        };
        let mut draft = self.draft();
        draft.push(Record::ProducerIds { node_id, broker_epoch, next_producer_id });
        draft.decide(Ok(ProducerIdBlock { first: ProducerId(first), len: PRODUCER_ID_BLOCK_LEN }))
    }
}
