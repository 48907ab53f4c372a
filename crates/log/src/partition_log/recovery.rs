//! Opening a partition's folder.
//!
//! After a clean shutdown only the end of the last segment is read. After anything else every segment from
//! the recovery point on is checked byte by byte, the log is cut behind the last whole batch, and indexes
//! are built anew. Producers come from the newest readable snapshot plus the headers behind it.
//!
//! Invariants: after opening, every byte of the log belongs to a whole batch. Damage below the recovery point
//! should not exist; it is cut too, because a log with a hole cannot be read, and reported as an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use twinstream_model::{Offset, TopicId, TopicPartition};

use super::{METADATA_FILE, PartitionLog, Writer};
use crate::epochs::Epochs;
use crate::files::{self, DELETED, INDEX, LOG, SNAPSHOT, TIME_INDEX};
use crate::metrics::LogMetrics;
use crate::producers::Producers;
use crate::segment::Segment;
use crate::{LogConfig, LogError, directory};

const METADATA_VERSION: u32 = 0;

/// What the owner of the log directory knows about a log before it is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    pub config: LogConfig,
    pub metrics: LogMetrics,
    /// Whether the last owner closed the log.
    pub clean: bool,
    /// From the checkpoint; 0 if unknown, then everything is checked.
    pub recovery_point: Offset,
    /// From the checkpoint; 0 if it was never moved.
    pub log_start: Offset,
    pub high_watermark: Offset,
    pub now: i64,
}

impl Opening {
    /// For a log that has no history.
    pub fn fresh(config: LogConfig, metrics: LogMetrics, now: i64) -> Opening {
        Opening {
            config,
            metrics,
            clean: true,
            recovery_point: Offset(0),
            log_start: Offset(0),
            high_watermark: Offset(0),
            now,
        }
    }
}

impl PartitionLog {
    /// Makes the folder of a new partition and opens it.
    pub fn create(dir: &Path, topic_id: TopicId, opening: Opening) -> Result<PartitionLog, LogError> {
        fs::create_dir_all(dir).map_err(LogError::io("create directory", dir))?;
        let text = format!("version: {METADATA_VERSION}\ntopic_id: {topic_id}");
        files::replace(&dir.join(METADATA_FILE), text.as_bytes())?;
        files::sync_dir(dir.parent().unwrap_or(Path::new(".")))?;
        PartitionLog::open(dir, opening)
    }

    /// Opens the folder of a partition and brings it into order.
    pub fn open(dir: &Path, opening: Opening) -> Result<PartitionLog, LogError> {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let partition = directory::parse_folder(name)
            .ok_or_else(|| LogError::damaged(dir, "folder is not named <topic>-<partition>"))?;
        let topic_id = read_topic_id(dir)?;
        let mut segments = open_segments(dir, &partition, &opening)?;
        let mut end = segments.last().map_or(Offset(0), |segment| segment.next_offset());
        if end < opening.log_start {
            tracing::warn!(%partition, end = end.0, log_start = opening.log_start.0, "log ends before its start, starting anew there");
            segments = restart_at(dir, segments, opening.log_start, &opening.config)?;
            end = opening.log_start;
        }
        let start = segments[0].base().max(opening.log_start);
        let epochs = load_epochs(dir, &segments, end)?;
        let mut producers = load_producers(dir, &segments, start, end)?;
        producers.hear_all(opening.now);
        let log = PartitionLog {
            partition,
            topic_id,
            dir: RwLock::new(dir.to_owned()),
            config: ArcSwap::from_pointee(opening.config),
            metrics: opening.metrics,
            segments: ArcSwap::from_pointee(segments),
            log_start: AtomicI64::new(start.0),
            high_watermark: AtomicI64::new(opening.high_watermark.clamp(start, end).0),
            log_end: AtomicI64::new(end.0),
            recovery_point: AtomicI64::new(opening.recovery_point.min(end).0),
            writer: Mutex::new(Writer {
                producers,
                unflushed_records: 0,
                last_flush_ms: opening.now,
                doomed: Vec::new(),
            }),
            flushing: Mutex::new(()),
            epochs: RwLock::new(epochs),
            closed: AtomicBool::new(false),
            poison: OnceLock::new(),
        };
        Ok(log)
    }
}

pub(super) fn remove_paths(paths: &[std::path::PathBuf]) -> Result<(), LogError> {
    paths.iter().try_for_each(|path| files::remove(path))
}

fn read_topic_id(dir: &Path) -> Result<TopicId, LogError> {
    let path = dir.join(METADATA_FILE);
    let bytes = files::read_if_exists(&path)?.ok_or_else(|| LogError::damaged(&path, "file is missing"))?;
    let text = String::from_utf8_lossy(&bytes);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("version:").map(str::parse::<u32>) {
        Some(Ok(METADATA_VERSION)) => {}
        Some(Ok(newer)) => {
            return Err(LogError::NewerVersion { path, found: newer.to_string(), known: METADATA_VERSION });
        }
        _ => return Err(LogError::damaged(&path, "version is missing")),
    }
    field("topic_id:").and_then(TopicId::parse).ok_or_else(|| LogError::damaged(&path, "topic id is missing"))
}

