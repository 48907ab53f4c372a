//! What one answer holds from an offset on: a digest of each record, and what could not be read. Pure.
//!
//! A digest keeps the parts of a record apart, so that a difference can be named; 48 bytes, whatever the record's size.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchError, BatchView, Record, batches};
use twinstream_model::{Offset, ProducerId};

use super::Side;
use crate::provenance::{HEADER, Path};
use crate::request::Transactions;

/// What one batch may unpack to, as for the copy.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// A fetch's answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub bytes: Bytes,
    pub aborted: Vec<(ProducerId, Offset)>,
    /// Up to there readers may see.
    pub end: i64,
    /// The broker says that its log is damaged here.
    pub corrupt: bool,
}

impl Answer {
    /// Its whole batches from an offset on; what is wrong with the bytes behind the last one.
    pub(super) fn views(&self, from: i64) -> (Vec<BatchView<'_>>, Option<String>) {
        let mut views = Vec::new();
        for view in batches(&self.bytes) {
            match view {
                Ok(view) if view.header().next_offset().0 <= from => {}
                Ok(view) => views.push(view),
                // The answer's size limit; the rest comes with the next fetch. The first one is always whole.
                Err(BatchError::Truncated { .. }) if !views.is_empty() => break,
                Err(cause) => return (views, Some(cause.to_string())),
            }
        }
        let stuck = self.corrupt.then(|| "its broker finds the log damaged here".to_owned());
        (views, stuck)
    }

    /// Everything before is in the answer, or is not there at all. A fetch of one partition brings a batch if there is one.
    pub(super) fn reach(&self, from: i64, views: &[BatchView<'_>]) -> i64 {
        match views.last() {
            Some(last) => last.header().next_offset().0,
            None if self.bytes.is_empty() && !self.corrupt => self.end.max(from),
            None => from,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub offset: i64,
    pub timestamp: i64,
    key: u64,
    value: u64,
    headers: u64,
    /// A marker: part of a mirror, not of a copy.
    pub control: bool,
    /// Its time is the broker's own.
    append_time: bool,
}

impl Entry {
    /// `with_paths`: records take along where they have been, which is none of their contents.
    fn new(record: &Record<'_>, control: bool, append_time: bool, with_paths: bool) -> Entry {
        let digest = |part: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            part(&mut hasher);
            hasher.finish()
        };
        Entry {
            offset: record.offset.0,
            timestamp: record.timestamp,
            key: digest(&|hasher| record.key.hash(hasher)),
            value: digest(&|hasher| record.value.hash(hasher)),
            headers: digest(&|hasher| {
                for header in record.headers.iter().filter(|header| !with_paths || header.key != HEADER) {
                    (header.key, header.value).hash(hasher);
                }
            }),
            control,
            append_time,
        }
    }

    /// The parts in which a record of the target differs; brokers may set times of their own there.
    pub(super) fn differs(&self, target: &Entry) -> Vec<&'static str> {
        let parts = [
            ("key", self.key != target.key),
            ("value", self.value != target.value),
            ("headers", self.headers != target.headers),
            ("timestamp", self.timestamp != target.timestamp && (!target.append_time || self.append_time)),
            ("kind", self.control != target.control),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
    }
}

/// A batch that fails its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub from: i64,
    pub next: i64,
    pub why: String,
    /// Its records could be read all the same, so the one that is damaged can be named.
    pub readable: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// Ascending, from where it was asked for.
    pub entries: Vec<Entry>,
    pub broken: Vec<Broken>,
    /// Everything before is among the entries.
    pub reach: i64,
    /// Why it ends there, if that is not the answer's end.
    pub stuck: Option<String>,
}

impl Slice {
    /// What a copy has: without markers, and without the aborted transactions of the answer's list; of the source without
    /// what has been at the target, where records take that along.
    pub(super) fn of_copy(answer: &Answer, from: i64, side: Side, path: Option<&Path>) -> Slice {
        let (views, stuck) = answer.views(from);
        let mut transactions = Transactions::new(&answer.aborted);
        let mut slice = Slice { reach: answer.reach(from, &views), stuck, ..Slice::default() };
        for view in &views {
            let header = view.header();
            let is_left_out = match transactions.pass(view, &header) {
                Ok(is_aborted) => is_aborted || header.attributes.is_control(),
                // A marker that cannot be read.
                Err(cause) => {
                    slice.breaks(view, cause.to_string(), false);
                    true
                }
            };
            if !is_left_out {
                slice.take(view, from, path.map(|path| (path, side)));
            }
        }
        slice
    }

    /// All records of these batches.
    pub(super) fn of_batches(views: &[BatchView<'_>], from: i64, reach: i64) -> Slice {
        let mut slice = Slice { reach, ..Slice::default() };
        views.iter().for_each(|view| slice.take(view, from, None));
        slice
    }

    fn take(&mut self, view: &BatchView<'_>, from: i64, path: Option<(&Path, Side)>) {
        let header = view.header();
        let damage = view.check_crc().err().map(|cause| cause.to_string());
        let (control, append_time) = (header.attributes.is_control(), header.attributes.is_log_append_time());
        let before = self.entries.len();
        let read = view.records(UNPACKED_BYTES_MAX).and_then(|records| {
            for record in &records {
                let record = record?;
                let is_echo = matches!(path, Some((path, Side::Source)) if path.leads_back(record.headers));
                if record.offset.0 >= from && !is_echo {
                    self.entries.push(Entry::new(&record, control, append_time, path.is_some()));
                }
            }
            Ok(())
        });
        match (damage, read) {
            (None, Ok(())) => {}
            (Some(why), Ok(())) => self.breaks(view, why, true),
            (damage, Err(cause)) => {
                self.entries.truncate(before);
                self.breaks(view, damage.unwrap_or_else(|| cause.to_string()), false);
            }
        }
    }

    fn breaks(&mut self, view: &BatchView<'_>, why: String, readable: bool) {
        let header = view.header();
        self.broken.push(Broken { from: header.base_offset.0, next: header.next_offset().0, why, readable });
    }

    pub(super) fn is_unreadable(&self, offset: i64) -> bool {
        self.is_unreadable_within(offset, offset + 1)
    }

    /// Whether records of these offsets may be in a batch that cannot be read.
    pub(super) fn is_unreadable_within(&self, from: i64, end: i64) -> bool {
        self.broken.iter().any(|broken| !broken.readable && broken.from < end && from < broken.next)
    }
}
