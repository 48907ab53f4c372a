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
    assert_eq!(nearest(&"x".repeat(1 << 24)), None, "which is seen without looking at all of it for each setting");
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

/// The table as the page that users read.
fn page() -> String {
    let mut page = String::from(
        "# Broker settings\n\n\
         Kafka's names in `server.properties`, on the command line as `--override name=value`, or in the environment as\n\
         `TWINSTREAM_NAME_WITH_UNDERSCORES`; later ones win in this order: file, environment, command line.\n\n\
         What becomes of a setting: **effect** (*also at run time*: `kafka-configs --alter` changes it without a restart); **no such part** (accepted, reported once at start, does nothing because\n\
         this broker is built differently); **not yet** (accepted and reported, a later release brings it); **refused**\n\
         (the broker does not start, unless the value is empty or the default).\n\n\
         This page is made from the table in the code: `UPDATE_DOCS=1 cargo test -p twinstream-broker settings`.\n\n\
         | setting | default | allowed | fate | meaning |\n|---|---|---|---|---|\n",
    );
    let mut rows: Vec<&Setting> = all().collect();
    rows.sort_by_key(|setting| setting.name);
    for setting in rows {
        let fate = match setting.fate {
            Fate::Effect if crate::controller::is_dynamic(setting.name) => "effect, also at run time".to_owned(),
            Fate::Effect => "effect".to_owned(),
            Fate::NoSuchPart => "no such part".to_owned(),
            Fate::NotYet => "not yet".to_owned(),
            Fate::Refused(reason) => format!("refused: {reason}"),
        };
        let default = setting.default.map_or("none".to_owned(), |text| format!("`{text}`")).replace("``", "empty");
        page += &format!("| {} | {default} | {} | {fate} | {} |\n", setting.name, setting.allowed(), setting.doc);
    }
    page
}

#[test]
fn the_page_of_settings_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/settings.md is stale; run UPDATE_DOCS=1 cargo test -p twinstream-broker settings");
}
