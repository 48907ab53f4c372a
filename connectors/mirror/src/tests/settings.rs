//! Keys, fates, README.

use std::path::Path;
use std::time::Duration;

use twinstream_connect_api::{Connector, RawConfig};

use super::config;
use crate::MirrorSourceConnector;
use crate::config::{OnGap, Settings, config_def, settings_table, unused_client_settings};

fn settings(extra: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::parse(&config(extra)).map_err(|error| error.to_string())
}

fn errors(config: &RawConfig) -> String {
    config_def().validate(config).into_iter().flat_map(|value| value.errors).collect::<Vec<_>>().join("\n")
}

#[test]
fn readme_has_the_settings_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md");
    let (before, rest) = readme.split_once("<!-- settings -->\n").expect("start mark");
    let (table, after) = rest.split_once("<!-- end of settings -->").expect("end mark");
    if std::env::var_os("UPDATE_README").is_some() {
        let fresh = format!("{before}<!-- settings -->\n{}<!-- end of settings -->{after}", settings_table());
        return std::fs::write(&path, fresh).expect("README.md is written");
    }
    assert_eq!(table, settings_table(), "run this test with UPDATE_README=1");
}

#[test]
fn defaults_are_those_of_mirror_maker() {
    let settings = settings(&[]).expect("settings");
    assert_eq!(
        (settings.source_alias.as_str(), settings.target_alias.as_str(), settings.replication_factor),
        ("source", "target", 2)
    );
    assert_eq!(
        (settings.refresh, settings.config_sync),
        (Some(Duration::from_secs(600)), Some(Duration::from_secs(600)))
    );
    assert_eq!(settings.on_gap, OnGap::Careful);
    assert!(
        settings.properties_excluded.is_match("min.insync.replicas")
            && !settings.properties_excluded.is_match("retention.ms")
    );
    assert_eq!(errors(&config(&[])), "");
}

#[test]
fn configuration_of_all_three_connectors_is_accepted() {
    let extra = [
        ("emit.heartbeats.interval.seconds", "5"),
        ("sync.group.offsets.enabled", "true"),
        ("groups", "a,b"),
        ("offset-syncs.topic.location", "target"),
        ("emit.checkpoints.enabled", "false"),
        ("source.consumer.max.poll.records", "10"),
        ("sync.topic.acls.enabled", "false"),
        ("metric.names.formats", "new"),
    ];
    assert_eq!(errors(&config(&extra)), "");
    assert_eq!(unused_client_settings(&settings(&extra).expect("settings").source), ["max.poll.records"]);
}

#[tokio::test]
async fn wrong_settings_are_named() {
    assert!(errors(&RawConfig::new()).contains("Missing required configuration \"source.cluster.bootstrap.servers\""));
    assert!(errors(&config(&[("topics", "a(")])).contains("'a('"));
    assert!(errors(&config(&[("topic.filter.class", "com.example.Mine")])).contains("topic.filter.class"));
    assert!(errors(&config(&[("replication.policy.class", "com.example.Mine")])).contains("IdentityReplicationPolicy"));
    assert!(errors(&config(&[("topcis", "a")])).contains("did you mean 'topics'"));
    let connector = MirrorSourceConnector::default();
    for (key, value, at, part) in [
        ("source.cluster.security.protocol", "SSL", "source.cluster.bootstrap.servers", "PLAINTEXT"),
        ("source.consumer.isolation.level", "read_committed", "source.cluster.bootstrap.servers", "read_committed"),
        ("source.consumer.fetch.max.byte", "1", "source.cluster.bootstrap.servers", "fetch.max.bytes"),
        ("target.cluster.bootstrap.servers", " ", "target.cluster.bootstrap.servers", "host:port"),
    ] {
        let errors = connector.validate(&config(&[(key, value)])).await;
        assert!(errors.get(at).is_some_and(|errors| errors[0].contains(part)), "{key}: {errors:?}");
    }
}

#[test]
fn client_settings_go_from_general_to_special() {
    let extra = [
        ("source.cluster.fetch.max.bytes", "1000"),
        ("consumer.fetch.max.bytes", "2000"),
        ("source.consumer.fetch.max.bytes", "3000"),
        ("source.consumer.auto.offset.reset", "latest"),
        ("source.cluster.alias", "src"),
        ("consumer.poll.timeout.ms", "100"),
    ];
    let settings = settings(&extra).expect("settings");
    assert_eq!((settings.fetch.bytes_max, settings.fetch.wait_max), (3000, Duration::from_millis(100)));
    assert_eq!((settings.on_gap, settings.source_alias.as_str()), (OnGap::Latest, "src"));
}

#[test]
fn intervals_can_be_switched_off() {
    let settings = settings(&[("refresh.topics.enabled", "false"), ("sync.topic.configs.interval.seconds", "0")])
        .expect("settings");
    assert_eq!((settings.refresh, settings.config_sync), (None, None));
}

#[test]
fn figures_can_be_registered_and_plugin_has_its_names() {
    crate::metrics::register(&prometheus::Registry::new()).expect("names and labels are right");
    for name in ["org.apache.kafka.connect.mirror.MirrorSourceConnector", "MirrorSourceConnector", "MirrorSource"] {
        assert!(crate::plugin().answers_to(name));
    }
}
