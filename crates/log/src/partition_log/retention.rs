//! Old records go: by age, by size, by DeleteRecords.
//!
//! Whole segments go, oldest first, and never beyond the high watermark. Their files are renamed at once
//! and removed after `file.delete.delay.ms`, so that a reader who just found them can finish.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinstream_model::Offset;

use super::{PartitionLog, Writer};
use crate::files::{self, SNAPSHOT};
use crate::segment::Segment;
use crate::{LogConfig, LogError, ReadError};

/// Which segments have no claim to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Those below the log start, those too old, those beyond the size.
    ByConfig,
    /// Only those below the log start.
    ByLogStart,
}

/// What one round of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    pub deleted_segments: usize,
    pub deleted_bytes: u64,
    pub flushed: bool,
}

impl PartitionLog {
    /// Does all that time demands of a log.
    pub fn maintain(&self, now: i64) -> Result<Maintained, LogError> {
        let mut done = self.enforce_retention(now)?;
        self.expire_producers(now);
        done.flushed = self.tidy(now)?;
        Ok(done)
    }

    /// Deletes what retention gives free.
    pub fn enforce_retention(&self, now: i64) -> Result<Maintained, LogError> {
        self.check_usable()?;
        self.retain(now, &self.config(), Claim::ByConfig)
    }

    /// Forgets producers that were silent for too long, unless they have a transaction open.
    pub fn expire_producers(&self, now: i64) {
        let before = now.saturating_sub(self.config.load().producer_expiry_ms);
        let mut writer = self.writer.lock();
        writer.producers.expire(before);
        writer.verifications.expire(before);
    }

    /// Flushes closed segments and what is older than `flush.ms`, and removes renamed files whose time has come.
    /// Returns whether something was flushed.
    pub fn tidy(&self, now: i64) -> Result<bool, LogError> {
        self.check_usable()?;
        let flushed = self.flush_if_due(now, &self.config())?;
        let doomed = take_due(&mut self.writer.lock(), now);
        doomed.iter().flatten().try_for_each(|path| files::remove(path))?;
        self.active().write_out()?;
        Ok(flushed)
    }

    fn retain(&self, now: i64, config: &LogConfig, claim: Claim) -> Result<Maintained, LogError> {
        let mut writer = self.writer.lock();
        let segments = self.segments.load_full();
        let gone = self.expired(&segments, now, config, claim)?;
        if gone == 0 {
            return Ok(Maintained::default());
        }
        if gone == segments.len() {
            // A log always has a segment: an empty one takes the place of the last that goes.
            self.roll(&mut writer, self.log_end_offset(), config).map_err(|error| self.poison_unless_full(error))?;
        }
        self.drop_segments(&mut writer, gone, now, config).map_err(|error| self.poison(error))
    }

    /// How many segments, from the oldest on, have no claim to stay.
    fn expired(
        &self,
        segments: &[Arc<Segment>],
        now: i64,
        config: &LogConfig,
        claim: Claim,
    ) -> Result<usize, LogError> {
        let high_watermark = self.high_watermark();
        let start = self.log_start_offset();
        let mut size: u64 = segments.iter().map(|segment| segment.size()).sum();
        let mut gone = 0;
        for (i, segment) in segments.iter().enumerate() {
            let active = i + 1 == segments.len();
            let next = segment.next_offset();
            // Compaction may leave closed segments without records.
            if next > high_watermark || (active && segment.size() == 0) {
                break;
            }
            // Who reads at the start of a compacted log goes on behind a gap there, so the start stays for it.
            let below_start = segments.get(i + 1).is_some_and(|behind| behind.base() <= start);
            let deletes = config.cleanup.delete && claim == Claim::ByConfig;
            let by_age = deletes && is_old(segment, now, config)?;
            let by_size =
                deletes && config.retention_bytes.is_some_and(|max| size.saturating_sub(segment.size()) >= max);
            if !(below_start || by_age || by_size) {
                break;
            }
            size -= segment.size();
            gone += 1;
        }
        Ok(gone)
    }

