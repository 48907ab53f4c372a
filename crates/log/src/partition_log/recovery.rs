//! Opening a partition's folder.
//!
//! Every byte from the recovery point on is checked, however the last owner ended; after a power loss from the begin of its
//! segment on, because the index that leads there need not have been flushed. Segments below are taken as they are and
//! looked at when somebody comes to them. A torn tail is cut behind the last whole batch; a bad batch with good ones
//! behind it, or below the recovery point, stays as a hole that is not served (`segment::repair` says when not). Epochs of
//! what was read are compared with their file. Producers come from the newest readable snapshot plus the headers behind it
//! (see `snapshots`).
//!
//! Invariants: after opening, every byte of the log belongs to a whole batch or to a hole that is known, as far as it was
//! read. Damage never keeps a log from being opened. What follows a cut is gone for good before the cut is made. A log does
//! not end below the recovery point, unless nothing but the checkpoint tells that it ever reached there: a replica in sync
//! that came back with less than it had acknowledged could be elected, and have the others cut theirs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use twinstream_model::{LeaderEpoch, Offset, TopicId, TopicPartition};

use super::compaction::NEVER_CLEANED;
use super::cuts::Cuts;
use super::identity::{read_topic_id, write_identity};
use super::snapshots::Restoring;
use super::{PartitionLog, Writer, isolation};
use crate::cleaner::leftovers;
use crate::directory::Unflushed;
use crate::epochs::Epochs;
use crate::files::{self, CLEANED, DELETED, INDEX, LOG, SNAPSHOT, SWAP, TIME_INDEX, TXN_INDEX};
use crate::metrics::LogMetrics;
use crate::open_files::Place;
use crate::producers::Verifications;
use crate::segment::{Found, Segment};
use crate::transactions::Transactions;
use crate::txn_index::{AbortedEntry, TxnIndexes};
use crate::{Disk, LastStop, LogConfig, LogError, OpenFiles, directory};

/// What the owner of the log directory knows about a log before it is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    pub config: LogConfig,
    pub metrics: LogMetrics,
    /// How the last owner of the directory ended.
    pub last_stop: LastStop,
    /// From the checkpoint; 0 if unknown, then everything is checked.
    pub recovery_point: Offset,
    /// From the checkpoint; 0 if it was never moved.
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// From the checkpoint: up to where it was compacted, `None` if it never was.
    pub cleaned_to: Option<Offset>,
    /// From the checkpoint of a clean stop: what [`PartitionLog::aborted_count`] was then, `None` if that is not known.
    pub aborted_count: Option<u64>,
    pub now: i64,
    /// Who opens the files; one for all logs of a broker.
    pub files: Arc<OpenFiles>,
    /// The disk that the folder is on; one for all logs of a directory.
    pub disk: Arc<Disk>,
}

impl Opening {
    /// For a log that has no history.
    pub fn fresh(config: LogConfig, metrics: LogMetrics, now: i64) -> Opening {
        Opening {
            config,
            metrics,
            last_stop: LastStop::Clean,
            recovery_point: Offset(0),
            log_start: Offset(0),
            high_watermark: Offset(0),
            cleaned_to: None,
            aborted_count: None,
            now,
            files: OpenFiles::new(OpenFiles::default_max(None)),
            disk: Disk::new(Path::new(""), 0),
        }
    }
}

impl Opening {
    /// Where a log that ends at `end` begins. A start behind the end is what a crash may leave that took records, and then
    /// the log has to go on there. After a clean stop of which nothing is missing it is the checkpoint that is wrong.
    fn log_start_of(&self, partition: &TopicPartition, end: Offset) -> Offset {
        let knows_end = self.last_stop == LastStop::Clean && self.recovery_point > Offset(0);
        if end >= self.log_start || !knows_end || end < self.recovery_point {
            return self.log_start;
        }
        let told = self.log_start.0;
        tracing::error!(%partition, end = end.0, told, "the checkpoint of log starts is damaged: it names an offset behind the end of the log, and is not believed");
        Offset(0)
    }
}

