//! Folders of logs: how large they are, and out of the page cache with them.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise, fdatasync};

/// What `st_blocks` counts in, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What all files below a folder take of the disk, as far as they can be seen; a broker may be deleting them. Not their
/// lengths: Kafka makes index files of 10 MB that are mostly holes.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    files_below(folder).iter().filter_map(|path| path.metadata().ok()).map(|data| data.blocks() * BLOCK_BYTES).sum()
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
