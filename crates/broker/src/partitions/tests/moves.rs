//! Replicas that move from one directory of the broker to another, and what a crash leaves of that.

use twinstream_log::DELETE_SUFFIX;
use twinstream_protocol::batch::batches;

use super::super::moves::Step;
use super::*;

/// A broker with two directories and one partition in the first.
pub(super) struct Broker {
    pub(super) root: TempDir,
    pub(super) dirs: Vec<PathBuf>,
    pub(super) cluster: Cluster,
    pub(super) manager: PartitionManager,
}

impl Broker {
    pub(super) fn new() -> Broker {
        let (root, dirs) = two_dirs();
        let mut cluster = Cluster::new();
        cluster.topic("t", 7, 1);
        Broker::on(root, dirs, cluster)
    }

    pub(super) fn on(root: TempDir, dirs: Vec<PathBuf>, cluster: Cluster) -> Broker {
        let manager = open(&dirs);
        manager.reconcile(&cluster.image).unwrap();
        Broker { root, dirs, cluster, manager }
    }

    pub(super) fn partition(&self) -> Arc<Partition> {
        self.manager.get(&at("t", 0)).unwrap()
    }

    pub(super) fn ask(&self, dir: usize) -> Result<(), ErrorCode> {
        let dir = self.dirs[dir].display().to_string();
        self.manager.move_to(&self.cluster.image, &at("t", 0), &dir)
    }

    pub(super) fn step(&self) -> Step {
        self.manager.move_on(&self.manager.moves.of(&at("t", 0)).unwrap())
    }

    /// Steps until the move has ended.
    pub(super) fn finish(&self) {
        while let Some(under_way) = self.manager.moves.of(&at("t", 0)) {
            assert!(!matches!(self.manager.move_on(&under_way), Step::Later(_)), "nothing to wait for");
        }
    }

    /// What the disks hold at this moment, as a broker finds it that comes up after the process was killed.
    pub(super) fn killed_now(&self) -> Broker {
        self.killed(|_, from, to| copy_tree(from, to))
    }

    /// The same, with one of the directories out of sight.
    pub(super) fn killed_with(&self, missing: usize) -> Broker {
        self.killed(|dir, from, to| {
            if dir == missing {
                copy_tree(from, &elsewhere(to));
                return std::fs::write(to, "no directory").unwrap();
            }
            copy_tree(from, to);
        })
    }

    /// The same, with all that were out of sight in their places again.
    pub(super) fn killed_with_all(&self) -> Broker {
        self.killed(|_, from, to| match from.is_dir() {
            true => copy_tree(from, to),
            false => copy_tree(&elsewhere(from), to),
        })
    }

    /// The same, with a new disk in one of the places.
    pub(super) fn killed_with_an_empty(&self, dir: usize) -> Broker {
        self.killed(|each, from, to| {
            if each != dir {
                copy_tree(from, to);
            }
        })
    }

    fn killed(&self, copy: impl Fn(usize, &Path, &Path)) -> Broker {
        let (root, dirs) = two_dirs();
        self.dirs.iter().zip(&dirs).enumerate().for_each(|(dir, (from, to))| copy(dir, from, to));
        let mut cluster = Cluster::new();
        cluster.topic("t", 7, 1);
        Broker::on(root, dirs, cluster)
    }

    pub(super) fn restart(self) -> Broker {
        let Broker { root, dirs, cluster, manager } = self;
        manager.directories().identity().reported.store(true, Ordering::Release);
        manager.close();
        drop(manager);
        Broker::on(root, dirs, cluster)
    }

    /// Puts a directory out of reach, without anybody noticing before it is used.
    pub(super) fn hide(&self, dir: usize) {
        std::fs::rename(&self.dirs[dir], elsewhere(&self.dirs[dir])).unwrap();
        std::fs::write(&self.dirs[dir], "no directory").unwrap();
    }

    /// It is back.
    pub(super) fn show(&self, dir: usize) {
        std::fs::remove_file(&self.dirs[dir]).unwrap();
        std::fs::rename(elsewhere(&self.dirs[dir]), &self.dirs[dir]).unwrap();
    }

