//! Keys, fates, README.

use std::path::Path;
use std::time::Duration;

use twinstream_connect_api::{Connector, RawConfig};

use super::config;
use crate::config::{Settings, config_def, settings_table, unused_client_settings};
use crate::engine::standing::{Begin, OnTrouble, Policies};
use crate::{MirrorSourceConnector, checkpoint, heartbeat};

fn settings(extra: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::parse(&config(extra)).map_err(|error| error.to_string())
}

fn errors(config: &RawConfig) -> String {
    config_def().validate(config).into_iter().flat_map(|value| value.errors).collect::<Vec<_>>().join("\n")
}

#[test]
fn readme_has_the_settings_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut readme = std::fs::read_to_string(&path).expect("README.md");
    let tables =
        [("", config_def()), ("checkpoint ", checkpoint::config_def()), ("heartbeat ", heartbeat::config_def())];
    for (name, def) in tables {
        let (start, end) = (format!("<!-- {name}settings -->\n"), format!("<!-- end of {name}settings -->"));
        let (before, rest) = readme.split_once(&start).expect("start mark");
        let (table, after) = rest.split_once(&end).expect("end mark");
        if std::env::var_os("UPDATE_README").is_some() {
            readme = format!("{before}{start}{}{end}{after}", settings_table(&def));
            std::fs::write(&path, &readme).expect("README.md is written");
        } else {
            assert_eq!(table, settings_table(&def), "run this test with UPDATE_README=1");
        }
    }
}

#[test]
fn defaults_are_those_of_mirror_maker_where_those_are_no_traps() {
    let settings = settings(&[]).expect("settings");
    assert_eq!(
        (settings.source_alias.as_str(), settings.target_alias.as_str(), settings.replication_factor),
        ("source", "target", None)
    );
    assert_eq!((settings.refresh, settings.config_sync), (Some(Duration::from_secs(2)), Some(Duration::from_secs(5))));
    assert!(!settings.fetch.read_committed);
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
        ("producer.override.bootstrap.servers", "the-workers-own:9092"),
    ];
    let settings = settings(&extra).expect("settings");
    assert_eq!((settings.fetch.bytes_max, settings.fetch.wait_max), (3000, Duration::from_millis(100)));
    assert_eq!((settings.policies.begin, settings.source_alias.as_str()), (Begin::Latest, "src"));
}

#[test]
fn policies_are_careful_then_those_of_the_consumer_then_our_own() {
    let policies = |extra: &[(&str, &str)]| settings(extra).expect("settings").policies;
    let careful = Policies {
        begin: Begin::Earliest,
        truncation: OnTrouble::Fail,
        recreation: OnTrouble::Fail,
        retention: OnTrouble::Resume,
        unauthorized: OnTrouble::Fail,
    };
    assert_eq!(policies(&[]), careful);
    let reset = |value| policies(&[("source.consumer.auto.offset.reset", value)]);
    assert_eq!(reset("none"), Policies { retention: OnTrouble::Fail, ..careful });
    let resume = Policies { truncation: OnTrouble::Resume, recreation: OnTrouble::Resume, ..careful };
    assert_eq!(reset("earliest"), resume);
    assert_eq!((reset("latest").begin, reset("latest").retention), (Begin::Latest, OnTrouble::Latest));
    let own = [
        ("source.consumer.auto.offset.reset", "earliest"),
        ("twinstream.on.source.truncation", "pause"),
        ("twinstream.on.source.recreation", "latest"),
        ("twinstream.on.source.unauthorized", "pause"),
    ];
    let expected = Policies {
        truncation: OnTrouble::Pause,
        recreation: OnTrouble::Latest,
        unauthorized: OnTrouble::Pause,
        ..resume
    };
    assert_eq!(policies(&own), expected);
    assert!(errors(&config(&[("twinstream.on.source.truncation", "ignore")])).contains("resume"));
    assert!(errors(&config(&[("twinstream.on.source.unauthorized", "latest")])).contains("pause"));
}

#[test]
fn committed_records_only_are_copied_when_the_consumer_is_told_so() {
    let extra = [("source.consumer.isolation.level", "read_committed")];
    assert!(settings(&extra).expect("settings").fetch.read_committed);
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
