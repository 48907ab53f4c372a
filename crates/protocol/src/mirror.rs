//! What links and brokers of ours tell each other in tagged fields of Kafka's requests (aligned links).
//!
//! ```text
//! CreateTopics, topic:    version 1 | link 16 | source topic id 16 | source cluster text | source topic text
//! Produce, request:       version 1 | link 16
//! Produce, partition:     version 1 | flags | from i64 | log start i64 | high watermark i64 | leader epoch i32
//!                         | last epoch i32, all of the source; the lowest bit of the flags says: cut
//! Produce, answer of it:  version 1 | log end i64
//! ```
//! Numbers are big-endian, a text has an u16 length in front. All are under one number, [`TAG`]. Whoever does not know it
//! takes the request for an ordinary one, so a link looks first whether the target has the feature `twinstream.mirror`.
//!
//! Invariants: a field of another version, another length or with flags that nobody knows is an error and never half
//! believed. Not here: what brokers do about it.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use thiserror::Error;
use twinstream_model::{LeaderEpoch, Offset, TopicId, TopicName};
use uuid::Uuid;

/// Far from the tags that Kafka gives out, which count up from 0.
pub const TAG: i32 = 20_000;
/// The first version of Produce with tagged fields.
pub const PRODUCE_SINCE: i16 = 9;
/// The first version of CreateTopics with tagged fields.
pub const CREATE_TOPICS_SINCE: i16 = 5;
/// Ids of clusters have 22 characters with Kafka's tools; whoever chooses one by hand will not need more.
const CLUSTER_ID_BYTES_MAX: usize = 255;

/// The first byte of each field.
pub const VERSION: u8 = 1;

const ID_BYTES: usize = 16;
const RANGE_BYTES: usize = 1 + 8 + 8 + 8 + 4 + 4;
/// The one flag of a range.
const CUT: u8 = 1;

/// A tagged field that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("tagged field {TAG} of {of} is not what a link sends")]
pub struct Malformed {
    pub of: &'static str,
}

/// Where the records of one partition come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    /// The offset at which the bytes go on; what lies below it the target has.
    pub from: Offset,
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// Of the source's leader, so at least that of every batch. With `cut`, of the source's first record at or behind `from`,
    /// or of its leader where there is none.
    pub leader_epoch: LeaderEpoch,
    /// Of the source's record before `from`; [`LeaderEpoch::NONE`] where that is not known.
    pub last_epoch: LeaderEpoch,
    /// What the mirror has from `from` on is not the source's any more, and goes. Such a request has no records.
    pub cut: bool,
}

/// What a new topic is a mirror of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSource {
    /// Whoever knows it may append.
    pub link: Uuid,
    pub cluster: String,
    pub topic: TopicName,
    pub topic_id: TopicId,
}

/// Says over which link the records of a request come.
pub fn tell_link(request: &mut ProduceRequest, link: Uuid) {
    request.unknown_tagged_fields.insert(TAG, link_field(link));
}

/// What [`tell_link`] puts in.
pub fn link_field(link: Uuid) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + ID_BYTES);
    bytes.put_u8(VERSION);
    bytes.put_slice(link.as_bytes());
    bytes.freeze()
}

/// Over which link the records of a request come; `None` for an ordinary producer's.
pub fn link_of(request: &ProduceRequest) -> Result<Option<Uuid>, Malformed> {
    let malformed = Malformed { of: "a Produce request" };
    field(&request.unknown_tagged_fields)
        .map(|bytes| {
            let link = versioned(bytes).and_then(|id| Uuid::from_slice(id).ok());
            link.filter(|link| !link.is_nil()).ok_or(malformed)
        })
        .transpose()
}

pub fn tell_range(data: &mut PartitionProduceData, range: &SourceRange) {
    let mut bytes = BytesMut::with_capacity(1 + RANGE_BYTES);
    bytes.put_u8(VERSION);
    bytes.put_u8(if range.cut { CUT } else { 0 });
    for offset in [range.from, range.log_start, range.high_watermark] {
        bytes.put_i64(offset.0);
    }
    bytes.put_i32(range.leader_epoch.0);
    bytes.put_i32(range.last_epoch.0);
    data.unknown_tagged_fields.insert(TAG, bytes.freeze());
}

