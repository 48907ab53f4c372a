//! Records of `__consumer_offsets` to bytes and back, byte-compatible with Kafka 4.3.
//!
//! Keys start with a 16-bit number that names the kind of record: 0 and 1 are offset commits (the layout is
//! the same), 2 is group metadata; those of consumer groups are in `consumer_codec`. Values start with the
//! version of their layout. Written: offset commits as version 4, or 1 when the commit names its own
//! retention; group metadata as version 3. Read: every version that Kafka 4.3 reads (0 to 4 of both).
//!
//! What a transaction commits is stored like any other commit: its batch says that it belongs to a transaction, and a
//! control batch how that ended.
//!
//! What is not known is treated as `crate::codec` says.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use twinstream_model::{GroupId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName};
use uuid::Uuid;

use super::consumer_codec;
use super::record::{CommittedOffset, GroupMetadata, OffsetKey, Record, StoredMember};
use super::request::{Generation, InstanceId, MemberId};
use crate::codec::{DecodeError, EncodeError, Encoded, Reader, Writer};
use crate::transaction::Producer;

const OFFSET_COMMIT_KEY_LEGACY: i16 = 0;
const OFFSET_COMMIT_KEY: i16 = 1;
const GROUP_METADATA_KEY: i16 = 2;

const OFFSET_COMMIT_VALUE_MAX: i16 = 4;
const OFFSET_COMMIT_VALUE_WITH_EXPIRY: i16 = 1; // the only version that has the field
const GROUP_METADATA_VALUE_WRITTEN: i16 = 3;
const GROUP_METADATA_VALUE_MAX: i16 = 4;
const FLEXIBLE_FROM: i16 = 4; // of both values

const MARKER_VERSION: i16 = 0; // of key and value of a control record
const MARKER_ABORT: i16 = 0;
const MARKER_COMMIT: i16 = 1;

const TAG_TOPIC_ID: u32 = 0; // of OffsetCommitValue

pub fn encode(record: &Record) -> Result<Encoded, EncodeError> {
    match record {
        Record::OffsetCommit { key, value } => {
            Ok(Encoded { key: offset_commit_key(key)?, value: value.as_ref().map(offset_commit_value).transpose()? })
        }
        Record::GroupMetadata { group, value } => Ok(Encoded {
            key: group_metadata_key(group)?,
            value: value.as_ref().map(group_metadata_value).transpose()?,
        }),
        Record::TransactionalCommit { key, value, .. } => {
            Ok(Encoded { key: offset_commit_key(key)?, value: Some(offset_commit_value(value)?) })
        }
        Record::Consumer(record) => consumer_codec::encode(record),
        Record::TransactionMarker { commit, coordinator_epoch, .. } => Ok(marker(*commit, *coordinator_epoch)),
    }
}

pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(key.ok_or(DecodeError::NoKey)?, "record key");
    match reader.i16()? {
        OFFSET_COMMIT_KEY_LEGACY | OFFSET_COMMIT_KEY => {
            let key = read_offset_commit_key(&mut reader)?;
            let value = value.map(read_offset_commit_value).transpose()?;
            Ok(Record::OffsetCommit { key, value })
        }
        GROUP_METADATA_KEY => {
            let group = GroupId::from(reader.string()?);
            let value = value.map(read_group_metadata_value).transpose()?;
            Ok(Record::GroupMetadata { group, value })
        }
        kind if consumer_codec::is_consumer_kind(kind) => {
            consumer_codec::decode(kind, &mut reader, value).map(Record::Consumer)
        }
        kind => Err(DecodeError::UnknownKind(kind)),
    }
}

