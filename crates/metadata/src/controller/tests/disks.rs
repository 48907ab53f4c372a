//! Disks that fail under brokers that serve on.

use super::*;

fn report(cluster: &mut Cluster, node: i32, topic: &str) -> (Reported, Effects) {
    let topic_id = cluster.controller.image().topic(&name(topic)).expect("a known topic").id;
    let epoch = cluster.epoch_of(node);
    let decision = cluster.controller.replicas_offline(NodeId(node), epoch, &[(topic_id, PartitionIndex(0))]);
    let effects = decision.effects.clone();
    (cluster.commit(decision).expect("a registered broker"), effects)
}

fn offline(cluster: &Cluster, topic: &str) -> Vec<i32> {
    cluster.first(topic).offline.iter().map(|node| node.0).collect()
}

#[test]
fn leadership_moves_from_a_failed_disk_and_its_broker_serves_on() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    cluster.create_on("other", &[1, 2, 3], "2");
    let before = cluster.first("a");
    let (reported, effects) = report(&mut cluster, 1, "a");
    assert_eq!((reported, effects.leaders_changed, effects.isr_shrunk), (Reported::All, 1, 1));
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
    assert!(cluster.first("a").leader_epoch > before.leader_epoch);
    assert_eq!(offline(&cluster, "a"), [1]);
    assert_eq!(cluster.state("other"), "isr 1 2 3 | elr | leader 1");
    assert!(!cluster.controller.image().broker(NodeId(1)).expect("registered").fenced);
}

#[test]
fn a_report_that_is_known_already_changes_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    report(&mut cluster, 1, "a");
    let before = cluster.first("a");
    report(&mut cluster, 1, "a");
    assert_eq!(cluster.first("a"), before);
}

#[test]
fn a_copy_on_a_failed_disk_neither_joins_the_isr_nor_leads_when_nobody_else_can() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "1");
    report(&mut cluster, 1, "a");
    assert_eq!(cluster.propose("a", &[2, 3, 1]), Err(ErrorCode::IneligibleReplica));
    cluster.kill(3);
    cluster.kill(2);
    // What 1 had when its disk failed may lack what was committed since.
    assert_eq!(cluster.state("a"), "isr | elr 2 | last 2");
}

#[test]
fn the_only_copy_has_no_leader_until_its_broker_starts_again() {
    let mut cluster = Cluster::of(1);
    cluster.create_on("a", &[1], "1");
    let (_, effects) = report(&mut cluster, 1, "a");
    assert_eq!(effects.offline, [at("a", 0)]);
    assert_eq!(cluster.state("a"), "isr | elr | last 1");
    cluster.kill(1);
    cluster.restart(1);
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
    assert!(offline(&cluster, "a").is_empty());
}

#[test]
fn a_topic_that_allows_it_is_not_led_uncleanly_from_a_failed_disk() {
    let mut cluster = Cluster::of(1);
    cluster.create_on("a", &[1], "1");
    cluster.alter(topic_resource("a"), &[(rules::UNCLEAN_ELECTION, ConfigOperation::Set, Some("true"))]).expect("fine");
    report(&mut cluster, 1, "a");
    assert_eq!(cluster.state("a"), "isr | elr | last 1");
}

#[test]
fn directory_that_cannot_be_opened_costs_no_copy_on_the_others() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    let (first, second) = (Uuid::from_u128(71), Uuid::from_u128(72));
    cluster.kill(3);
    cluster.restart_after(3, |registration| registration.directories.extend([first, second]));
    cluster.propose("a", &[1, 2, 3]).expect("3 is up");
    cluster.kill(3);
    cluster.kill(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
    let registered = cluster.restart_after(3, |registration| {
        registration.directories.push(first);
        registration.offline_directories = 1;
    });
    assert_eq!(registered.loss, None);
    // The directory is remembered: an empty one in its place is a loss.
    cluster.kill(3);
    let registered = cluster.restart_after(3, |registration| registration.directories.push(first));
    assert_eq!(registered.loss, Some(ReplicaLoss::Disk));
}

#[test]
fn report_of_an_earlier_process_or_about_strangers_changes_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2], "1");
    let topic_id = cluster.controller.image().topic(&name("a")).expect("a known topic").id;
    let epoch = cluster.epoch_of(1);
    let stale = cluster.controller.replicas_offline(NodeId(1), epoch - 1, &[(topic_id, PartitionIndex(0))]);
    assert!(matches!(stale.answer, Err(BrokerError::StaleEpoch { .. })));
    let nobodys = [(topic_id, PartitionIndex(9)), (TopicId(Uuid::from_u128(404)), PartitionIndex(0))];
    let decision = cluster.controller.replicas_offline(NodeId(1), epoch, &nobodys);
    assert!(decision.records.is_empty());
    report(&mut cluster, 3, "a");
    assert!(offline(&cluster, "a").is_empty());
}
