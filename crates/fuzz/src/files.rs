//! Files as a start finds them: a partition's folder, a log directory, the quorum's folder, with one file replaced.
//!
//! The rest of the folder is sound and the same each time, so what a target finds is about the one file. Folders lie in
//! memory where the system has a place for that. Each is opened as after a clean stop, when hints are believed, and as
//! after a power loss, when everything is checked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use twinstream_log::{
    AppendError, Checkpoint, LastStop, LogDirectory, LogMetrics, Opening, Origin, PartitionLog, ReadError, read_left,
    write_left,
};
use twinstream_model::{LeaderEpoch, NodeId, Offset, TopicId};
use twinstream_protocol::batch::BatchView;
use uuid::Uuid;

use crate::{checksums, seeds};

const NOW: i64 = seeds::NOW;
const ALL: Offset = Offset(i64::MAX);
const NODE: NodeId = NodeId(1);

/// Files of one folder by name.
type Folder = BTreeMap<String, Vec<u8>>;

/// Batches of the segment that takes appends.
pub(crate) fn segment(input: &[u8]) {
    let bytes = checksums::sealed(input, checksums::batches);
    each_start(|stop| {
        let place = partition(&[(&last("log"), &bytes)]);
        let Some(log) = open(&place, stop, Offset(0)) else { return };
        let serving = if stop == LastStop::Unknown { Serving::All } else { Serving::Sound };
        serves(&log, serving);
        let end = log.log_end_offset();
        drop(log);
        let again = open(&place, LastStop::Unknown, Offset(0)).expect("what was opened opens again");
        if stop == LastStop::Unknown {
            assert_eq!(again.log_end_offset(), end, "a start after a start cuts nothing more");
        }
    });
}

pub(crate) fn offset_index(bytes: &[u8]) {
    hint(bytes, "index");
}

pub(crate) fn time_index(bytes: &[u8]) {
    hint(bytes, "timeindex");
}

pub(crate) fn transaction_index(bytes: &[u8]) {
    hint(bytes, "txnindex");
}

pub(crate) fn producer_snapshot(input: &[u8]) {
    let bytes = checksums::sealed(input, checksums::producer_snapshot);
    let name = newest(".snapshot");
    each_start(|stop| {
        let place = partition(&[(&name, &bytes)]);
        if let Some(log) = open(&place, stop, Offset(0)) {
            assert_eq!(serves(&log, Serving::All), template_end(), "a snapshot is a hint");
        }
    });
}

pub(crate) fn leader_epochs(bytes: &[u8]) {
    each_start(|stop| {
        let place = partition(&[("leader-epoch-checkpoint", bytes)]);
        if let Some(log) = open(&place, stop, Offset(0)) {
            serves(&log, Serving::All);
            for epoch in 0..8 {
                if let Some((found, end)) = log.end_offset_for_epoch(LeaderEpoch(epoch)) {
                    assert!(found.0 <= epoch && end <= log.log_end_offset(), "{epoch}: {found} ends at {end}");
                }
            }
        }
    });
}

pub(crate) fn partition_metadata(bytes: &[u8]) {
    let place = partition(&[("partition.metadata", bytes)]);
    if let Some(log) = open(&place, LastStop::Clean, Offset(0)) {
        serves(&log, Serving::All);
    }
}

pub(crate) fn left_metadata(bytes: &[u8]) {
    let place = Place::new();
    place.put("left.metadata", bytes);
    let Ok(Some(left)) = read_left(&place.path) else { return };
    write_left(&place.path, &left).expect("what was read is written");
    assert_eq!(read_left(&place.path).expect("our own file"), Some(left));
}

