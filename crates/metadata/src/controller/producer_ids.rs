//! Blocks of producer ids for brokers, from a range that belongs to the cluster.
//!
//! A topic that is mirrored byte by byte brings the producer ids of its source along, and the target's own must never be among them.
//! So each cluster counts in a range of its own: the number of the range stands in the upper bits of an id and is derived from the
//! cluster id, which is random. Range 0 belongs to Apache Kafka, which counts from 0, and to clusters that were made before there
//! were ranges; they go on with their counter.
//!
//! Two clusters of ours have the same range with a chance of one in eight million. A range has a million million ids, which is 34 years
//! of a thousand new producers a second; after that no id is given, rather than one of another cluster's.

use std::ops::Range;

use twinstream_model::{ClusterId, NodeId, ProducerId};

use super::{BrokerError, Controller, Decision};
use crate::record::Record;

/// Ids in one block, as in Kafka: a broker asks once per thousand producers.
pub const PRODUCER_ID_BLOCK_LEN: i64 = 1000;

/// Bits of an id that count inside of a range.
const RANGE_BITS: u32 = 40;
/// Ranges but for the first, so that ids are positive numbers of 64 bits.
const RANGES: u64 = (1 << (i64::BITS - 1 - RANGE_BITS)) - 1;

/// Producer ids that belong to one broker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    pub len: i64,
}

/// The producer ids of a cluster that is made now.
pub(super) fn range_of(cluster: &ClusterId) -> Range<i64> {
    let number = 1 + (hash(cluster.as_str().as_bytes()) % RANGES) as i64;
    range(number)
}

fn range(number: i64) -> Range<i64> {
    let len = 1 << RANGE_BITS;
    number * len..number.saturating_mul(len).saturating_add(len)
}

/// FNV-1a, whose bits are mixed once more because the ids of clusters are short. Never changed: a cluster would change its range.
fn hash(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
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
        let next_producer_id = first.saturating_add(PRODUCER_ID_BLOCK_LEN);
        if !self.own_producer_ids().is_some_and(|own| own.contains(&first) && next_producer_id <= own.end) {
            return Decision::nothing(Err(BrokerError::ProducerIdsExhausted));
        }
        let mut draft = self.draft();
        draft.push(Record::ProducerIds { node_id, broker_epoch, next_producer_id });
        draft.decide(Ok(ProducerIdBlock { first: ProducerId(first), len: PRODUCER_ID_BLOCK_LEN }))
    }

    /// The range in which this cluster counts.
    fn own_producer_ids(&self) -> Option<Range<i64>> {
        let first = range(0);
        if first.contains(&self.image.next_producer_id()) {
            return Some(first);
        }
        self.image.cluster_id().map(range_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_same_range_for_ever() {
        let range = range_of(&ClusterId::from("Pv4OC5vJTyKKkxUxsDPWkQ"));
        assert_eq!(range.start >> RANGE_BITS, 4_803_546);
        assert_eq!(range.end - range.start, 1 << RANGE_BITS);
    }

    #[test]
    fn the_last_range_ends_with_the_largest_number() {
        assert!(range(RANGES as i64).start > 0);
        assert_eq!(range(RANGES as i64).end, i64::MAX);
    }

    #[test]
    fn ranges_of_many_clusters_are_disjoint_and_not_those_of_kafka() {
        let mut ranges: Vec<i64> = (0..100).map(|n| range_of(&ClusterId::from(format!("cluster-{n}"))).start).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0] < pair[1]), "each has its own");
        assert!(ranges[0] >= 1 << RANGE_BITS);
    }
}
