use std::{fs, path::Path};

use super::*;

fn entry(index: u64, term: u64, data: &str) -> Entry {
    Entry { index, term, data: data.as_bytes().to_vec().into(), ..Entry::default() }
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| entry(index, 1, &format!("entry {index}"))).collect()
}

fn state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 2, commit, ..HardState::default() }
}

fn options(folder: &Path) -> QuorumOptions {
    QuorumOptions::new(NodeId(1), folder)
}

/// Node 1 votes, node 2 follows.
fn members() -> Membership {
    let directory = |byte: u8| Uuid::from_bytes([byte; 16]);
    Membership { voters: [(NodeId(1), directory(1))].into(), learners: [(NodeId(2), directory(2))].into() }
}

fn body(state: &str) -> SnapshotBody {
    SnapshotBody { members: members(), state: Some(state.as_bytes().to_vec()) }
}

fn raft_snapshot(index: u64, term: u64, body: &SnapshotBody) -> Snapshot {
    let mut snapshot = Snapshot { data: body.encode().into(), ..Snapshot::default() };
    snapshot.mut_metadata().index = index;
    snapshot.mut_metadata().term = term;
    snapshot.mut_metadata().set_conf_state(body.members.conf_state());
    snapshot
}

fn open(folder: &Path) -> DiskStorage {
    DiskStorage::open(&options(folder)).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(folder: &Path) -> String {
    match DiskStorage::open(&options(folder)) {
        Ok(_) => panic!("the files were accepted"),
        Err(error) => error.to_string(),
    }
}

fn log_path(folder: &Path) -> PathBuf {
    files::numbered(folder, "log-").expect("a readable folder").pop().expect("a log file").1
}

fn all(storage: &DiskStorage) -> Vec<Entry> {
    storage.log.entries.iter().cloned().collect()
}

fn written(folder: &Path) -> Vec<u8> {
    let mut storage = open(folder);
    storage.persist(&entries(1..=3), Some(&state(1, 2)), true).expect("a writable folder");
    drop(storage);
    fs::read(log_path(folder)).expect("a log file")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_was_persisted_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path());
    let storage = open(folder.path());
    assert_eq!(all(&storage), entries(1..=3));
    assert_eq!(storage.log.hard_state, state(1, 2));
    let start = storage.initial_state().expect("in memory");
    assert!(start.conf_state.voters.is_empty(), "nobody has formed a quorum yet");
}

#[test]
fn a_folder_keeps_its_id_for_ever_and_another_one_has_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    let directory = storage.directory();
    assert!(!directory.is_nil());
    storage.persist(&entries(1..=2000), Some(&state(1, 2000)), true).expect("a writable folder");
    storage.compact(1900, members(), b"state").expect("a writable folder");
    storage.install_snapshot(&raft_snapshot(3000, 2, &body("later"))).expect("a writable folder");
    drop(storage);
    assert_eq!(open(folder.path()).directory(), directory);
    let other = tempfile::tempdir().expect("a folder");
    assert_ne!(open(other.path()).directory(), directory);
}

#[test]
fn log_bytes_of_version_2_stay_as_released() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = Base { owner: 2, directory: Uuid::from_bytes([7; 16]), index: 0, term: 0 };
    let mut log = LogFile::create(folder.path(), 1, base, VecDeque::new(), HardState::default()).expect("writable");
    log.append(&[entry(1, 1, "a")], Some(&state(1, 1))).expect("a writable folder");
    assert_eq!(
        hex(&fs::read(log_path(folder.path())).expect("a log file")),
        include_str!("golden_log_v2.txt").trim_end()
    );
}

#[test]
fn snapshot_bytes_of_version_2_stay_as_released() {
    let folder = tempfile::tempdir().expect("a folder");
    SnapshotFile::save(folder.path(), None, (7, 1), body("state")).expect("a writable folder");
    let bytes = fs::read(folder.path().join("snapshot-00000000000000000007")).expect("a snapshot");
    assert_eq!(hex(&bytes), include_str!("golden_snapshot_v2.txt").trim_end());
}

