//! Opening a segment whose end may be torn, and cutting one.
//!
//! The indexes say where to begin to look: what they do not cover yet is scanned, by header where the bytes are known to
//! be good and byte by byte where they are not. Without fit indexes the whole file is read and they are built anew.

use std::ops::ControlFlow;

use twinstream_model::{LeaderEpoch, Offset};
use twinstream_protocol::batch::BatchHeader;

use super::scan::{self, Tail};
use super::{Ordering, Segment};
use crate::{LogConfig, LogError};

/// What a look at a segment brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes that were cut off its end.
    pub(crate) cut_bytes: u64,
    /// If the whole segment was read: the epochs of its batches and where they begin.
    pub(crate) epochs: Option<Vec<(LeaderEpoch, Offset)>>,
}

impl Segment {
    /// Looks at the end of a segment that was closed in good order; its indexes are rebuilt if they do not fit.
    pub(crate) fn load(&self, config: &LogConfig) -> Result<Scanned, LogError> {
        match self.check_indexes() {
            Ok(()) => self.load_tail(config),
            Err(error) => self.rebuild(&error, config),
        }
    }

    /// Like [`Segment::load`], for a segment whose last write may be cut short: what the indexes do not cover is
    /// checked byte by byte.
    pub(crate) fn load_checked(&self, config: &LogConfig) -> Result<Scanned, LogError> {
        match self.check_indexes() {
            Ok(()) => {
                let start = self.resume_at_last_entry()?;
                let tail = self.scan_checked(start, config, &mut Vec::new())?;
                self.cut_behind_entries(tail, config)
            }
            Err(error) => self.rebuild(&error, config),
        }
    }

    fn rebuild(&self, error: &LogError, config: &LogConfig) -> Result<Scanned, LogError> {
        tracing::warn!(error = %error.chain(), "rebuilding the indexes of a segment");
        self.recover(config)
    }

    fn check_indexes(&self) -> Result<(), LogError> {
        let inner = self.inner.read();
        inner.offsets.check_order()?;
        inner.times.check_order()?;
        if !self.indexes_fit {
            return Err(LogError::damaged(&self.log_path(), "an index was missing or damaged"));
        }
        let size = self.size();
        if size == 0 && (inner.offsets.last().is_some() || inner.times.last().is_some()) {
            return Err(LogError::damaged(&self.log_path(), "indexes of an empty segment have entries"));
        }
        match inner.offsets.last() {
            Some(last) if u64::from(last.position) >= size => {
                Err(LogError::damaged(&self.log_path(), "offset index points behind the end"))
            }
            _ => Ok(()),
        }
    }

    /// Takes from the indexes what they tell; returns the position from which on batches have to be looked at.
    fn resume_at_last_entry(&self) -> Result<u64, LogError> {
        let mut inner = self.inner.write();
        inner.reset(self.base);
        if let Some(last) = inner.times.last() {
            inner.max_timestamp = last.timestamp;
            inner.max_timestamp_offset = Offset(self.base.0 + i64::from(last.relative));
        }
        let start = inner.offsets.last().map_or(0, |last| u64::from(last.position));
        inner.resumed_at = (start > 0).then_some(start);
        drop(inner);
        if start > 0 {
            let first = self.find(0, |_| true)?;
            self.inner.write().first_timestamp = first.map(|found| found.header.max_timestamp);
        }
        Ok(start)
    }

