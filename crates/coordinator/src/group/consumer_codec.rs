//! Records of consumer groups (KIP-848) to bytes and back, byte-compatible with Kafka 4.3.
//!
//! Keys are as in [`super::codec`]: the number of the kind, then strings of fixed-length form. All values have
//! version 0, which is of the flexible form; what Kafka added later (the hash of KIP-1101, the epochs of KIP-1251,
//! the timestamp of KIP-1263) are tagged fields, so that older releases pass over it. Kafka leaves a tagged
//! field out when it has its default; so do we.
//!
//! Not here: kinds of other group types (9 to 15 of share groups, 17 and above of streams groups), which the
//! loader passes over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use twinstream_model::{GroupId, PartitionIndex, TopicId};

use super::consumer::record::{
    ClassicMember, ConsumerRecord, CurrentValue, Epoch, GroupValue, MemberState, MemberValue, OwnedPartitions,
    Partitions, RegexValue, TargetValue,
};
use super::request::{InstanceId, MemberId, Protocol};
use crate::codec::{DecodeError, EncodeError, Encoded, Reader, Writer};

const GROUP_KEY: i16 = 3;
const TOPIC_METADATA_KEY: i16 = 4;
const MEMBER_KEY: i16 = 5;
const TARGET_KEY: i16 = 6;
const TARGET_MEMBER_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;

const VALUE_VERSION: i16 = 0;

const TAG_METADATA_HASH: u32 = 0; // of ConsumerGroupMetadataValue
const TAG_TIMESTAMP: u32 = 0; // of ConsumerGroupTargetAssignmentMetadataValue
const TAG_CLASSIC_MEMBER: u32 = 0; // of ConsumerGroupMemberMetadataValue
const TAG_EPOCHS: u32 = 0; // of the partitions in ConsumerGroupCurrentMemberAssignmentValue

const STATE_UNKNOWN: i8 = 127;

/// Whether records of this kind are read here.
pub(super) fn is_consumer_kind(kind: i16) -> bool {
    matches!(
        kind,
        GROUP_KEY | TOPIC_METADATA_KEY | MEMBER_KEY | TARGET_KEY | TARGET_MEMBER_KEY | CURRENT_KEY | REGEX_KEY
    )
}

pub(super) fn encode(record: &ConsumerRecord) -> Result<Encoded, EncodeError> {
    Ok(Encoded { key: encode_key(record)?, value: encode_value(record)? })
}

/// Reads a record of which the kind is known; `key` stands behind it.
pub(super) fn decode(kind: i16, key: &mut Reader<'_>, value: Option<&[u8]>) -> Result<ConsumerRecord, DecodeError> {
    let group = GroupId::from(key.string()?);
    let record = match kind {
        GROUP_KEY => ConsumerRecord::Group { group, value: value.map(read_group).transpose()? },
        TOPIC_METADATA_KEY => ConsumerRecord::TopicMetadata { group },
        MEMBER_KEY => {
            let member = MemberId::from(key.string()?);
            ConsumerRecord::Member { group, member, value: value.map(read_member).transpose()? }
        }
        TARGET_KEY => ConsumerRecord::Target { group, value: value.map(read_target).transpose()? },
        TARGET_MEMBER_KEY => {
            let member = MemberId::from(key.string()?);
            ConsumerRecord::TargetMember { group, member, value: value.map(read_target_member).transpose()? }
        }
        CURRENT_KEY => {
            let member = MemberId::from(key.string()?);
            ConsumerRecord::Current { group, member, value: value.map(read_current).transpose()? }
        }
        REGEX_KEY => {
            let regex = Arc::from(key.string()?);
            ConsumerRecord::Regex { group, regex, value: value.map(read_regex).transpose()? }
        }
        other => return Err(DecodeError::UnknownKind(other)),
    };
    Ok(record)
}

fn encode_key(record: &ConsumerRecord) -> Result<Bytes, EncodeError> {
    match record {
        ConsumerRecord::Group { group, .. } => key(GROUP_KEY, group, None),
        ConsumerRecord::TopicMetadata { group } => key(TOPIC_METADATA_KEY, group, None),
        ConsumerRecord::Member { group, member, .. } => key(MEMBER_KEY, group, Some(("member id", member.as_str()))),
        ConsumerRecord::Target { group, .. } => key(TARGET_KEY, group, None),
        ConsumerRecord::TargetMember { group, member, .. } => {
            key(TARGET_MEMBER_KEY, group, Some(("member id", member.as_str())))
        }
        ConsumerRecord::Current { group, member, .. } => key(CURRENT_KEY, group, Some(("member id", member.as_str()))),
        ConsumerRecord::Regex { group, regex, .. } => key(REGEX_KEY, group, Some(("regular expression", regex))),
    }
}

