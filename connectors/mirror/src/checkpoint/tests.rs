//! Settings of the checkpoint connector, and translation from both topics.

use std::time::Duration;

use twinstream_client::protocol::batch::OffsetRun;
use twinstream_model::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use super::settings::{CheckpointSettings, config_def};
use super::translate::Maps;
use crate::offset_map::place::{self, Lived};
use crate::offset_map::{OffsetMap, stored};
use crate::syncs::formats::OffsetSync;
use crate::syncs::settings::Location;
use crate::syncs::topic_log::{Read, Replicas};
use crate::tests::east_to_west as config;

#[test]
fn groups_follow_within_seconds_unless_the_configuration_says_otherwise() {
    let ours = CheckpointSettings::parse(&config(&[])).unwrap();
    assert_eq!((ours.sync_every, ours.emit_every), (Some(Duration::from_secs(1)), Duration::from_secs(5)));
    assert_eq!((ours.refresh_every, ours.replicas), (Some(Duration::from_secs(5)), Replicas::UpTo(3)));
    let theirs = [
        ("sync.group.offsets.enabled", "false"),
        ("sync.group.offsets.interval.seconds", "60"),
        ("emit.checkpoints.interval.seconds", "60"),
        ("refresh.groups.interval.seconds", "600"),
        ("checkpoints.topic.replication.factor", "2"),
    ];
    let theirs = CheckpointSettings::parse(&config(&theirs)).unwrap();
    assert_eq!((theirs.sync_every, theirs.emit_every), (None, Duration::from_secs(60)));
    assert_eq!((theirs.refresh_every, theirs.replicas), (Some(Duration::from_secs(600)), Replicas::Exactly(2)));
    let off = [("sync.group.offsets.interval.seconds", "-1"), ("refresh.groups.interval.seconds", "0")];
    let off = CheckpointSettings::parse(&config(&off)).unwrap();
    assert_eq!((off.sync_every, off.refresh_every), (None, None), "as MirrorMaker");
}

#[test]
fn topics_have_mirror_makers_names() {
    let names = |more: &[(&str, &str)]| {
        let settings = CheckpointSettings::parse(&config(more)).unwrap();
        [settings.topic, settings.syncs.syncs_topic, settings.syncs.map_topic].map(|name| name.to_string())
    };
    assert_eq!(
        names(&[]),
        ["east.checkpoints.internal", "mm2-offset-syncs.west.internal", "mm2-offset-map.east.internal"]
    );
    let at_target = names(&[("offset-syncs.topic.location", "target")]);
    assert_eq!(at_target[1], "mm2-offset-syncs.east.internal");
    let underscores = [("replication.policy.separator", "_")];
    assert_eq!(names(&underscores)[0], "east_checkpoints_internal");
    let dots = [underscores[0], ("replication.policy.internal.topic.separator.enabled", "false")];
    assert_eq!(names(&dots)[0], "east.checkpoints.internal");
    let settings = CheckpointSettings::parse(&config(&underscores)).unwrap();
    assert_eq!(settings.syncs.location, Location::Source);
    let copies = |topic: &str| settings.topics.copies(topic, &settings.policy, "west");
    assert!(copies("orders") && !copies("north_checkpoints_internal"));
    assert!(copies("a.checkpoints.internal") && copies("billing_internal"), "names of users (KIP-1074)");
}

#[test]
fn settings_that_leave_nothing_to_do_are_refused_as_by_mirror_maker() {
    for key in ["emit.checkpoints.enabled", "emit.offset-syncs.enabled"] {
        let error = CheckpointSettings::parse(&config(&[(key, "false")])).unwrap_err();
        assert_eq!(error.key(), key, "{error}");
        assert!(CheckpointSettings::parse(&config(&[(key, "false"), ("enabled", "false")])).is_ok());
    }
}

