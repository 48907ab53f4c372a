//! Confluent's names, refused or read.

use super::*;

fn load(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let bootstrap = ("kafkastore.bootstrap.servers", "PLAINTEXT://127.0.0.1:9092,127.0.0.1:9093");
    let first = [bootstrap];
    let pairs = first.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load(None, &pairs.collect::<Vec<_>>())
}

#[test]
fn defaults_are_confluents() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.listeners, ["0.0.0.0:8081".parse().unwrap()]);
    assert_eq!((settings.topic.as_str(), settings.replication_factor), ("_schemas", 3));
    assert_eq!((settings.level, settings.writable), (Level::Backward, true));
    assert_eq!(settings.client.bootstrap(), ["127.0.0.1:9092", "127.0.0.1:9093"]);
    settings.producer().unwrap();
    settings.consumer().unwrap();
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let error = load(&[("kafkastore.topics", "x")]).unwrap_err();
    assert_eq!(error.to_string(), "unknown registry setting `kafkastore.topics`; did you mean `kafkastore.topic`?");
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for (name, value) in [
        ("kafkastore.security.protocol", "SSL"),
        ("kafkastore.sasl.mechanism", "PLAIN"),
        ("ssl.keystore.location", "/x"),
        ("authentication.method", "BASIC"),
        ("kafkastore.connection.url", "zk:2181"),
        ("resource.extension.class", "a.B"),
        ("listeners", "https://0.0.0.0:8081"),
        ("listeners", ""),
        ("schema.compatibility.level", "SIDEWAYS"),
        ("kafkastore.topic.replication.factor", "0"),
        ("kafkastore.topic", "a/b"),
        ("mode.mutability", "maybe"),
        ("twinstream.kafkastore.mirrored", "yes"),
    ] {
        let error = load(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    load(&[("resource.extension.class", ""), ("host.name", "h"), ("schema.registry.group.id", "g")]).unwrap();
}

#[test]
fn bootstrap_is_required_and_tls_in_it_refused() {
    assert!(matches!(Settings::load(None, &[]), Err(SettingsError::NoBootstrap)));
    let tls = [("kafkastore.bootstrap.servers".to_owned(), "SSL://h:1".to_owned())];
    assert!(Settings::load(None, &tls).unwrap_err().to_string().contains("without TLS"));
}

#[test]
fn old_level_name_counts_where_the_new_one_is_missing() {
    assert_eq!(load(&[("avro.compatibility.level", "full")]).unwrap().level, Level::Full);
    let both = [("avro.compatibility.level", "full"), ("schema.compatibility.level", "none")];
    assert_eq!(load(&both).unwrap().level, Level::None);
}

#[test]
fn a_missing_file_is_named() {
    let error = Settings::load(Some(Path::new("/nowhere/registry.properties")), &[]).unwrap_err();
    assert!(error.to_string().starts_with("cannot read settings file /nowhere/registry.properties:"), "{error}");
}

#[test]
fn table_is_sorted_and_without_doubles() {
    let names: Vec<&str> = table::TABLE.iter().map(|(name, ..)| *name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
}
