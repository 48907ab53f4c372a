//! Bytes as Kafka 4.3's MirrorMaker writes and reads them.

use super::*;

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").unwrap(), PartitionIndex(3))
}

#[test]
fn offset_sync_is_mirror_makers() {
    let sync = OffsetSync { partition: partition(), upstream: Offset(1), downstream: Offset(258) };
    assert_eq!(sync.key(), b"\x00\x06orders\x00\x00\x00\x03");
    assert_eq!(sync.value(), b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x02");
    assert_eq!(OffsetSync::read(&sync.key(), &sync.value()), Ok(sync));
}

#[test]
fn checkpoint_is_mirror_makers() {
    let (group, metadata) = (GroupId::from("billing"), "zürich".to_owned());
    let checkpoint = Checkpoint { group, partition: partition(), upstream: Offset(9), downstream: Offset(8), metadata };
    assert_eq!(checkpoint.key(), b"\x00\x07billing\x00\x06orders\x00\x00\x00\x03");
    let value = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x08\x00\x07z\xc3\xbcrich";
    assert_eq!(checkpoint.value(), value);
    assert_eq!(Checkpoint::read(&checkpoint.key(), &checkpoint.value()), Ok(checkpoint));
}

#[test]
fn heartbeat_is_mirror_makers() {
    let heartbeat = Heartbeat { source: "east".to_owned(), target: "west".to_owned(), timestamp: 258 };
    assert_eq!(heartbeat.key(), b"\x00\x04east\x00\x04west");
    assert_eq!(heartbeat.value(), b"\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02");
    assert_eq!(Heartbeat::read(&heartbeat.key(), &heartbeat.value()), Ok(heartbeat));
}

#[test]
fn records_that_are_cut_short_or_newer_are_errors() {
    let (group, metadata) = (GroupId::from("g"), "m".to_owned());
    let whole = Checkpoint { group, partition: partition(), upstream: Offset(9), downstream: Offset(8), metadata };
    let (key, value) = (whole.key(), whole.value());
    for end in 0..key.len() {
        assert_eq!(Checkpoint::read(&key[..end], &value), Err(FormatError::Short), "{end}");
    }
    for end in 0..value.len() {
        assert_eq!(Checkpoint::read(&key, &value[..end]), Err(FormatError::Short), "{end}");
    }
    assert_eq!(Checkpoint::read(&key, b"\x00\x01"), Err(FormatError::Version(1)));
    assert_eq!(OffsetSync::read(b"\xff\xff", &[0; 16]), Err(FormatError::Broken("string")));
    assert_eq!(OffsetSync::read(b"\x00\x01\xff\x00\x00\x00\x00", &[0; 16]), Err(FormatError::Broken("string")));
    assert_eq!(OffsetSync::read(b"\x00\x01/\x00\x00\x00\x00", &[0; 16]), Err(FormatError::Broken("topic")));
}
