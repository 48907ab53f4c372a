use super::*;
use crate::settings::{Settings, sources};

fn settings(pairs: &[(&str, &str)]) -> ReplicationSettings {
    let base = [("node.id", "1"), ("listeners", "PLAINTEXT://127.0.0.1:0")];
    let pairs = base.iter().chain(pairs).map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Settings::new(sources::gather(None, [], &pairs.collect::<Vec<_>>()).unwrap()).unwrap().replication
}

#[test]
fn follower_asks_for_what_its_settings_say() {
    let settings = settings(&[("replica.fetch.wait.max.ms", "321"), ("replica.fetch.max.bytes", "4567")]);
    let now = Instant::now();
    assert_eq!(bounded(&settings, None, now).max_wait_ms, 321);
    assert_eq!(bounded(&settings, Some(now + Duration::from_millis(20)), now).max_wait_ms, 20);
    assert_eq!(fetch_bytes(&settings, None), 4567);
    assert_eq!(fetch_bytes(&settings, Some(100)), 100, "a throttle bounds it further");
}
