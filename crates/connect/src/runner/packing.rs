//! Single records into batches, for a producer that sends whole ones.
//!
//! Picture: a record goes to the partition that its key says (murmur2, as every Kafka producer does it); without a key all of
//! one poll go to one partition and those of the next poll to the next. What was polled together is packed together, so
//! nothing lingers. Pure. Not here: compression; how many partitions a topic has.
//! Bounds: a batch is closed at [`BATCH_BYTES`]; the caller bounds how much there is.

use std::collections::BTreeMap;

use bytes::Bytes;
use twinstream_client::ProducerRecord;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_model::{PartitionIndex, TopicPartition};

use super::progress::Ticket;

/// Far below the usual `max.message.bytes`; a record that is larger is a batch of its own.
const BATCH_BYTES: usize = 256 * 1024;

/// A batch and what is in it.
pub(super) struct Packed {
    pub(super) to: TopicPartition,
    pub(super) bytes: Bytes,
    pub(super) records: u32,
    pub(super) tickets: Vec<Ticket>,
}

#[derive(Default)]
pub(super) struct Packer {
    open: BTreeMap<TopicPartition, (BatchBuilder, Vec<Ticket>)>,
    done: Vec<Packed>,
    polls: u32,
}

impl Packer {
    /// Where a record belongs among so many partitions.
    pub(super) fn partition_of(&self, record: &ProducerRecord, partitions: u32) -> PartitionIndex {
        let place = match (record.partition, &record.key) {
            (Some(chosen), _) => return chosen,
            (None, Some(key)) => positive(murmur2(key)) % partitions.max(1),
            (None, None) => self.polls % partitions.max(1),
        };
        PartitionIndex(i32::try_from(place).unwrap_or(0))
    }

    pub(super) fn add(&mut self, to: &TopicPartition, record: &ProducerRecord, now_ms: i64, ticket: Ticket) {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let size = len(&record.key) + len(&record.value);
        if self.open.get(to).is_some_and(|(batch, _)| batch.size() + size > BATCH_BYTES) {
            self.close(to);
        }
        let (batch, tickets) = self.open.entry(to.clone()).or_insert_with(|| (BatchBuilder::new(), Vec::new()));
        let headers = record.headers.iter().map(|header| (header.key.as_bytes(), header.value.as_deref()));
        batch.append(record.timestamp.unwrap_or(now_ms), record.key.as_deref(), record.value.as_deref(), headers);
        tickets.push(ticket);
    }

    fn close(&mut self, to: &TopicPartition) {
        let Some((batch, tickets)) = self.open.remove(to) else { return };
        let records = u32::try_from(batch.record_count()).unwrap_or(0);
        // Only a batch over two gigabytes cannot be built; an empty one is refused by name when its turn comes.
        let bytes = Bytes::from(batch.build().unwrap_or_default());
        self.done.push(Packed { to: to.clone(), bytes, records, tickets });
    }

    /// All batches, those of a partition in order; what comes without a key goes elsewhere from now on.
    pub(super) fn take(&mut self) -> Vec<Packed> {
        let open: Vec<TopicPartition> = self.open.keys().cloned().collect();
        open.iter().for_each(|to| self.close(to));
        self.polls = self.polls.wrapping_add(1);
        std::mem::take(&mut self.done)
    }
}

fn positive(hash: u32) -> u32 {
    hash & 0x7fff_ffff
}

/// Kafka's hash of a key.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ key.len() as u32;
    let words = key.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0u32, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use twinstream_client::protocol::batch::batches;
    use twinstream_model::TopicName;

    use super::*;

    fn record(key: Option<&'static [u8]>, bytes: usize) -> ProducerRecord {
        ProducerRecord::new(TopicName::parse("t").unwrap(), key.map(Bytes::from_static), Some(vec![7; bytes].into()))
    }

    #[test]
    fn keys_go_where_kafkas_producers_put_them() {
        // From the tests of Kafka's `Utils.murmur2`.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn records_without_a_key_stay_together_for_one_poll() {
        let mut packer = Packer::default();
        let places: Vec<i32> = (0..4).map(|_| packer.partition_of(&record(None, 1), 3).0).collect();
        assert!(places.windows(2).all(|pair| pair[0] == pair[1]));
        packer.take();
        assert_ne!(packer.partition_of(&record(None, 1), 3).0, places[0]);
        let chosen = ProducerRecord { partition: Some(PartitionIndex(8)), ..record(Some(b"k"), 1) };
        assert_eq!(packer.partition_of(&chosen, 3), PartitionIndex(8));
    }

    #[test]
    fn a_partition_gets_its_records_in_order_in_batches_of_a_bounded_size() {
        let mut packer = Packer::default();
        let to = TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(0));
        for number in 0..5 {
            packer.add(&to, &record(None, 100_000), 5, Ticket::from_number(number));
        }
        let packed = packer.take();
        assert_eq!(packed.iter().map(|one| one.records).collect::<Vec<_>>(), [2, 2, 1]);
        let tickets: Vec<u64> = packed.iter().flat_map(|one| &one.tickets).map(|ticket| ticket.to_number()).collect();
        assert_eq!(tickets, [0, 1, 2, 3, 4]);
        for one in &packed {
            let found: Vec<_> = batches(&one.bytes).map(Result::unwrap).collect();
            assert_eq!(found.len(), 1);
            found[0].check_crc().unwrap();
        }
        assert!(packer.take().is_empty());
    }
}
