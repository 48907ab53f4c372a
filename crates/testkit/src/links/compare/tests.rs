use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::protocol::compression::Compression;
use twinstream_model::{LeaderEpoch, ProducerEpoch, ProducerId};

use super::*;

fn batch(offset: i64, epoch: i32, values: &[&str]) -> Bytes {
    let builder = BatchBuilder::new().with_base_offset(Offset(offset)).with_leader_epoch(LeaderEpoch(epoch));
    build(builder.with_compression(Compression::Lz4), values)
}

fn build(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for value in values {
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), []);
    }
    builder.build().expect("a batch").into()
}

#[test]
fn a_log_is_like_itself_and_an_empty_one_like_an_empty_one() {
    let log = [batch(0, 0, &["a", "b"]), batch(7, 3, &["c"])];
    assert_eq!(first_difference(&log, &log), None);
    assert_eq!(first_difference(&[], &[]), None);
}

#[test]
fn whatever_a_mirror_must_keep_makes_a_difference_at_its_offset() {
    let source = [batch(0, 0, &["a", "b"]), batch(2, 3, &["c"]), batch(3, 3, &["d"])];
    let stamp = ProducerStamp { id: ProducerId(4), epoch: ProducerEpoch(1), base_sequence: 0 };
    let of = || BatchBuilder::new().with_base_offset(Offset(2)).with_leader_epoch(LeaderEpoch(3));
    let others = [
        ("another record", batch(2, 3, &["C"])),
        ("another epoch", batch(2, 4, &["c"])),
        ("another codec", build(of(), &["c"])),
        ("a producer", build(of().with_compression(Compression::Lz4).with_producer(stamp), &["c"])),
        ("a marker", build(of().with_control(), &["c"])),
    ];
    for (what, other) in others {
        let mut target = source.clone();
        target[1] = other;
        let found = first_difference(&source, &target).unwrap_or_else(|| panic!("{what} was not seen"));
        assert_eq!(found.at, Offset(2), "{what}: {found}");
        assert!(found.byte.is_some() && found.source.is_some() && found.target.is_some(), "{what}: {found}");
    }
}

#[test]
fn a_batch_that_one_side_lacks_is_told_with_its_offset() {
    let log = [batch(0, 0, &["a"]), batch(1, 0, &["b"]), batch(5, 0, &["c"])];
    // In the middle: the gap is not at the same place.
    let found = first_difference(&log, &[log[0].clone(), log[2].clone()]).expect("a difference");
    assert_eq!(found.at, Offset(1));
    // At the end, on either side.
    let found = first_difference(&log, &log[..2]).expect("a difference");
    assert_eq!((found.at, found.target), (Offset(5), None));
    let found = first_difference(&log[..2], &log).expect("a difference");
    assert_eq!((found.at, found.source), (Offset(5), None));
    assert!(found.target.is_some_and(|text| text.contains("offsets 5 to 5 in epoch 0")));
}

#[test]
fn batches_cut_otherwise_are_not_the_same_though_they_have_the_same_records() {
    let (whole, parts) = ([batch(0, 0, &["a", "b"])], [batch(0, 0, &["a"]), batch(1, 0, &["b"])]);
    let found = first_difference(&whole, &parts).expect("a difference");
    assert_eq!(found.at, Offset(0));
}

#[test]
fn a_damaged_copy_is_told_as_damaged() {
    let log = [batch(0, 0, &["a"])];
    let mut damaged = log[0].to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let found = first_difference(&log, &[damaged.into()]).expect("a difference");
    assert_eq!(found.byte, Some(last));
    assert!(found.target.is_some_and(|text| text.contains("wrong checksum")));
}
