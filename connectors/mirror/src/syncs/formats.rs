//! The records of MirrorMaker 2's own topics, byte for byte: offset-syncs, checkpoints, heartbeats (KIP-382). Pure.
//!
//! Kafka's struct encoding: numbers big-endian, a string is its int16 length and UTF-8. Checkpoints and heartbeats carry an
//! int16 version before the value; offset-syncs carry none.

use twinstream_model::{GroupId, Offset, PartitionIndex, TopicName, TopicPartition};

const VERSION: i16 = 0;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FormatError {
    #[error("the record is cut short")]
    Short,
    #[error("the record has version {0}, this release reads version 0")]
    Version(i16),
    #[error("the record's {0} cannot be read")]
    Broken(&'static str),
}

/// One pair of offsets: this record of the source is that one of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetSync {
    /// The source's name.
    pub partition: TopicPartition,
    pub upstream: Offset,
    pub downstream: Offset,
}

/// A group's position, translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub group: GroupId,
    /// The target's name.
    pub partition: TopicPartition,
    pub upstream: Offset,
    pub downstream: Offset,
    pub metadata: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub source: String,
    pub target: String,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

impl OffsetSync {
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_partition(&mut bytes, &self.partition);
        bytes
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        [self.upstream.0.to_be_bytes(), self.downstream.0.to_be_bytes()].concat()
    }

    pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let partition = Reader::new(key).partition()?;
        let mut value = Reader::new(value);
        Ok(Self { partition, upstream: Offset(value.long()?), downstream: Offset(value.long()?) })
    }
}

impl Checkpoint {
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_string(&mut bytes, self.group.as_str());
        put_partition(&mut bytes, &self.partition);
        bytes
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.extend(self.upstream.0.to_be_bytes());
        bytes.extend(self.downstream.0.to_be_bytes());
        put_string(&mut bytes, &self.metadata);
        bytes
    }

    pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let mut key = Reader::new(key);
        let group = GroupId::from(key.string()?.as_str());
        let partition = key.partition()?;
        let mut value = Reader::new(value);
        value.version()?;
        let (upstream, downstream) = (Offset(value.long()?), Offset(value.long()?));
        Ok(Self { group, partition, upstream, downstream, metadata: value.string()? })
    }
}

impl Heartbeat {
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_string(&mut bytes, &self.source);
        put_string(&mut bytes, &self.target);
        bytes
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        [&VERSION.to_be_bytes()[..], &self.timestamp.to_be_bytes()].concat()
    }

    #[cfg(test)]
    pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let (mut key, mut value) = (Reader::new(key), Reader::new(value));
        let (source, target) = (key.string()?, key.string()?);
        value.version()?;
        Ok(Self { source, target, timestamp: value.long()? })
    }
}

fn put_partition(bytes: &mut Vec<u8>, partition: &TopicPartition) {
    put_string(bytes, partition.topic.as_str());
    bytes.extend(partition.partition.0.to_be_bytes());
}

/// Kafka bounds names of topics and groups, and metadata of offsets, below 32,767 bytes; what is longer cannot come from it
/// and is cut at a character.
pub(crate) fn put_string(bytes: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(i16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    bytes.extend(i16::try_from(end).unwrap_or(i16::MAX).to_be_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..end]);
}

/// Reads Kafka's struct encoding.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(FormatError::Short)?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, FormatError> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn short(&mut self) -> Result<i16, FormatError> {
        self.take().map(i16::from_be_bytes)
    }

    pub(crate) fn int(&mut self) -> Result<i32, FormatError> {
        self.take().map(i32::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Result<i64, FormatError> {
        self.take().map(i64::from_be_bytes)
    }

    pub(crate) fn string(&mut self) -> Result<String, FormatError> {
        let length = usize::try_from(self.short()?).map_err(|_| FormatError::Broken("string"))?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(FormatError::Short)?;
        self.bytes = rest;
        String::from_utf8(text.to_vec()).map_err(|_| FormatError::Broken("string"))
    }

    fn partition(&mut self) -> Result<TopicPartition, FormatError> {
        let topic = TopicName::parse(&self.string()?).map_err(|_| FormatError::Broken("topic"))?;
        Ok(TopicPartition::new(topic, PartitionIndex(self.int()?)))
    }

    fn version(&mut self) -> Result<(), FormatError> {
        match self.short()? {
            VERSION => Ok(()),
            version => Err(FormatError::Version(version)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn end(&self) -> Result<(), FormatError> {
        if self.is_empty() { Ok(()) } else { Err(FormatError::Broken("end")) }
    }
}

#[cfg(test)]
mod tests;