fn key(kind: i16, group: &GroupId, second: Option<(&'static str, &str)>) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(kind);
    let mut writer = Writer::new(&mut out, false);
    writer.string("group id", group.as_str())?;
    if let Some((field, text)) = second {
        writer.string(field, text)?;
    }
    Ok(out.freeze())
}

fn encode_value(record: &ConsumerRecord) -> Result<Option<Bytes>, EncodeError> {
    let mut out = BytesMut::new();
    out.put_i16(VALUE_VERSION);
    let mut writer = Writer::new(&mut out, true);
    match record {
        ConsumerRecord::Group { value: Some(value), .. } => write_group(&mut writer, *value),
        ConsumerRecord::Member { value: Some(value), .. } => write_member(&mut writer, value)?,
        ConsumerRecord::Target { value: Some(value), .. } => write_target(&mut writer, *value),
        ConsumerRecord::TargetMember { value: Some(value), .. } => write_target_member(&mut writer, value),
        ConsumerRecord::Current { value: Some(value), .. } => write_current(&mut writer, value),
        ConsumerRecord::Regex { value: Some(value), .. } => write_regex(&mut writer, value)?,
        _ => return Ok(None),
    }
    Ok(Some(out.freeze()))
}

fn value_reader<'a>(bytes: &'a [u8], what: &'static str) -> Result<Reader<'a>, DecodeError> {
    let mut reader = Reader::new(bytes, what);
    let version = reader.i16()?;
    if version != VALUE_VERSION {
        return Err(DecodeError::UnknownVersion { what, version, max: VALUE_VERSION });
    }
    reader.set_flexible(true);
    Ok(reader)
}

fn write_group(writer: &mut Writer<'_>, value: GroupValue) {
    writer.i32(value.epoch.0);
    write_tagged_i64(writer, TAG_METADATA_HASH, value.metadata_hash);
}

fn read_group(bytes: &[u8]) -> Result<GroupValue, DecodeError> {
    const WHAT: &str = "consumer group value";
    let mut reader = value_reader(bytes, WHAT)?;
    let epoch = Epoch(reader.i32()?);
    let metadata_hash = read_tagged_i64(&mut reader, TAG_METADATA_HASH, WHAT)?;
    Ok(GroupValue { epoch, metadata_hash })
}

fn write_target(writer: &mut Writer<'_>, value: TargetValue) {
    writer.i32(value.epoch.0);
    write_tagged_i64(writer, TAG_TIMESTAMP, value.timestamp_ms);
}

fn read_target(bytes: &[u8]) -> Result<TargetValue, DecodeError> {
    const WHAT: &str = "target assignment value";
    let mut reader = value_reader(bytes, WHAT)?;
    let epoch = Epoch(reader.i32()?);
    let timestamp_ms = read_tagged_i64(&mut reader, TAG_TIMESTAMP, WHAT)?;
    Ok(TargetValue { epoch, timestamp_ms })
}

/// The only tagged field of its value, with the default 0.
fn write_tagged_i64(writer: &mut Writer<'_>, tag: u32, value: i64) {
    if value == 0 {
        return writer.tagged_fields(&[]);
    }
    writer.tagged_fields(&[(tag, &value.to_be_bytes())]);
}

fn read_tagged_i64(reader: &mut Reader<'_>, wanted: u32, what: &'static str) -> Result<i64, DecodeError> {
    let mut value = Ok(0);
    reader.tagged_fields(|tag, field| {
        if tag == wanted {
            value = Reader::new(field, what).i64();
        }
    })?;
    value
}

fn write_member(writer: &mut Writer<'_>, value: &MemberValue) -> Result<(), EncodeError> {
    writer.nullable_string("group instance id", value.instance.as_ref().map(InstanceId::as_str))?;
    writer.nullable_string("rack id", value.rack.as_deref())?;
    writer.string("client id", &value.client_id)?;
    writer.string("client host", &value.client_host)?;
    write_strings(writer, "topic name", &value.topics)?;
    // Kafka writes "none" as an empty text, and reads both.
    writer.string("regular expression", value.regex.as_deref().unwrap_or_default())?;
    writer.i32(value.rebalance_timeout_ms);
    writer.nullable_string("server assignor", value.assignor.as_deref())?;
    writer.tagged_fields(&[(TAG_CLASSIC_MEMBER, &classic_member(value.classic.as_ref())?)]);
    Ok(())
}

fn read_member(bytes: &[u8]) -> Result<MemberValue, DecodeError> {
    const WHAT: &str = "consumer group member value";
    let mut reader = value_reader(bytes, WHAT)?;
    let instance = reader.nullable_string()?.map(InstanceId::from);
    let rack = reader.nullable_string()?.map(Arc::from);
    let client_id = reader.string()?.into();
    let client_host = reader.string()?.into();
    let topics = read_strings(&mut reader)?;
    let regex = reader.nullable_string()?.filter(|regex| !regex.is_empty()).map(Arc::from);
    let rebalance_timeout_ms = reader.i32()?;
    let assignor = reader.nullable_string()?.map(Arc::from);
    let mut classic = Ok(None);
    reader.tagged_fields(|tag, field| {
        if tag == TAG_CLASSIC_MEMBER {
            classic = read_classic_member(field, WHAT);
        }
    })?;
    let classic = classic?;
    Ok(MemberValue { instance, rack, client_id, client_host, topics, regex, rebalance_timeout_ms, assignor, classic })
}

/// A struct that may be absent starts with a number that says whether it is there. Kafka writes the field also where
/// it is not.
fn classic_member(classic: Option<&ClassicMember>) -> Result<BytesMut, EncodeError> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, true);
    let Some(classic) = classic else {
        writer.varint(0);
        return Ok(out);
    };
    writer.varint(1);
    writer.i32(classic.session_timeout_ms);
    writer.array_len(Some(classic.protocols.len()));
    for protocol in &classic.protocols {
        writer.string("protocol name", &protocol.name)?;
        writer.bytes(&protocol.metadata);
        writer.tagged_fields(&[]);
    }
    writer.tagged_fields(&[]);
    Ok(out)
}

