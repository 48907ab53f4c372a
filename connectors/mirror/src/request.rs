//! From a batch of the source to a batch that the target takes. Pure.
//!
//! Picture: most batches go as they are; only their header is rewritten (base offset 0, no leader epoch, no producer,
//! not transactional), because a broker numbers offsets itself and judges producer ids. The records are neither read
//! nor unpacked. A batch is *re-encoded* (same codec, same records, dense offsets) when its records and its offsets do
//! not agree or its times would change:
//! - it begins before the position: a restart in its middle must not copy the first records again;
//! - it has holes, left by compaction: brokers refuse those from a client;
//! - it carries the broker's append time or a delete horizon: both give its timestamps another meaning than a client's
//!   batch has.
//!
//! Control batches are never copied; they end transactions that exist on the source only.

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, BatchError, BatchView};
use twinstream_client::protocol::compression::{Compression, CompressionSpec};
use twinstream_client::raw::ready_to_append;
use twinstream_model::Offset;

/// What unpacking one batch may take; more is a broken or hostile batch.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("batch at offset {offset} cannot be copied")]
    Batch { offset: i64, source: BatchError },
    #[error("batch at offset {offset} cannot be packed again: {reason}")]
    Build { offset: i64, reason: String },
}

/// What one batch of the source comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ready {
    /// `None` when nothing of it is copied.
    pub batch: Option<ReadyBatch>,
    /// The position after it.
    pub next: Offset,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReadyBatch {
    pub bytes: Bytes,
    pub records: u32,
    pub max_timestamp: i64,
}

pub(crate) fn ready(view: &BatchView<'_>, position: Offset) -> Result<Ready, RequestError> {
    let header = view.header();
    let failed = |source| RequestError::Batch { offset: header.base_offset.0, source };
    let next = header.next_offset();
    let nothing = Ready { batch: None, next: next.max(position) };
    if next <= position {
        return Ok(nothing);
    }
    view.check_crc().map_err(failed)?;
    if header.attributes.is_control() || header.record_count <= 0 {
        return Ok(nothing);
    }
    let dense = i64::from(header.record_count) == i64::from(header.last_offset_delta) + 1;
    let foreign_times = header.attributes.is_log_append_time() || header.attributes.has_delete_horizon();
    let batch = if dense && !foreign_times && header.base_offset >= position {
        let bytes = ready_to_append(view.bytes()).map_err(failed)?;
        bytes.map(|bytes| ReadyBatch {
            bytes,
            records: u32::try_from(header.record_count).unwrap_or(0),
            max_timestamp: header.max_timestamp,
        })
    } else {
        re_encoded(view, position)?
    };
    Ok(Ready { batch, next })
}

fn re_encoded(view: &BatchView<'_>, position: Offset) -> Result<Option<ReadyBatch>, RequestError> {
    let header = view.header();
    let failed = |source| RequestError::Batch { offset: header.base_offset.0, source };
    let records = view.records(UNPACKED_BYTES_MAX).map_err(failed)?;
    let codec = header.attributes.compression().unwrap_or(Compression::None);
    let mut builder = BatchBuilder::new().with_compression(CompressionSpec::from(codec));
    let mut max_timestamp = -1;
    for record in &records {
        let record = record.map_err(failed)?;
        if record.offset < position {
            continue;
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|header| (header.key, header.value)).collect();
        builder.append(record.timestamp, record.key, record.value, headers);
    }
    if builder.is_empty() {
        return Ok(None);
    }
    let records = u32::try_from(builder.record_count()).unwrap_or(0);
    let bytes = builder
        .build()
        .map_err(|cause| RequestError::Build { offset: header.base_offset.0, reason: cause.to_string() })?;
    Ok(Some(ReadyBatch { bytes: Bytes::from(bytes), records, max_timestamp }))
}