#[test]
fn files_of_version_1_are_refused_with_a_way_out() {
    let bytes = |golden: &str| -> Vec<u8> {
        let golden = golden.trim_end();
        (0..golden.len() / 2).map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).expect("hex")).collect()
    };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("log-00000000000000000001"), bytes(include_str!("golden_log_v1.txt")))
        .expect("writable");
    let error = refusal(folder.path());
    assert!(error.contains("quorum log of version 1 and this release knows version 2"), "{error}");
    assert!(error.contains("empty the folder to join anew"), "{error}");
    let snapshot = bytes(include_str!("golden_snapshot_v1.txt"));
    fs::write(folder.path().join("snapshot-00000000000000000007"), snapshot).expect("writable");
    assert!(refusal(folder.path()).contains("quorum snapshot of version 1"));
}

#[test]
fn torn_tail_is_cut_to_the_last_whole_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=2), Some(&state(1, 2)), true).expect("a writable folder");
    drop(storage);
    let path = log_path(folder.path());
    let whole = fs::read(&path).expect("a log file").len();
    let mut storage = open(folder.path());
    storage.persist(&entries(3..=3), None, true).expect("a writable folder");
    drop(storage);
    let bytes = fs::read(&path).expect("a log file");
    for end in whole + 1..bytes.len() {
        fs::write(&path, &bytes[..end]).expect("a writable folder");
        let storage = open(folder.path());
        assert_eq!(all(&storage), entries(1..=2), "cut at {end}");
        assert_eq!(fs::metadata(&path).expect("a log file").len() as usize, whole);
    }
}

#[test]
fn after_a_cut_the_log_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = written(folder.path());
    bytes.extend_from_slice(&[0; 100]); // space that the file system added and nobody wrote
    fs::write(log_path(folder.path()), &bytes).expect("a writable folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(4..=5), None, true).expect("a writable folder");
    drop(storage);
    assert_eq!(all(&open(folder.path())), entries(1..=5));
}

#[test]
fn damage_before_the_tail_is_refused_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = written(folder.path());
    let path = log_path(folder.path());
    let last_frame = bytes.len() - frame::HEADER_BYTES - 25;
    for at in 0..last_frame {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).expect("a writable folder");
        let refusal = refusal(folder.path());
        let known = refusal.contains("is damaged at byte") || refusal.contains("of version");
        assert!(known && refusal.contains("log-"), "byte {at}: {refusal}");
    }
}

#[test]
fn losing_committed_entries_is_damage_not_a_torn_tail() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&[], Some(&state(1, 2)), true).expect("a writable folder");
    drop(storage);
    assert!(refusal(folder.path()).contains("entries are missing that were committed"));
}

#[test]
fn a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = written(folder.path());
    bytes[5] = 3;
    fs::write(log_path(folder.path()), &bytes).expect("a writable folder");
    let refusal = refusal(folder.path());
    assert!(
        refusal.contains("quorum log of version 3") && refusal.contains("start the release that wrote it"),
        "{refusal}"
    );
}

#[test]
fn a_conflicting_entry_replaces_everything_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=5), Some(&state(1, 2)), true).expect("a writable folder");
    storage.persist(&[entry(3, 2, "other")], None, true).expect("a writable folder");
    drop(storage);
    let expected = [entries(1..=2), vec![entry(3, 2, "other")]].concat();
    assert_eq!(all(&open(folder.path())), expected);
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = open(folder.path());
    assert!(refusal(folder.path()).contains("is in use by another process"));
}

#[test]
fn files_of_another_node_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let other_node = QuorumOptions::new(NodeId(2), folder.path());
    let error = DiskStorage::open(&other_node).err().expect("another node").to_string();
    assert!(error.contains("belongs to node 1, this is node 2"), "{error}");
}

