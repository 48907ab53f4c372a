use super::*;

fn minimal() -> RawConfig {
    [
        ("bootstrap.servers", "127.0.0.1:9092"),
        ("group.id", "g"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("config.storage.topic", "configs"),
        ("offset.storage.topic", "offsets"),
        ("status.storage.topic", "status"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into()
}

fn problems(extra: &[(&str, &str)]) -> String {
    let mut raw = minimal();
    raw.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    Settings::from_map(raw).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_file_written_for_kafka_connect_is_accepted() {
    assert_eq!(
        problems(&[
            ("plugin.path", "/usr/share/java"),
            ("connect.protocol", "sessioned"),
            ("value.converter.schemas.enable", "false"),
            ("producer.linger.ms", "5"),
            ("consumer.max.poll.records", "100"),
            ("offset.flush.interval.ms", "10000"),
        ]),
        ""
    );
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let text = problems(&[("offset.flush.intervall.ms", "10000")]);
    assert!(text.contains("did you mean 'offset.flush.interval.ms'?"), "{text}");
    let text = problems(&[("producer.lingr.ms", "5")]);
    assert!(text.contains("linger.ms"), "{text}");
}

#[test]
fn settings_of_missing_parts_are_refused_only_when_they_ask_for_the_part() {
    assert_eq!(problems(&[("config.providers", "")]), "");
    assert!(problems(&[("config.providers", "file")]).contains("config providers"));
}

#[test]
fn exactly_once_has_three_steps() {
    for step in ["disabled", "preparing", "ENABLED"] {
        assert_eq!(problems(&[("exactly.once.source.support", step)]), "");
    }
    assert!(problems(&[("exactly.once.source.support", "yes")]).contains("use disabled, preparing or enabled"));
}

#[test]
fn storage_topics_must_differ() {
    assert!(problems(&[("status.storage.topic", "offsets")]).contains("name the same topic"));
}

#[test]
fn converters_are_checked_before_a_connector_needs_them() {
    assert!(problems(&[("key.converter", "Nope")]).contains("Invalid value Nope for configuration key.converter"));
    assert!(problems(&[("header.converter", "Nope")]).contains("header.converter: there are: "));
    let wrong = problems(&[("value.converter", "JsonConverter"), ("value.converter.schemas.enable", "perhaps")]);
    assert!(wrong.contains("value.converter.schemas.enable"), "{wrong}");
}

#[test]
fn address_that_all_clients_share_is_complained_of_once() {
    assert_eq!(problems(&[("bootstrap.servers", "zzz")]).matches("zzz").count(), 1);
}

#[test]
fn all_missing_settings_are_named_at_once() {
    let error = Settings::from_map(RawConfig::new()).err().map(|error| error.to_string()).unwrap_or_default();
    for name in ["group.id", "key.converter", "config.storage.topic"] {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn listener_forms_of_kafka_are_read() {
    for (given, host, port) in
        [("http://:8083", "0.0.0.0", 8083), ("http://127.0.0.1:0", "127.0.0.1", 0), ("HTTP://[::1]:99", "::1", 99)]
    {
        let mut raw = minimal();
        raw.insert("listeners".to_owned(), given.to_owned());
        assert_eq!(Settings::from_map(raw).ok().and_then(|s| s.listener().ok()), Some((host.to_owned(), port)));
    }
    assert!(problems(&[("listeners", "https://:8443")]).contains("not supported"));
}

#[test]
fn role_settings_win_over_common_ones_and_overrides_over_both() {
    let mut raw = minimal();
    raw.insert("client.id".to_owned(), "common".to_owned());
    raw.insert("producer.client.id".to_owned(), "role".to_owned());
    let settings = Settings::from_map(raw).ok().unwrap();
    let id = |role, overrides: &[(&'static str, &'static str)]| {
        settings.client(role, overrides.iter().copied()).unwrap().client_id().to_owned()
    };
    assert_eq!(id(Role::Admin, &[]), "common");
    assert_eq!(id(Role::Producer, &[]), "role");
    assert_eq!(id(Role::Producer, &[("client.id", "mine")]), "mine");
}
