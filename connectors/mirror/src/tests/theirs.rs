//! Defaults against those of MirrorMaker 2 of Kafka 4.3.1, key by key.

use std::collections::BTreeSet;

use twinstream_connect_api::ConfigDef;
use twinstream_connect_api::config::Default as DefaultValue;

use crate::config::config_def;
use crate::differs::{Difference, OF_CHECKPOINT, OF_HEARTBEAT, OF_SOURCE};
use crate::{checkpoint, heartbeat};

const REQUIRED: &str = "required";
/// Which connectors define it (source, checkpoint, heartbeat), name, type, default: all that MirrorMaker's definitions have
/// beside those of every connector and of TLS and SASL.
const THEIRS: [(&str, &str, &str, &str); 40] = [
    ("SCH", "admin.timeout.ms", "LONG", "60000"),
    ("C", "checkpoints.topic.replication.factor", "SHORT", "3"),
    (
        "S",
        "config.properties.exclude",
        "LIST",
        "follower.replication.throttled.replicas, leader.replication.throttled.replicas, message.timestamp.difference.max.ms, log.message.timestamp.before.max.ms, log.message.timestamp.after.max.ms, message.timestamp.type, unclean.leader.election.enable, min.insync.replicas",
    ),
    ("S", "config.property.filter.class", "CLASS", "org.apache.kafka.connect.mirror.DefaultConfigPropertyFilter"),
    ("SC", "consumer.poll.timeout.ms", "LONG", "1000"),
    ("C", "emit.checkpoints.enabled", "BOOLEAN", "true"),
    ("C", "emit.checkpoints.interval.seconds", "LONG", "60"),
    ("H", "emit.heartbeats.enabled", "BOOLEAN", "true"),
    ("H", "emit.heartbeats.interval.seconds", "LONG", "1"),
    ("S", "emit.offset-syncs.enabled", "BOOLEAN", "true"),
    ("SCH", "enabled", "BOOLEAN", "true"),
    ("SCH", "forwarding.admin.class", "CLASS", "org.apache.kafka.clients.admin.ForwardingAdmin"),
    ("C", "group.filter.class", "CLASS", "org.apache.kafka.connect.mirror.DefaultGroupFilter"),
    ("C", "groups", "LIST", ".*"),
    ("C", "groups.exclude", "LIST", "console-consumer-.*, connect-.*, __.*"),
    ("S", "heartbeats.replication.enabled", "BOOLEAN", "true"),
    ("H", "heartbeats.topic.replication.factor", "SHORT", "3"),
    ("SC", "metric.names.formats", "LIST", "legacy"),
    ("SC", "offset-syncs.topic.location", "STRING", "source"),
    ("S", "offset-syncs.topic.replication.factor", "SHORT", "3"),
    ("S", "offset.lag.max", "LONG", "100"),
    ("C", "refresh.groups.enabled", "BOOLEAN", "true"),
    ("C", "refresh.groups.interval.seconds", "LONG", "600"),
    ("S", "refresh.topics.enabled", "BOOLEAN", "true"),
    ("S", "refresh.topics.interval.seconds", "LONG", "600"),
    ("S", "replication.factor", "INT", "2"),
    ("SCH", "replication.policy.class", "CLASS", "org.apache.kafka.connect.mirror.DefaultReplicationPolicy"),
    ("SCH", "replication.policy.internal.topic.separator.enabled", "BOOLEAN", "true"),
    ("SCH", "replication.policy.separator", "STRING", "."),
    ("SCH", "source.cluster.alias", "STRING", "required"),
    ("C", "sync.group.offsets.enabled", "BOOLEAN", "false"),
    ("C", "sync.group.offsets.interval.seconds", "LONG", "60"),
    ("S", "sync.topic.acls.enabled", "BOOLEAN", "true"),
    ("S", "sync.topic.acls.interval.seconds", "LONG", "600"),
    ("S", "sync.topic.configs.enabled", "BOOLEAN", "true"),
    ("S", "sync.topic.configs.interval.seconds", "LONG", "600"),
    ("SCH", "target.cluster.alias", "STRING", "target"),
    ("SC", "topic.filter.class", "CLASS", "org.apache.kafka.connect.mirror.DefaultTopicFilter"),
    ("S", "topics", "LIST", ".*"),
    ("S", "topics.exclude", "LIST", "mm2.*\\.internal, .*\\.replica, __.*"),
];

fn default_of(def: &ConfigDef, name: &str) -> String {
    match &def.get(name).unwrap_or_else(|| panic!("{name} is not known")).default {
        DefaultValue::Value(text) => text.clone(),
        DefaultValue::Required => REQUIRED.to_owned(),
        DefaultValue::Null => "none".to_owned(),
    }
}

/// What a table holds to be different, of keys whose default value is another one.
fn other_values(of: &str, def: &ConfigDef) -> BTreeSet<&'static str> {
    let theirs = THEIRS.into_iter().filter(|(connectors, ..)| connectors.contains(of));
    theirs.filter(|(_, name, _, default)| default_of(def, name) != *default).map(|(_, name, ..)| name).collect()
}

#[test]
fn defaults_are_those_of_mirror_maker_where_those_are_no_traps() {
    // Known by its name alone is taken for "source", where theirs has to be told. And what is excluded is written as expressions.
    const ALIKE: [&str; 2] = ["source.cluster.alias", "config.properties.exclude"];
    let connectors: [(&str, ConfigDef, &[Difference]); 3] = [
        ("S", config_def(), &OF_SOURCE),
        ("C", checkpoint::config_def(), &OF_CHECKPOINT),
        ("H", heartbeat::config_def(), &OF_HEARTBEAT),
    ];
    for (of, def, told) in &connectors {
        for (_, name, kind, _) in THEIRS.into_iter().filter(|(connectors, ..)| connectors.contains(of)) {
            assert_eq!(def.get(name).map(|key| key.kind.name()), Some(kind), "{name} takes what theirs takes");
        }
        let told_of: BTreeSet<&str> = told.iter().map(|one| one.setting).collect();
        let others = other_values(of, def);
        let silent: Vec<_> = others.iter().filter(|name| !told_of.contains(*name) && !ALIKE.contains(name)).collect();
        assert!(silent.is_empty(), "{of}: another default, and no word at the start: {silent:?}");
        for Difference { setting, ours, theirs, .. } in *told {
            let Some((_, _, _, default)) = THEIRS.into_iter().find(|(_, name, ..)| name == setting) else {
                assert!(setting.starts_with("twinstream.") || setting.starts_with("producer."), "{setting}");
                continue;
            };
            // In words where it is no plain value.
            let is_in_words = !others.contains(setting) || ALIKE.contains(setting) || *setting == "replication.factor";
            assert!(is_in_words || default_of(def, setting) == *ours, "{setting} is told as {ours}");
            assert!(*theirs == default || ALIKE.contains(setting), "{setting} of MirrorMaker is told as {theirs}");
        }
    }
    let excluded = default_of(&connectors[0].1, ALIKE[1]).replace('\\', "");
    let (_, _, _, theirs) = THEIRS.into_iter().find(|(_, name, ..)| *name == ALIKE[1]).expect("in the table");
    assert_eq!(excluded, theirs.replace("log.message", "message"), "by the names that topics' settings have");
}