#[test]
fn compaction_keeps_a_tail_and_the_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=2000), Some(&state(1, 2000)), true).expect("a writable folder");
    assert!(storage.compact(1900, members(), b"state at 1900").expect("a writable folder"));
    assert!(!storage.compact(1800, members(), b"older").expect("nothing to do"));
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(storage.first_index().expect("in memory"), 1900 - TRAILING_ENTRIES + 1);
    assert_eq!(storage.last_index().expect("in memory"), 2000);
    assert_eq!(storage.snapshot_state().expect("readable").as_deref(), Some(&b"state at 1900"[..]));
    assert_eq!(storage.members_at_start(), members());
    let snapshot = storage.snapshot(0, 3).expect("a snapshot");
    assert_eq!((snapshot.get_metadata().index, snapshot.get_metadata().term), (1900, 1));
    assert_eq!(snapshot.get_metadata().get_conf_state().learners, [3]);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "one log, one snapshot, one lock");
}

#[test]
fn a_received_snapshot_replaces_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=3), Some(&state(1, 2)), true).expect("a writable folder");
    let installed = storage.install_snapshot(&raft_snapshot(50, 4, &body("state"))).expect("a writable folder");
    assert_eq!(installed, body("state"));
    drop(storage);
    let storage = open(folder.path());
    assert_eq!((storage.first_index().expect("51"), storage.last_index().expect("50")), (51, 50));
    assert_eq!(storage.term(50).expect("the base"), 4);
    assert_eq!(storage.log.hard_state.commit, 50);
    assert_eq!(storage.members_at_start(), members());
}

#[test]
fn a_member_that_joined_after_the_snapshot_is_in_the_one_it_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=10), Some(&state(1, 10)), true).expect("a writable folder");
    storage.compact(10, members(), b"state").expect("a writable folder");
    let mut now = members();
    now.learners.insert(NodeId(5), Uuid::from_bytes([5; 16]));
    storage.set_members(now.clone());
    let sent = |to: i32| {
        let snapshot = storage.snapshot(0, raft_id(NodeId(to))).expect("a snapshot");
        let body = SnapshotBody::decode(&snapshot.data).expect("our own");
        assert_eq!(*snapshot.get_metadata().get_conf_state(), body.members.conf_state());
        body.members
    };
    assert_eq!(sent(2), members(), "a member of then gets what was then");
    assert_eq!(sent(5), now);
    assert_eq!(sent(9), members(), "a stranger is not made a member");
}

#[test]
fn a_crash_between_snapshot_and_log_is_repaired() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path());
    SnapshotFile::save(folder.path(), None, (50, 4), body("state")).expect("writable");
    fs::write(folder.path().join("log-00000000000000000009.tmp"), b"half").expect("writable");
    let storage = open(folder.path());
    assert_eq!(storage.first_index().expect("51"), 51);
    assert!(!folder.path().join("log-00000000000000000009.tmp").exists());
}

#[test]
fn a_snapshot_that_contradicts_what_was_committed_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=3), Some(&state(1, 2)), true).expect("a writable folder");
    drop(storage);
    SnapshotFile::save(folder.path(), None, (2, 9), body("of another past")).expect("writable");
    for _ in 0..2 {
        let refused = refusal(folder.path());
        assert!(refused.contains("disagree about an entry that was committed"), "{refused}");
    }
}

#[test]
fn a_damaged_or_missing_snapshot_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = open(folder.path());
    storage.persist(&entries(1..=2000), Some(&state(1, 2000)), true).expect("a writable folder");
    storage.compact(1900, members(), b"state").expect("a writable folder");
    drop(storage);
    let path = folder.path().join("snapshot-00000000000000001900");
    let bytes = fs::read(&path).expect("a snapshot");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("a writable folder");
        assert!(refusal(folder.path()).contains("snapshot-"), "byte {at}");
    }
    fs::remove_file(&path).expect("a snapshot");
    assert!(refusal(folder.path()).contains("the snapshot that the log starts at is missing"));
}