/// Where the records of a partition of a link's request come from.
pub fn range_of(data: &PartitionProduceData) -> Result<SourceRange, Malformed> {
    let malformed = Malformed { of: "a partition of a Produce request" };
    let mut bytes = field(&data.unknown_tagged_fields).and_then(versioned).ok_or_else(|| malformed.clone())?;
    if bytes.len() != RANGE_BYTES {
        return Err(malformed);
    }
    let flags = bytes.get_u8();
    let range = SourceRange {
        from: Offset(bytes.get_i64()),
        log_start: Offset(bytes.get_i64()),
        high_watermark: Offset(bytes.get_i64()),
        leader_epoch: LeaderEpoch(bytes.get_i32()),
        last_epoch: LeaderEpoch(bytes.get_i32()),
        cut: flags & CUT != 0,
    };
    let is_sound = flags & !CUT == 0
        && range.from.0 >= 0
        && range.log_start.0 >= 0
        && range.leader_epoch.0 >= 0
        && range.last_epoch.0 >= LeaderEpoch::NONE.0;
    if is_sound { Ok(range) } else { Err(malformed) }
}

pub fn tell_log_end(answer: &mut PartitionProduceResponse, log_end: Offset) {
    let mut bytes = BytesMut::with_capacity(1 + size_of::<i64>());
    bytes.put_u8(VERSION);
    bytes.put_i64(log_end.0);
    answer.unknown_tagged_fields.insert(TAG, bytes.freeze());
}

/// The log end that a leader told; `None` if it told none, or nothing that can be read.
pub fn log_end_of(answer: &PartitionProduceResponse) -> Option<Offset> {
    let bytes = versioned(field(&answer.unknown_tagged_fields)?)?;
    bytes.try_into().ok().map(|bytes| Offset(i64::from_be_bytes(bytes)))
}

/// Makes a topic that is to be created a mirror. A cluster id that is longer than any is cut.
pub fn tell_source(topic: &mut CreatableTopic, source: &MirrorSource) {
    let mut bytes = BytesMut::with_capacity(1 + 2 * ID_BYTES + 2 * CLUSTER_ID_BYTES_MAX);
    bytes.put_u8(VERSION);
    bytes.put_slice(source.link.as_bytes());
    bytes.put_slice(source.topic_id.0.as_bytes());
    for text in [source.cluster.as_str(), source.topic.as_str()] {
        let mut end = text.len().min(CLUSTER_ID_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        bytes.put_u16(end as u16);
        bytes.put_slice(&text.as_bytes()[..end]);
    }
    topic.unknown_tagged_fields.insert(TAG, bytes.freeze());
}

/// What a topic that is to be created is a mirror of; `None` for an ordinary one.
pub fn source_of(topic: &CreatableTopic) -> Result<Option<MirrorSource>, Malformed> {
    let Some(bytes) = field(&topic.unknown_tagged_fields) else { return Ok(None) };
    read_source(bytes).map(Some).ok_or(Malformed { of: "a topic to create" })
}

fn read_source(bytes: &[u8]) -> Option<MirrorSource> {
    let mut bytes = versioned(bytes)?;
    let link = Uuid::from_slice(take(&mut bytes, ID_BYTES)?).ok().filter(|link| !link.is_nil())?;
    let topic_id = TopicId(Uuid::from_slice(take(&mut bytes, ID_BYTES)?).ok()?);
    let cluster = take_text(&mut bytes)?.to_owned();
    let topic = TopicName::parse(take_text(&mut bytes)?).ok()?;
    let is_sound = bytes.is_empty() && !cluster.is_empty() && cluster.len() <= CLUSTER_ID_BYTES_MAX;
    is_sound.then_some(MirrorSource { link, cluster, topic, topic_id })
}

/// What stands behind the version.
fn versioned(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&[VERSION])
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let len = u16::from_be_bytes(take(bytes, 2)?.try_into().ok()?);
    std::str::from_utf8(take(bytes, usize::from(len))?).ok()
}

fn field(fields: &BTreeMap<i32, Bytes>) -> Option<&[u8]> {
    fields.get(&TAG).map(|value| &value[..])
}

#[cfg(test)]
mod tests;
