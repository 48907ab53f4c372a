//! The manager on real folders: what an image makes of them, and what is left after a stop or a crash.

mod aborted; // transactions whose index lost entries
mod changes; // the moment at which a copy takes the place of its log
mod cleaning; // how much a compaction takes on
mod damaged; // partitions that are opened with damage
mod left_behind; // folders that are in the way of new logs
mod moves; // replicas that change their directory
mod recovery_threads; // how many logs are opened at once
mod strays; // folders of other topics

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;
use twinstream_log::{Checkpoint, CleanupPolicy, DirectoryError, OpenFiles, Origin, TimestampType};
use twinstream_metadata::{ConfigResource, Image, PartitionImage, Record};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use twinstream_protocol::batch::BatchBuilder;
use twinstream_protocol::compression::Compression;
use uuid::Uuid;

use super::*;
use crate::coordinators::ShardLog;
use crate::settings::{Settings, sources};

const NODE: NodeId = NodeId(1);
const NO_EPOCH: LeaderEpoch = LeaderEpoch::NONE;

fn settings(dirs: &[PathBuf]) -> Arc<Settings> {
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let overrides = [
        ("node.id", "1".to_owned()),
        ("process.roles", "broker,controller".to_owned()),
        ("listeners", "PLAINTEXT://127.0.0.1:0".to_owned()),
        ("controller.quorum.voters", "1@127.0.0.1:9092".to_owned()),
        ("log.dirs", dirs.join(",")),
    ];
    let overrides: Vec<_> = overrides.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Arc::new(Settings::new(sources::gather(None, [], &overrides).unwrap()).unwrap())
}

fn open(dirs: &[PathBuf]) -> PartitionManager {
    let settings = settings(dirs);
    let directories = Directories::open(&settings.log.dirs, NODE, 0, OpenFiles::new(100)).unwrap();
    PartitionManager::new(settings, directories, Replicas { isr: Arc::default(), followers: Arc::new(Nobody) })
}

/// Fetches nothing.
struct Nobody;

impl Followers for Nobody {
    fn follow(&self, _: &Arc<Partition>, _: NodeId, _: LeaderEpoch) {}
    fn stop(&self, _: &Partition) {}
}

/// A cluster's metadata, written down record by record.
struct Cluster {
    image: Image,
}

impl Cluster {
    fn new() -> Cluster {
        let mut cluster = Cluster { image: Image::default() };
        cluster.apply(Record::ClusterId { cluster_id: "test-cluster".into() });
        cluster
    }

    fn apply(&mut self, record: Record) {
        self.image.apply_batch(&[record]).unwrap();
    }

    fn topic(&mut self, name: &str, id: u128, partitions: i32) {
        let topic_id = TopicId(Uuid::from_u128(id));
        self.apply(Record::Topic { name: topic_name(name), topic_id });
        for partition in 0..partitions {
            self.apply(Record::Partition {
                topic_id,
                partition: PartitionIndex(partition),
                image: PartitionImage {
                    replicas: vec![NODE],
                    isr: vec![NODE],
                    leader: Some(NODE),
                    ..PartitionImage::default()
                },
            });
        }
    }

    fn lead(&mut self, id: u128, leader: Option<NodeId>, epoch: i32) {
        self.apply(Record::PartitionChange {
            topic_id: TopicId(Uuid::from_u128(id)),
            partition: PartitionIndex(0),
            image: PartitionImage {
                replicas: vec![NODE],
                isr: vec![NODE],
                leader,
                leader_epoch: LeaderEpoch(epoch),
                partition_epoch: epoch,
                ..PartitionImage::default()
            },
        });
    }

    fn remove(&mut self, id: u128) {
        self.apply(Record::RemoveTopic { topic_id: TopicId(Uuid::from_u128(id)) });
    }

    fn config(&mut self, topic: &str, name: &str, value: &str) {
        let resource = ConfigResource::Topic(topic_name(topic));
        self.apply(Record::Config { resource, name: name.to_owned(), value: Some(value.to_owned()) });
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic_name(topic), partition)
}