/// The record of a control batch; `None` if it is of another kind than the end of a transaction.
pub fn decode_marker(
    producer: Producer,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<Option<Record>, DecodeError> {
    // Newer versions of both only add fields (KIP-98), so the version is not looked at.
    let mut key = Reader::new(key.ok_or(DecodeError::NoKey)?, "key of a transaction marker");
    key.i16()?;
    let commit = match key.i16()? {
        MARKER_ABORT => false,
        MARKER_COMMIT => true,
        _ => return Ok(None),
    };
    let mut value = Reader::new(value.unwrap_or_default(), "transaction marker");
    value.i16()?;
    let coordinator_epoch = value.i32()?;
    Ok(Some(Record::TransactionMarker { producer, commit, coordinator_epoch }))
}

fn marker(commit: bool, coordinator_epoch: i32) -> Encoded {
    let mut key = BytesMut::new();
    key.put_i16(MARKER_VERSION);
    key.put_i16(if commit { MARKER_COMMIT } else { MARKER_ABORT });
    let mut value = BytesMut::new();
    value.put_i16(MARKER_VERSION);
    value.put_i32(coordinator_epoch);
    Encoded { key: key.freeze(), value: Some(value.freeze()) }
}

fn offset_commit_key(key: &OffsetKey) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(OFFSET_COMMIT_KEY);
    let mut writer = Writer::new(&mut out, false);
    writer.string("group id", key.group.as_str())?;
    writer.string("topic name", key.topic.as_str())?;
    out.put_i32(key.partition.0);
    Ok(out.freeze())
}

fn read_offset_commit_key(reader: &mut Reader<'_>) -> Result<OffsetKey, DecodeError> {
    let group = GroupId::from(reader.string()?);
    let topic = TopicName::parse(&reader.string()?);
    let topic = topic.map_err(|_| DecodeError::Malformed { what: "topic name of an offset commit" })?;
    let partition = PartitionIndex(reader.i32()?);
    Ok(OffsetKey { group, topic, partition })
}

fn offset_commit_value(value: &CommittedOffset) -> Result<Bytes, EncodeError> {
    match value.expire_timestamp_ms {
        Some(expire_timestamp_ms) => offset_commit_value_v1(value, expire_timestamp_ms),
        None => offset_commit_value_v4(value),
    }
}

fn offset_commit_value_v1(value: &CommittedOffset, expire_ms: i64) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(OFFSET_COMMIT_VALUE_WITH_EXPIRY);
    out.put_i64(value.offset.0);
    Writer::new(&mut out, false).string("offset metadata", &value.metadata)?;
    out.put_i64(value.commit_timestamp_ms);
    out.put_i64(expire_ms);
    Ok(out.freeze())
}

fn offset_commit_value_v4(value: &CommittedOffset) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(OFFSET_COMMIT_VALUE_MAX);
    out.put_i64(value.offset.0);
    out.put_i32(value.leader_epoch.0);
    Writer::new(&mut out, true).string("offset metadata", &value.metadata)?;
    out.put_i64(value.commit_timestamp_ms);
    let mut writer = Writer::new(&mut out, true);
    if value.topic_id.is_none() {
        writer.varint(0);
    } else {
        writer.varint(1); // one tagged field
        writer.varint(TAG_TOPIC_ID);
        writer.varint(16);
        out.put_slice(value.topic_id.0.as_bytes());
    }
    Ok(out.freeze())
}

