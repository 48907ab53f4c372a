//! Folders of logs: how large they are, and out of the page cache with them.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise, fdatasync};

/// What `st_blocks` counts in, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;
/// Folders of the topics that coordinators write to begin with these.
const COORDINATORS: [&str; 2] = ["__consumer_offsets-", "__transaction_state-"];

/// What all files below a folder take of the disk, as far as they can be seen; a broker may be deleting them. Not their
/// lengths: Kafka makes index files of 10 MB that are mostly holes. The logs of coordinators do not count: they stay, and
/// grow with what rows commit until they are compacted.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let files = files_below(folder);
    files
        .iter()
        .filter(|path| !is_coordinators(path))
        .filter_map(|path| path.metadata().ok())
        .map(|data| data.blocks() * BLOCK_BYTES)
        .sum()
}

/// What the records of a topic take in a broker's data folder: the lengths of its segments, without their indexes.
pub(crate) fn stored_bytes(folder: &Path, topic: &str) -> u64 {
    let is_of_topic = |path: &&std::path::PathBuf| {
        let partition = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let topic_of = partition.and_then(|name| name.rsplit_once('-')).map(|(topic, _)| topic);
        topic_of == Some(topic) && path.extension().is_some_and(|extension| extension == "log")
    };
    let files = files_below(folder);
    files.iter().filter(is_of_topic).filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum()
}

/// Whether a file belongs to `__consumer_offsets` or `__transaction_state`; both brokers name folders by topic and partition.
fn is_coordinators(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.is_some_and(|folder| COORDINATORS.iter().any(|topic| folder.starts_with(topic)))
}

/// Writes back all files of a folder and drops their pages, so that the next reader has to go to the disk.
pub(super) fn evict(folder: &Path) -> Result<()> {
    for path in files_below(folder) {
        // Deleted since it was listed.
        let Ok(file) = File::open(&path) else { continue };
        fdatasync(&file).with_context(|| format!("write back {}", path.display()))?;
        fadvise(&file, 0, None, Advice::DontNeed).with_context(|| format!("drop pages of {}", path.display()))?;
    }
    Ok(())
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{is_coordinators, stored_bytes};

    #[test]
    fn logs_of_coordinators_are_told_from_those_of_topics() {
        let file = |folder: &str| is_coordinators(Path::new("/data").join(folder).join("0.log").as_path());
        assert!(file("__consumer_offsets-7") && file("__transaction_state-49"));
        assert!(!file("bench-0") && !file("__cluster_metadata-0") && !is_coordinators(Path::new("meta.properties")));
    }

    #[test]
    fn only_segments_of_the_topic_count_as_stored() {
        let folder = twinstream_testkit::Folder::new();
        for (partition, file) in [("a.b-0", "0.log"), ("a.b-1", "0.log"), ("a.b-1", "0.index"), ("a.b-c-0", "0.log")] {
            std::fs::write(folder.sub(partition).join(file), [0; 10]).expect("a file");
        }
        assert_eq!(stored_bytes(folder.path(), "a.b"), 20);
        assert_eq!(stored_bytes(folder.path(), "a.b-c"), 10);
    }
}
