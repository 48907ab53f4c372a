//! Who leads when brokers die, lose power or come back with other disks: ISR, ELR and the last known leader.

use super::*;

fn three() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.create_on("a", &[1, 2, 3], "2");
    cluster
}

#[test]
fn the_next_in_sync_replica_in_replica_order_leads_when_the_leader_dies() {
    let mut cluster = three();
    let before = cluster.first("a");
    let effects = cluster.kill(1);
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
    assert_eq!((effects.leaders_changed, effects.isr_shrunk, effects.offline.len()), (1, 1, 0));
    let after = cluster.first("a");
    assert_eq!(after.leader_epoch, LeaderEpoch(before.leader_epoch.0 + 1));
    assert_eq!(after.partition_epoch, before.partition_epoch + 1);
}

#[test]
fn a_follower_that_dies_costs_no_leader_epoch() {
    let mut cluster = three();
    let before = cluster.first("a");
    cluster.kill(3);
    assert_eq!(cluster.state("a"), "isr 1 2 | elr | leader 1");
    assert_eq!(cluster.first("a").leader_epoch, before.leader_epoch);
}

#[test]
fn who_leaves_an_isr_below_the_minimum_stays_eligible_until_the_isr_has_regrown() {
    let mut cluster = three();
    cluster.kill(3);
    cluster.kill(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
    cluster.restart(3);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1", "to be up is not to be in sync");
    cluster.propose("a", &[1, 3]).expect("3 is up");
    assert_eq!(cluster.state("a"), "isr 1 3 | elr | leader 1");
}

#[test]
fn only_members_of_the_elr_lead_when_the_isr_has_emptied() {
    let mut cluster = three();
    cluster.kill(3);
    cluster.kill(1);
    let effects = cluster.kill(2);
    assert_eq!(effects.offline, [at("a", 0)]);
    assert_eq!(cluster.state("a"), "isr | elr 1 2 | last 2");
    cluster.restart(3);
    assert_eq!(cluster.state("a"), "isr | elr 1 2 | last 2", "3 may lack what 1 and 2 committed");
    cluster.restart(1);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
}

#[test]
fn an_unclean_election_happens_only_when_allowed_and_is_reported() {
    let mut cluster = three();
    for node in [3, 1, 2] {
        cluster.kill(node);
    }
    cluster.restart(3);
    assert_eq!(cluster.first("a").leader, None);
    let change = alteration(topic_resource("a"), &[(rules::UNCLEAN_ELECTION, ConfigOperation::Set, Some("true"))]);
    let decision = cluster.controller.alter_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
    assert_eq!(decision.effects.unclean, [(at("a", 0), NodeId(3))]);
    cluster.commit(decision).remove(0).expect("a good value");
    assert_eq!(
        cluster.state("a"),
        "isr 3 | elr | leader 3",
        "whom 3 overtook has other records and is eligible no more"
    );
}

#[test]
fn a_crash_of_the_process_keeps_the_place_in_the_elr() {
    let mut cluster = three();
    for node in [1, 2, 3] {
        cluster.kill(node);
    }
    let registered = cluster.restart(2);
    assert_eq!(registered.loss, None);
    assert_eq!(cluster.state("a"), "isr 2 | elr 3 | leader 2");
}

#[test]
fn who_lost_power_is_eligible_no_more() {
    let mut cluster = three();
    for node in [1, 2, 3] {
        cluster.kill(node);
    }
    let registered = cluster.restart_after(2, |registration| registration.boot_id = "boot-2".into());
    assert_eq!(registered.loss, Some(ReplicaLoss::PowerLoss));
    assert_eq!(cluster.state("a"), "isr | elr 3 | last 3");
    cluster.restart(3);
    assert_eq!(cluster.state("a"), "isr 3 | elr | leader 3", "not 2, which is up and was in the ELR");
}

#[test]
fn a_reboot_after_an_orderly_stop_loses_nothing() {
    let mut cluster = three();
    for node in [1, 2, 3] {
        cluster.kill(node);
    }
    let registered = cluster.restart_after(2, |registration| {
        registration.boot_id = "boot-2".into();
        registration.clean = true;
    });
    assert_eq!(registered.loss, None);
    assert_eq!(cluster.state("a"), "isr 2 | elr 3 | leader 2");
}

#[test]
fn when_all_lost_power_the_last_leader_leads_again() {
    let mut cluster = three();
    for node in [1, 2, 3] {
        cluster.kill(node);
    }
    let power_loss = |registration: &mut Registration| registration.boot_id = "boot-2".into();
    cluster.restart_after(1, power_loss);
    cluster.restart_after(2, power_loss);
    assert_eq!(cluster.state("a"), "isr | elr 3 | last 3");
    let registration = Registration { clean: false, boot_id: "boot-2".into(), ..registration(3, 77) };
    let decision = cluster.controller.register_broker(&registration, cluster.now);
    let epoch = cluster.commit(decision).expect("the old process is gone").epoch;
    assert_eq!(cluster.state("a"), "isr | elr | last 3");
    let beat = beat_of(3, epoch);
    let decision = cluster.controller.heartbeat(&beat, cluster.now);
    assert_eq!(decision.effects.last_known, [(at("a", 0), NodeId(3))]);
    assert!(decision.effects.unclean.is_empty());
    cluster.commit(decision).expect("registered");
    assert_eq!(cluster.state("a"), "isr 3 | elr | leader 3");
}

#[test]
fn a_power_loss_of_the_whole_cluster_that_no_controller_saw_ends_the_same() {
    let mut cluster = three();
    // The image still has everybody up and in sync.
    let image = cluster.controller.image().clone();
    cluster.controller = Controller::new(image, ControllerSettings::default(), cluster.now);
    let power_loss = |registration: &mut Registration| registration.boot_id = "boot-2".into();
    cluster.restart_after(2, power_loss);
    cluster.restart_after(3, power_loss);
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
    cluster.restart_after(1, power_loss);
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
    assert_eq!(cluster.first("a").leader_epoch, LeaderEpoch(2), "by way of nobody");
}

#[test]
fn a_wiped_disk_leaves_every_isr_and_elr_with_the_registration() {
    let mut cluster = three();
    let wiped = Registration { directories: vec![Uuid::from_u128(99)], ..registration(2, 77) };
    cluster.controller.connection_lost(NodeId(2));
    let decision = cluster.controller.register_broker(&wiped, cluster.now);
    assert!(matches!(decision.records.as_slice(), [Record::PartitionChange { .. }, Record::RegisterBroker { .. }]));
    assert_eq!(cluster.commit(decision).map(|registered| registered.loss), Ok(Some(ReplicaLoss::Disk)));
    assert_eq!(cluster.state("a"), "isr 1 3 | elr | leader 1");
}

#[test]
fn a_wiped_last_leader_leads_only_uncleanly() {
    let mut cluster = Cluster::of(1);
    cluster.create_on("a", &[1], "1");
    cluster.kill(1);
    assert_eq!(cluster.state("a"), "isr | elr 1 | last 1");
    cluster.restart_after(1, |registration| registration.directories = vec![Uuid::from_u128(99)]);
    assert_eq!(cluster.state("a"), "isr | elr | no last");
    let decision = cluster.controller.elect_leaders(ElectionKind::Unclean, Some(&[at("a", 0)]));
    assert_eq!(decision.effects.unclean, [(at("a", 0), NodeId(1))]);
    assert_eq!(cluster.commit(decision), [(at("a", 0), Ok(()))]);
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
}

#[test]
fn a_missing_disk_counts_and_a_new_one_does_not() {
    let mut cluster = three();
    let more = vec![Uuid::from_u128(2), Uuid::from_u128(99)];
    cluster.kill(2);
    let registered = cluster.restart_after(2, |registration| registration.directories = more.clone());
    assert_eq!(registered.loss, None);
    cluster.kill(2);
    let registered = cluster.restart_after(2, |registration| registration.directories = vec![more[0]]);
    assert_eq!(registered.loss, Some(ReplicaLoss::Disk), "what was in the other one is gone");
}

#[test]
fn a_smaller_minimum_ends_the_elr_in_the_same_batch() {
    let mut cluster = three();
    cluster.kill(3);
    cluster.kill(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
    cluster.set(topic_resource("a"), rules::MIN_ISR, "1");
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1", "1 commits alone from now on, so 2 falls behind");
}

#[test]
fn the_minimum_comes_from_topic_then_cluster_then_setting() {
    let settings = ControllerSettings { min_insync_replicas: 3, ..ControllerSettings::default() };
    let mut cluster = Cluster::with(3, settings);
    cluster.create_one(assigned("a", &[(0, &[1, 2, 3])])).expect("a good topic");
    cluster.kill(3);
    assert_eq!(cluster.state("a"), "isr 1 2 | elr 3 | leader 1");
    cluster.set(ConfigResource::BrokerDefault, rules::MIN_ISR, "2");
    assert_eq!(cluster.state("a"), "isr 1 2 | elr | leader 1");
    cluster.set(topic_resource("a"), rules::MIN_ISR, "3");
    cluster.kill(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
    cluster.alter(topic_resource("a"), &[(rules::MIN_ISR, ConfigOperation::Delete, None)]).expect("it is set");
    cluster.alter(ConfigResource::BrokerDefault, &[(rules::MIN_ISR, ConfigOperation::Set, Some("1"))]).expect("good");
    assert_eq!(cluster.state("a"), "isr 1 | elr | leader 1");
}

#[test]
fn a_minimum_beyond_the_replicas_means_all_of_them() {
    let mut cluster = Cluster::of(2);
    cluster.create_on("a", &[1, 2], "3");
    assert_eq!(cluster.state("a"), "isr 1 2 | elr | leader 1");
    cluster.kill(2);
    assert_eq!(cluster.state("a"), "isr 1 | elr 2 | leader 1");
    cluster.restart(2);
    cluster.propose("a", &[1, 2]).expect("2 is up");
    assert_eq!(cluster.state("a"), "isr 1 2 | elr | leader 1");
}

#[test]
fn brokers_that_expire_together_do_not_lead_one_after_the_other() {
    let mut cluster = three();
    cluster.now += Duration::from_secs(5);
    cluster.beat(3, cluster.epoch_of(3));
    cluster.now += Duration::from_secs(5);
    let decision = cluster.controller.expire_sessions(cluster.now);
    assert_eq!(decision.records.len(), 3, "one change of the partition, two fencings: {:?}", decision.records);
    assert_eq!(cluster.commit(decision), nodes(&[1, 2]));
    assert_eq!(cluster.state("a"), "isr 3 | elr 1 2 | leader 3");
}

#[test]
fn a_fencing_that_was_not_written_is_tried_again() {
    let mut cluster = three();
    let unwritten = cluster.controller.broker_gone(NodeId(1));
    assert!(!unwritten.records.is_empty());
    assert!(cluster.controller.session_deadline().is_some_and(|deadline| deadline <= cluster.now));
    cluster.now += RETRY_PAUSE;
    let decision = cluster.controller.expire_sessions(cluster.now);
    assert_eq!(cluster.commit(decision), nodes(&[1]));
    assert_eq!(cluster.state("a"), "isr 2 3 | elr | leader 2");
    let pause = cluster.controller.session_deadline().expect("others live");
    assert!(pause > cluster.now, "no loop without a pause");
    cluster.now = pause;
    let decision = cluster.controller.expire_sessions(cluster.now);
    assert!(decision.records.is_empty());
    assert!(cluster.controller.session_deadline().is_some_and(|deadline| deadline > cluster.now + RETRY_PAUSE));
}

#[test]
fn a_lost_broker_joins_no_isr_before_it_is_fenced() {
    let mut cluster = three();
    cluster.propose("a", &[1, 2]).expect("a shrink");
    let unwritten = cluster.controller.broker_gone(NodeId(3));
    assert!(!unwritten.records.is_empty());
    assert_eq!(cluster.propose("a", &[1, 2, 3]), Err(ErrorCode::IneligibleReplica));
}

#[test]
fn an_image_of_an_older_release_is_put_in_order_by_the_first_sweep() {
    let mut cluster = three();
    cluster.kill(3);
    // Version 1 kept a fenced broker in the ISR and wrote no replicas with a change.
    let change = |leader: Option<i32>, epoch| Record::PartitionChange {
        topic_id: cluster.controller.image().topic(&name("a")).expect("known").id,
        partition: PartitionIndex(0),
        image: PartitionImage {
            isr: nodes(&[1, 2, 3]),
            leader: leader.map(NodeId),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: epoch,
            ..PartitionImage::default()
        },
    };
    let old = change(Some(1), 8);
    cluster.controller.replay(&[old]).expect("it fits");
    let image = cluster.controller.image().clone();
    assert_eq!(image.partition(&name("a"), PartitionIndex(0)).expect("known").replicas, nodes(&[1, 2, 3]));
    cluster.controller = Controller::new(image, ControllerSettings::default(), cluster.now);
    let decision = cluster.controller.expire_sessions(cluster.now);
    cluster.commit(decision);
    assert_eq!(cluster.state("a"), "isr 1 2 | elr | leader 1");
}
