//! The checks that need the records of a produced batch, and not its header alone.
//!
//! Picture: [`must_look`] says whether the header settles everything. If not, [`check`] walks over the records once:
//! it names those that may not be appended (KIP-467) and finds the latest timestamp, which Kafka always computes anew
//! because the time index and retention trust it.
//!
//! Invariants: a batch that was looked into is sound: announced number, numbered by place, well-formed, and no larger
//! unpacked than the topic allows.

use twinstream_protocol::batch::{BatchView, NO_TIMESTAMP, Surveyed};

use crate::config::{RecordChecks, TimestampType};
use crate::error::{RecordFault, RecordFaultKind};
use crate::{AppendError, LogConfig};

const NO_KEY: &str = "compacted topic cannot accept a record without a key";
const OUTSIDE: &str = "timestamp is outside the range that the topic accepts";
/// Faults that an answer names at most; a large batch of bad records should not make a large answer.
const FAULTS_MAX: usize = 1_000;

/// What the topic accepts at this moment.
struct Accepted {
    with_key_only: bool,
    earliest: Option<i64>,
    latest: Option<i64>,
}

impl Accepted {
    fn now(config: &LogConfig, now: i64) -> Accepted {
        let create_time = config.timestamp_type == TimestampType::CreateTime;
        Accepted {
            with_key_only: config.cleanup.compact,
            earliest: config.timestamp_before_max_ms.filter(|_| create_time).map(|max| now.saturating_sub(max)),
            latest: config.timestamp_after_max_ms.filter(|_| create_time).map(|max| now.saturating_add(max)),
        }
    }

    fn has_time(&self, timestamp: i64) -> bool {
        timestamp == NO_TIMESTAMP
            || (self.earliest.is_none_or(|earliest| timestamp >= earliest)
                && self.latest.is_none_or(|latest| timestamp <= latest))
    }
}

/// Whether the records have to be walked over: the topic wants something of each, or the header cannot be right.
pub(super) fn must_look(batch: BatchView<'_>, config: &LogConfig, now: i64) -> bool {
    let header = batch.header();
    let accepted = Accepted::now(config, now);
    // The base timestamp may hold a delete horizon instead (KIP-534), in batches that are copied from another cluster.
    let ends_before_it_begins = header.max_timestamp < header.base_timestamp && !header.attributes.has_delete_horizon();
    let cannot_be_right = ends_before_it_begins || header.attributes.is_log_append_time();
    let repacked = config.compression.is_some_and(|to| header.attributes.compression() != Some(to.codec));
    config.record_checks == RecordChecks::Records
        || accepted.with_key_only
        || accepted.earliest.is_some()
        || !accepted.has_time(header.max_timestamp)
        || (cannot_be_right && config.timestamp_type == TimestampType::CreateTime)
        || repacked
}

/// Walks over the records; answers the latest timestamp.
pub(super) fn check(batch: BatchView<'_>, config: &LogConfig, now: i64) -> Result<i64, AppendError> {
    let accepted = Accepted::now(config, now);
    let mut latest = NO_TIMESTAMP;
    let (mut keyless, mut outside) = (Vec::new(), Vec::new());
    let name = |faults: &mut Vec<RecordFault>, record: Surveyed, message| {
        if faults.len() < FAULTS_MAX {
            faults.push(RecordFault { batch_index: record.index, message });
        }
    };
    batch.survey(config.decompressed_bytes_max, |record| {
        latest = latest.max(record.timestamp);
        if accepted.with_key_only && !record.has_key {
            name(&mut keyless, record, NO_KEY);
        } else if !accepted.has_time(record.timestamp) {
            name(&mut outside, record, OUTSIDE);
        }
    })?;
    refuse(RecordFaultKind::Record, keyless)?;
    refuse(RecordFaultKind::Timestamp, outside)?;
    Ok(latest)
}

fn refuse(kind: RecordFaultKind, faults: Vec<RecordFault>) -> Result<(), AppendError> {
    match faults.is_empty() {
        true => Ok(()),
        false => Err(AppendError::InvalidRecords { kind, faults }),
    }
}
