//! The Fetch response, encoded as a list of parts so that record bytes are never copied.
//!
//! Everything around the records becomes [`Part::Bytes`]; each partition's records stay what the caller
//! handed in, [`Part::Records`], for instance ranges of files that a socket sends by itself. Versions 4 to
//! 18; version 12 is the first flexible one.
//!
//! Invariants: the announced length of records is `RecordData::len` of the part that follows; a partition
//! without records has length zero and never null, because librdkafka takes null for a broken answer.

use bytes::{BufMut, Bytes, BytesMut};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId};

pub const VERSION_MIN: i16 = 4;
pub const VERSION_MAX: i16 = 18;

const FLEXIBLE: i16 = 12;
const TOPIC_IDS: i16 = 13;

/// Record bytes in whatever form the caller has them.
pub trait RecordData {
    /// Exact number of bytes that will be sent.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RecordData for Bytes {
    fn len(&self) -> usize {
        Bytes::len(self)
    }
}

/// A stretch of the response body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<R> {
    Bytes(Bytes),
    Records(R),
}

#[derive(Clone, Debug)]
pub struct FetchAnswer<R> {
    pub throttle_time_ms: i32,
    pub error: ErrorCode,
    pub session_id: i32,
    pub topics: Vec<TopicAnswer<R>>,
    /// Where the leaders are that partitions with an error point to (from version 16).
    pub endpoints: Vec<LeaderEndpoint>,
}

#[derive(Clone, Debug)]
pub struct TopicAnswer<R> {
    /// Sent up to version 12, as the client wrote it.
    pub name: String,
    /// Sent from version 13.
    pub id: TopicId,
    pub partitions: Vec<PartitionAnswer<R>>,
}

