//! What a batch must be to enter a log, and how it is changed on the way in.
//!
//! The common case costs one checksum: the header tells everything, the records are not unpacked. They are
//! looked at only where the topic asks for it: keys on a compacted topic, a limit on old timestamps, another
//! codec, to name the records whose timestamps lie too far ahead, or where the header cannot be right.
//!
//! Not here: sequences of producers (see `producers`), offsets (assigned under the log's lock).

mod records; // looks inside

use std::borrow::Cow;

use twinstream_model::ProducerEpoch;
use twinstream_protocol::batch::{BatchHeader, BatchMut, BatchView, HEADER_BYTES, RepackError, batches};
use twinstream_protocol::compression::{Compression, CompressionSpec};

use crate::config::TimestampType;
use crate::{AppendError, LogConfig, Origin};

/// Records up to this size are checked and written in about two milliseconds.
const SHORT_BYTES_MAX: usize = 4 << 20;

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
        if origin.is_client() && !prepared.is_empty() {
            return Err(AppendError::SeveralBatches);
        }
        prepared.push(prepare_batch(batch?, origin, config, now)?);
    }
    match prepared.is_empty() {
        true => Err(AppendError::Empty),
        false => Ok(prepared),
    }
}

/// Whether [`prepare`] and the write may take longer than a step of a runtime should: compressed records must be unpacked,
/// which a few kilobytes can blow up to the topic's limit, or there are many bytes.
pub(crate) fn takes_long(records: &[u8], config: &LogConfig, now: i64) -> bool {
    let must_unpack = |batch: BatchView<'_>| {
        batch.attributes().compression() != Some(Compression::None) && records::must_look(batch, config, now)
            || config.compression.is_some_and(|to| batch.attributes().compression() != Some(to.codec))
    };
    records.len() > SHORT_BYTES_MAX || BatchView::parse(records).is_ok_and(must_unpack)
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
    let looks = origin.is_client() && records::must_look(batch, config, now);
    let latest = if looks { Some(records::check(batch, config, now)?) } else { None };
    let mut prepared = match config.compression {
        Some(to) if batch.attributes().compression() != Some(to.codec) && origin.is_client() => {
            repacked(batch, to, config)?
        }
        _ => borrow(batch),
    };
    match latest {
        // The broker's time comes below.
        Some(latest) if config.timestamp_type == TimestampType::CreateTime => correct_time(&mut prepared, latest)?,
        _ => {}
    }
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

/// The batch in the topic's codec.
fn repacked<'a>(batch: BatchView<'_>, to: CompressionSpec, config: &LogConfig) -> Result<Prepared<'a>, AppendError> {
    let packed = batch.repack(to, config.message_bytes_max).map_err(|error| match error {
        RepackError::TooLarge { len, .. } => AppendError::TooLarge { len, max: config.message_bytes_max },
        RepackError::Batch(error) => error.into(),
        RepackError::Build(error) => error.into(),
    })?;
    check_size(packed.len(), config)?;
    own(&packed)
}

/// Makes the header tell the latest timestamp that a record has, and that it is the producer's. The time index and
/// retention trust it, and Kafka computes it anew for every batch.
fn correct_time(prepared: &mut Prepared<'_>, latest: i64) -> Result<(), AppendError> {
    if prepared.header.max_timestamp == latest && !prepared.header.attributes.is_log_append_time() {
        return Ok(());
    }
    let mut bytes = [&prepared.head[..], &prepared.body].concat();
    BatchMut::parse(&mut bytes)?.set_max_timestamp(latest);
    *prepared = own(&bytes)?;
    Ok(())
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
    if !origin.is_client() {
        return Ok(());
    }
    if header.base_offset.0 != 0 {
        return invalid(format!("base offset of a produced batch is {}, it must be 0", header.base_offset));
    }
    if header.attributes.is_control() {
        return invalid("clients may not write control batches".to_owned());
    }
    if header.attributes.is_transactional() && !header.is_idempotent() {
        return invalid("transactional batch has no producer id".to_owned());
    }
    // A producer may be without an epoch, as in Kafka: -1 is one like any other, and the oldest.
    let is_whole =
        header.producer_id.0 >= 0 && header.producer_epoch >= ProducerEpoch::NONE && header.base_sequence >= 0;
    if header.is_idempotent() && !is_whole {
        return invalid(format!(
            "producer id {}, epoch {} and sequence {} do not go together",
            header.producer_id, header.producer_epoch, header.base_sequence
        ));
    }
    Ok(())
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
