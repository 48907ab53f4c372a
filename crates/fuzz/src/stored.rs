//! Records that hold state: the cluster's metadata, groups, schemas, connectors.
//!
//! Records of topics come as lines: a byte that says which topic, the key, a tab, the value; without a tab the record
//! is a tombstone. Their keys and values are JSON or hexadecimal-free binary that may hold anything but a line feed.

use twinstream_coordinator::group::{self, GroupMetadata, Record};
use twinstream_coordinator::transaction::{self, Producer};
use twinstream_metadata::{Image, decode_batch, encode_batch};
use twinstream_model::{ProducerEpoch, ProducerId};

/// One entry of the quorum's log, and what replaying it into an empty image does.
pub(crate) fn metadata_records(bytes: &[u8]) {
    let Ok(records) = decode_batch(bytes) else { return };
    assert_eq!(decode_batch(&encode_batch(&records)).as_ref(), Ok(&records), "what was read is written as such");
    let mut image = Image::default();
    for record in &records {
        if image.apply(record).is_err() {
            break;
        }
    }
    let again = Image::from_snapshot(&image.to_snapshot()).expect("our own snapshot");
    assert_eq!(again.to_snapshot(), image.to_snapshot());
}

pub(crate) fn metadata_snapshot(bytes: &[u8]) {
    let Ok(image) = Image::from_snapshot(bytes) else { return };
    let snapshot = image.to_snapshot();
    let again = Image::from_snapshot(&snapshot).expect("our own snapshot");
    assert_eq!(again.to_snapshot(), snapshot);
}

/// A record of `__consumer_offsets`: the length of the key, the key, a byte that says whether there is a value, the value.
pub(crate) fn group_records(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((key, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
    let value = rest.split_first().and_then(|(there, value)| (*there != 0).then_some(value));
    let producer = Producer { id: ProducerId(7), epoch: ProducerEpoch(0) };
    if let Ok(Some(marker)) = group::decode_marker(producer, Some(key), value) {
        let encoded = group::encode(&marker).expect("a marker has no text that could be too long");
        let again = group::decode_marker(producer, Some(&encoded.key), encoded.value.as_deref());
        assert_eq!(again, Ok(Some(marker)), "what was read is written as such");
    }
    let Ok(record) = group::decode(Some(key), value) else { return };
    if let Record::GroupMetadata { value: Some(GroupMetadata { members, .. }), .. } = &record {
        assert!(members.len() <= bytes.len());
    }
    if let Ok(encoded) = group::encode(&record) {
        let again = group::decode(Some(&encoded.key), encoded.value.as_deref());
        assert_eq!(again.as_ref(), Ok(&record), "what was read is written as such");
    }
}

/// A record of `__transaction_state`, laid out like those of groups.
pub(crate) fn transaction_records(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some((key, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
    let value = rest.split_first().and_then(|(there, value)| (*there != 0).then_some(value));
    let Ok(record) = transaction::decode(Some(key), value) else { return };
    assert!(record.value.iter().all(|value| value.partitions.len() <= bytes.len()));
    if let Ok(encoded) = transaction::encode(&record) {
        let again = transaction::decode(Some(&encoded.key), encoded.value.as_deref());
        assert_eq!(again.as_ref(), Ok(&record), "what was read is written as such");
    }
}

pub(crate) fn registry_records(bytes: &[u8]) {
    twinstream_registry::fuzzing::stored_records(lines(bytes));
}

pub(crate) fn connect_records(bytes: &[u8]) {
    let records = lines(bytes).filter_map(|(key, value)| key.split_first().map(|(topic, key)| (*topic, key, value)));
    twinstream_connect::fuzzing::stored_records(records);
}

/// A record of a topic that a link keeps: a byte that says which, then as those of groups.
pub(crate) fn mirror_records(bytes: &[u8]) {
    let [topic, length, rest @ ..] = bytes else { return };
    let Some((key, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
    let value = rest.split_first().and_then(|(there, value)| (*there != 0).then_some(value));
    twinstream_connector_mirror::fuzzing::stored_record(*topic, key, value);
}

/// A file of flows: lines of names and values.
pub(crate) fn mirror_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    twinstream_connector_mirror::fuzzing::file_of_flows(&pairs.collect());
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    bytes.split(|byte| *byte == b'\n').map(|line| match line.iter().position(|byte| *byte == b'\t') {
        Some(tab) => (&line[..tab], Some(&line[tab + 1..])),
        None => (line, None),
    })
}
