//! The one thing that the coordinator reads in a consumer's metadata: which topics it subscribes to.
//!
//! Kafka promises that version 0 of the consumer protocol's subscription is a prefix of every later version
//! (version, topics, user data), so only that prefix is read and a newer client cannot break us.

use std::collections::BTreeSet;
use std::sync::Arc;

/// `protocol.type` of Kafka's consumers; other types (Connect, schema registries) are opaque to us.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription, `None` if the bytes are none.
pub(crate) fn subscribed_topics(metadata: &[u8]) -> Option<BTreeSet<Arc<str>>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = i32::from_be_bytes(*count);
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let (len, tail) = rest.split_first_chunk::<2>()?;
        let len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
        let (name, tail) = tail.split_at_checked(len)?;
        topics.insert(Arc::from(std::str::from_utf8(name).ok()?));
        rest = tail;
    }
    (count >= 0).then_some(topics)
}

#[cfg(test)]
mod tests;
