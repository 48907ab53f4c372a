//! Topic names by Kafka's rules, and the pair of a topic and a partition.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::PartitionIndex;

/// Longest legal name; with the suffixes of a partition's folder it still fits a file name of 255 bytes.
pub const TOPIC_NAME_LEN_MAX: usize = 249;

/// A legal topic name; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a string is no topic name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTopicName {
    #[error("topic name is empty")]
    Empty,
    #[error("topic name cannot be \"{0}\"")]
    Dots(String),
    #[error("topic name has {0} characters, at most {TOPIC_NAME_LEN_MAX} are allowed")]
    TooLong(usize),
    #[error("topic name {0:?} contains a character other than ASCII letters, digits, '.', '_' and '-'")]
    IllegalCharacter(String),
}

impl TopicName {
    /// Checks Kafka's rules: 1 to 249 characters of `[a-zA-Z0-9._-]`, not `.` and not `..`.
    pub fn parse(name: &str) -> Result<TopicName, InvalidTopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Dots(name.to_owned()));
        }
        if name.len() > TOPIC_NAME_LEN_MAX {
            return Err(InvalidTopicName::TooLong(name.chars().count()));
        }
        if !name.bytes().all(legal) {
            return Err(InvalidTopicName::IllegalCharacter(name.to_owned()));
        }
        Ok(TopicName(Arc::from(name)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Kafka treats the topic as its own (`__consumer_offsets` and the like).
    pub fn is_internal(&self) -> bool {
        matches!(&*self.0, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
    }

    /// Whether two names would give the same metric name, because `.` and `_` fall together there.
    pub fn collides_with(&self, other: &TopicName) -> bool {
        self != other && self.0.replace('.', "_") == other.0.replace('.', "_")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for TopicName {
    type Error = InvalidTopicName;

    fn try_from(name: &str) -> Result<TopicName, InvalidTopicName> {
        TopicName::parse(name)
    }
}

impl std::str::FromStr for TopicName {
    type Err = InvalidTopicName;

    fn from_str(name: &str) -> Result<TopicName, InvalidTopicName> {
        TopicName::parse(name)
    }
}

/// One partition of one topic; displayed as `topic-0`, which is also its folder's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: TopicName,
    pub partition: PartitionIndex,
}

impl TopicPartition {
    pub fn new(topic: TopicName, partition: impl Into<PartitionIndex>) -> TopicPartition {
        TopicPartition { topic, partition: partition.into() }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