    /// Scans headers from the last index entry on, to learn what indexes do not tell.
    fn load_tail(&self, config: &LogConfig) -> Result<Scanned, LogError> {
        let start = self.resume_at_last_entry()?;
        let mut failure = None;
        let tail = scan::headers(&*self.file.get()?, start, self.size(), |position, header| {
            match self.index(&mut self.inner.write(), position, header, config.index_interval_bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        self.cut_behind_entries(tail.map_err(LogError::io("read", &self.log_path()))?, config)
    }

    /// Cuts a torn tail that was found behind the last index entry. If it is the very batch of that entry, what the
    /// indexes told does not hold, and the entry before has to tell.
    fn cut_behind_entries(&self, tail: Tail, config: &LogConfig) -> Result<Scanned, LogError> {
        let cut_bytes = self.cut_if_torn(tail)?;
        if cut_bytes > 0 {
            let size = self.size();
            self.inner.write().offsets.keep(|entry| u64::from(entry.position) < size)?;
            self.load_tail(config)?;
            {
                let mut inner = self.inner.write();
                let next = inner.next_offset.0 - self.base.0;
                inner.times.keep(|entry| i64::from(entry.relative) < next)?;
            }
            self.load_tail(config)?;
        }
        Ok(Scanned { cut_bytes, epochs: None })
    }

    /// Checks every batch, cuts the file behind the last whole one and builds the indexes anew.
    pub(crate) fn recover(&self, config: &LogConfig) -> Result<Scanned, LogError> {
        {
            let mut inner = self.inner.write();
            inner.offsets.clear()?;
            inner.times.clear()?;
            inner.reset(self.base);
        }
        let mut epochs = Vec::new();
        let tail = self.scan_checked(0, config, &mut epochs)?;
        let cut_bytes = self.cut_if_torn(tail)?;
        Ok(Scanned { cut_bytes, epochs: Some(epochs) })
    }

    /// Checks and indexes the batches from `position` on. Neither offsets nor epochs may go back: such a batch is a
    /// left-over of a tail that was cut once, and came back when the machine went down.
    fn scan_checked(
        &self,
        position: u64,
        config: &LogConfig,
        epochs: &mut Vec<(LeaderEpoch, Offset)>,
    ) -> Result<Tail, LogError> {
        let mut failure = None;
        let mut next = self.base;
        let mut epoch = LeaderEpoch::NONE;
        let tail = scan::checked(&*self.file.get()?, position, self.size(), |position, header| {
            follows(header, next, epoch)?;
            next = header.next_offset();
            if header.leader_epoch > epoch {
                epochs.push((header.leader_epoch, header.base_offset));
            }
            epoch = epoch.max(header.leader_epoch);
            if let Err(error) = self.index(&mut self.inner.write(), position, header, config.index_interval_bytes) {
                failure = Some(error);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let tail = tail.map_err(LogError::io("read", &self.log_path()))?;
        self.checked.note(position..tail.end().unwrap_or(self.size()));
        Ok(tail)
    }

    fn cut_if_torn(&self, tail: Tail) -> Result<u64, LogError> {
        let Tail::Damaged { position, why } = tail else {
            return Ok(0);
        };
        let cut_bytes = self.size() - position;
        tracing::warn!(segment = %self.log_path().display(), position, cut_bytes, why, "cutting a torn tail");
        self.set_len(position)?;
        Ok(cut_bytes)
    }

    /// Cuts the segment at the batch that holds `offset`. Only what lies behind the last index entry that stays is read.
    pub(crate) fn truncate_to(&self, offset: Offset, config: &LogConfig) -> Result<(), LogError> {
        let Some(found) = self.locate(offset)? else { return Ok(()) };
        self.set_len(found.position)?;
        {
            let mut inner = self.inner.write();
            let relative = found.header.base_offset.0.saturating_sub(self.base.0);
            inner.offsets.keep(|entry| u64::from(entry.position) < found.position)?;
            inner.times.keep(|entry| i64::from(entry.relative) < relative)?;
        }
        self.load_tail(config).map(|_| ())
    }

    /// Cuts the file at a batch border and has the indexes tell of nothing behind it.
    pub(super) fn reset_to(&self, len: u64, config: &LogConfig) -> Result<(), LogError> {
        self.set_len(len)?;
        self.inner.write().offsets.keep(|entry| u64::from(entry.position) < len)?;
        self.load_tail(config)?;
        let next = self.next_offset().0 - self.base.0;
        self.inner.write().times.keep(|entry| i64::from(entry.relative) < next)?;
        self.load_tail(config).map(|_| ())
    }

    fn set_len(&self, len: u64) -> Result<(), LogError> {
        self.size.store(len, Ordering::Release);
        self.checked.cut(len);
        let file = self.file.get_for_writing()?;
        file.set_len(len).map_err(LogError::io("truncate", &self.log_path()))
    }
}

fn follows(header: &BatchHeader, next: Offset, epoch: LeaderEpoch) -> Result<(), String> {
    if header.base_offset < next || header.last_offset_delta < 0 {
        return Err(format!("offset {} where {next} or more is due", header.base_offset));
    }
    if header.leader_epoch < epoch && header.leader_epoch != LeaderEpoch::NONE {
        return Err(format!("epoch {} at offset {}, after epoch {epoch}", header.leader_epoch, header.base_offset));
    }
    Ok(())
}
