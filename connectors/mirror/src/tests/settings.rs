//! Keys, fates, README.

use std::path::Path;
use std::time::Duration;

use twinstream_client::protocol::compression::{Compression, CompressionSpec};
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
fn settings_that_nobody_made_are_careful_ones() {
    let settings = settings(&[]).expect("settings");
    assert_eq!(settings.replication_factor, None, "the source's");
    assert!(!settings.fetch.read_committed);
    let stays = |name: &&str| settings.properties_excluded.is_match(name);
    assert!(["message.timestamp.type", "min.insync.replicas"].iter().all(&stays));
    assert!(!["retention.ms", "cleanup.policy", "max.message.bytes"].iter().any(stays));
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
fn copies_are_packed_as_the_producer_is_told_and_not_at_all_unless_it_is() {
    let packed = |extra: &[(&str, &str)]| settings(extra).map(|settings| settings.compression);
    let zstd = |level| Ok(Some(CompressionSpec { codec: Compression::Zstd, level }));
    assert_eq!(packed(&[]), Ok(None));
    assert_eq!(packed(&[("producer.override.compression.type", "none")]), Ok(Some(Compression::None.into())));
    // As MirrorMaker's dedicated mode hands it on, and the more special place wins.
    let both = [("target.producer.compression.type", "zstd"), ("target.cluster.compression.type", "gzip")];
    assert_eq!(packed(&both), zstd(None));
    let all = [both[0], both[1], ("producer.override.compression.type", "lz4")];
    assert_eq!(packed(&all), Ok(Some(Compression::Lz4.into())));
    let level =
        |text| [both[0], ("target.producer.compression.zstd.level", text), ("producer.compression.lz4.level", "99")];
    assert_eq!(packed(&level("-5")), zstd(Some(-5)), "levels of other codecs do not matter");
    for (extra, part) in [
        (&level("23")[..], "target.producer.compression.zstd.level=23"),
        (&level("best")[..], "-131072 to 22"),
        (&[("producer.override.compression.type", "uncompressed")][..], "use none, gzip, snappy, lz4 or zstd"),
        (&[both[0], ("twinstream.link.mode", "aligned")][..], "keep the source's bytes"),
    ] {
        let refused = packed(extra).expect_err(part);
        assert!(refused.contains(part), "{refused}");
    }
    let gzip = [("producer.override.compression.type", "gzip"), ("producer.override.compression.gzip.level", "-1")];
    assert_eq!(packed(&gzip), Ok(Some(Compression::Gzip.into())));
    let back = [both[0], ("twinstream.link.mode", "aligned"), ("twinstream.link.returns", "true")];
    assert_eq!(packed(&back), zstd(None), "the way back of a link has its settings, and copies nothing by them");
    let unused = settings(&level("3")).expect("settings").target;
    assert_eq!(unused_client_settings(&unused), Vec::<String>::new(), "they are not told to have no effect");
}

#[test]
fn records_take_along_where_they_have_been_only_where_they_are_copied_as_by_a_producer() {
    const ON: (&str, &str) = ("twinstream.provenance.headers.enabled", "true");
    let mode =
        |extra: &[(&str, &str)]| settings(extra).map(|settings| (settings.provenance, settings.link_mode.name()));
    assert_eq!(mode(&[]), Ok((false, "auto")));
    assert_eq!(mode(&[ON]), Ok((true, "generic")), "a mirror would take records from nobody else");
    assert_eq!(mode(&[ON, ("twinstream.link.mode", "generic")]), Ok((true, "generic")));
    for other in [("twinstream.link.mode", "aligned"), ("twinstream.link.returns", "true")] {
        let refused = mode(&[ON, other]).expect_err("refused");
        assert!(refused.starts_with(ON.0) && refused.contains(other.0), "{refused}");
    }
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
    let refused = settings(&[("source.consumer.isolation.level", "commited")]).expect_err("refused");
    assert!(refused.contains("isolation.level") && refused.contains("commited"), "{refused}");
}

#[test]
fn intervals_are_off_where_they_are_not_above_zero_and_may_be_as_long_as_one_likes() {
    let intervals = |seconds: &str| {
        let keys = ["refresh.topics", "sync.topic.configs", "twinstream.sync.quotas", "sync.topic.acls"];
        let keys = keys.map(|key| format!("{key}.interval.seconds"));
        let mut extra: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), seconds)).collect();
        extra.push(("twinstream.sync.quotas.enabled", "true"));
        let settings = settings(&extra).expect("settings");
        assert_eq!(settings.acls.is_some(), settings.refresh.is_some());
        [settings.refresh, settings.config_sync, settings.quota_sync]
    };
    assert_eq!([intervals("0"), intervals("-1")], [[None; 3]; 2]);
    assert_eq!(intervals("9999999"), [Some(Duration::from_secs(9_999_999)); 3]);
    for every in intervals(&i64::MAX.to_string()) {
        assert!(std::time::Instant::now().checked_add(every.expect("an interval")).is_some());
    }
    assert_eq!(settings(&[("refresh.topics.enabled", "false")]).expect("settings").refresh, None);
}