#[derive(Clone, Debug)]
pub struct PartitionAnswer<R> {
    pub partition: PartitionIndex,
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    /// `None` is null, the answer to a consumer that reads uncommitted records.
    pub aborted: Option<Vec<AbortedTransaction>>,
    pub preferred_read_replica: NodeId,
    pub diverging: Option<EpochEnd>,
    pub current_leader: Option<CurrentLeader>,
    /// `None` sends zero bytes.
    pub records: Option<R>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// The end of an epoch of which the fetcher has records that the leader never had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end_offset: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    pub leader: NodeId,
    pub epoch: LeaderEpoch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderEndpoint {
    pub node: NodeId,
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

impl<R: RecordData> FetchAnswer<R> {
    /// An answer that fails as a whole (version 7 or newer; older clients see it per partition).
    pub fn failed(error: ErrorCode) -> FetchAnswer<R> {
        FetchAnswer { throttle_time_ms: 0, error, session_id: 0, topics: Vec::new(), endpoints: Vec::new() }
    }

    /// Encodes the response body (without its header) for a version from 4 to 18.
    pub fn encode(self, version: i16) -> Vec<Part<R>> {
        debug_assert!((VERSION_MIN..=VERSION_MAX).contains(&version));
        let mut out = Encoder { version, parts: Vec::new(), bytes: BytesMut::with_capacity(256) };
        out.bytes.put_i32(self.throttle_time_ms);
        if version >= 7 {
            out.bytes.put_i16(self.error.code());
            out.bytes.put_i32(self.session_id);
        }
        out.array_len(self.topics.len());
        for topic in self.topics {
            out.topic(topic);
        }
        out.endpoints(&self.endpoints);
        out.finish()
    }
}

impl<R> PartitionAnswer<R> {
    /// An answer without records.
    pub fn failed(partition: PartitionIndex, error: ErrorCode) -> PartitionAnswer<R> {
        PartitionAnswer {
            partition,
            error,
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start_offset: Offset::NONE,
            aborted: None,
            preferred_read_replica: NodeId::NONE,
            diverging: None,
            current_leader: None,
            records: None,
        }
    }

    /// An answer about a partition that nobody looked for records in. As from Kafka it has an empty list of aborted
    /// transactions, where one that could not be read has none.
    pub fn unread(partition: PartitionIndex, error: ErrorCode) -> PartitionAnswer<R> {
        PartitionAnswer { aborted: Some(Vec::new()), ..PartitionAnswer::failed(partition, error) }
    }
}

struct Encoder<R> {
    version: i16,
    parts: Vec<Part<R>>,
    bytes: BytesMut,
}

impl<R: RecordData> Encoder<R> {
    fn topic(&mut self, topic: TopicAnswer<R>) {
        if self.version >= TOPIC_IDS {
            self.bytes.put_slice(topic.id.0.as_bytes());
        } else {
            self.string(&topic.name);
        }
        self.array_len(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition);
        }
        self.no_tags();
    }

    fn partition(&mut self, answer: PartitionAnswer<R>) {
        self.bytes.put_i32(answer.partition.0);
        self.bytes.put_i16(answer.error.code());
        self.bytes.put_i64(answer.high_watermark.0);
        self.bytes.put_i64(answer.last_stable_offset.0);
        if self.version >= 5 {
            self.bytes.put_i64(answer.log_start_offset.0);
        }
        self.aborted(answer.aborted.as_deref());
        if self.version >= 11 {
            self.bytes.put_i32(answer.preferred_read_replica.0);
        }
        self.records(answer.records);
        if self.version >= FLEXIBLE {
            self.partition_tags(answer.diverging, answer.current_leader);
        }
    }

    fn aborted(&mut self, aborted: Option<&[AbortedTransaction]>) {
        let Some(aborted) = aborted else {
            match self.version >= FLEXIBLE {
                true => self.bytes.put_u8(0),
                false => self.bytes.put_i32(-1),
            }
            return;
        };
        self.array_len(aborted.len());
        for transaction in aborted {
            self.bytes.put_i64(transaction.producer_id.0);
            self.bytes.put_i64(transaction.first_offset.0);
            self.no_tags();
        }
    }

    fn records(&mut self, records: Option<R>) {
        let len = records.as_ref().map_or(0, RecordData::len);
        match self.version >= FLEXIBLE {
            true => self.varint(len as u32 + 1),
            false => self.bytes.put_i32(len as i32),
        }
        if let Some(records) = records.filter(|r| !r.is_empty()) {
            self.cut();
            self.parts.push(Part::Records(records));
        }
    }

    fn partition_tags(&mut self, diverging: Option<EpochEnd>, leader: Option<CurrentLeader>) {
        self.varint(u32::from(diverging.is_some()) + u32::from(leader.is_some()));
        if let Some(end) = diverging {
            self.bytes.put_slice(&[0, 13]); // tag, length
            self.bytes.put_i32(end.epoch.0);
            self.bytes.put_i64(end.end_offset.0);
            self.no_tags();
        }
        if let Some(current) = leader {
            self.bytes.put_slice(&[1, 9]);
            self.bytes.put_i32(current.leader.0);
            self.bytes.put_i32(current.epoch.0);
            self.no_tags();
        }
    }

    fn endpoints(&mut self, endpoints: &[LeaderEndpoint]) {
        if self.version < FLEXIBLE {
            return;
        }
        if self.version < 16 || endpoints.is_empty() {
            return self.no_tags();
        }
        let outer = std::mem::take(&mut self.bytes);
        self.array_len(endpoints.len());
        for endpoint in endpoints {
            self.bytes.put_i32(endpoint.node.0);
            self.string(&endpoint.host);
            self.bytes.put_i32(i32::from(endpoint.port));
            match &endpoint.rack {
                Some(rack) => self.string(rack),
                None => self.bytes.put_u8(0),
            }
            self.no_tags();
        }
        let field = std::mem::replace(&mut self.bytes, outer);
        self.bytes.put_slice(&[1, 0]); // one tag, number 0
        self.varint(field.len() as u32);
        self.bytes.put_slice(&field);
    }

    fn array_len(&mut self, len: usize) {
        match self.version >= FLEXIBLE {
            true => self.varint(len as u32 + 1),
            false => self.bytes.put_i32(len as i32),
        }
    }

    fn string(&mut self, text: &str) {
        match self.version >= FLEXIBLE {
            true => self.varint(text.len() as u32 + 1),
            false => self.bytes.put_i16(text.len() as i16),
        }
        self.bytes.put_slice(text.as_bytes());
    }

    fn no_tags(&mut self) {
        if self.version >= FLEXIBLE {
            self.bytes.put_u8(0);
        }
    }

    fn varint(&mut self, value: u32) {
        let mut bytes = Vec::with_capacity(5);
        crate::varint::write_unsigned(&mut bytes, value);
        self.bytes.put_slice(&bytes);
    }

    /// Ends the current stretch of bytes.
    fn cut(&mut self) {
        if !self.bytes.is_empty() {
            self.parts.push(Part::Bytes(self.bytes.split().freeze()));
        }
    }

    fn finish(mut self) -> Vec<Part<R>> {
        self.cut();
        self.parts
    }
}

#[cfg(test)]
mod tests;
