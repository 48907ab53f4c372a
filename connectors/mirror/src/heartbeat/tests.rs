//! Settings of the heartbeat connector.

use super::*;
use crate::tests::east_to_west as config;

#[tokio::test]
async fn one_task_emits_even_where_nothing_is_copied_unless_heartbeats_are_off() {
    for (more, tasks) in [
        (("enabled", "false"), 1),
        (("emit.heartbeats.enabled", "false"), 0),
        (("emit.heartbeats.interval.seconds", "-1"), 0),
    ] {
        let config = config(&[more]);
        let settings = HeartbeatSettings::parse(&config).unwrap();
        let mut connector = MirrorHeartbeatConnector { running: Some((settings, config)) };
        assert_eq!(connector.task_configs(5).await.unwrap().len(), tasks, "{more:?}");
    }
}

#[test]
fn defaults_are_mirror_makers() {
    let settings = HeartbeatSettings::parse(&config(&[])).unwrap();
    assert_eq!((settings.every, settings.topic.as_str()), (Duration::from_secs(1), "heartbeats"));
    assert_eq!((settings.source_alias.as_str(), settings.target_alias.as_str()), ("east", "west"));
    assert_eq!(settings.replicas, Replicas::UpTo(3));
}