impl PartitionLog {
    /// Makes the folder of a new partition and opens it. The name of the folder is flushed with its first records and
    /// not here, so that a thousand partitions come into being soon; one that a power loss takes before has nothing in
    /// it and is made again. Should a folder be there that lost its identity, what it holds is checked to the last byte.
    pub fn create(dir: &Path, topic_id: TopicId, mut opening: Opening) -> Result<PartitionLog, LogError> {
        if dir.exists() {
            opening.last_stop = LastStop::Unknown;
        }
        fs::create_dir_all(dir).map_err(LogError::io("create directory", dir))?;
        write_identity(dir, topic_id)?;
        PartitionLog::open(dir, opening)
    }

    /// Opens the folder of a partition and brings it into order.
    pub fn open(dir: &Path, opening: Opening) -> Result<PartitionLog, LogError> {
        let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let partition = directory::parse_folder(name)
            .or_else(|| directory::parse_future(name))
            .ok_or_else(|| LogError::damaged(dir, "folder is not named <topic>-<partition>"))?;
        let topic_id = read_topic_id(dir)?;
        let mut listing = tidy(dir)?;
        let place = Place::new(dir, Arc::clone(&opening.files));
        let (mut segments, scanned) = open_segments(&place, &listing, &partition, &opening)?;
        let mut end = segments.last().map_or(Offset(0), |segment| segment.next_offset());
        let log_start = opening.log_start_of(&partition, end);
        if end < log_start {
            tracing::warn!(%partition, end = end.0, log_start = log_start.0, "log ends before its start, starting anew there");
            // Producers that wrote what is gone would have transactions open that never end.
            super::snapshots::remove_all(dir)?;
            listing.snapshots.clear();
            segments = restart_at(&place, segments, log_start, &opening.config)?;
            end = log_start;
        }
        let start = segments[0].base().max(log_start);
        let epochs = load_epochs(dir, &segments, end, scanned)?;
        let (mut indexes, rebuild_from) = open_txn_indexes(dir, &listing, &segments, end, &opening)?;
        let transactions = Transactions::default();
        let restoring = Restoring {
            dir,
            segments: &segments,
            start,
            end,
            rebuild_from,
            transactions: &transactions,
            indexes: &mut indexes,
        };
        let mut restored = restoring.restore(listing.snapshots)?;
        restored.producers.hear_all(opening.now);
        let unflushed = Unflushed::new(&opening.disk, bytes_behind(&segments, opening.recovery_point));
        let log = PartitionLog {
            partition,
            topic_id,
            dir: Arc::clone(&place.dir),
            place,
            config: ArcSwap::from_pointee(opening.config),
            metrics: opening.metrics,
            segments: ArcSwap::from_pointee(segments),
            log_start: AtomicI64::new(start.0),
            start_to_come: AtomicI64::new(i64::MAX),
            high_watermark: AtomicI64::new(opening.high_watermark.clamp(start, end).0),
            log_end: AtomicI64::new(end.0),
            recovery_point: AtomicI64::new(opening.recovery_point.min(end).0),
            cuts: Cuts::default(),
            settled: AtomicBool::new(opening.recovery_point > Offset(0)),
            new_names: AtomicBool::new(true),
            indexed_to: AtomicI64::new(opening.recovery_point.min(end).0),
            unflushed,
            disk: opening.disk,
            writer: Mutex::new(Writer {
                producers: restored.producers,
                verifications: Verifications::default(),
                snapshots: restored.snapshots,
                unflushed_records: 0,
                last_flush_ms: opening.now,
                doomed: Vec::new(),
            }),
            flushing: Mutex::new(()),
            epochs: RwLock::new(epochs),
            transactions,
            aborted: RwLock::new(indexes),
            cleaned_to: AtomicI64::new(opening.cleaned_to.map_or(NEVER_CLEANED, |at| at.min(end).0)),
            cleaning: Mutex::new(0),
            closed: AtomicBool::new(false),
            poison: OnceLock::new(),
        };
        Ok(log)
    }
}

/// Bytes that an earlier process may have left in the page cache, at most.
fn bytes_behind(segments: &[Arc<Segment>], recovery_point: Offset) -> u64 {
    segments.iter().filter(|segment| segment.next_offset() > recovery_point).map(|segment| segment.size()).sum()
}

pub(super) fn remove_paths(paths: &[std::path::PathBuf]) -> Result<(), LogError> {
    paths.iter().try_for_each(|path| files::remove(path))
}

