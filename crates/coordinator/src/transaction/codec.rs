//! Records of `__transaction_state` to bytes and back, byte-compatible with Kafka 4.3.
//!
//! The only kind of key is 0, a transactional id. Values are written as version 0 while the cluster's
//! `transaction.version` is 0, else as version 1, which has tagged fields; read are both.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use twinstream_model::{PartitionIndex, ProducerEpoch, ProducerId, TopicName, TopicPartition, TransactionalId};

use super::record::{Layout, Record, TransactionMetadata};
use super::request::{Producer, TransactionState, TransactionVersion};
use crate::codec::{DecodeError, EncodeError, Encoded, Reader, Writer};

const KEY: i16 = 0;
const VALUE_MAX: i16 = 1;

const TAG_PREVIOUS_PRODUCER_ID: u32 = 0;
const TAG_NEXT_PRODUCER_ID: u32 = 1;
const TAG_CLIENT_VERSION: u32 = 2;

const VALUE: &str = "transaction log value";

pub fn encode(record: &Record) -> Result<Encoded, EncodeError> {
    let mut key = BytesMut::new();
    let mut writer = Writer::new(&mut key, false);
    writer.i16(KEY);
    writer.string("transactional id", record.transactional_id.as_str())?;
    Ok(Encoded { key: key.freeze(), value: record.value.as_ref().map(encode_value).transpose()? })
}

pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(key.ok_or(DecodeError::NoKey)?, "record key");
    match reader.i16()? {
        KEY => {
            let transactional_id = TransactionalId::from(reader.string()?);
            Ok(Record { transactional_id, value: value.map(decode_value).transpose()? })
        }
        kind => Err(DecodeError::UnknownKind(kind)),
    }
}

fn encode_value(value: &TransactionMetadata) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, value.layout == Layout::V1);
    writer.i16(layout_version(value.layout));
    writer.i64(value.producer.id.0);
    writer.i16(value.producer.epoch.0);
    writer.i32(value.timeout_ms);
    writer.i8(state_id(value.state));
    encode_partitions(&mut writer, value)?;
    writer.i64(value.last_update_ms);
    writer.i64(value.start_ms);
    encode_tagged_fields(&mut writer, value);
    Ok(out.freeze())
}

/// Null in the state Empty, as Kafka writes it.
fn encode_partitions(writer: &mut Writer<'_>, value: &TransactionMetadata) -> Result<(), EncodeError> {
    if value.state == TransactionState::Empty {
        writer.array_len(None);
        return Ok(());
    }
    let by_topic: Vec<&TopicPartition> = value.partitions.iter().collect();
    let topics: Vec<&[&TopicPartition]> = by_topic.chunk_by(|a, b| a.topic == b.topic).collect();
    writer.array_len(Some(topics.len()));
    for partitions in topics {
        writer.string("topic name", partitions[0].topic.as_str())?;
        writer.array_len(Some(partitions.len()));
        for partition in partitions {
            writer.i32(partition.partition.0);
        }
        writer.tagged_fields(&[]);
    }
    Ok(())
}

/// Fields that have their default are left out.
fn encode_tagged_fields(writer: &mut Writer<'_>, value: &TransactionMetadata) {
    let previous = value.previous_producer_id.0.to_be_bytes();
    let next = value.next_producer_id.0.to_be_bytes();
    let version = value.client_version.level().to_be_bytes();
    let mut fields: Vec<(u32, &[u8])> = Vec::new();
    if value.previous_producer_id != ProducerId::NONE {
        fields.push((TAG_PREVIOUS_PRODUCER_ID, &previous));
    }
    if value.next_producer_id != ProducerId::NONE {
        fields.push((TAG_NEXT_PRODUCER_ID, &next));
    }
    if value.client_version != TransactionVersion::V0 {
        fields.push((TAG_CLIENT_VERSION, &version));
    }
    writer.tagged_fields(&fields);
}

