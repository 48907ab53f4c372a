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