#[test]
fn fetches_are_as_they_are_told_or_the_setting_is_refused_by_name() {
    let fetch = |name: &str, value: &str| {
        settings(&[(&format!("source.consumer.{name}"), value)]).map(|settings| settings.fetch)
    };
    assert_eq!(fetch("fetch.min.bytes", "0").map(|fetch| fetch.bytes_min), Ok(0), "as Kafka's");
    assert_eq!(fetch("fetch.max.wait.ms", "0").map(|fetch| fetch.wait_max), Ok(Duration::ZERO));
    for (name, value, least) in [
        ("fetch.min.bytes", "-5", 0),
        ("fetch.max.bytes", "0", 1),
        ("fetch.max.bytes", "2147483648", 1),
        ("max.partition.fetch.bytes", "0", 1),
        ("fetch.max.wait.ms", "-1", 0),
    ] {
        let refused = fetch(name, value).expect_err(name);
        assert!([name, value, &format!("from {least} to")].iter().all(|part| refused.contains(part)), "{refused}");
    }
    let poll = |value| settings(&[("consumer.poll.timeout.ms", value)]).map(|settings| settings.fetch.wait_max);
    assert_eq!(poll("0"), Ok(Duration::from_millis(500)), "the fetch's own wait counts alone");
    assert_eq!((poll("100"), poll("9223372036854775807")), (Ok(Duration::from_millis(100)), poll("0")));
    assert!(errors(&config(&[("consumer.poll.timeout.ms", "-1")])).contains("at least 0"));
}

#[test]
fn values_that_could_only_fail_later_are_refused_at_once() {
    let factors = ["replication.factor", "offset-syncs.topic.replication.factor"];
    for key in factors {
        for value in ["0", "-2"] {
            assert!(
                errors(&config(&[(key, value)])).contains("at least 1 and no more than 32767, or -1"),
                "{key}={value}"
            );
        }
        assert_eq!(errors(&config(&[(key, "-1")])), "");
    }
    for value in ["bogus", "legacy,", ""] {
        assert!(errors(&config(&[("metric.names.formats", value)])).contains("legacy, new"), "{value}");
    }
    assert_eq!(errors(&config(&[("metric.names.formats", "new, legacy")])), "");
    let same = settings(&[("source.cluster.alias", "a"), ("target.cluster.alias", "a")]).expect_err("refused");
    assert!(same.starts_with("target.cluster.alias") && same.contains("differently"), "{same}");
}

#[test]
fn figures_can_be_registered_and_plugin_has_its_names() {
    let collectors = crate::metrics::collectors();
    let names: Vec<&str> =
        collectors.iter().flat_map(|collector| collector.desc()).map(|desc| desc.fq_name.as_str()).collect();
    let once: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(once.len(), names.len(), "a name is declared once");
    for name in ["org.apache.kafka.connect.mirror.MirrorSourceConnector", "MirrorSourceConnector", "MirrorSource"] {
        assert!(crate::plugin().answers_to(name));
    }
}