#[test]
fn a_configuration_that_the_connectors_of_a_link_share_is_accepted() {
    let shared = [
        ("topics", "a.*"),
        ("offset.lag.max", "5"),
        ("emit.heartbeats.interval.seconds", "2"),
        ("refresh.topics.interval.seconds", "30"),
        ("source.consumer.max.poll.records", "5"),
        ("groups", "billing.*"),
    ];
    let errors: Vec<String> =
        config_def().validate(&config(&shared)).into_iter().flat_map(|value| value.errors).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let settings = CheckpointSettings::parse(&config(&shared)).unwrap();
    assert!(settings.groups.follows("billing-1") && !settings.groups.follows("other"));
    let defaults = CheckpointSettings::parse(&config(&[])).unwrap();
    assert!(!defaults.groups.follows("connect-mirror") && !defaults.groups.follows("console-consumer-1"));
}

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").unwrap(), PartitionIndex(0))
}

fn exact(maps: &mut Maps, from: i64, length: u32, base: i64) {
    let mut map = OffsetMap::default();
    map.copied(&[OffsetRun { from: Offset(from), length }], Offset(base));
    for (first, runs) in map.take_unsaved() {
        let (key, value) = (stored::key(&partition(), first), runs.as_deref().map(stored::value));
        maps.exact_record(Read::Record { key: &key, value: value.as_deref() });
    }
}

fn sync(maps: &mut Maps, upstream: i64, downstream: i64) {
    let (upstream, downstream) = (Offset(upstream), Offset(downstream));
    let sync = OffsetSync { partition: partition(), upstream, downstream };
    maps.sync_record(Read::Record { key: &sync.key(), value: Some(&sync.value()) });
}

#[test]
fn a_link_that_mirror_maker_ran_before_translates_its_part_as_mirror_maker_does() {
    let mut maps = Maps::default();
    [(100, 80), (200, 180), (300, 280)].into_iter().for_each(|(up, down)| sync(&mut maps, up, down));
    exact(&mut maps, 400, 50, 375);
    let at = |up| maps.to_target(&partition(), Offset(up)).map(|down| down.0);
    assert_eq!((at(99), at(100), at(101), at(250)), (None, Some(80), Some(81), Some(181)));
    assert_eq!(at(399), Some(281), "behind the last sync and before the map");
    assert_eq!((at(400), at(425), at(9_999)), (Some(375), Some(400), Some(425)));
}

#[test]
fn a_reader_of_a_copy_is_found_in_the_original_by_the_opposite_link() {
    let mut map = OffsetMap::default();
    map.copied(&[OffsetRun { from: Offset(100), length: 50 }], Offset(7));
    let mut maps = Maps::default();
    for (first, runs) in map.take_unsaved() {
        let (key, value) = (stored::key(&partition(), first), runs.as_deref().map(stored::value));
        maps.opposite_record(Read::Record { key: &key, value: value.as_deref() });
    }
    let original = |copy| maps.to_original(&partition(), Offset(copy)).map(|up| up.0);
    assert_eq!((original(6), original(7), original(30), original(57)), (None, Some(100), Some(123), Some(150)));
    let settings = CheckpointSettings::parse(&config(&[])).unwrap();
    let copy = TopicName::parse("west.orders").unwrap();
    assert_eq!(settings.policy.upstream_of(&copy, "west"), Some(partition().topic));
    assert_eq!(settings.policy.upstream_of(&copy, "east"), None);
    assert_eq!(settings.opposite_map.as_str(), "mm2-offset-map.west.internal");
}

