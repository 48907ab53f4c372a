//! Names are translated, refused or noted; never dropped.

use super::*;

fn settings(pairs: &[(&str, &str)]) -> Result<ClientSettings, SettingsError> {
    ClientSettings::from_map([("bootstrap.servers", "127.0.0.1:9092")].iter().chain(pairs).copied())
}

fn native(role: Scope, pairs: &[(&str, &str)], name: &str) -> Option<String> {
    settings(pairs).unwrap().rdkafka(role).get(name).map(str::to_owned)
}

#[test]
fn unknown_name_is_refused_with_the_nearest_known_one() {
    let error = settings(&[("max.poll.record", "5")]).unwrap_err();
    assert_eq!(error.to_string(), "unknown client setting `max.poll.record`; did you mean `max.poll.records`?");
    let far = settings(&[("entirely.else", "5")]).unwrap_err();
    assert_eq!(far.to_string(), "unknown client setting `entirely.else`");
}

#[test]
fn anything_but_plaintext_is_refused_with_the_reason() {
    let error = settings(&[("security.protocol", "SASL_SSL")]).unwrap_err();
    assert!(error.to_string().contains("built without TLS"), "{error}");
    settings(&[("security.protocol", "plaintext"), ("ssl.truststore.location", "x"), ("sasl.mechanism", "PLAIN")])
        .unwrap();
}

#[test]
fn bootstrap_must_be_a_list_of_host_and_port() {
    assert_eq!(ClientSettings::from_map([("client.id", "x")]).unwrap_err(), SettingsError::NoBootstrap);
    assert_eq!(ClientSettings::new(" , ").unwrap_err(), SettingsError::NoBootstrap);
    for bad in ["host", "host:", ":9092", "host:0", "host:70000", "host:9092,other"] {
        assert!(matches!(ClientSettings::new(bad), Err(SettingsError::BadBootstrap { .. })), "{bad}");
    }
    assert_eq!(ClientSettings::new("a:1, [::1]:2").unwrap().bootstrap(), ["a:1", "[::1]:2"]);
}

#[test]
fn renamed_settings_reach_librdkafka_under_its_names() {
    let max = native(Scope::Producer, &[("max.request.size", "5000")], "message.max.bytes");
    assert_eq!(max.as_deref(), Some("5000"));
    assert_eq!(
        native(Scope::Producer, &[("buffer.memory", "2049")], "queue.buffering.max.kbytes").as_deref(),
        Some("3")
    );
    let wait = native(Scope::Consumer, &[("fetch.max.wait.ms", "7")], "fetch.wait.max.ms");
    assert_eq!(wait.as_deref(), Some("7"));
    let level = [("compression.type", "zstd"), ("compression.zstd.level", "9"), ("compression.lz4.level", "3")];
    assert_eq!(native(Scope::Producer, &level, "compression.level").as_deref(), Some("9"));
    let reset = native(Scope::Consumer, &[("auto.offset.reset", "none")], "auto.offset.reset");
    assert_eq!(reset.as_deref(), Some("error"));
    let buffer = native(Scope::Consumer, &[("receive.buffer.bytes", "-1")], "socket.receive.buffer.bytes");
    assert_eq!(buffer.as_deref(), Some("0"));
    let own = native(Scope::Consumer, &[("librdkafka.queued.min.messages", "10")], "queued.min.messages");
    assert_eq!(own.as_deref(), Some("10"));
}

#[test]
fn settings_of_another_kind_of_client_do_not_reach_librdkafka() {
    assert_eq!(native(Scope::Consumer, &[("linger.ms", "5")], "linger.ms"), None);
    assert_eq!(native(Scope::Producer, &[("key.serializer", "x.Y")], "key.serializer"), None);
}

#[test]
fn kafka_defaults_stand_where_librdkafka_differs() {
    assert_eq!(native(Scope::Producer, &[], "partitioner").as_deref(), Some("murmur2_random"));
    assert_eq!(native(Scope::Producer, &[], "enable.idempotence").as_deref(), Some("true"));
    assert_eq!(native(Scope::Producer, &[("acks", "1")], "enable.idempotence").as_deref(), Some("false"));
    assert_eq!(native(Scope::Consumer, &[], "isolation.level").as_deref(), Some("read_uncommitted"));
    assert_eq!(native(Scope::Consumer, &[], "enable.auto.commit").as_deref(), Some("false"));
}

#[test]
fn assignors_are_known_by_class_and_never_mixed() {
    let name = "partition.assignment.strategy";
    let both =
        "org.apache.kafka.clients.consumer.RangeAssignor,org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    assert_eq!(native(Scope::Consumer, &[(name, both)], name).as_deref(), Some("range"));
    assert_eq!(
        native(Scope::Consumer, &[(name, "CooperativeStickyAssignor")], name).as_deref(),
        Some("cooperative-sticky")
    );
    assert!(settings(&[(name, "com.example.Mine")]).is_err());
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for (name, value) in [
        ("transactional.id", "t"),
        ("interceptor.classes", "a.B"),
        ("partitioner.class", "a.B"),
        ("partitioner.ignore.keys", "true"),
        ("auto.offset.reset", "by_duration:PT1H"),
        ("max.poll.records", "many"),
        ("bootstrap.controllers", "a:1"),
    ] {
        assert!(matches!(settings(&[(name, value)]), Err(SettingsError::Refused { .. })), "{name}");
    }
    settings(&[("interceptor.classes", ""), ("partitioner.class", "")]).unwrap();
}

/// librdkafka itself is the judge of the names that the table hands to it.
#[test]
fn every_name_in_the_table_is_one_that_librdkafka_takes() {
    for row in table::TABLE {
        let native = match row.fate {
            Fate::Same => row.name,
            Fate::Renamed(native) => native,
            _ => continue,
        };
        // Setting tells an unknown name from a value out of range; reading does not know aliases.
        let set = ClientConfig::new().set(native, "?").create_native_config().err().map(|error| error.to_string());
        assert!(!set.is_some_and(|error| error.contains("No such configuration property")), "{native}");
    }
}

#[test]
fn values_do_not_show_in_debug_output() {
    let shown = format!("{:?}", settings(&[("sasl.jaas.config", "password=secret")]).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}
