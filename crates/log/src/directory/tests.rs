use super::*;

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse(topic).unwrap(), partition)
}

#[test]
fn second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    let error = LogDirectory::open(dir.path(), NodeId(1)).unwrap_err();
    assert!(matches!(error, DirectoryError::Locked(_)));
    assert!(error.to_string().contains("in use by another process"), "{error}");
}

#[test]
fn lock_ends_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    drop(LogDirectory::open(dir.path(), NodeId(1)).unwrap());
    LogDirectory::open(dir.path(), NodeId(1)).unwrap();
}

#[test]
fn directory_of_another_node_or_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    first.claim(&"cluster-a".into()).unwrap();
    drop(first);
    let other = LogDirectory::open(dir.path(), NodeId(2)).unwrap_err();
    assert!(matches!(other, DirectoryError::OtherNode { found: NodeId(1), .. }));
    let mut again = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    let id = again.meta().unwrap().directory.clone();
    assert!(matches!(again.claim(&"cluster-b".into()), Err(DirectoryError::OtherCluster { .. })));
    assert_eq!(again.claim(&"cluster-a".into()).unwrap().directory, id);
}

#[test]
fn checkpoints_are_kept_by_kind() {
    let dir = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    let offsets: BTreeMap<_, _> = [(partition("t", 0), Offset(9))].into();
    directory.write_checkpoint(Checkpoint::LogStart, &offsets).unwrap();
    assert_eq!(directory.read_checkpoint(Checkpoint::LogStart).unwrap(), offsets);
    assert!(directory.read_checkpoint(Checkpoint::Replication).unwrap().is_empty());
    assert_eq!(fs::read_to_string(dir.path().join("log-start-offset-checkpoint")).unwrap(), "0\n1\nt 0 9\n");
}

#[test]
fn clean_stop_is_noticed_once() {
    let dir = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Unknown);
    directory.mark_clean_shutdown().unwrap();
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Clean);
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Killed);
}

#[test]
fn crash_is_told_from_a_power_loss_once_all_logs_were_checked() {
    let dir = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Unknown);
    // Ended before all logs were checked: the next run has to check them.
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Unknown);
    directory.mark_checked().unwrap();
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Killed);
    let mark = dir.path().join(".twinstream-running");
    let of_another_boot = fs::read_to_string(&mark).unwrap().replace("boot: ", "boot: 0");
    fs::write(&mark, of_another_boot).unwrap();
    assert_eq!(directory.take_last_stop().unwrap(), LastStop::Unknown);
    assert!(!mark.exists());
}

#[test]
fn folders_are_partitions_only_with_their_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let directory = LogDirectory::open(dir.path(), NodeId(1)).unwrap();
    for name in ["a-b-3", "c-0", "metadata", "d-1.ab12-delete", "e-x"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("partition.metadata"), "version: 0").unwrap();
    }
    fs::create_dir(dir.path().join("f-0")).unwrap();
    // What a power loss may leave of a partition that was just made.
    fs::create_dir(dir.path().join("g-0")).unwrap();
    fs::write(dir.path().join("g-0/partition.metadata"), "").unwrap();

    assert_eq!(directory.partitions().unwrap(), [partition("a-b", 3), partition("c", 0)]);
    directory.remove_deleted().unwrap();
    assert!(!dir.path().join("d-1.ab12-delete").exists());
    assert!(dir.path().join("c-0").exists());
}

#[test]
fn probe_notices_that_the_path_leads_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    let directory = LogDirectory::open(&path, NodeId(1)).unwrap();
    directory.probe().unwrap();
    fs::rename(&path, root.path().join("moved")).unwrap();
    assert!(directory.probe().is_err());
    // An empty folder, such as a mount point without its file system.
    fs::create_dir(&path).unwrap();
    fs::write(path.join(".lock"), "").unwrap();
    assert!(directory.probe().unwrap_err().is_disk_failure());
}