/// The epochs of the batches that were read, up to the end of the log.
type ScannedEpochs = Vec<(LeaderEpoch, Offset)>;

/// Opens all segments, cuts a torn tail and drops what came behind it. Those that end at or before the recovery point are
/// not looked at.
fn open_segments(
    place: &Place,
    listing: &Listing,
    partition: &TopicPartition,
    opening: &Opening,
) -> Result<(Vec<Arc<Segment>>, ScannedEpochs), LogError> {
    let bases = &listing.bases;
    let (config, recovery_point) = (&opening.config, opening.recovery_point);
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(bases.len() + 1);
    let mut epochs = ScannedEpochs::new();
    let adjoins = opening.cleaned_to.is_none() && !config.cleanup.compact;
    let snapshot = listing.snapshots.last().map_or(Offset(0), |newest| *newest);
    for (i, base) in bases.iter().enumerate() {
        let next = bases.get(i + 1).copied();
        if let Some(next) = next.filter(|next| *next <= recovery_point) {
            segments.push(Arc::new(Segment::closed(place, *base, next, adjoins, config)?));
            continue;
        }
        let found = Found {
            recovery_point,
            last_stop: opening.last_stop,
            told: snapshot.max(opening.high_watermark),
            next,
            adjoins,
            epoch: epochs.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch),
        };
        let remove_following = || remove_following(&place.dir.read(), &bases[i + 1..]);
        let (segment, scanned) = Segment::open(place, *base, found, config, &remove_following)?;
        epochs.extend(scanned.epochs);
        segments.push(Arc::new(segment));
        if scanned.ends_in_hole {
            segments.push(Arc::new(Segment::create(place, recovery_point, config)?));
            break;
        }
        if scanned.is_cut {
            opening.metrics.tails_cut.inc();
            break;
        }
    }
    if segments.is_empty() {
        segments.push(Arc::new(Segment::create(place, opening.log_start, config)?));
    }
    let end = segments[segments.len() - 1].next_offset();
    if end < recovery_point {
        let lost = recovery_point.0 - end.0;
        tracing::error!(%partition, lost, log_end = end.0, "records that were on the disk are gone, or the checkpoint of recovery points is damaged; if this was the only replica, they are lost");
    }
    Ok((segments, epochs))
}

/// The files of a log.
#[derive(Default)]
struct Listing {
    bases: Vec<Offset>,
    snapshots: Vec<Offset>,
    txn_indexes: Vec<Offset>,
}

