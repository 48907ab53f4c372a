use std::collections::BTreeSet;

use super::*;

struct Given(&'static [(&'static str, &'static str)]);

impl BrokerDefaults for Given {
    fn given(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(given, _)| *given == name)?;
        Some(found.1.to_owned())
    }
}

fn config(name: &str) -> &'static TopicConfig {
    find(name).expect("a known config")
}

#[test]
fn every_default_is_a_legal_value() {
    for config in TOPIC_CONFIGS {
        check_value(config.name, Some(config.default)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_config_is_listed_once_and_in_order_with_a_text() {
    let names: Vec<&str> = TOPIC_CONFIGS.iter().map(|config| config.name).collect();
    let sorted: Vec<&str> = BTreeSet::from_iter(names.iter().copied()).into_iter().collect();
    assert_eq!(names, sorted);
    assert!(TOPIC_CONFIGS.iter().all(|config| config.doc.ends_with('.')));
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_known_one() {
    let error = check_value("retention.mss", Some("1")).unwrap_err();
    assert_eq!(error.to_string(), "unknown topic config name: retention.mss; did you mean retention.ms?");
    let error = check_value("completely.different", Some("1")).unwrap_err();
    assert_eq!(error.to_string(), "unknown topic config name: completely.different");
}

#[test]
fn bounds_of_kafka_are_held() {
    let refused = [
        ("segment.bytes", "1048575"),
        ("retention.ms", "-2"),
        ("retention.ms", "1.5"),
        ("min.insync.replicas", "0"),
        ("max.message.bytes", "-1"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("cleanup.policy", "delete,archive"),
        ("cleanup.policy", "delete,delete"),
        ("compression.type", "brotli"),
        ("compression.gzip.level", "0"),
        ("compression.lz4.level", "18"),
        ("compression.zstd.level", "23"),
        ("message.timestamp.type", "createtime"),
        ("preallocate", "yes"),
        ("leader.replication.throttled.replicas", "0:a"),
    ];
    for (name, value) in refused {
        assert!(matches!(check_value(name, Some(value)), Err(ConfigError::Invalid { .. })), "{name}={value}");
    }
    let accepted = [
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", ""),
        ("retention.ms", " -1 "),
        ("compression.gzip.level", "-1"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "0:1,1:2"),
        ("preallocate", "TRUE"),
    ];
    for (name, value) in accepted {
        assert!(check_value(name, Some(value)).is_ok(), "{name}={value}");
    }
}

#[test]
fn a_null_value_is_refused() {
    assert_eq!(check_value("retention.ms", None), Err(ConfigError::Null("retention.ms".into())));
}

#[test]
fn tiered_storage_is_refused_rather_than_promised() {
    let error = check_value("remote.storage.enable", Some("true")).unwrap_err();
    assert!(matches!(error, ConfigError::NotServed { only: "false", .. }), "{error}");
    assert!(check_value("remote.storage.enable", Some("false")).is_ok());
}

#[test]
fn a_huge_value_is_refused() {
    let value = "1:1,".repeat(CONFIG_VALUE_BYTES_MAX);
    let error = check_value("leader.replication.throttled.replicas", Some(&value)).unwrap_err();
    assert!(matches!(error, ConfigError::TooLong { .. }));
}

#[test]
fn the_stronger_twin_counts_and_units_are_converted() {
    let retention = config("retention.ms");
    let hours = Given(&[("log.retention.hours", "2")]);
    assert_eq!(inherited(retention, &hours), "7200000");
    let both = Given(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]);
    assert_eq!(inherited(retention, &both), "180000");
    let forever = Given(&[("log.retention.minutes", "-1")]);
    assert_eq!(inherited(retention, &forever), "-1");
}

#[test]
fn without_twins_given_the_default_counts() {
    assert_eq!(inherited(config("retention.ms"), &NoBrokerDefaults), "604800000");
}

#[test]
fn compaction_lags_must_be_in_order() {
    let configs = |low: &str, high: &str| {
        BTreeMap::from([
            ("min.compaction.lag.ms".to_owned(), low.to_owned()),
            ("max.compaction.lag.ms".to_owned(), high.to_owned()),
        ])
    };
    assert!(check_together(&configs("1", "2"), &NoBrokerDefaults).is_ok());
    assert!(matches!(check_together(&configs("3", "2"), &NoBrokerDefaults), Err(ConfigError::OutOfOrder { .. })));
}