    pub(super) fn folders(&self, dir: usize) -> Vec<String> {
        folders(&self.dirs[dir])
    }
}

/// Where a directory is that is out of sight.
fn elsewhere(dir: &Path) -> PathBuf {
    dir.with_extension("elsewhere")
}

/// Appends records of which two do not come over in one step.
pub(super) fn append_wide(partition: &Partition, count: usize) {
    let wide = "x".repeat(700_000);
    for _ in 0..count {
        append(partition, &[&format!("{}{wide}", partition.log().log_end_offset())]);
    }
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The values of all records.
pub(super) fn values(partition: &Partition) -> Vec<String> {
    let (mut values, mut from) = (Vec::new(), partition.log().log_start_offset());
    while let Some(slice) = partition.read_all(from, 1 << 20, true).unwrap().slice {
        for batch in batches(&slice.read().unwrap()).map_while(Result::ok) {
            from = batch.header().next_offset();
            let records = batch.records(1 << 20).unwrap();
            let texts =
                records.iter().map(|record| String::from_utf8_lossy(record.unwrap().value.unwrap()).into_owned());
            values.extend(texts);
        }
    }
    values
}

pub(super) fn one_ends_with(folders: &[String], ending: &str) -> bool {
    folders.iter().filter(|name| name.ends_with(ending)).count() == 1
}

#[test]
fn replica_moves_and_goes_on_where_it_was() {
    let broker = Broker::new();
    let partition = broker.partition();
    append(&partition, &["a", "b"]);
    assert_eq!(partition.dir(), 0);
    broker.ask(1).unwrap();
    assert!(one_ends_with(&broker.folders(1), "-future"), "{:?}", broker.folders(1));
    let futures = broker.manager.futures();
    assert_eq!((futures[0].dir, futures[0].lag), (1, 2));
    broker.finish();
    assert_eq!((partition.dir(), broker.folders(1)), (1, vec!["t-0".to_owned()]));
    assert!(one_ends_with(&broker.folders(0), DELETE_SUFFIX), "{:?}", broker.folders(0));
    assert!(broker.manager.futures().is_empty());
    assert_eq!(partition.high_watermark(), Offset(2));
    assert_eq!(append(&partition, &["c"]), Offset(2), "the same partition in the same role");
    broker.manager.remove_doomed(i64::MAX);
    assert!(broker.folders(0).is_empty());
    drop(partition);
    let broker = broker.restart();
    assert_eq!(values(&broker.partition()), ["a", "b", "c"]);
    assert_eq!(broker.partition().dir(), 1);
}

#[test]
fn records_that_come_meanwhile_move_too() {
    let broker = Broker::new();
    let partition = broker.partition();
    let wide = "x".repeat(600_000);
    for _ in 0..4 {
        append(&partition, &[&wide]);
    }
    broker.ask(1).unwrap();
    assert_eq!(broker.step(), Step::Goes);
    append(&partition, &["late"]);
    partition.delete_records(Offset(1), now_ms()).unwrap();
    broker.finish();
    append(&partition, &["last"]);
    assert_eq!(partition.log().log_start_offset(), Offset(1));
    let kept: Vec<String> = values(&partition).into_iter().filter(|value| value.len() < 10).collect();
    assert_eq!(kept, ["late", "last"]);
    drop(partition);
    let broker = broker.killed_now();
    assert_eq!(broker.partition().log().log_start_offset(), Offset(1), "and stay deleted after a crash");
}

#[test]
fn process_that_is_killed_at_any_step_loses_nothing_and_the_move_goes_on() {
    let broker = Broker::new();
    let wide = "x".repeat(700_000);
    for i in 0..5 {
        append(&broker.partition(), &[&format!("{i}{wide}")]);
    }
    let all = values(&broker.partition());
    broker.ask(1).unwrap();
    let mut steps = 0;
    loop {
        let after = broker.killed_now();
        assert_eq!(values(&after.partition()), all, "step {steps}");
        after.finish();
        assert_eq!((values(&after.partition()), after.partition().dir()), (all.clone(), 1), "step {steps}");
        after.manager.remove_doomed(i64::MAX);
        assert_eq!((after.folders(0), after.folders(1)), (vec![], vec!["t-0".to_owned()]), "step {steps}");
        if broker.manager.moves.of(&at("t", 0)).is_none() {
            break;
        }
        broker.step();
        steps += 1;
    }
    assert!(steps > 3, "{steps} steps");
}

#[test]
fn of_two_folders_the_one_that_reaches_further_stays() {
    for more_in in [0, 1] {
        let broker = Broker::new();
        append(&broker.partition(), &["a"]);
        copy_tree(&broker.dirs[0].join("t-0"), &broker.root.path().join("before"));
        append(&broker.partition(), &["b"]);
        broker.partition().log().flush(now_ms()).unwrap();
        drop(broker.manager);
        // Whichever has more was written last.
        let (more, less) = (broker.dirs[more_in].join("t-0"), broker.dirs[1 - more_in].join("t-0"));
        std::fs::rename(broker.dirs[0].join("t-0"), broker.root.path().join("after")).unwrap();
        std::fs::rename(broker.root.path().join("after"), more).unwrap();
        std::fs::rename(broker.root.path().join("before"), less).unwrap();
        for dir in &broker.dirs {
            let _removed = std::fs::remove_file(dir.join("recovery-point-offset-checkpoint"));
        }
        let broker = Broker::on(broker.root, broker.dirs, broker.cluster);
        assert_eq!(values(&broker.partition()), ["a", "b"], "more in {more_in}");
        assert_eq!(broker.partition().dir(), more_in);
        broker.manager.remove_doomed(i64::MAX);
        assert!(broker.folders(1 - more_in).is_empty());
    }
}

/// One of them is of a topic that was deleted, and could not be removed. Which, only the image knows.
#[test]
fn of_folders_of_two_topics_the_one_of_the_present_topic_is_used_and_the_other_is_put_aside() {
    for stale in [0, 1] {
        let mut broker = Broker::new();
        append(&broker.partition(), &["old", "old"]);
        let old = broker.root.path().join("old");
        copy_tree(&broker.dirs[0].join("t-0"), &old);
        broker.cluster.remove(7);
        broker.cluster.topic("t", 8, 1);
        broker.manager.reconcile(&broker.cluster.image).unwrap();
        append(&broker.partition(), &["new"]);
        broker.manager.remove_doomed(i64::MAX);
        let Broker { root, dirs, cluster, manager } = broker;
        drop(manager);
        let new = root.path().join("new");
        std::fs::rename(dirs[0].join("t-0"), &new).unwrap();
        std::fs::rename(&new, dirs[1 - stale].join("t-0")).unwrap();
        std::fs::rename(&old, dirs[stale].join("t-0")).unwrap();
        for dir in &dirs {
            let _removed = std::fs::remove_file(dir.join("recovery-point-offset-checkpoint"));
        }
        let broker = Broker::on(root, dirs, cluster);
        assert_eq!((values(&broker.partition()), broker.partition().dir()), (vec!["new".to_owned()], 1 - stale));
        assert_eq!(broker.folders(stale), ["t-0"], "an old image may not know the present topic");
        broker.manager.remove_strays(&broker.cluster.image);
        assert!(one_ends_with(&broker.folders(stale), "-stray"), "{:?}", broker.folders(stale));
        broker.manager.directories().identity().reported.store(true, Ordering::Release);
        broker.manager.close();
        assert!(broker.dirs[stale].join(".kafka_cleanshutdown").exists(), "nothing there waits for a check");
    }
}

/// What could not be removed after a move may have records when all of the replica were deleted since.
#[test]
fn a_folder_that_was_left_behind_does_not_come_back_for_one_without_records() {
    let broker = Broker::new();
    append(&broker.partition(), &["a"]);
    copy_tree(&broker.dirs[0].join("t-0"), &broker.dirs[1].join("t-0"));
    append(&broker.partition(), &["b"]);
    broker.partition().log().advance_high_watermark(Offset(2));
    broker.partition().log().delete_records(Offset(2), now_ms()).unwrap();
    let broker = broker.restart();
    let log = broker.partition().log();
    assert_eq!((broker.partition().dir(), log.log_start_offset(), log.log_end_offset()), (0, Offset(2), Offset(2)));
}

#[test]
fn replica_stays_where_it_is_when_that_is_asked_for_meanwhile() {
    let broker = Broker::new();
    let wide = "x".repeat(800_000);
    for _ in 0..3 {
        append(&broker.partition(), &[&wide]);
    }
    broker.ask(1).unwrap();
    broker.step();
    broker.ask(1).unwrap(); // once more changes nothing
    assert!(broker.manager.is_moving(&at("t", 0)));
    broker.ask(0).unwrap();
    assert!(!broker.manager.is_moving(&at("t", 0)));
    assert_eq!(broker.partition().dir(), 0);
    broker.manager.remove_doomed(i64::MAX);
    assert!(broker.folders(1).is_empty());
    broker.ask(1).unwrap();
    broker.finish();
    assert_eq!(broker.partition().dir(), 1, "and may move later");
}

#[test]
fn what_cannot_be_moved_is_refused_with_kafkas_codes() {
    let mut broker = Broker::new();
    let image = broker.cluster.image.clone();
    let ask = |at: &TopicPartition, dir: &str| broker.manager.move_to(&image, at, dir);
    let dir = broker.dirs[1].display().to_string();
    assert_eq!(ask(&at("t", 0), "/nowhere"), Err(ErrorCode::LogDirNotFound));
    assert_eq!(ask(&at("unknown", 0), &dir), Err(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(ask(&at(&"n".repeat(249), 0), &dir), Err(ErrorCode::InvalidTopicException));
    // Partitions that are to come are made where it was asked for.
    broker.cluster.topic("later", 8, 3);
    for index in 0..3 {
        let asked = broker.manager.move_to(&broker.cluster.image, &at("later", index), &dir);
        assert_eq!(asked, Err(ErrorCode::ReplicaNotAvailable));
    }
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    assert!((0..3).all(|index| broker.manager.get(&at("later", index)).unwrap().dir() == 1));
    broker.manager.directories().disk(1).fail("gone");
    assert_eq!(broker.ask(1), Err(ErrorCode::KafkaStorageError));
}

#[test]
fn deletion_of_a_topic_takes_its_copy_along() {
    let mut broker = Broker::new();
    let wide = "x".repeat(800_000);
    for _ in 0..3 {
        append(&broker.partition(), &[&wide]);
    }
    broker.ask(1).unwrap();
    broker.step();
    let under_way = broker.manager.moves.of(&at("t", 0)).unwrap();
    broker.cluster.remove(7);
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    assert!(broker.manager.futures().is_empty());
    assert_eq!(broker.manager.move_on(&under_way), Step::Ended);
    broker.manager.remove_doomed(i64::MAX);
    assert!(broker.folders(0).is_empty() && broker.folders(1).is_empty());
}

#[test]
fn copy_of_a_topic_that_is_gone_goes_with_the_strays() {
    let broker = Broker::new();
    append(&broker.partition(), &["a"]);
    broker.ask(1).unwrap();
    let Broker { root, dirs, mut cluster, manager } = broker;
    drop(manager);
    cluster.remove(7);
    let broker = Broker::on(root, dirs, cluster);
    assert!(one_ends_with(&broker.folders(1), "-future"));
    broker.manager.remove_strays(&broker.cluster.image);
    broker.manager.remove_doomed(i64::MAX);
    assert!(broker.folders(1).is_empty());
}

#[test]
fn moves_keep_to_their_rate_and_the_rate_may_change() {
    let mut broker = Broker::new();
    let wide = "x".repeat(500_000);
    for _ in 0..4 {
        append(&broker.partition(), &[&wide]);
    }
    let rate = |value: Option<&str>| Record::Config {
        resource: ConfigResource::Broker(NODE),
        name: "replica.alter.log.dirs.io.max.bytes.per.second".to_owned(),
        value: value.map(str::to_owned),
    };
    broker.cluster.apply(rate(Some("1000")));
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    broker.ask(1).unwrap();
    assert_eq!(broker.step(), Step::Goes);
    let Step::Later(pause) = broker.step() else { panic!("a rate of 1000 bytes") };
    assert!(pause > Duration::from_secs(100), "{pause:?}");
    broker.cluster.apply(rate(None));
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    broker.finish();
    assert_eq!(broker.partition().dir(), 1);
}

#[test]
fn who_waits_for_the_high_watermark_does_not_notice_the_move() {
    let broker = Broker::new();
    let partition = broker.partition();
    append(&partition, &["a"]);
    let epoch = partition.leader_epoch();
    let wait = Wait::on([(Arc::clone(&partition), Interest::committed(Offset(2)))]);
    broker.ask(1).unwrap();
    broker.finish();
    assert_eq!(partition.commitment(epoch, Offset(1)), Commitment::Committed, "the leadership goes on");
    append(&partition, &["b"]);
    assert!(wait.rung().now_or_never().is_some());
}

#[test]
fn directory_that_fails_ends_the_moves_into_it_and_costs_nothing_else() {
    let broker = Broker::new();
    let wide = "x".repeat(800_000);
    for _ in 0..3 {
        append(&broker.partition(), &[&wide]);
    }
    broker.ask(1).unwrap();
    broker.step();
    broker.manager.directories().disk(1).fail("gone");
    assert_eq!(broker.step(), Step::Ended);
    assert!(broker.manager.take_offline().is_empty());
    append(&broker.partition(), &["a"]);
    let broker = broker.restart();
    assert!(broker.manager.is_moving(&at("t", 0)), "the directory is back");
    broker.finish();
    assert_eq!(broker.partition().dir(), 1);
}

#[test]
fn copy_begins_anew_when_its_source_was_compacted_meanwhile() {
    let mut broker = Broker::new();
    broker.cluster.config("t", "cleanup.policy", "compact");
    broker.cluster.config("t", "segment.ms", "1");
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    let partition = broker.partition();
    let wide = "x".repeat(700_000);
    for _ in 0..4 {
        append(&partition, &[&wide]); // all have one key
    }
    partition.log().roll_overdue(i64::MAX).unwrap();
    broker.ask(1).unwrap();
    assert_eq!(broker.step(), Step::Goes);
    let limits = twinstream_log::CleanerLimits { map_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1 << 20 };
    partition.log().clean(&limits, &twinstream_log::FullSpeed, now_ms()).unwrap();
    let kept = values(&partition).len();
    broker.finish();
    assert_eq!((partition.dir(), values(&partition).len()), (1, kept));
}

#[test]
fn unfinished_copy_of_a_compacted_log_is_begun_anew_after_a_restart() {
    let mut broker = Broker::new();
    broker.cluster.config("t", "cleanup.policy", "compact");
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    let wide = "x".repeat(700_000);
    for _ in 0..4 {
        append(&broker.partition(), &[&wide]);
    }
    broker.ask(1).unwrap();
    broker.step();
    let before = broker.folders(1);
    let broker = broker.restart();
    broker.step();
    assert_ne!(broker.folders(1), before);
    broker.finish();
    assert_eq!((broker.partition().dir(), values(&broker.partition()).len()), (1, 4));
}

#[test]
fn however_many_replicas_move_their_copies_keep_few_bytes_from_the_disk() {
    const MOVES: i32 = 6;
    let mut broker = Broker::new();
    broker.cluster.topic("u", 8, MOVES);
    broker.manager.reconcile(&broker.cluster.image).unwrap();
    broker.manager.moves.unflushed_bytes_max = 2 << 20;
    let (wide, to) = ("x".repeat(500_000), broker.dirs[1].display().to_string());
    let replicas: Vec<TopicPartition> = (0..MOVES).map(|index| at("u", index)).collect();
    for replica in &replicas {
        let partition = broker.manager.get(replica).unwrap();
        for _ in 0..6 {
            append(&partition, &[&wide]);
        }
        let home = partition.dir();
        let to = if home == 1 { broker.dirs[0].display().to_string() } else { to.clone() };
        broker.manager.move_to(&broker.cluster.image, replica, &to).unwrap();
    }
    let mut most = 0;
    while !broker.manager.moves.all().is_empty() {
        for under_way in broker.manager.moves.all() {
            broker.manager.move_on(&under_way);
            most = most.max(broker.manager.moves.unflushed());
        }
    }
    assert!((1 << 20..=2 << 20).contains(&most), "{most} bytes");
}