    /// Takes the first `count` segments out of the log and moves the log start behind them.
    fn drop_segments(
        &self,
        writer: &mut Writer,
        count: usize,
        now: i64,
        config: &LogConfig,
    ) -> Result<Maintained, LogError> {
        let segments = self.segments.load_full();
        let (gone, kept) = segments.split_at(count);
        let start = kept[0].base();
        self.log_start.fetch_max(start.0, Ordering::AcqRel);
        self.segments.store(Arc::new(kept.to_vec()));
        let mut done = Maintained::default();
        let dir = self.dir.read().clone();
        for segment in gone {
            let mut paths = segment.mark_deleted()?;
            paths.push(files::offset_file(&dir, segment.base(), SNAPSHOT));
            paths.extend(self.aborted.write().mark_deleted(&dir, segment.base())?);
            writer.doomed.push((now.saturating_add(config.file_delete_delay_ms), paths));
            done.deleted_segments += 1;
            done.deleted_bytes += segment.size();
        }
        self.cut_epochs_below(self.log_start_offset())?;
        self.metrics.segments_deleted.inc_by(done.deleted_segments as u64);
        tracing::info!(
            partition = %self.partition,
            segments = done.deleted_segments,
            bytes = done.deleted_bytes,
            log_start = self.log_start_offset().0,
            "deleted old segments"
        );
        Ok(done)
    }

    /// Moves the log start forward to `before`; -1 stands for the high watermark. Returns the new start.
    pub fn delete_records(&self, before: Offset, now: i64) -> Result<Offset, ReadError> {
        self.check_usable()?;
        let high_watermark = self.high_watermark();
        let start = self.log_start_offset();
        let before = if before == Offset::NONE { high_watermark } else { before };
        if before > high_watermark || before < Offset(0) {
            return Err(ReadError::OutOfRange { requested: before, start, end: high_watermark });
        }
        self.raise_log_start(before, now)?;
        Ok(self.log_start_offset())
    }

    /// Moves the log start forward to `start`, which is at most the high watermark.
    pub(super) fn raise_log_start(&self, start: Offset, now: i64) -> Result<(), LogError> {
        if start <= self.log_start_offset() {
            return Ok(());
        }
        self.log_start.fetch_max(start.0, Ordering::AcqRel);
        self.cut_epochs_below(start).map_err(|error| self.poison(error))?;
        self.retain(now, &self.config(), Claim::ByLogStart).map(|_| ())
    }
}

impl PartitionLog {
    /// Forgets epochs whose records are gone. On a full disk the file keeps them until it is written for another reason:
    /// deleting records is what gives room, and older epochs than there are records do no harm.
    fn cut_epochs_below(&self, start: Offset) -> Result<(), LogError> {
        let mut epochs = self.epochs.write();
        match epochs.truncate_start(start) {
            true => epochs.save().or_else(|error| if error.is_passing() { Ok(()) } else { Err(error) }),
            false => Ok(()),
        }
    }
}

fn is_old(segment: &Segment, now: i64, config: &LogConfig) -> Result<bool, LogError> {
    let Some(retention) = config.retention_ms else {
        return Ok(false);
    };
    let newest = segment.max_timestamp()?.map(|(timestamp, _)| timestamp).or_else(|| segment.modified_ms());
    Ok(newest.is_some_and(|newest| now.saturating_sub(newest) > retention))
}

fn take_due(writer: &mut Writer, now: i64) -> Vec<Vec<std::path::PathBuf>> {
    let (due, waiting) = writer.doomed.drain(..).partition(|(at, _)| *at <= now);
    writer.doomed = waiting;
    due.into_iter().map(|(_, paths): (i64, _)| paths).collect()
}

#[cfg(test)]
mod tests;