fn batch(values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(now_ms(), Some(b"k"), Some(value.as_bytes()), []);
    }
    builder.build().unwrap()
}

fn append(partition: &Partition, values: &[&str]) -> Offset {
    partition.append(&batch(values), Origin::Client, NO_EPOCH, true, now_ms()).unwrap().appended.base_offset
}

fn one_dir() -> (TempDir, Vec<PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    let dirs = vec![root.path().join("data")];
    (root, dirs)
}

fn folders(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn partitions_of_the_image_get_their_folders_and_records_survive_a_restart() {
    for clean in [true, false] {
        let (_root, dirs) = one_dir();
        let mut cluster = Cluster::new();
        cluster.topic("t", 7, 2);
        let manager = open(&dirs);
        manager.reconcile(&cluster.image).unwrap();
        assert_eq!(folders(&dirs[0]), ["t-0", "t-1"]);
        let partition = manager.get(&at("t", 1)).unwrap();
        append(&partition, &["a", "b"]);
        assert_eq!(partition.high_watermark(), Offset(2));
        if clean {
            manager.directories().identity().reported.store(true, Ordering::Release);
            manager.close();
        }
        drop(partition);
        drop(manager);
        assert_eq!(dirs[0].join(".kafka_cleanshutdown").exists(), clean);

        let manager = open(&dirs);
        manager.reconcile(&cluster.image).unwrap();
        let partition = manager.get(&at("t", 1)).unwrap();
        assert_eq!(partition.high_watermark(), Offset(2), "clean {clean}");
        assert_eq!(append(&partition, &["c"]), Offset(2));
    }
}

#[test]
fn nothing_is_touched_before_the_cluster_is_known() {
    let (_root, dirs) = one_dir();
    let manager = open(&dirs);
    manager.reconcile(&Image::default()).unwrap();
    assert!(!dirs[0].join("meta.properties").exists());
    assert_eq!(manager.directories().cluster_id(), None);
    manager.reconcile(&Cluster::new().image).unwrap();
    assert_eq!(manager.directories().cluster_id(), Some("test-cluster".into()));
}

#[test]
fn directory_of_another_cluster_is_refused() {
    let (_root, dirs) = one_dir();
    let manager = open(&dirs);
    manager.reconcile(&Cluster::new().image).unwrap();
    drop(manager);
    let mut other = Cluster { image: Image::default() };
    other.apply(Record::ClusterId { cluster_id: "other-cluster".into() });
    let refused = open(&dirs).reconcile(&other.image).unwrap_err();
    assert!(matches!(refused, PartitionsError::Directory(DirectoryError::OtherCluster { .. })), "{refused}");
}

#[test]
fn deleted_topic_is_closed_renamed_and_removed_after_the_delay() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    cluster.config("t", "file.delete.delay.ms", "1000");
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let partition = manager.get(&at("t", 0)).unwrap();
    cluster.remove(7);
    manager.reconcile(&cluster.image).unwrap();
    assert!(manager.get(&at("t", 0)).is_none());
    let left = folders(&dirs[0]);
    assert!(left.len() == 1 && left[0].starts_with("t-0.") && left[0].ends_with("-delete"), "{left:?}");
    let refused = partition.append(&batch(&["late"]), Origin::Client, NO_EPOCH, true, now_ms()).unwrap_err();
    assert_eq!(append_code(&refused), ErrorCode::NotLeaderOrFollower);
    manager.remove_doomed(now_ms());
    assert_eq!(folders(&dirs[0]).len(), 1);
    manager.remove_doomed(now_ms() + 1_001);
    assert!(folders(&dirs[0]).is_empty());
}

#[test]
fn topic_made_again_under_its_name_starts_empty() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    append(&manager.get(&at("t", 0)).unwrap(), &["old"]);
    manager.close();
    drop(manager);
    cluster.remove(7);
    cluster.topic("t", 8, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap_err();
    manager.remove_strays(&cluster.image);
    let partition = manager.get(&at("t", 0)).unwrap();
    assert_eq!((partition.topic_id(), partition.high_watermark()), (TopicId(Uuid::from_u128(8)), Offset(0)));
}