/// The checkpoints of a log directory: each holds the same bytes.
pub(crate) fn checkpoints(bytes: &[u8]) {
    let place = Place::new();
    let kinds = [
        (Checkpoint::RecoveryPoint, "recovery-point-offset-checkpoint"),
        (Checkpoint::LogStart, "log-start-offset-checkpoint"),
        (Checkpoint::Replication, "replication-offset-checkpoint"),
    ];
    for (_, name) in kinds {
        place.put(name, bytes);
    }
    let directory = LogDirectory::open(&place.path, NODE).expect("a directory without an identity");
    for (kind, _) in kinds {
        let Ok(offsets) = directory.read_checkpoint(kind) else { continue };
        directory.write_checkpoint(kind, &offsets).expect("what was read is written");
        assert_eq!(directory.read_checkpoint(kind).expect("our own file"), offsets);
        for offset in offsets.values() {
            let place = partition(&[]);
            let opening = Opening { recovery_point: *offset, log_start: *offset, ..opening(LastStop::Unknown) };
            if let Ok(log) = PartitionLog::open(&place.path, opening) {
                serves(&log, Serving::All);
            }
        }
    }
}

/// `meta.properties`, and the mark that says under which boot the logs were checked.
pub(crate) fn directory_identity(bytes: &[u8]) {
    let place = Place::new();
    place.put("meta.properties", bytes);
    place.put(".twinstream-running", bytes);
    let Ok(directory) = LogDirectory::open(&place.path, NODE) else { return };
    let id = directory.id();
    let had_id = directory.meta().is_some_and(|meta| !meta.directory.as_str().is_empty());
    directory.take_last_stop().ok();
    drop(directory);
    let again = LogDirectory::open(&place.path, NODE).expect("what was opened opens again");
    assert!(!had_id || again.id() == id, "an id that is written down stays");
}

pub(crate) fn quorum_log(input: &[u8]) {
    let bytes = checksums::sealed(input, checksums::quorum_log);
    let place = Place::new();
    for (name, sound) in seeds::quorum_folder() {
        place.put(&name, if name.starts_with("log-") { &bytes } else { &sound });
    }
    twinstream_quorum::fuzzing::folder(&place.path);
    let alone = Place::new();
    alone.put("log-00000000000000000001", &bytes);
    twinstream_quorum::fuzzing::folder(&alone.path);
}

pub(crate) fn quorum_snapshot(input: &[u8]) {
    let bytes = checksums::sealed(input, checksums::quorum_snapshot);
    let place = Place::new();
    for (name, sound) in seeds::quorum_folder() {
        place.put(&name, if name.starts_with("snapshot-") { &bytes } else { &sound });
    }
    twinstream_quorum::fuzzing::folder(&place.path);
}

/// An index of a sealed segment and of the growing one: whatever it holds, the log serves what it held.
fn hint(bytes: &[u8], extension: &str) {
    let (sealed, active) = (first(extension), last(extension));
    each_start(|stop| {
        for name in [&sealed, &active] {
            let place = partition(&[(name, bytes)]);
            if let Some(log) = open(&place, stop, Offset(0)) {
                assert_eq!(serves(&log, Serving::All), template_end(), "{name} is a hint");
            }
        }
    });
}

fn each_start(check: impl Fn(LastStop)) {
    [LastStop::Clean, LastStop::Killed, LastStop::Unknown].into_iter().for_each(check);
}

fn opening(stop: LastStop) -> Opening {
    let config = seeds::log_config();
    Opening { last_stop: stop, high_watermark: ALL, ..Opening::fresh(config, LogMetrics::new(), NOW) }
}

fn open(place: &Place, stop: LastStop, recovery_point: Offset) -> Option<PartitionLog> {
    PartitionLog::open(&place.path, Opening { recovery_point, ..opening(stop) }).ok()
}

/// How far a log must serve what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    /// Every record from its start to its end.
    All,
    /// It may say that a range is damaged.
    Sound,
}

