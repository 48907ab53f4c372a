//! Folders whose `partition.metadata` names another topic.

use super::*;

/// A stop and a start with a `partition.metadata` of `t-0` that was changed in between.
fn restart_with_identity(dirs: &[PathBuf], cluster: &Cluster, change: impl FnOnce(&mut Vec<u8>)) -> PartitionManager {
    let manager = open(dirs);
    manager.reconcile(&cluster.image).unwrap();
    append(&manager.get(&at("t", 0)).unwrap(), &["precious"]);
    manager.close();
    drop(manager);
    let path = dirs[0].join("t-0/partition.metadata");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    open(dirs)
}

fn metadata_of(id: u128) -> Vec<u8> {
    format!("version: 0\ntopic_id: {}", TopicId(Uuid::from_u128(id))).into_bytes()
}

const OURS: u128 = 0x1234_5678_9abc_def0_1234_5678_9abc_def0;
const OTHER: u128 = 0x0fed_cba9_8765_4321_0fed_cba9_8765_4321;

#[test]
fn one_changed_byte_of_a_topic_id_costs_no_record() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", OURS, 1);
    let manager = restart_with_identity(&dirs, &cluster, |bytes| {
        // Another id, and a sound one: the file has no checksum.
        bytes[25] = if bytes[25] == b'A' { b'B' } else { b'A' };
    });
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(manager.get(&at("t", 0)).unwrap().high_watermark(), Offset(1));
    assert_eq!(std::fs::read(dirs[0].join("t-0/partition.metadata")).unwrap(), metadata_of(OURS));
    assert_eq!(folders(&dirs[0]), ["t-0"]);
}

#[test]
fn folder_of_another_topic_is_put_aside_and_never_removed() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", OURS, 1);
    let manager = restart_with_identity(&dirs, &cluster, |bytes| *bytes = metadata_of(OTHER));
    manager.reconcile(&cluster.image).unwrap_err();
    manager.remove_strays(&cluster.image);
    assert_eq!(manager.get(&at("t", 0)).unwrap().high_watermark(), Offset(0));
    let records =
        |folder: &str| std::fs::metadata(dirs[0].join(folder).join("00000000000000000000.log")).unwrap().len();
    let check = |manager: &PartitionManager| {
        manager.remove_doomed(i64::MAX);
        let left = folders(&dirs[0]);
        assert!(left.len() == 2 && left[1].starts_with("t-0.") && left[1].ends_with("-stray"), "{left:?}");
        assert!(records(&left[1]) > 0);
    };
    check(&manager);
    manager.close();
    drop(manager);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    manager.remove_strays(&cluster.image);
    check(&manager);
}

#[test]
fn id_that_an_old_image_does_not_know_is_left_alone_until_the_image_is_caught_up() {
    let (_root, dirs) = one_dir();
    let (mut old, mut cluster) = (Cluster::new(), Cluster::new());
    old.topic("t", OTHER, 1);
    cluster.topic("t", OURS, 1);
    let manager = restart_with_identity(&dirs, &cluster, |_| {});
    assert!(matches!(manager.reconcile(&old.image), Err(PartitionsError::Stranger { .. })));
    assert_eq!(folders(&dirs[0]), ["t-0"]);
    manager.reconcile(&cluster.image).unwrap();
    manager.remove_strays(&cluster.image);
    assert_eq!(manager.get(&at("t", 0)).unwrap().high_watermark(), Offset(1));
    assert_eq!(folders(&dirs[0]), ["t-0"]);
}

#[test]
fn empty_log_takes_the_place_of_a_stray_only_where_it_does_not_count() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", OURS, 1);
    let manager = restart_with_identity(&dirs, &cluster, |bytes| *bytes = metadata_of(OTHER));
    let other = NodeId(2);
    let mut change = |isr: &[NodeId], leader: NodeId, epoch: i32| {
        cluster.apply(Record::PartitionChange {
            topic_id: TopicId(Uuid::from_u128(OURS)),
            partition: PartitionIndex(0),
            image: PartitionImage {
                replicas: vec![NODE, other],
                isr: isr.to_vec(),
                leader: Some(leader),
                leader_epoch: LeaderEpoch(epoch),
                partition_epoch: epoch,
                ..PartitionImage::default()
            },
        });
        cluster.image.clone()
    };
    // Nobody else is in sync: an empty log would be copied by the other one.
    let alone = change(&[NODE], NODE, 1);
    manager.reconcile(&alone).unwrap_err();
    manager.remove_strays(&alone);
    assert_eq!(folders(&dirs[0]), ["t-0"]);
    assert!(manager.get(&at("t", 0)).is_none());
    manager.take_offline();
    // Somebody else is: first this replica has to leave, so the controller is told.
    let counted = change(&[NODE, other], other, 2);
    assert!(matches!(manager.reconcile(&counted), Err(PartitionsError::Stranger { .. })));
    assert_eq!(folders(&dirs[0]), ["t-0"]);
    assert_eq!(manager.take_offline(), [(TopicId(Uuid::from_u128(OURS)), PartitionIndex(0))]);
    let left = change(&[other], other, 3);
    manager.reconcile(&left).unwrap();
    assert_eq!(folders(&dirs[0]).len(), 2);
    assert!(manager.get(&at("t", 0)).is_some());
}