#[test]
fn folders_of_unknown_topics_stay_until_the_image_is_caught_up() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("kept", 7, 1);
    let before = cluster.image.clone();
    cluster.topic("t", 8, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    append(&manager.get(&at("t", 0)).unwrap(), &["precious"]);
    manager.close();
    drop(manager);
    // The image starts from an old snapshot and hears of the topic later.
    let manager = open(&dirs);
    manager.reconcile(&before).unwrap();
    assert_eq!(folders(&dirs[0]), ["kept-0", "t-0"]);
    manager.reconcile(&cluster.image).unwrap();
    manager.remove_strays(&cluster.image);
    assert_eq!(manager.get(&at("t", 0)).unwrap().high_watermark(), Offset(1));
    manager.close();
    drop(manager);
    let manager = open(&dirs);
    manager.reconcile(&before).unwrap();
    manager.remove_strays(&before);
    manager.remove_doomed(now_ms());
    assert_eq!(folders(&dirs[0]), ["kept-0"]);
}

#[test]
fn partitions_spread_over_directories_and_are_found_again() {
    let root = tempfile::tempdir().unwrap();
    let dirs = vec![root.path().join("a"), root.path().join("b")];
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 4);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let before = [folders(&dirs[0]), folders(&dirs[1])];
    assert_eq!(before.each_ref().map(Vec::len), [2, 2]);
    manager.close();
    drop(manager);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!([folders(&dirs[0]), folders(&dirs[1])], before);
}

#[test]
fn partition_that_cannot_be_opened_costs_only_itself_and_is_tried_again() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 2);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    manager.close();
    drop(manager);
    let metadata = dirs[0].join("t-0").join("partition.metadata");
    let sound = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 9\ntopic_id: x").unwrap();
    let manager = open(&dirs);
    let failed = manager.reconcile(&cluster.image).unwrap_err();
    assert!(failed.to_string().contains("version 9"), "{failed}");
    assert!(manager.get(&at("t", 0)).is_none() && manager.get(&at("t", 1)).is_some());
    manager.remove_strays(&cluster.image);
    std::fs::write(&metadata, sound).unwrap();
    manager.reconcile(&cluster.image).unwrap();
    assert!(manager.get(&at("t", 0)).is_some());
}

#[test]
fn leader_and_epoch_are_checked() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let partition = manager.get(&at("t", 0)).unwrap();
    assert_eq!(partition.check_leader(NO_EPOCH), Ok(LeaderEpoch(0)));
    cluster.lead(7, Some(NODE), 4);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(partition.check_leader(LeaderEpoch(4)), Ok(LeaderEpoch(4)));
    assert_eq!(partition.check_leader(LeaderEpoch(3)), Err(ErrorCode::FencedLeaderEpoch));
    assert_eq!(partition.check_leader(LeaderEpoch(5)), Err(ErrorCode::UnknownLeaderEpoch));
    assert!(manager.led(&at("t", 0), LeaderEpoch(4)).is_some() && manager.led(&at("t", 0), LeaderEpoch(3)).is_none());
    cluster.lead(7, None, 5);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(partition.check_leader(NO_EPOCH), Err(ErrorCode::NotLeaderOrFollower));
    assert!(partition.append(&batch(&["x"]), Origin::Client, NO_EPOCH, false, now_ms()).is_err());
}

