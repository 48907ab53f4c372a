//! The configs that a group may have of its own (KIP-848, KIP-932, KIP-1071), as in Kafka 4.3.
//!
//! Picture: a group's own value counts, else that of the broker's twin, else the default. A broker setting each bounds most of them;
//! a value beyond is refused when it is set, and who reads one that was set under other bounds keeps to those of now
//! ([`effective`]).
//!
//! Not here: what the values do (see the coordinator).

use std::collections::BTreeMap;

use super::{
    BrokerDefaults,
    value::{self, Bounds, Kind},
};
use crate::image::{ConfigResource, Image};

/// One config of groups.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfig {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker setting that gives groups their default.
    pub twin: Option<&'static str>,
    bounds: Bounds,
    /// Broker settings that bound it, with their defaults.
    min: Option<(&'static str, i64)>,
    max: Option<(&'static str, i64)>,
    pub doc: &'static str,
}

/// Every config of groups, by name.
#[rustfmt::skip]
pub const GROUP_CONFIGS: &[GroupConfig] = &[
    interval("consumer.assignment.interval.ms", "1000", 0, "group.consumer.assignment.interval.ms")
        .min("group.consumer.min.assignment.interval.ms", 0)
        .max("group.consumer.max.assignment.interval.ms", 15_000)
        .doc("Time between two assignments of a consumer group at least."),
    interval("consumer.heartbeat.interval.ms", "5000", 1, "group.consumer.heartbeat.interval.ms")
        .min("group.consumer.min.heartbeat.interval.ms", 5_000)
        .max("group.consumer.max.heartbeat.interval.ms", 15_000)
        .doc("How often members of a consumer group send heartbeats."),
    interval("consumer.session.timeout.ms", "45000", 1, "group.consumer.session.timeout.ms")
        .min("group.consumer.min.session.timeout.ms", 45_000)
        .max("group.consumer.max.session.timeout.ms", 60_000)
        .doc("Without a heartbeat for this long a member of a consumer group is removed."),
    interval("share.assignment.interval.ms", "1000", 0, "group.share.assignment.interval.ms")
        .min("group.share.min.assignment.interval.ms", 0)
        .max("group.share.max.assignment.interval.ms", 15_000)
        .doc("Time between two assignments of a share group at least; no effect yet."),
    config("share.auto.offset.reset", Kind::String, "latest", Bounds::Any)
        .doc("Where a share group begins to read: earliest, latest or by_duration:<ISO 8601>; no effect yet."),
    interval("share.delivery.count.limit", "5", 2, "group.share.delivery.count.limit")
        .min("group.share.min.delivery.count.limit", 2)
        .max("group.share.max.delivery.count.limit", 10)
        .doc("How often a record is delivered to a share group at most; no effect yet."),
    interval("share.heartbeat.interval.ms", "5000", 1, "group.share.heartbeat.interval.ms")
        .min("group.share.min.heartbeat.interval.ms", 5_000)
        .max("group.share.max.heartbeat.interval.ms", 15_000)
        .doc("How often members of a share group send heartbeats; no effect yet."),
    config("share.isolation.level", Kind::String, "read_uncommitted", Bounds::OneOf(&["read_committed", "read_uncommitted"]))
        .doc("Whether a share group gets records of transactions that were aborted; no effect yet."),
    interval("share.partition.max.record.locks", "2000", 100, "group.share.partition.max.record.locks")
        .min("group.share.min.partition.max.record.locks", 100)
        .max("group.share.max.partition.max.record.locks", 4_000)
        .doc("Records of a partition that a share group has in hand at most; no effect yet."),
    interval("share.record.lock.duration.ms", "30000", 1_000, "group.share.record.lock.duration.ms")
        .min("group.share.min.record.lock.duration.ms", 15_000)
        .max("group.share.max.record.lock.duration.ms", 60_000)
        .doc("How long a member of a share group keeps a record; no effect yet."),
    config("share.renew.acknowledge.enable", Kind::Boolean, "true", Bounds::Any)
        .doc("Whether members of a share group may keep records for longer; no effect yet."),
    interval("share.session.timeout.ms", "45000", 1, "group.share.session.timeout.ms")
        .min("group.share.min.session.timeout.ms", 45_000)
        .max("group.share.max.session.timeout.ms", 60_000)
        .doc("Without a heartbeat for this long a member of a share group is removed; no effect yet."),
    interval("streams.assignment.interval.ms", "1000", 0, "group.streams.assignment.interval.ms")
        .min("group.streams.min.assignment.interval.ms", 0)
        .max("group.streams.max.assignment.interval.ms", 15_000)
        .doc("Time between two assignments of a streams group at least; no effect yet."),
    interval("streams.heartbeat.interval.ms", "5000", 1, "group.streams.heartbeat.interval.ms")
        .min("group.streams.min.heartbeat.interval.ms", 5_000)
        .max("group.streams.max.heartbeat.interval.ms", 15_000)
        .doc("How often members of a streams group send heartbeats; no effect yet."),
    interval("streams.initial.rebalance.delay.ms", "3000", 0, "group.streams.initial.rebalance.delay.ms")
        .doc("How long a new streams group waits for more members; no effect yet."),
    interval("streams.num.standby.replicas", "0", 0, "group.streams.num.standby.replicas")
        .max("group.streams.max.standby.replicas", 2)
        .doc("Standby copies of each task of a streams group; no effect yet."),
    interval("streams.session.timeout.ms", "45000", 1, "group.streams.session.timeout.ms")
        .min("group.streams.min.session.timeout.ms", 45_000)
        .max("group.streams.max.session.timeout.ms", 60_000)
        .doc("Without a heartbeat for this long a member of a streams group is removed; no effect yet."),
];

/// A session must outlast the pause between two heartbeats.
const SESSIONS: [(&str, &str); 3] = [
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

const fn config(name: &'static str, kind: Kind, default: &'static str, bounds: Bounds) -> GroupConfig {
    GroupConfig { name, kind, default, twin: None, bounds, min: None, max: None, doc: "" }
}

const fn interval(name: &'static str, default: &'static str, min: i64, twin: &'static str) -> GroupConfig {
    GroupConfig { twin: Some(twin), ..config(name, Kind::Int, default, Bounds::AtLeast(min)) }
}

impl GroupConfig {
    const fn min(self, setting: &'static str, default: i64) -> Self {
        Self { min: Some((setting, default)), ..self }
    }

    const fn max(self, setting: &'static str, default: i64) -> Self {
        Self { max: Some((setting, default)), ..self }
    }

    const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    /// The value that counts where the group says nothing.
    pub fn inherited(&self, broker: &dyn BrokerDefaults) -> String {
        let given = self.twin.and_then(|twin| broker.given(twin));
        given.unwrap_or_else(|| self.default.to_owned())
    }
}

pub fn find(name: &str) -> Option<&'static GroupConfig> {
    GROUP_CONFIGS.iter().find(|config| config.name == name)
}

/// A number that counts for a group, within the bounds of now. `None` for a name that is no number.
pub fn effective(image: &Image, group: &str, name: &str, broker: &dyn BrokerDefaults) -> Option<i64> {
    let config = find(name).filter(|config| config.kind == Kind::Int)?;
    let own = image.config(&ConfigResource::Group(group.to_owned()), name).and_then(|value| value.parse::<i64>().ok());
    let inherited = || config.inherited(broker).trim().parse::<i64>().ok();
    let value = own.or_else(inherited)?;
    let low = config.min.map_or(i64::MIN, |bound| bound_of(bound, broker));
    let high = config.max.map_or(i64::MAX, |bound| bound_of(bound, broker));
    Some(value.min(high).max(low))
}

fn bound_of((setting, default): (&str, i64), broker: &dyn BrokerDefaults) -> i64 {
    broker.given(setting).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
}

/// Checks one value that somebody wants to set; answers it in the form that is stored. The error is in Kafka's words.
pub(crate) fn check_value(name: &str, value: &str) -> Result<String, String> {
    let config = find(name).ok_or_else(|| unknown(name))?;
    let value = value.trim();
    let is_allowed = match name {
        "share.auto.offset.reset" if is_offset_reset(value) => Ok(()),
        "share.auto.offset.reset" => Err("earliest, latest or by_duration:<ISO 8601>".to_owned()),
        _ => value::check(config.kind, config.bounds, value),
    };
    match is_allowed {
        Ok(()) => Ok(value.to_owned()),
        Err(allowed) => Err(format!("Invalid value {value} for configuration {name}: value must be {allowed}")),
    }
}

fn is_offset_reset(value: &str) -> bool {
    matches!(value, "earliest" | "latest")
        || value.strip_prefix("by_duration:").is_some_and(|rest| rest.starts_with('P'))
}

/// What is said of a name that is not in the table.
pub(crate) fn unknown(name: &str) -> String {
    format!("Unknown group config name: {name}")
}

/// Rules between the values of one group and the broker's bounds. What a group has from before counts as well, as in Kafka.
pub(crate) fn check_together(configs: &BTreeMap<String, String>, broker: &dyn BrokerDefaults) -> Result<(), String> {
    let number = |name: &str| {
        let own = configs.get(name).cloned();
        let value = own.or_else(|| find(name).map(|config| config.inherited(broker)));
        value.and_then(|value| value.trim().parse::<i64>().ok())
    };
    for config in GROUP_CONFIGS.iter().filter(|config| configs.contains_key(config.name)) {
        let Some(value) = number(config.name) else { continue };
        if let Some(bound) = config.min.filter(|bound| value < bound_of(*bound, broker)) {
            return Err(format!("{} must be greater than or equal to {}", config.name, bound.0));
        }
        if let Some(bound) = config.max.filter(|bound| value > bound_of(*bound, broker)) {
            return Err(format!("{} must be less than or equal to {}", config.name, bound.0));
        }
    }
    for (session, heartbeat) in SESSIONS {
        if let (Some(session_ms), Some(heartbeat_ms)) = (number(session), number(heartbeat))
            && session_ms <= heartbeat_ms
        {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{configs::NoBrokerDefaults, record::Record};

    /// A broker whose longest session of consumer groups is 50 seconds.
    struct Strict;

    impl BrokerDefaults for Strict {
        fn given(&self, name: &str) -> Option<String> {
            (name == "group.consumer.max.session.timeout.ms").then(|| "50000".to_owned())
        }
    }

    fn own(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn configs_stand_in_order_with_defaults_that_are_allowed() {
        assert!(GROUP_CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for config in GROUP_CONFIGS {
            assert_eq!(check_value(config.name, config.default), Ok(config.default.to_owned()));
            assert_eq!(check_together(&own(config.name, config.default), &NoBrokerDefaults), Ok(()));
            assert!(config.doc.ends_with('.'), "{}", config.name);
        }
    }

    #[test]
    fn bounds_of_the_broker_are_held() {
        let session = own("consumer.session.timeout.ms", "55000");
        assert_eq!(check_together(&session, &NoBrokerDefaults), Ok(()));
        let error = check_together(&session, &Strict).unwrap_err();
        assert_eq!(
            error,
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
        );
        assert!(check_together(&own("consumer.heartbeat.interval.ms", "4999"), &NoBrokerDefaults).is_err());
    }

    #[test]
    fn a_value_that_was_set_under_other_bounds_is_taken_back_to_those_of_now() {
        let mut image = Image::default();
        let name = "consumer.session.timeout.ms";
        let (resource, value) = (ConfigResource::Group("g".into()), Some("60000".to_owned()));
        image.apply(&Record::Config { resource, name: name.to_owned(), value }).expect("a config");
        assert_eq!(effective(&image, "g", name, &NoBrokerDefaults), Some(60_000));
        assert_eq!(effective(&image, "g", name, &Strict), Some(50_000));
        assert_eq!(effective(&image, "other", name, &Strict), Some(45_000));
        assert_eq!(effective(&image, "g", "share.isolation.level", &Strict), None);
    }

    #[test]
    fn values_that_kafka_refuses_are_refused() {
        let refused = [
            ("consumer.session.timeout.ms", "0"),
            ("consumer.heartbeat.interval.ms", "often"),
            ("share.isolation.level", "serializable"),
            ("share.auto.offset.reset", "by_duration:1 hour"),
            ("share.renew.acknowledge.enable", "yes"),
            ("no.such.config", "1"),
        ];
        for (name, value) in refused {
            assert!(check_value(name, value).is_err(), "{name}={value}");
        }
        assert!(check_value("share.auto.offset.reset", "by_duration:PT1H").is_ok());
    }
}
