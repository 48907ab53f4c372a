//! Damage to the files of a broker that does not run.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// Cuts so many bytes off the end of a file; the length that is left.
pub fn cut_tail(file: &Path, bytes: u64) -> u64 {
    let open = OpenOptions::new().write(true).open(file);
    let handle = open.unwrap_or_else(|error| panic!("open {}: {error}", file.display()));
    let length = handle.metadata().expect("length of a file").len();
    let left = length.saturating_sub(bytes);
    handle.set_len(left).unwrap_or_else(|error| panic!("cut {}: {error}", file.display()));
    left
}

/// Turns one bit of a file.
pub fn flip_bit(file: &Path, at: u64) {
    let mut bytes = fs::read(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    let index = usize::try_from(at).expect("a position in memory");
    let length = bytes.len();
    let byte = bytes.get_mut(index).unwrap_or_else(|| panic!("{} has {length} bytes, not {at}", file.display()));
    *byte ^= 0b1000;
    fs::write(file, bytes).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
}

/// The file that this partition is written to, in one broker's data folder.
pub fn active_segment(data: &Path, topic: &str, partition: i32) -> Option<PathBuf> {
    segments(data, topic, partition).pop()
}

/// All bytes of a partition's log, segment after segment; empty when the broker has none.
pub fn log_bytes(data: &Path, topic: &str, partition: i32) -> Vec<u8> {
    let read = |file: &PathBuf| fs::read(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    segments(data, topic, partition).iter().flat_map(read).collect()
}

/// How many bytes a partition's log has on disk.
pub fn log_length(data: &Path, topic: &str, partition: i32) -> u64 {
    let length = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    segments(data, topic, partition).iter().map(length).sum()
}

fn segments(data: &Path, topic: &str, partition: i32) -> Vec<PathBuf> {
    let folder = data.join(format!("{topic}-{partition}"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|found| found == "log")).collect();
    files.sort();
    files
}

/// Every file below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