#[test]
fn a_group_in_a_topic_that_both_sites_write_to_reads_some_again_and_misses_none() {
    // Which record lies where: on this side (the source) and on the other, by its name; capitals are the source's own.
    let (here, there) = ("aBCDefGhI", "aeBfhCDGxI");
    let (mut maps, mut opposite) = (Maps::default(), OffsetMap::default());
    assert_eq!(maps.to_target_of_both(&partition(), Offset(3)), None);
    let mut copied = OffsetMap::default();
    for (index, name) in here.char_indices() {
        let Some(other) = there.find(name) else { continue };
        let run = |from: usize| [OffsetRun { from: Offset(from as i64), length: 1 }];
        match name.is_uppercase() {
            true => copied.copied(&run(index), Offset(other as i64)),
            false => opposite.copied(&run(other), Offset(index as i64)),
        }
    }
    for (first, runs) in copied.take_unsaved() {
        let (key, value) = (stored::key(&partition(), first), runs.as_deref().map(stored::value));
        maps.exact_record(Read::Record { key: &key, value: value.as_deref() });
    }
    for (first, runs) in opposite.take_unsaved() {
        let (key, value) = (stored::key(&partition(), first), runs.as_deref().map(stored::value));
        maps.opposite_record(Read::Record { key: &key, value: value.as_deref() });
    }
    let mut before = Offset(0);
    for at in 0..=here.len() {
        let place = maps.to_target_of_both(&partition(), Offset(at as i64)).expect("a place");
        let passed = &there[..place.0 as usize];
        let missed: String = passed.chars().filter(|name| !here[..at].contains(*name)).collect();
        assert_eq!(missed, "", "at {at}: {place}");
        assert!(place >= before, "a reader that goes on goes on there");
        before = place;
    }
    // Behind h comes x, which has not come to this side.
    assert_eq!(before, Offset(5));
    assert_eq!(maps.to_target(&partition(), Offset(here.len() as i64)), Some(Offset(10)), "what one map alone says");
}

#[test]
fn both_ways_are_read_by_the_checkpoint_connector_too() {
    let settings = |more: &[(&str, &str)]| CheckpointSettings::parse(&config(more)).map(|settings| settings.provenance);
    assert!(!settings(&[]).unwrap());
    assert!(settings(&[("twinstream.provenance.headers.enabled", "true")]).unwrap());
}

#[test]
fn a_map_says_nothing_about_another_topic_of_the_name() {
    let id = |number| TopicId(Uuid::from_u128(number));
    let mut maps = Maps::default();
    exact(&mut maps, 0, 10, 0);
    assert!(maps.are_of(&partition(), id(1)), "nobody has noted whose records they are");
    let mut lived = Lived::default();
    lived.reached(id(1), Offset(10), LeaderEpoch(0));
    let (key, value) = (place::key(&partition()), lived.value());
    maps.exact_record(Read::Record { key: &key, value: Some(&value) });
    let are_of = |maps: &Maps, topic| maps.are_of(&partition(), topic);
    assert!(are_of(&maps, id(1)) && are_of(&maps, TopicId::NONE) && !are_of(&maps, id(2)));
    assert!(maps.opposite_is_of(&partition(), id(2)), "that is the other map");
    maps.opposite_record(Read::Record { key: &key, value: Some(&value) });
    assert!(maps.opposite_is_of(&partition(), id(1)) && !maps.opposite_is_of(&partition(), id(2)));
    // A link that goes on with the new topic notes that.
    lived.reached(id(2), Offset(3), LeaderEpoch(0));
    maps.exact_record(Read::Record { key: &key, value: Some(&lived.value()) });
    assert!(are_of(&maps, id(2)) && !are_of(&maps, id(1)));
    maps.exact_record(Read::Record { key: &key, value: None });
    assert!(are_of(&maps, id(1)));
    maps.exact_record(Read::Record { key: &key, value: Some(b"\x00") });
    assert!(are_of(&maps, id(1)), "what cannot be read is left out");
    maps.exact_record(Read::Record { key: &key, value: Some(&value) });
    maps.exact_record(Read::Anew);
    assert!(are_of(&maps, id(2)));
}

#[test]
fn records_of_others_in_the_topics_change_nothing() {
    let mut maps = Maps::default();
    exact(&mut maps, 0, 10, 0);
    for junk in [&b""[..], b"\x00\x00", b"\x00\x09x"] {
        maps.exact_record(Read::Record { key: junk, value: Some(junk) });
        maps.sync_record(Read::Record { key: junk, value: Some(junk) });
    }
    sync(&mut maps, -1, 5);
    assert_eq!(maps.to_target(&partition(), Offset(7)), Some(Offset(7)));
    maps.exact_record(Read::Anew);
    assert_eq!(maps.to_target(&partition(), Offset(7)), None);
}