fn read_offset_commit_value(bytes: &[u8]) -> Result<CommittedOffset, DecodeError> {
    let (version, mut reader) = versioned(bytes, "offset commit value", OFFSET_COMMIT_VALUE_MAX)?;
    let offset = Offset(reader.i64()?);
    let leader_epoch = if version >= 3 { LeaderEpoch(reader.i32()?) } else { LeaderEpoch::NONE };
    let metadata: Arc<str> = reader.string()?.into();
    let commit_timestamp_ms = reader.i64()?;
    let expire_timestamp_ms =
        if version == OFFSET_COMMIT_VALUE_WITH_EXPIRY { Some(reader.i64()?).filter(|at| *at != -1) } else { None };
    let mut topic_id = TopicId::NONE;
    reader.tagged_fields(|tag, field| {
        if tag == TAG_TOPIC_ID
            && let Ok(id) = Uuid::from_slice(field)
        {
            topic_id = TopicId(id);
        }
    })?;
    Ok(CommittedOffset { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
}

fn group_metadata_key(group: &GroupId) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(GROUP_METADATA_KEY);
    Writer::new(&mut out, false).string("group id", group.as_str())?;
    Ok(out.freeze())
}

fn group_metadata_value(value: &GroupMetadata) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(GROUP_METADATA_VALUE_WRITTEN);
    Writer::new(&mut out, false).string("protocol type", value.protocol_type.as_deref().unwrap_or(""))?;
    out.put_i32(value.generation.0);
    let mut writer = Writer::new(&mut out, false);
    writer.nullable_string("protocol name", value.protocol.as_deref())?;
    writer.nullable_string("leader id", value.leader.as_ref().map(MemberId::as_str))?;
    out.put_i64(value.current_state_timestamp_ms.unwrap_or(-1));
    out.put_i32(value.members.len() as i32);
    for member in &value.members {
        stored_member(&mut out, member)?;
    }
    Ok(out.freeze())
}

fn stored_member(out: &mut BytesMut, member: &StoredMember) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out, false);
    writer.string("member id", member.member.as_str())?;
    writer.nullable_string("group instance id", member.instance.as_ref().map(InstanceId::as_str))?;
    writer.string("client id", &member.client_id)?;
    writer.string("client host", &member.client_host)?;
    writer.i32(member.rebalance_timeout_ms);
    writer.i32(member.session_timeout_ms);
    writer.bytes(&member.subscription);
    writer.bytes(&member.assignment);
    Ok(())
}

fn read_group_metadata_value(bytes: &[u8]) -> Result<GroupMetadata, DecodeError> {
    let (version, mut reader) = versioned(bytes, "group metadata value", GROUP_METADATA_VALUE_MAX)?;
    let protocol_type = Some(reader.string()?).filter(|text| !text.is_empty()).map(Arc::from);
    let generation = Generation(reader.i32()?);
    let protocol = reader.nullable_string()?.map(Arc::from);
    let leader = reader.nullable_string()?.map(MemberId::from);
    let current_state_timestamp_ms = if version >= 2 { Some(reader.i64()?).filter(|at| *at != -1) } else { None };
    let mut members = Vec::new(); // grows with what is really there, not with what the length claims
    for _ in 0..reader.array_len()? {
        members.push(read_stored_member(&mut reader, version)?);
    }
    reader.tagged_fields(|_, _| ())?;
    Ok(GroupMetadata { protocol_type, generation, protocol, leader, current_state_timestamp_ms, members })
}

fn read_stored_member(reader: &mut Reader<'_>, version: i16) -> Result<StoredMember, DecodeError> {
    let member = MemberId::from(reader.string()?);
    let instance = if version >= 3 { reader.nullable_string()?.map(InstanceId::from) } else { None };
    let client_id = reader.string()?.into();
    let client_host = reader.string()?.into();
    let rebalance_timeout_ms = if version >= 1 { reader.i32()? } else { -1 };
    let session_timeout_ms = reader.i32()?;
    let subscription = reader.bytes()?;
    let assignment = reader.bytes()?;
    reader.tagged_fields(|_, _| ())?;
    Ok(StoredMember {
        member,
        instance,
        client_id,
        client_host,
        // Old records have one timeout for both.
        rebalance_timeout_ms: if rebalance_timeout_ms == -1 { session_timeout_ms } else { rebalance_timeout_ms },
        session_timeout_ms,
        subscription,
        assignment,
    })
}

fn versioned<'a>(bytes: &'a [u8], what: &'static str, max: i16) -> Result<(i16, Reader<'a>), DecodeError> {
    let mut reader = Reader::new(bytes, what);
    let version = reader.i16()?;
    if !(0..=max).contains(&version) {
        return Err(DecodeError::UnknownVersion { what, version, max });
    }
    reader.set_flexible(version >= FLEXIBLE_FROM);
    Ok((version, reader))
}

#[cfg(test)]
mod tests;
