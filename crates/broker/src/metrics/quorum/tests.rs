use twinstream_quorum::ReplicaProgress;
use uuid::Uuid;

use super::*;

fn replica(node: i32, voter: bool, last_fetch_ms: Option<i64>) -> ReplicaProgress {
    let directory_id = Uuid::from_u128(node as u128);
    ReplicaProgress { node: NodeId(node), directory_id, voter, log_end: 9, last_fetch_ms, last_caught_up_ms: None }
}

#[test]
fn voters_that_are_silent_are_offline_and_nobody_is_where_nobody_leads() {
    let registry = Metrics::new();
    let health = QuorumHealth::new(&registry);
    let replicas = vec![
        replica(1, true, None), // the leader does not hear of itself
        replica(2, true, Some(990)),
        replica(3, true, Some(500)),
        replica(4, true, None),
        replica(5, false, None),
    ];
    let described = Description { leader: NodeId(1), leader_epoch: 3, high_watermark: 9, replicas };
    health.show(Some(&described), 1_000, 100);
    assert_eq!(health.offline_voters.get(), 2);
    health.show(None, 1_000, 100);
    assert_eq!(health.offline_voters.get(), 0);
}