/// Reads a log from its start to its end in each way there is, and appends to it. What it gives out must be whole
/// batches with good checksums. Returns where it ended before the append.
fn serves(log: &PartitionLog, serving: Serving) -> Offset {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(start <= log.high_watermark() && log.high_watermark() <= end);
    let mut at = start;
    while at < end {
        let Some(last) = read_batch(log, at) else {
            assert!(serving == Serving::Sound, "nothing at {at} of {end}");
            break;
        };
        at = last.next();
    }
    for timestamp in [i64::MIN, -1, 0, NOW, NOW + 5, i64::MAX] {
        log.offset_for_time(timestamp).ok();
    }
    log.max_timestamp().ok();
    log.aborted_transactions(start, end).ok();
    assert!(log.last_stable_offset() <= log.high_watermark());
    let more = seeds::batch(0, 2, None);
    let epoch = log.latest_epoch().unwrap_or_default().max(LeaderEpoch(9)); // a leader's epoch never goes back
    match log.append(&more, Origin::Client, epoch, NOW) {
        Ok(appended) => assert_eq!(appended.base_offset, end),
        Err(AppendError::Storage(_)) => {}
        Err(other) => panic!("a sound batch: {other}"),
    }
    end
}

/// Where the batch at an offset ends; `None` if the log says that it is damaged.
fn read_batch(log: &PartitionLog, at: Offset) -> Option<Offset> {
    let found = log.read(at, 512, true, ALL);
    assert!(!matches!(found, Err(ReadError::OutOfRange { .. })), "{at} is within the log");
    let ready = log.make_ready(&found.ok()?.slice?, 1 << 20).ok()?;
    let bytes = ready.read().expect("a range of a file");
    let batch = BatchView::parse(&bytes).expect("whole batches");
    batch.check_crc().expect("a batch that was checked");
    assert!(batch.last_offset() >= at, "{} ends before {at}", batch.base_offset());
    Some(batch.last_offset())
}

/// A folder of its own, which goes when it is dropped.
struct Place {
    path: PathBuf,
}

thread_local! {
    static ROOT: RefCell<Option<(TempDir, u64)>> = const { RefCell::new(None) };
}

impl Place {
    fn new() -> Place {
        ROOT.with_borrow_mut(|root| {
            let (root, count) = root.get_or_insert_with(|| (root_folder(), 0));
            *count += 1;
            // The folder of a partition is named after it.
            let path = root.path().join(format!("{count}")).join("topic-0");
            fs::create_dir_all(&path).expect("a folder");
            Place { path }
        })
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join(name), bytes).expect("write a file");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let parent = self.path.parent().unwrap_or(&self.path);
        fs::remove_dir_all(parent).expect("remove a folder");
    }
}

fn root_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

fn partition(replaced: &[(&str, &[u8])]) -> Place {
    let place = Place::new();
    let names: Vec<&str> = replaced.iter().map(|(name, _)| *name).collect();
    for (name, bytes) in template().iter().filter(|(name, _)| !names.contains(&name.as_str())) {
        place.put(name, bytes);
    }
    for (name, bytes) in replaced {
        place.put(name, bytes);
    }
    place
}

/// The files of a sound log: several segments, idempotent producers, two epochs.
pub(crate) fn template() -> &'static Folder {
    static TEMPLATE: OnceLock<Folder> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let place = Place::new();
        let log = PartitionLog::create(&place.path, TopicId(Uuid::from_u128(7)), opening(LastStop::Clean));
        let log = log.expect("a new log");
        for at in 0..12 {
            let epoch = LeaderEpoch(if at < 7 { 0 } else { 3 });
            let batch = seeds::batch(at, 3, (at % 3 == 0).then_some(at / 3));
            log.append(&batch, Origin::Client, epoch, NOW).expect("a sound batch");
        }
        log.close(NOW).expect("close a sound log");
        drop(log);
        read_folder(&place.path)
    })
}

fn template_end() -> Offset {
    Offset(36)
}

fn read_folder(path: &Path) -> Folder {
    let entries = fs::read_dir(path).expect("list a folder").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("read a file");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

fn first(extension: &str) -> String {
    base_of(template().keys().find(|name| name.ends_with(".log")), extension)
}

fn last(extension: &str) -> String {
    base_of(template().keys().rfind(|name| name.ends_with(".log")), extension)
}

fn newest(extension: &str) -> String {
    template().keys().rfind(|name| name.ends_with(extension)).cloned().expect("a file of this kind")
}

fn base_of(log: Option<&String>, extension: &str) -> String {
    let log = log.expect("a log has a segment");
    log.replace(".log", &format!(".{extension}"))
}
