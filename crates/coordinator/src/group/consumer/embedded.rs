//! Kafka's consumer protocol as classic members embed it in their requests: what they want, own, and are given.
//!
//! Layouts only grow at their ends, so what a newer client says more is not read, and what an older one does not say is
//! absent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use twinstream_model::PartitionIndex;

/// The newest layout of an assignment that is written; all of them are alike so far.
const ASSIGNMENT_VERSION_MAX: i16 = 3;

pub(crate) type NamedPartitions = BTreeMap<Arc<str>, BTreeSet<PartitionIndex>>;

/// `ConsumerProtocolSubscription`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<Arc<str>>,
    pub(crate) owned: NamedPartitions,
    pub(crate) rack: Option<Arc<str>>,
}

/// `ConsumerProtocolAssignment`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) partitions: NamedPartitions,
    /// The assignor keeps something here, which no assignor of ours could continue.
    pub(crate) has_user_data: bool,
}

/// A cursor over bytes of a client: every read may come to the end.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn i16(&mut self) -> Option<i16> {
        let (head, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*head))
    }

    fn i32(&mut self) -> Option<i32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*head))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let len = usize::try_from(self.i16()?).ok()?;
        Some(Arc::from(std::str::from_utf8(self.take(len)?).ok()?))
    }

    /// `Some(None)` for null.
    fn nullable_text(&mut self) -> Option<Option<Arc<str>>> {
        match self.i16()? {
            -1 => Some(None),
            len => {
                let bytes = self.take(usize::try_from(len).ok()?)?;
                Some(Some(Arc::from(std::str::from_utf8(bytes).ok()?)))
            }
        }
    }

    fn user_data(&mut self) -> Option<&'a [u8]> {
        match self.i32()? {
            -1 => Some(&[]),
            len => self.take(usize::try_from(len).ok()?),
        }
    }

    fn texts(&mut self) -> Option<BTreeSet<Arc<str>>> {
        let count = self.i32()?;
        (0..count).map(|_| self.text()).collect()
    }

    fn partitions(&mut self) -> Option<NamedPartitions> {
        let mut partitions = NamedPartitions::new();
        for _ in 0..self.i32()? {
            let topic = self.text()?;
            let of_topic = partitions.entry(topic).or_default();
            for _ in 0..self.i32()? {
                of_topic.insert(PartitionIndex(self.i32()?));
            }
        }
        partitions.retain(|_, of_topic| !of_topic.is_empty());
        Some(partitions)
    }
}

/// `None` if the bytes are no subscription.
pub(crate) fn subscription(bytes: &[u8]) -> Option<Subscription> {
    let mut cursor = Cursor(bytes);
    let version = cursor.i16().filter(|version| *version >= 0)?;
    let topics = cursor.texts()?;
    cursor.user_data()?;
    let owned = if version >= 1 { cursor.partitions()? } else { NamedPartitions::new() };
    if version >= 2 {
        cursor.i32()?; // the generation in which it owned them
    }
    let rack = if version >= 3 { cursor.nullable_text()? } else { None };
    Some(Subscription { topics, owned, rack })
}

/// `None` if the bytes are no assignment; no bytes are an empty one.
pub(crate) fn assignment(bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment::default());
    }
    let mut cursor = Cursor(bytes);
    cursor.i16().filter(|version| *version >= 0)?;
    let partitions = cursor.partitions()?;
    let has_user_data = !cursor.user_data()?.is_empty();
    Some(Assignment { partitions, has_user_data })
}

/// An assignment in the version of the subscription that it answers.
pub(crate) fn assignment_bytes(subscription: &[u8], partitions: &NamedPartitions) -> Bytes {
    let version = Cursor(subscription).i16().unwrap_or(0).clamp(0, ASSIGNMENT_VERSION_MAX);
    let mut out = BytesMut::new();
    out.put_i16(version);
    out.put_i32(partitions.len() as i32);
    for (topic, of_topic) in partitions {
        out.put_i16(topic.len() as i16); // names of topics have at most 249 bytes
        out.put_slice(topic.as_bytes());
        out.put_i32(of_topic.len() as i32);
        of_topic.iter().for_each(|partition| out.put_i32(partition.0));
    }
    out.put_i32(-1); // no user data
    out.freeze()
}

#[cfg(test)]
mod tests;
