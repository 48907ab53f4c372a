use std::collections::BTreeSet;

use super::*;

#[test]
fn every_name_stands_once_and_has_a_text() {
    let mut seen = BTreeSet::new();
    for setting in all() {
        assert!(seen.insert(setting.name), "{} stands twice", setting.name);
        assert!(setting.doc.ends_with('.'), "{} lacks a text", setting.name);
    }
    assert!(seen.len() > 350, "only {} settings", seen.len());
}

#[test]
fn every_default_is_allowed() {
    for setting in all() {
        if let Some(default) = setting.default {
            assert_eq!(setting.check(default), Ok(()), "{}", setting.name);
        }
    }
}

#[test]
fn bounds_hold_and_say_what_is_allowed() {
    let partitions = find("num.partitions").unwrap();
    assert_eq!(partitions.check("3"), Ok(()));
    assert_eq!(partitions.check("0").unwrap_err(), "a whole number of 32 bits, at least 1");
    assert_eq!(partitions.check("three").unwrap_err(), "a whole number of 32 bits, at least 1");
    let compression = find("compression.type").unwrap();
    assert!(compression.check("brotli").unwrap_err().starts_with("one of "));
    assert_eq!(find("auto.create.topics.enable").unwrap().check("yes").unwrap_err(), "true or false");
    assert_eq!(find("log.retention.ms").unwrap().check("9223372036854775807"), Ok(()));
    let roles = find("process.roles").unwrap();
    assert_eq!(roles.check("broker, controller"), Ok(()));
    assert!(roles.check("broker,witness").is_err());
}

#[test]
fn a_slip_of_the_pen_finds_its_name() {
    assert_eq!(nearest("num.partition"), Some("num.partitions"));
    assert_eq!(nearest("log_dirs"), Some("log.dirs"));
    assert_eq!(nearest("advertised.listener"), Some("advertised.listeners"));
    assert_eq!(nearest("completely.unrelated.thing.of.another.world"), None);
}

#[test]
fn settings_of_one_listener_have_the_fate_of_their_setting() {
    assert_eq!(find("listener.name.client.ssl.keystore.location").unwrap().name, "ssl.keystore.location");
    assert_eq!(find("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config").unwrap().name, "sasl.jaas.config");
    assert!(find("listener.name.client.num.partitions").is_none());
}

#[test]
fn secrets_are_marked() {
    assert!(find("ssl.keystore.password").unwrap().is_sensitive());
    assert!(!find("ssl.keystore.location").unwrap().is_sensitive());
}