fn decode_value(bytes: &[u8]) -> Result<TransactionMetadata, DecodeError> {
    let mut reader = Reader::new(bytes, VALUE);
    let layout = match reader.i16()? {
        0 => Layout::V0,
        1 => Layout::V1,
        version => return Err(DecodeError::UnknownVersion { what: VALUE, version, max: VALUE_MAX }),
    };
    reader.set_flexible(layout == Layout::V1);
    let producer = Producer::new(reader.i64()?, reader.i16()?);
    let timeout_ms = reader.i32()?;
    let state = state_of(reader.i8()?).ok_or(DecodeError::Malformed { what: "state of a transaction" })?;
    let partitions = decode_partitions(&mut reader)?;
    let last_update_ms = reader.i64()?;
    let start_ms = reader.i64()?;
    let mut value = TransactionMetadata {
        producer,
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        last_epoch: ProducerEpoch::NONE,
        timeout_ms,
        state,
        partitions: if state == TransactionState::Empty { BTreeSet::new() } else { partitions },
        last_update_ms,
        start_ms,
        client_version: TransactionVersion::V0,
        layout,
    };
    decode_tagged_fields(&mut reader, &mut value)?;
    Ok(value)
}

fn decode_partitions(reader: &mut Reader<'_>) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    let mut partitions = BTreeSet::new(); // grows with what is really there, not with what the length claims
    for _ in 0..reader.nullable_array_len()?.unwrap_or(0) {
        let topic = TopicName::parse(&reader.string()?);
        let topic = topic.map_err(|_| DecodeError::Malformed { what: "topic name of a transaction" })?;
        for _ in 0..reader.array_len()? {
            partitions.insert(TopicPartition::new(topic.clone(), PartitionIndex(reader.i32()?)));
        }
        reader.tagged_fields(|_, _| ())?;
    }
    Ok(partitions)
}

fn decode_tagged_fields(reader: &mut Reader<'_>, value: &mut TransactionMetadata) -> Result<(), DecodeError> {
    let mut client_level = 0;
    let mut is_sound = true;
    reader.tagged_fields(|tag, field| match tag {
        TAG_PREVIOUS_PRODUCER_ID => is_sound &= read_i64(field, &mut value.previous_producer_id.0),
        TAG_NEXT_PRODUCER_ID => is_sound &= read_i64(field, &mut value.next_producer_id.0),
        TAG_CLIENT_VERSION => match field.try_into() {
            Ok(bytes) => client_level = i16::from_be_bytes(bytes),
            Err(_) => is_sound = false,
        },
        _ => (),
    })?;
    let client_version = TransactionVersion::from_level(client_level);
    match client_version {
        Some(version) if is_sound => value.client_version = version,
        _ => return Err(DecodeError::Malformed { what: "tagged field of a transaction log value" }),
    }
    Ok(())
}

/// `false` if the field is no 64-bit number.
fn read_i64(field: &[u8], number: &mut i64) -> bool {
    let Ok(bytes) = field.try_into() else { return false };
    *number = i64::from_be_bytes(bytes);
    true
}

fn layout_version(layout: Layout) -> i16 {
    match layout {
        Layout::V0 => 0,
        Layout::V1 => 1,
    }
}

fn state_id(state: TransactionState) -> i8 {
    match state {
        TransactionState::Empty => 0,
        TransactionState::Ongoing => 1,
        TransactionState::PrepareCommit => 2,
        TransactionState::PrepareAbort => 3,
        TransactionState::CompleteCommit => 4,
        TransactionState::CompleteAbort => 5,
        TransactionState::Dead => 6,
        TransactionState::PrepareEpochFence => 7,
    }
}

/// Dead and PrepareEpochFence are never stored.
fn state_of(id: i8) -> Option<TransactionState> {
    TransactionState::ALL.into_iter().find(|state| state.is_stored() && state_id(*state) == id)
}

#[cfg(test)]
mod tests;