/// Removes left-overs and returns the bases of the segments and the snapshots, in order.
fn tidy(dir: &Path) -> Result<Listing, LogError> {
    let mut bases = BTreeSet::new();
    let mut snapshots = BTreeSet::new();
    let mut txn_indexes = Vec::new();
    let mut indexes = Vec::new();
    let mut compacted = false;
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let entry = entry.map_err(LogError::io("list", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match files::parse_offset_file(name) {
            Some((base, LOG)) => {
                bases.insert(base);
            }
            Some((base, INDEX | TIME_INDEX)) => indexes.push((base, entry.path())),
            Some((base, TXN_INDEX)) => {
                indexes.push((base, entry.path()));
                txn_indexes.push(base);
            }
            Some((offset, SNAPSHOT)) => {
                snapshots.insert(offset);
            }
            Some((_, extension)) if extension.ends_with(DELETED) => files::remove(&entry.path())?,
            Some((_, extension)) => compacted |= extension.ends_with(CLEANED) || extension.ends_with(SWAP),
            _ if name.ends_with(".tmp") => files::remove(&entry.path())?,
            _ => {}
        }
    }
    if compacted {
        leftovers::finish(dir)?;
        return tidy(dir);
    }
    for (_, path) in indexes.iter().filter(|(base, _)| !bases.contains(base)) {
        files::remove(path)?;
    }
    Ok(Listing { bases: bases.into_iter().collect(), snapshots: snapshots.into_iter().collect(), txn_indexes })
}

fn remove_segment(dir: &Path, base: Offset) -> Result<(), LogError> {
    [LOG, INDEX, TIME_INDEX, TXN_INDEX]
        .iter()
        .try_for_each(|extension| files::remove(&files::offset_file(dir, base, extension)))
}

/// What comes after a cut never followed a whole log. It goes first, from the end on, and for good: a crash between the two
/// would leave a log that lacks records in the middle and looks whole.
fn remove_following(dir: &Path, bases: &[Offset]) -> Result<(), LogError> {
    if bases.is_empty() {
        return Ok(());
    }
    bases.iter().rev().try_for_each(|base| remove_segment(dir, *base))?;
    files::sync_dir(dir)
}

/// Drops all segments and begins an empty one.
fn restart_at(
    place: &Place,
    segments: Vec<Arc<Segment>>,
    base: Offset,
    config: &LogConfig,
) -> Result<Vec<Arc<Segment>>, LogError> {
    for segment in segments {
        remove_segment(&place.dir.read(), segment.base())?;
    }
    Ok(vec![Arc::new(Segment::create(place, base, config)?)])
}

/// Opens the indexes of aborted transactions. Also returns from where on they have to be made again from the log: where
/// one does not fit, where the machine may have gone down before it was flushed, and all of them when they tell of more or
/// fewer transactions than the last owner left: files have no count, so nobody knows which is too short.
fn open_txn_indexes(
    dir: &Path,
    listing: &Listing,
    segments: &[Arc<Segment>],
    end: Offset,
    opening: &Opening,
) -> Result<(TxnIndexes, Offset), LogError> {
    let next_base = |i: usize| segments.get(i + 1).map_or(end, |next| next.base());
    let is_doubtful = |i: usize| opening.last_stop == LastStop::Unknown && next_base(i) > opening.recovery_point;
    let doubtful = (0..segments.len()).find(|i| is_doubtful(*i)).map_or(end, |i| segments[i].base());
    let mut sound = Vec::new();
    for base in listing.txn_indexes.iter().filter(|base| segments.iter().any(|segment| segment.base() == **base)) {
        match *base < doubtful {
            true => sound.push(*base),
            false => files::remove(&files::offset_file(dir, *base, TXN_INDEX))?,
        }
    }
    let mut indexes = TxnIndexes::of(sound);
    let mut rebuild_from = doubtful;
    let agrees = |base: Offset, entries: &[AbortedEntry]| {
        isolation::agrees(&segments[..segments.partition_point(|segment| segment.base() <= base)], entries)
    };
    for unfit in indexes.check(dir, &agrees)? {
        let path = files::offset_file(dir, unfit.base, TXN_INDEX);
        tracing::warn!(path = %path.display(), what = unfit.what, "making an index of aborted transactions again");
        indexes.forget(unfit.base);
        files::remove(&path)?;
        rebuild_from = rebuild_from.min(unfit.base);
    }
    let told = opening.aborted_count.filter(|_| opening.last_stop == LastStop::Clean);
    if let Some(told) = told.filter(|told| *told != indexes.count()) {
        let found = indexes.count();
        tracing::warn!(dir = %dir.display(), told, found, "indexes of aborted transactions are not what they were, making them again");
        listing.txn_indexes.iter().try_for_each(|base| files::remove(&files::offset_file(dir, *base, TXN_INDEX)))?;
        return Ok((TxnIndexes::default(), segments.first().map_or(end, |first| first.base())));
    }
    let unfit = indexes.truncate(dir, end)?;
    Ok((indexes, unfit.map_or(rebuild_from, |base| rebuild_from.min(base))))
}

fn load_epochs(dir: &Path, segments: &[Arc<Segment>], end: Offset, scanned: ScannedEpochs) -> Result<Epochs, LogError> {
    let (mut epochs, known) = Epochs::load(dir)?;
    epochs.truncate_end(end);
    if known {
        // The epochs of a hole are not known, but the file may tell them.
        let holes: Vec<_> = segments.iter().flat_map(|segment| segment.damage()).map(|hole| hole.offsets).collect();
        epochs.rewrite(&scanned, &holes);
    } else if segments.iter().any(|segment| segment.size() > 0) {
        tracing::warn!(dir = %dir.display(), "rebuilding the leader epoch checkpoint from the log");
        epochs.clear();
        for segment in segments {
            segment.for_each_header(0, |_, header| {
                epochs.note(header.leader_epoch, header.base_offset);
            })?;
        }
    } else {
        return Ok(epochs); // nothing to tell
    }
    epochs.save()?;
    Ok(epochs)
}

#[cfg(test)]
mod tests;