#[test]
fn altered_configs_reach_the_log() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let partition = manager.get(&at("t", 0)).unwrap();
    assert_eq!(*partition.log().config(), twinstream_log::LogConfig::default());
    for (name, value) in [
        ("retention.ms", "-1"),
        ("retention.bytes", "5000"),
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "zstd"),
        ("compression.zstd.level", "7"),
        ("message.timestamp.type", "LogAppendTime"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("segment.bytes", "1048576"),
    ] {
        cluster.config("t", name, value);
    }
    manager.reconcile(&cluster.image).unwrap();
    let config = partition.log().config();
    assert_eq!((config.retention_ms, config.retention_bytes), (None, Some(5000)));
    assert_eq!(config.cleanup, CleanupPolicy { delete: true, compact: true });
    let compression = config.compression.unwrap();
    assert_eq!((compression.codec, compression.level), (Compression::Zstd, Some(7)));
    assert_eq!((config.timestamp_type, config.timestamp_after_max_ms), (TimestampType::LogAppendTime, None));
    assert_eq!(config.segment_bytes, 1 << 20);
}

#[test]
fn waiter_is_woken_by_records_and_leaves_nothing_behind() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 2);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let (first, second) = (manager.get(&at("t", 0)).unwrap(), manager.get(&at("t", 1)).unwrap());
    let wait = Wait::on([
        (Arc::clone(&first), Interest::committed(Offset(1))),
        (Arc::clone(&second), Interest::committed(Offset(2))),
    ]);
    assert!(wait.rung().now_or_never().is_none());
    append(&second, &["x"]);
    assert!(wait.rung().now_or_never().is_none(), "it waits for more than that");
    append(&second, &["y"]);
    assert!(wait.rung().now_or_never().is_some());
    assert!(wait.rung().now_or_never().is_none());
    cluster.lead(7, Some(NODE), 1);
    manager.reconcile(&cluster.image).unwrap();
    assert!(wait.rung().now_or_never().is_some());
    drop(wait);
    assert!(first.waiters().is_empty() && second.waiters().is_empty());
}

#[tokio::test]
async fn group_shard_reads_whole_batches_and_hears_of_commits() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("__consumer_offsets", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let log = LedPartition::new(manager.get(&at("__consumer_offsets", 0)).unwrap(), LeaderEpoch(0));
    assert_eq!(log.append(batch(&["a", "b"])), Ok(Offset(0)));
    let one = log.read(Offset(1), 1).unwrap().len();
    log.append(batch(&["c", "d"])).unwrap();
    assert_eq!(log.read(Offset(0), one + 5).unwrap().len(), one);
    assert_eq!((log.start(), log.end(), log.committed()), (Offset(0), Offset(4), Offset(4)));
    tokio::time::timeout(Duration::from_secs(10), log.committed_beyond(Offset(3))).await.unwrap();
    assert!(log.committed_beyond(Offset(4)).now_or_never().is_none());
    cluster.lead(7, Some(NODE), 1);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(log.append(batch(&["late"])), Err(ErrorCode::FencedLeaderEpoch));
}

#[test]
fn damaged_checkpoint_costs_a_scan_and_no_data() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    append(&manager.get(&at("t", 0)).unwrap(), &["a"]);
    manager.close();
    drop(manager);
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        std::fs::write(dirs[0].join(name), "0\n7\n").unwrap();
    }
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(manager.get(&at("t", 0)).unwrap().high_watermark(), Offset(1));
}

#[test]
fn log_that_lost_its_end_says_so_before_others_take_the_offsets() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    for value in ["a", "b"] {
        append(&manager.get(&at("t", 0)).unwrap(), &[value]);
    }
    manager.close();
    drop(manager);
    let checkpoint = dirs[0].join("recovery-point-offset-checkpoint");
    assert_eq!(std::fs::read_to_string(&checkpoint).unwrap(), "0\n1\nt 0 2\n");
    let file = std::fs::OpenOptions::new().write(true).open(dirs[0].join("t-0/00000000000000000000.log")).unwrap();
    // One of two batches of the same length goes. Nothing else may tell that it was there, or it would stay as a hole.
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    std::fs::remove_file(dirs[0].join("replication-offset-checkpoint")).unwrap();
    for entry in std::fs::read_dir(dirs[0].join("t-0")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "snapshot") {
            std::fs::remove_file(entry).unwrap();
        }
    }
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(manager.get(&at("t", 0)).unwrap().log().log_end_offset(), Offset(1));
    let text = std::fs::read_to_string(&checkpoint).unwrap();
    assert!(!text.contains("t 0 2"), "{text}");
}