/// Opens all segments, cuts a torn tail and drops what came behind it.
fn open_segments(dir: &Path, partition: &TopicPartition, opening: &Opening) -> Result<Vec<Arc<Segment>>, LogError> {
    let bases = tidy(dir)?;
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(bases.len().max(1));
    let mut cut = false;
    for (i, base) in bases.iter().enumerate() {
        if cut {
            // What came after the cut never followed a whole log.
            remove_segment(dir, *base)?;
            continue;
        }
        let segment = Segment::open(dir, *base)?;
        let below_recovery_point = bases.get(i + 1).is_some_and(|next| *next <= opening.recovery_point);
        let scanned = match opening.clean || below_recovery_point {
            true => segment.load(&opening.config)?,
            false => segment.recover(&opening.config)?,
        };
        if let Some(previous) = segments.last()
            && previous.next_offset() > *base
        {
            let what = format!("begins at {base}, but the segment before it ends at {}", previous.next_offset());
            return Err(LogError::damaged(&segment.log_path(), what));
        }
        if scanned.cut_bytes > 0 {
            cut = true;
            opening.metrics.tails_cut.inc();
            if below_recovery_point {
                let what = format!("{} bytes below the recovery point are damaged", scanned.cut_bytes);
                tracing::error!(%partition, segment = %segment.log_path().display(), what, "records on the disk were lost");
            }
        }
        segments.push(Arc::new(segment));
    }
    if segments.is_empty() {
        segments.push(Arc::new(Segment::create(dir, opening.log_start, &opening.config)?));
    }
    Ok(segments)
}

/// Removes left-overs and returns the bases of the segments in order.
fn tidy(dir: &Path) -> Result<Vec<Offset>, LogError> {
    let mut bases = BTreeSet::new();
    let mut indexes = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let entry = entry.map_err(LogError::io("list", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match files::parse_offset_file(name) {
            Some((base, LOG)) => {
                bases.insert(base);
            }
            Some((base, INDEX | TIME_INDEX)) => indexes.push((base, entry.path())),
            Some((_, extension)) if extension.ends_with(DELETED) => files::remove(&entry.path())?,
            _ if name.ends_with(".tmp") => files::remove(&entry.path())?,
            _ => {}
        }
    }
    for (_, path) in indexes.iter().filter(|(base, _)| !bases.contains(base)) {
        files::remove(path)?;
    }
    Ok(bases.into_iter().collect())
}

fn remove_segment(dir: &Path, base: Offset) -> Result<(), LogError> {
    [LOG, INDEX, TIME_INDEX].iter().try_for_each(|extension| files::remove(&files::offset_file(dir, base, extension)))
}

/// Drops all segments and begins an empty one.
fn restart_at(
    dir: &Path,
    segments: Vec<Arc<Segment>>,
    base: Offset,
    config: &LogConfig,
) -> Result<Vec<Arc<Segment>>, LogError> {
    for segment in segments {
        remove_segment(dir, segment.base())?;
    }
    Ok(vec![Arc::new(Segment::create(dir, base, config)?)])
}

fn load_epochs(dir: &Path, segments: &[Arc<Segment>], end: Offset) -> Result<Epochs, LogError> {
    let (mut epochs, known) = Epochs::load(dir)?;
    let mut changed = epochs.truncate_end(end);
    if !known && segments.iter().any(|segment| segment.size() > 0) {
        tracing::warn!(dir = %dir.display(), "rebuilding the leader epoch checkpoint from the log");
        epochs.clear();
        for segment in segments {
            segment.for_each_header(0, |header| {
                epochs.note(header.leader_epoch, header.base_offset);
            })?;
        }
        changed = true;
    }
    if changed {
        epochs.save()?;
    }
    Ok(epochs)
}

/// Bytes before the end of the log in which older batches of known producers are looked up again.
const WINDOW_BYTES: u64 = 1 << 20;

pub(super) fn load_producers(
    dir: &Path,
    segments: &[Arc<Segment>],
    start: Offset,
    end: Offset,
) -> Result<Producers, LogError> {
    let (mut producers, from) = newest_snapshot(dir, start, end)?;
    for segment in segments.iter().filter(|segment| segment.next_offset() > from) {
        let position = segment.locate(from)?.map_or(segment.size(), |found| found.position);
        segment.for_each_header(position, |header| {
            if header.base_offset >= from {
                producers.replay(header);
            }
        })?;
    }
    // A snapshot keeps one batch of each producer; batches in flight may be up to five.
    if let Some(active) = segments.last() {
        let position = active.position_before_end(WINDOW_BYTES)?;
        let mut window = Producers::default();
        active.for_each_header(position, |header| window.replay(header))?;
        producers.widen(window);
    }
    Ok(producers)
}

/// The state of the newest snapshot within the log and its offset. Unfit snapshot files are removed.
fn newest_snapshot(dir: &Path, start: Offset, end: Offset) -> Result<(Producers, Offset), LogError> {
    let mut offsets = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let entry = entry.map_err(LogError::io("list", dir))?;
        if let Some((offset, SNAPSHOT)) = entry.file_name().to_str().and_then(files::parse_offset_file) {
            offsets.push(offset);
        }
    }
    offsets.sort();
    while let Some(offset) = offsets.pop() {
        let path = files::offset_file(dir, offset, SNAPSHOT);
        if offset > end {
            files::remove(&path)?;
            continue;
        }
        match Producers::load(&path) {
            Ok(producers) => return Ok((producers, offset)),
            Err(LogError::Damaged { path, what }) => {
                tracing::warn!(path = %path.display(), what, "passing over a damaged producer snapshot");
                files::remove(&path)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((Producers::default(), start))
}
