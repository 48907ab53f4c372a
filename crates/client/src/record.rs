//! Records as they enter and leave a cluster through librdkafka.

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header as NativeHeader, Headers as _, Message, OwnedHeaders, Timestamp};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

/// One header; a null value is not an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub key: String,
    pub value: Option<Bytes>,
}

/// A record to produce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    pub topic: TopicName,
    /// `None` lets the key decide, as Kafka's default partitioner does.
    pub partition: Option<PartitionIndex>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; `None` takes the time of sending.
    pub timestamp: Option<i64>,
}

impl ProducerRecord {
    pub fn new(topic: TopicName, key: Option<Bytes>, value: Option<Bytes>) -> Self {
        Self { topic, partition: None, key, value, headers: Vec::new(), timestamp: None }
    }

    pub(crate) fn native_headers(&self) -> Option<OwnedHeaders> {
        if self.headers.is_empty() {
            return None;
        }
        let add = |all: OwnedHeaders, header: &Header| {
            all.insert(NativeHeader { key: &header.key, value: header.value.as_deref() })
        };
        Some(self.headers.iter().fold(OwnedHeaders::new_with_capacity(self.headers.len()), add))
    }
}

/// Which clock a timestamp comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    Create,
    LogAppend,
}

/// A record that was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: TopicName,
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub timestamp: Option<i64>,
    pub timestamp_type: TimestampType,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

impl ConsumerRecord {
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    /// Bytes of key, value and headers, for bounds.
    pub fn payload_len(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|header| header.key.len() + len(&header.value)).sum();
        len(&self.key) + len(&self.value) + headers
    }

    /// Copies everything out of librdkafka's buffers, so that the message can outlive its consumer.
    pub(crate) fn detach(message: &BorrowedMessage<'_>, topic: TopicName) -> Self {
        let (timestamp, timestamp_type) = match message.timestamp() {
            Timestamp::NotAvailable => (None, TimestampType::Create),
            Timestamp::CreateTime(ms) => (Some(ms), TimestampType::Create),
            Timestamp::LogAppendTime(ms) => (Some(ms), TimestampType::LogAppend),
        };
        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let header =
            |header: NativeHeader<'_, &[u8]>| Header { key: header.key.to_owned(), value: header.value.map(copy) };
        Self {
            topic,
            partition: PartitionIndex(message.partition()),
            offset: Offset(message.offset()),
            timestamp,
            timestamp_type,
            key: message.key().map(copy),
            value: message.payload().map(copy),
            headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
        }
    }
}
