use crate::settings::sources::gather;

use super::*;

fn node(pairs: &[(&str, &str)]) -> Result<NodeSettings, SettingsError> {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    NodeSettings::new(&Values::check(gather(None, [], &pairs)?)?)
}

#[test]
fn a_broker_that_would_be_fenced_between_two_heartbeats_is_refused() {
    let kafkas_interval = ("broker.heartbeat.interval.ms", "2000");
    let refused = node(&[("node.id", "1"), kafkas_interval]).unwrap_err().to_string();
    assert!(refused.contains("must be less than broker.session.timeout.ms=2000"), "{refused}");
    assert!(node(&[("node.id", "1"), kafkas_interval, ("broker.session.timeout.ms", "9000")]).is_ok());
}

fn settings(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let base = [("node.id", "1"), ("listeners", "PLAINTEXT://127.0.0.1:0")];
    let pairs = base.iter().chain(pairs).map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Settings::new(gather(None, [], &pairs.collect::<Vec<_>>())?)
}

#[test]
fn log_dir_counts_when_there_are_no_log_dirs() {
    let dirs = |pairs: &[(&str, &str)]| settings(pairs).unwrap().log.dirs;
    assert_eq!(dirs(&[("log.dir", "/a")]), [PathBuf::from("/a")]);
    assert_eq!(dirs(&[("log.dir", "/a"), ("log.dirs", "/b,/c")]), [PathBuf::from("/b"), PathBuf::from("/c")]);
}

#[test]
fn classic_groups_cannot_be_switched_off() {
    const PROTOCOLS: &str = "group.coordinator.rebalance.protocols";
    assert!(settings(&[(PROTOCOLS, "consumer")]).is_err());
    assert!(!settings(&[(PROTOCOLS, "classic")]).unwrap().groups.serves_consumer_protocol);
    assert!(settings(&[]).unwrap().groups.serves_consumer_protocol);
}