#[test]
fn deleted_records_stay_deleted_after_a_restart() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let partition = manager.get(&at("t", 0)).unwrap();
    append(&partition, &["a", "b", "c"]);
    partition.log().delete_records(Offset(2), now_ms()).unwrap();
    manager.close();
    drop((partition, manager));
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    assert_eq!(manager.get(&at("t", 0)).unwrap().log().log_start_offset(), Offset(2));
}

#[test]
fn name_of_a_deleted_folder_fits_a_file_name() {
    let long = directories::deleted_name(&at(&"x".repeat(249), 123));
    assert!(long.len() <= 255 && long.ends_with("-delete"));
}

fn two_dirs() -> (TempDir, Vec<PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    let dirs = vec![root.path().join("one"), root.path().join("two")];
    (root, dirs)
}

/// Which partitions of a topic of two are in which of two directories.
fn by_dir(manager: &PartitionManager, topic: &str) -> Vec<i32> {
    let all = manager.all();
    let in_dir = |dir: usize| all.iter().find(|(at, (_, in_dir))| at.topic.as_str() == topic && *in_dir == dir);
    (0..2).map(|dir| in_dir(dir).unwrap().0.partition.0).collect()
}

#[test]
fn partitions_of_a_failed_directory_are_offline_and_those_of_others_go_on() {
    let (_root, dirs) = two_dirs();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 2);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let [lost, kept] = by_dir(&manager, "t")[..] else { panic!("two directories") };
    manager.directories().disk(0).fail("gone");
    assert_eq!(manager.take_offline(), [(TopicId(Uuid::from_u128(7)), PartitionIndex(lost))]);
    let lost = manager.get(&at("t", lost)).unwrap();
    assert_eq!(lost.check_leader(NO_EPOCH), Err(ErrorCode::KafkaStorageError));
    append(&manager.get(&at("t", kept)).unwrap(), &["a"]);
    // What is new goes where there is a directory, and the others' checkpoints are written.
    cluster.topic("new", 8, 3);
    manager.reconcile(&cluster.image).unwrap();
    assert!(manager.all().iter().all(|(at, (_, dir))| at.topic.as_str() != "new" || *dir == 1));
    manager.write_checkpoints(Checkpoint::RecoveryPoint);
    assert!(manager.take_offline().is_empty(), "said once");
}

#[test]
fn log_that_fails_alone_is_named_and_its_neighbours_go_on() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 2);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    manager.failures.name(&at("t", 1));
    assert_eq!(manager.take_offline(), [(TopicId(Uuid::from_u128(7)), PartitionIndex(1))]);
    append(&manager.get(&at("t", 0)).unwrap(), &["a"]);
}

#[test]
fn nothing_is_made_anew_for_what_may_lie_in_a_directory_that_cannot_be_opened() {
    let (root, dirs) = two_dirs();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 2);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let [hidden, kept] = by_dir(&manager, "t")[..] else { panic!("two directories") };
    manager.close();
    drop(manager);
    std::fs::rename(&dirs[0], root.path().join("elsewhere")).unwrap();
    std::fs::write(&dirs[0], "no directory").unwrap();

    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    assert!(manager.get(&at("t", hidden)).is_none());
    append(&manager.get(&at("t", kept)).unwrap(), &["a"]);
    let absent = manager.directories().identity().absent;
    assert_eq!(absent.unseen(), 1);
    assert_eq!(absent.settle(&cluster.image, NODE), [(TopicId(Uuid::from_u128(7)), PartitionIndex(hidden))]);
    cluster.topic("new", 8, 2);
    manager.reconcile(&cluster.image).unwrap();
    assert!(manager.get(&at("t", hidden)).is_none());
    assert!(manager.get(&at("new", 1)).is_some());
}
