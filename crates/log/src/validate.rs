//! What a batch must be to enter a log, and how it is changed on the way in.
//!
//! The common case costs one checksum: the header tells everything, the records are not unpacked. They are
//! looked at only where the topic asks for it: keys on a compacted topic, a limit on old timestamps, another
//! codec, or to name the records whose timestamps lie too far ahead.
//!
//! Not here: sequences of producers (see `producers`), offsets (assigned under the log's lock).

use std::borrow::Cow;

use twinstream_protocol::batch::{
    BatchHeader, BatchMut, BatchView, HEADER_BYTES, NO_TIMESTAMP, Record, Records, batches,
};

use crate::config::TimestampType;
use crate::error::{RecordFault, RecordFaultKind};
use crate::{AppendError, LogConfig, Origin};

/// A batch that may be appended as soon as its offset is known.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) header: BatchHeader,
    /// The first [`HEADER_BYTES`] bytes; offset and epoch are put in before writing.
    pub(crate) head: [u8; HEADER_BYTES],
    pub(crate) body: Cow<'a, [u8]>,
}

/// Checks the records of one append. The result is never empty.
pub(crate) fn prepare<'a>(
    records: &'a [u8],
    origin: Origin,
    config: &LogConfig,
    now: i64,
) -> Result<Vec<Prepared<'a>>, AppendError> {
    let mut prepared = Vec::with_capacity(1);
    for batch in batches(records) {
        if origin == Origin::Client && !prepared.is_empty() {
            return Err(AppendError::SeveralBatches);
        }
        prepared.push(prepare_batch(batch?, origin, config, now)?);
    }
    match prepared.is_empty() {
        true => Err(AppendError::Empty),
        false => Ok(prepared),
    }
}

fn prepare_batch<'a>(
    batch: BatchView<'a>,
    origin: Origin,
    config: &LogConfig,
    now: i64,
) -> Result<Prepared<'a>, AppendError> {
    check_size(batch.len(), config)?;
    batch.check_crc()?;
    check_header(&batch.header(), origin)?;
    if origin == Origin::Client {
        check_records(batch, config, now)?;
    }
    let mut prepared = match config.compression {
        Some(to) if batch.attributes().compression() != Some(to.codec) && origin == Origin::Client => {
            let unpacked = batch.records(config.decompressed_bytes_max)?;
            let packed = batch.recompress(unpacked.bytes(), to)?;
            check_size(packed.len(), config)?;
            own(&packed)?
        }
        _ => borrow(batch),
    };
    if config.timestamp_type == TimestampType::LogAppendTime {
        prepared = stamped(&prepared, now)?;
    }
    Ok(prepared)
}

/// The batch with the broker's time. Its bytes are copied, because the checksum covers the time.
fn stamped<'a>(prepared: &Prepared<'_>, now: i64) -> Result<Prepared<'a>, AppendError> {
    let mut bytes = [&prepared.head[..], &prepared.body].concat();
    BatchMut::parse(&mut bytes)?.set_log_append_time(now);
    own(&bytes)
}

fn check_size(len: usize, config: &LogConfig) -> Result<(), AppendError> {
    let segment = config.segment_bytes as usize;
    if len > config.message_bytes_max {
        return Err(AppendError::TooLarge { len, max: config.message_bytes_max });
    }
    if len > segment {
        return Err(AppendError::LargerThanSegment { len, max: segment });
    }
    Ok(())
}

fn check_header(header: &BatchHeader, origin: Origin) -> Result<(), AppendError> {
    let invalid = |text: String| Err(AppendError::InvalidBatch(text));
    if header.record_count <= 0 {
        return invalid(format!("batch announces {} records", header.record_count));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        return invalid(format!(
            "last offset delta {} does not fit {} records",
            header.last_offset_delta, header.record_count
        ));
    }
    if header.attributes.compression().is_none() {
        return invalid(format!("compression type of attributes {:#06x} is not known", header.attributes.0));
    }
    if origin != Origin::Client {
        return Ok(());
    }
    if header.base_offset.0 != 0 {
        return invalid(format!("base offset of a produced batch is {}, it must be 0", header.base_offset));
    }
    if header.attributes.is_control() {
        return invalid("clients may not write control batches".to_owned());
    }
    if header.attributes.is_transactional() {
        return Err(AppendError::Transactional);
    }
    if header.is_idempotent() && (header.producer_id.0 < 0 || header.producer_epoch.0 < 0 || header.base_sequence < 0) {
        return invalid(format!(
            "producer id {}, epoch {} and sequence {} do not go together",
            header.producer_id, header.producer_epoch, header.base_sequence
        ));
    }
    Ok(())
}

/// Looks into the batch where the header does not settle everything.
fn check_records(batch: BatchView<'_>, config: &LogConfig, now: i64) -> Result<(), AppendError> {
    let create_time = config.timestamp_type == TimestampType::CreateTime;
    let latest = config.timestamp_after_max_ms.filter(|_| create_time).map(|max| now.saturating_add(max));
    let earliest = config.timestamp_before_max_ms.filter(|_| create_time).map(|max| now.saturating_sub(max));
    let too_late = latest.is_some_and(|latest| batch.max_timestamp() > latest);
    if !config.cleanup.compact && earliest.is_none() && !too_late {
        return Ok(());
    }
    let records = batch.records(config.decompressed_bytes_max)?;
    if config.cleanup.compact {
        let no_key = |record: &Record<'_>| record.key.is_none();
        refuse(&records, RecordFaultKind::Record, "compacted topic cannot accept a record without a key", no_key)?;
    }
    let outside = |record: &Record<'_>| {
        record.timestamp != NO_TIMESTAMP
            && (latest.is_some_and(|latest| record.timestamp > latest)
                || earliest.is_some_and(|earliest| record.timestamp < earliest))
    };
    refuse(&records, RecordFaultKind::Timestamp, "timestamp is outside the range that the topic accepts", outside)?;
    match too_late {
        // The header claims a timestamp that no record has.
        true => Err(AppendError::InvalidBatch(format!("max timestamp {} is no record's", batch.max_timestamp()))),
        false => Ok(()),
    }
}

fn refuse(
    records: &Records<'_>,
    kind: RecordFaultKind,
    message: &'static str,
    wrong: impl Fn(&Record<'_>) -> bool,
) -> Result<(), AppendError> {
    let mut faults = Vec::new();
    for record in records {
        let record = record?;
        if wrong(&record) {
            faults.push(RecordFault { batch_index: record.index, message });
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(AppendError::InvalidRecords { kind, faults }),
    }
}

fn borrow(batch: BatchView<'_>) -> Prepared<'_> {
    Prepared { header: batch.header(), head: head_of(batch), body: Cow::Borrowed(batch.body()) }
}

fn own<'a>(packed: &[u8]) -> Result<Prepared<'a>, AppendError> {
    let batch = BatchView::parse(packed)?;
    Ok(Prepared { header: batch.header(), head: head_of(batch), body: Cow::Owned(batch.body().to_vec()) })
}

fn head_of(batch: BatchView<'_>) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    head.copy_from_slice(&batch.bytes()[..HEADER_BYTES]);
    head
}

#[cfg(test)]
mod tests;