fn read_classic_member(field: &[u8], what: &'static str) -> Result<Option<ClassicMember>, DecodeError> {
    let mut reader = Reader::new(field, what);
    reader.set_flexible(true);
    if reader.varint()? == 0 {
        return Ok(None);
    }
    let session_timeout_ms = reader.i32()?;
    let mut protocols = Vec::new(); // grows with what is really there
    for _ in 0..reader.array_len()? {
        let name = reader.string()?.into();
        let metadata = reader.bytes()?;
        reader.tagged_fields(|_, _| ())?;
        protocols.push(Protocol { name, metadata });
    }
    reader.tagged_fields(|_, _| ())?;
    Ok(Some(ClassicMember { session_timeout_ms, protocols }))
}

fn write_target_member(writer: &mut Writer<'_>, partitions: &Partitions) {
    writer.array_len(Some(partitions.len()));
    for (topic, partitions) in partitions {
        write_topic(writer, *topic, partitions.iter());
        writer.tagged_fields(&[]);
    }
    writer.tagged_fields(&[]);
}

fn read_target_member(bytes: &[u8]) -> Result<Partitions, DecodeError> {
    let mut reader = value_reader(bytes, "target assignment of a member")?;
    let mut all = Partitions::new();
    for _ in 0..reader.array_len()? {
        let (topic, partitions) = read_topic(&mut reader)?;
        reader.tagged_fields(|_, _| ())?;
        if !partitions.is_empty() {
            all.entry(topic).or_default().extend(partitions);
        }
    }
    reader.tagged_fields(|_, _| ())?;
    Ok(all)
}

fn write_current(writer: &mut Writer<'_>, value: &CurrentValue) {
    writer.i32(value.epoch.0);
    writer.i32(value.previous_epoch.0);
    writer.i8(match value.state {
        MemberState::Stable => 0,
        MemberState::UnrevokedPartitions => 1,
        MemberState::UnreleasedPartitions => 2,
        MemberState::Unknown => STATE_UNKNOWN,
    });
    write_owned(writer, &value.assigned);
    write_owned(writer, &value.pending_revocation);
    writer.tagged_fields(&[]);
}

