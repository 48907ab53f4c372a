//! One number for all that a group's assignment depends on in the cluster (KIP-1101), equal to Kafka's.
//!
//! Picture: each subscribed topic has a hash of its id, name, partitions and their racks; the group's hash is made of
//! those, in the order of names, and stored with the group. When it differs from what the metadata image says now,
//! the group needs a new assignment. Equal to Kafka's, so that a group that moves from one to the other is not
//! assigned anew.
//!
//! The bytes are those of hash4j's streams, which Kafka uses: numbers little-endian, strings as UTF-16 with their
//! length behind, then XXH3 with 64 bits.
//!
//! Differs from Kafka where two replicas of a partition are in the same rack: Kafka counts the rack twice, our
//! view of a topic knows it once. The hash is then another one, which costs a moved group one assignment.

use twinstream_model::TopicName;
use twox_hash::XxHash3_64;

use super::topics::TopicFacts;

/// The version of the layout.
const MAGIC: u8 = 0;

pub(crate) fn topic_hash(name: &TopicName, topic: &TopicFacts) -> i64 {
    let (high, low) = topic.id.0.as_u64_pair();
    let mut bytes = vec![MAGIC];
    bytes.extend(high.to_le_bytes());
    bytes.extend(low.to_le_bytes());
    put_string(&mut bytes, name.as_str());
    put_number(&mut bytes, topic.partitions);
    for partition in 0..topic.partitions {
        put_number(&mut bytes, partition);
        for rack in topic.racks.get(partition).into_iter().flatten() {
            put_number(&mut bytes, rack.encode_utf16().count());
            put_string(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes) as i64
}

/// The hash of a group from those of its topics that exist, in the order of their names; 0 if there are none.
pub(crate) fn group_hash(topics: impl IntoIterator<Item = i64>) -> i64 {
    let bytes: Vec<u8> = topics.into_iter().flat_map(i64::to_le_bytes).collect();
    if bytes.is_empty() { 0 } else { XxHash3_64::oneshot(&bytes) as i64 }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    put_number(bytes, text.encode_utf16().count());
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as i32).to_le_bytes());
}

#[cfg(test)]
mod tests;
