//! Which partition of an internal topic a key belongs to.
//!
//! Kafka's rule, to the bit: Java's `String.hashCode` of the group id or transactional id, made positive, modulo the number of
//! partitions. Logs that move in from Kafka keep everything where it is.

use twinstream_model::PartitionIndex;

/// The partition of a key among `partitions`, which is at least 1.
pub(crate) fn partition_of(key: &str, partitions: i32) -> PartitionIndex {
    let hash = java_hash(key);
    // Java's Math.abs leaves the smallest number negative; Kafka takes 0 for it.
    let positive = hash.checked_abs().unwrap_or(0);
    PartitionIndex(positive % partitions.max(1))
}

/// `String.hashCode`: over UTF-16 units, in 32 bits that wrap.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests;