fn read_current(bytes: &[u8]) -> Result<CurrentValue, DecodeError> {
    const WHAT: &str = "current assignment of a member";
    let mut reader = value_reader(bytes, WHAT)?;
    let epoch = Epoch(reader.i32()?);
    let previous_epoch = Epoch(reader.i32()?);
    let state = match reader.i8()? {
        0 => MemberState::Stable,
        1 => MemberState::UnrevokedPartitions,
        2 => MemberState::UnreleasedPartitions,
        _ => MemberState::Unknown,
    };
    let assigned = read_owned(&mut reader, epoch, WHAT)?;
    let pending_revocation = read_owned(&mut reader, epoch, WHAT)?;
    reader.tagged_fields(|_, _| ())?;
    Ok(CurrentValue { epoch, previous_epoch, state, assigned, pending_revocation })
}

fn write_owned(writer: &mut Writer<'_>, owned: &OwnedPartitions) {
    writer.array_len(Some(owned.len()));
    for (topic, partitions) in owned {
        write_topic(writer, *topic, partitions.keys());
        let mut epochs = BytesMut::new();
        let mut epochs_writer = Writer::new(&mut epochs, true);
        epochs_writer.array_len(Some(partitions.len()));
        for epoch in partitions.values() {
            epochs_writer.i32(epoch.0);
        }
        writer.tagged_fields(&[(TAG_EPOCHS, &epochs)]);
    }
}

/// Partitions for which no epoch is stored have that of the member.
fn read_owned(reader: &mut Reader<'_>, member: Epoch, what: &'static str) -> Result<OwnedPartitions, DecodeError> {
    let mut all = OwnedPartitions::new();
    for _ in 0..reader.array_len()? {
        let (topic, partitions) = read_topic(reader)?;
        let mut epochs = Ok(Vec::new());
        reader.tagged_fields(|tag, field| {
            if tag == TAG_EPOCHS {
                epochs = read_epochs(field, what);
            }
        })?;
        let epochs = epochs?.into_iter().chain(std::iter::repeat(member));
        let with_epochs: BTreeMap<PartitionIndex, Epoch> = partitions.into_iter().zip(epochs).collect();
        if !with_epochs.is_empty() {
            all.entry(topic).or_default().extend(with_epochs);
        }
    }
    Ok(all)
}

fn read_epochs(field: &[u8], what: &'static str) -> Result<Vec<Epoch>, DecodeError> {
    let mut reader = Reader::new(field, what);
    reader.set_flexible(true);
    let mut epochs = Vec::new();
    for _ in 0..reader.nullable_array_len()?.unwrap_or(0) {
        epochs.push(Epoch(reader.i32()?));
    }
    Ok(epochs)
}

/// A topic with its partitions; the tagged fields of the struct are the caller's.
fn write_topic<'a>(
    writer: &mut Writer<'_>,
    topic: TopicId,
    partitions: impl ExactSizeIterator<Item = &'a PartitionIndex>,
) {
    writer.uuid(topic.0);
    writer.array_len(Some(partitions.len()));
    for partition in partitions {
        writer.i32(partition.0);
    }
}

fn read_topic(reader: &mut Reader<'_>) -> Result<(TopicId, Vec<PartitionIndex>), DecodeError> {
    let topic = TopicId(reader.uuid()?);
    let mut partitions = Vec::new();
    for _ in 0..reader.array_len()? {
        partitions.push(PartitionIndex(reader.i32()?));
    }
    Ok((topic, partitions))
}

fn write_regex(writer: &mut Writer<'_>, value: &RegexValue) -> Result<(), EncodeError> {
    write_strings(writer, "topic name", &value.topics)?;
    writer.i64(value.version);
    writer.i64(value.timestamp_ms);
    writer.tagged_fields(&[]);
    Ok(())
}

fn read_regex(bytes: &[u8]) -> Result<RegexValue, DecodeError> {
    let mut reader = value_reader(bytes, "regular expression value")?;
    let topics = read_strings(&mut reader)?;
    let version = reader.i64()?;
    let timestamp_ms = reader.i64()?;
    reader.tagged_fields(|_, _| ())?;
    Ok(RegexValue { topics, version, timestamp_ms })
}

fn write_strings(
    writer: &mut Writer<'_>,
    field: &'static str,
    strings: &BTreeSet<Arc<str>>,
) -> Result<(), EncodeError> {
    writer.array_len(Some(strings.len()));
    for text in strings {
        writer.string(field, text)?;
    }
    Ok(())
}

fn read_strings(reader: &mut Reader<'_>) -> Result<BTreeSet<Arc<str>>, DecodeError> {
    let mut strings = BTreeSet::new();
    for _ in 0..reader.array_len()? {
        strings.insert(reader.string()?.into());
    }
    Ok(strings)
}

#[cfg(test)]
mod tests;
