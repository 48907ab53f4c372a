//! Damage that is found when a partition is opened is not overlooked by whoever repairs.

use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;

use super::*;

/// Enough that somebody who looks all the time looks between the finding and the joining.
const STARTS: usize = 20;

/// Looks at the partitions whenever there is something new, as a repair does.
#[derive(Default)]
struct Watcher {
    counted: u64,
    saw: bool,
}

impl Watcher {
    fn look(&mut self, manager: &PartitionManager) {
        let found = manager.damage_found();
        if found != self.counted {
            self.counted = found;
            self.saw |= manager.all().values().any(|(partition, _)| partition.log().is_damaged());
        }
    }
}

/// A directory with a partition whose last record changed after a clean stop.
fn damaged(cluster: &Cluster) -> (TempDir, Vec<PathBuf>) {
    let (root, dirs) = one_dir();
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    manager.directories().identity().reported.store(true, Ordering::Release);
    for _ in 0..3 {
        append(&manager.get(&at("t", 0)).unwrap(), &["a value"]);
    }
    manager.close();
    let path = dirs[0].join("t-0/00000000000000000000.log");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0xff; 4], file.metadata().unwrap().len() - 4).unwrap();
    (root, dirs)
}

#[test]
fn partition_that_is_opened_with_damage_is_seen_by_who_looks_only_when_there_is_news() {
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 1);
    for start in 0..STARTS {
        let (_root, dirs) = damaged(&cluster);
        let manager = open(&dirs);
        let mut watcher = Watcher::default();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    watcher.look(&manager);
                }
            });
            manager.reconcile(&cluster.image).unwrap();
            stop.store(true, Ordering::Release);
        });
        watcher.look(&manager);
        assert!(watcher.saw, "start {start}");
    }
}
