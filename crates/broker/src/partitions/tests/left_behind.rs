//! Folders that partitions do not use any more and that could not be removed, when a topic of the same name is made.

use super::changes::{ENTERED, at_each_stage, moved_but_for_its_folder};
use super::moves::{Broker, append_wide, copy_tree, one_ends_with, values};
use super::*;

/// The cluster with its topic deleted, and made again.
fn topic_made_again(cluster: &Cluster) -> [Image; 2] {
    let mut later = Cluster { image: cluster.image.clone() };
    later.remove(7);
    let deleted = later.image.clone();
    later.topic("t", 8, 1);
    [deleted, later.image]
}

/// The new topic has nothing of the old one, and what was in its way is not removed under it later.
fn check_new_topic(mut broker: Broker, made: Image) {
    broker.manager.reconcile(&made).unwrap();
    assert_eq!(broker.partition().dir(), 0, "there the old folder is");
    assert!(values(&broker.partition()).is_empty());
    append(&broker.partition(), &["new"]);
    broker.manager.remove_doomed(i64::MAX);
    broker.manager.remove_doomed(i64::MAX);
    assert_eq!((broker.folders(0), broker.folders(1)), (vec!["t-0".to_owned()], vec![]));
    broker.cluster.image = made;
    assert_eq!(values(&broker.restart().partition()), ["new"]);
}

#[test]
fn folder_that_a_move_left_and_that_stayed_is_not_the_log_of_a_new_topic() {
    let broker = Broker::new();
    append_wide(&broker.partition(), 1);
    broker.ask(1).unwrap();
    moved_but_for_its_folder(&broker);
    let [deleted, made] = topic_made_again(&broker.cluster);
    broker.manager.reconcile(&deleted).unwrap();
    check_new_topic(broker, made);
}

#[test]
fn folder_of_a_deleted_topic_that_stayed_is_not_the_log_of_a_new_one() {
    let broker = Broker::new();
    append(&broker.partition(), &["old"]);
    let [deleted, made] = topic_made_again(&broker.cluster);
    broker.hide(0);
    broker.manager.reconcile(&deleted).unwrap();
    broker.show(0);
    assert_eq!(broker.folders(0), ["t-0"]);
    check_new_topic(broker, made);
}

#[test]
fn folder_of_a_deleted_topic_that_stayed_is_removed_later() {
    let broker = Broker::new();
    let [deleted, _] = topic_made_again(&broker.cluster);
    broker.hide(0);
    broker.manager.reconcile(&deleted).unwrap();
    broker.show(0);
    broker.manager.remove_doomed(i64::MAX);
    assert!(broker.folders(0).is_empty());
}

#[test]
fn move_that_ends_after_its_topic_was_made_again_does_not_remove_the_new_log() {
    for deleted_at in [ENTERED, ENTERED + 1] {
        let broker = Broker::new();
        append_wide(&broker.partition(), 1);
        broker.ask(1).unwrap();
        let under_way = broker.manager.moves.of(&at("t", 0)).unwrap();
        let [deleted, made] = topic_made_again(&broker.cluster);
        at_each_stage(&broker, |stage| {
            if stage == deleted_at {
                broker.manager.reconcile(&deleted).unwrap();
                broker.manager.reconcile(&made).unwrap();
            }
            true
        });
        broker.manager.moves.end(&under_way);
        drop(under_way);
        check_new_topic(broker, made);
    }
}

#[test]
fn folder_of_unknown_origin_makes_way_for_a_new_partition_and_is_kept() {
    let mut broker = Broker::new();
    append(&broker.partition(), &["precious"]);
    copy_tree(&broker.dirs[0].join("t-0"), &broker.dirs[1].join("u-0"));
    broker.cluster.topic("u", 8, 1);
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    let made = broker.manager.get(&at("u", 0)).unwrap();
    assert_eq!((made.dir(), values(&made).len()), (1, 0));
    assert!(broker.folders(1).len() == 2 && one_ends_with(&broker.folders(1), "-stray"), "{:?}", broker.folders(1));
}
