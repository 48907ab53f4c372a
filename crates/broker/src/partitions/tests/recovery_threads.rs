//! How many logs are opened at once: their epochs are pipes here, from which nothing comes before somebody writes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::*;

const LOGS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of a log that is a pipe, and what somebody who reads it will be given.
type Pipes = BTreeMap<PathBuf, Vec<u8>>;

/// Makes logs whose opening stands still.
fn logs_that_stand_still(dirs: &[PathBuf], cluster: &Cluster) -> Pipes {
    let manager = open(dirs);
    manager.reconcile(&cluster.image).unwrap();
    let folders: Vec<PathBuf> = manager.all().iter().map(|(at, (_, dir))| dirs[*dir].join(at.to_string())).collect();
    for (partition, _) in manager.all().values() {
        append(partition, &["a"]);
    }
    manager.close();
    let pipe = |folder: PathBuf| {
        let path = folder.join("leader-epoch-checkpoint");
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        (path, content)
    };
    folders.into_iter().map(pipe).collect()
}

/// Those that somebody reads, opened.
fn readers(pipes: &Pipes, found: &mut BTreeMap<PathBuf, File>) {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    for path in pipes.keys() {
        if !found.contains_key(path)
            && let Ok(pipe) = OpenOptions::new().write(true).custom_flags(nonblocking).open(path)
        {
            found.insert(path.clone(), pipe);
        }
    }
}

/// Opens the logs and returns how many were being opened at once, time after time.
fn opened_at_once(per_dir: usize, expected: usize) -> Vec<usize> {
    let (_root, dirs) = two_dirs();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, LOGS);
    let mut pipes = logs_that_stand_still(&dirs, &cluster);
    let (resource, name) = (ConfigResource::BrokerDefault, "num.recovery.threads.per.data.dir".to_owned());
    cluster.apply(Record::Config { resource, name, value: Some(per_dir.to_string()) });
    let (image, manager) = (cluster.image.clone(), Arc::new(open(&dirs)));
    let opening = std::thread::spawn({
        let manager = Arc::clone(&manager);
        move || manager.reconcile(&image)
    });
    let (mut at_once, began) = (Vec::new(), Instant::now());
    while !pipes.is_empty() {
        let mut found = BTreeMap::new();
        while found.len() < expected.min(pipes.len()) {
            assert!(began.elapsed() < PATIENCE, "{} of {expected} are being opened", found.len());
            std::thread::park_timeout(Duration::from_millis(1));
            readers(&pipes, &mut found);
        }
        readers(&pipes, &mut found); // one too many, if there is one
        at_once.push(found.len());
        for (path, mut pipe) in found {
            pipe.write_all(&pipes.remove(&path).unwrap()).unwrap();
        }
    }
    opening.join().unwrap().unwrap();
    assert!(manager.all().values().all(|(partition, _)| partition.log().log_end_offset() == Offset(1)));
    at_once
}

#[test]
fn each_directory_has_its_threads_for_recovery() {
    assert_eq!(opened_at_once(1, 2), [2, 2, 2]);
    assert_eq!(opened_at_once(3, 6), [6]);
}
