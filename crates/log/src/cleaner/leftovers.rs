//! What a crash in the middle of a compaction leaves, and how a start finishes it. Kafka's rules, file for file.
//!
//! ```text
//! .cleaned   being written                          a crash: it is removed, the segments are as they were
//! .swap      whole, flushed, and named so durably   a crash: it takes the place of the segments it covers
//! (none)     a part of the log
//! ```
//! All files of a new segment become `.swap` before one of the old segments goes, so what is `.swap` without a `.cleaned`
//! beside it is the whole result. Old segments that begin between its base and its last record go, then the suffix.
//! An old segment of whose records none was kept may lie behind that and stays; it holds only older records of keys and
//! is compacted again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use twinstream_model::Offset;
use twinstream_protocol::batch::{BatchHeader, HEADER_BYTES};

use crate::LogError;
use crate::files::{self, CLEANED, INDEX, LOG, SWAP, TIME_INDEX, TXN_INDEX};

/// Files in the order in which they become a part of the log: with the records it is one.
const EXTENSIONS: [&str; 4] = [INDEX, TIME_INDEX, TXN_INDEX, LOG];

/// Brings the folder of a log to the state before or after the compaction that was under way.
pub(crate) fn finish(dir: &Path) -> Result<(), LogError> {
    let all = list(dir)?;
    let unfinished = all.iter().filter(|file| file.suffix == CLEANED).map(|file| file.base).min();
    let (mut swaps, mut parts) = (Vec::new(), Vec::new());
    for file in all {
        match file.suffix {
            CLEANED => files::remove(&file.path)?,
            SWAP if unfinished.is_some_and(|base| file.base >= base) => files::remove(&file.path)?,
            SWAP => swaps.push(file),
            _ => parts.push(file),
        }
    }
    // Without records the other files are worth nothing.
    let whole: Vec<(Offset, Offset)> = swaps
        .iter()
        .filter(|file| file.extension == LOG)
        .map(|file| Ok((file.base, next_offset(&file.path, file.base)?)))
        .collect::<Result<_, LogError>>()?;
    for file in swaps.iter().filter(|file| whole.iter().all(|(base, _)| *base != file.base)) {
        files::remove(&file.path)?;
    }
    for (base, end) in whole {
        tracing::info!(dir = %dir.display(), base = base.0, end = end.0, "finishing a compaction");
        for old in parts.iter().rev().filter(|old| old.base == base || (base..end).contains(&old.base)) {
            files::remove(&old.path)?;
        }
        for extension in EXTENSIONS {
            let to = files::offset_file(dir, base, extension);
            let from = files::offset_file(dir, base, &format!("{extension}{SWAP}"));
            if from.exists() {
                fs::rename(&from, &to).map_err(LogError::io("rename", &from))?;
            }
        }
    }
    files::sync_dir(dir)
}

struct Part {
    base: Offset,
    extension: &'static str,
    suffix: &'static str,
    path: PathBuf,
}

/// The files of segments, in the order of their offsets.
fn list(dir: &Path) -> Result<Vec<Part>, LogError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let entry = entry.map_err(LogError::io("list", dir))?;
        let name = entry.file_name();
        let Some((base, rest)) = name.to_str().and_then(files::parse_offset_file) else { continue };
        let suffix = [CLEANED, SWAP].into_iter().find(|suffix| rest.ends_with(suffix)).unwrap_or("");
        let extension = rest.strip_suffix(suffix).unwrap_or(rest);
        let Some(extension) = EXTENSIONS.into_iter().find(|known| *known == extension) else { continue };
        parts.push(Part { base, extension, suffix, path: entry.path() });
    }
    parts.sort_by_key(|part| part.base);
    Ok(parts)
}

/// The offset behind the last whole batch of a file.
fn next_offset(path: &Path, base: Offset) -> Result<Offset, LogError> {
    let file = File::open(path).map_err(LogError::io("open", path))?;
    let (mut next, mut position) = (base, 0);
    loop {
        let mut bytes = [0; HEADER_BYTES];
        let read = files::read_up_to(&file, &mut bytes, position).map_err(LogError::io("read", path))?;
        match BatchHeader::parse(&bytes[..read]) {
            Ok(header) if header.base_offset >= next => {
                next = header.next_offset();
                position += header.len as u64;
            }
            _ => return Ok(next),
        }
    }
}
