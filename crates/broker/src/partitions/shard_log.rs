//! A partition of an internal topic as its coordinator's shard sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use twinstream_log::Origin;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset};
use twinstream_protocol::batch::whole_batches;

use super::{Interest, Partition, Wait, append_code, now_ms, read_code};
use crate::coordinators::ShardLog;

/// The partition during one leadership.
///
/// What is committed is only believed as long as the leadership lasts: after it the high watermark is another leader's
/// and may cover other records at the same offsets. Then `committed` stands still, and the shard hears from the image
/// that it has to go.
pub(crate) struct LedPartition {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    committed: AtomicI64,
}

impl LedPartition {
    pub(crate) fn new(partition: Arc<Partition>, epoch: LeaderEpoch) -> LedPartition {
        LedPartition { partition, epoch, committed: AtomicI64::new(0) }
    }
}

impl ShardLog for LedPartition {
    fn append(&self, batch: Vec<u8>) -> Result<Offset, ErrorCode> {
        let appended = self.partition.append(&batch, Origin::Coordinator, self.epoch, true, now_ms());
        appended.map(|led| led.appended.base_offset).map_err(|refused| {
            tracing::warn!(partition = %self.partition.id(), error = %refused, "coordinator records were not appended");
            append_code(&refused)
        })
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Bytes, ErrorCode> {
        let log = self.partition.log();
        let found = log.read(from, bytes_max, true, log.log_end_offset()).map_err(|error| read_code(&error))?;
        let Some(slice) = found.slice else { return Ok(Bytes::new()) };
        let slice = log.make_ready(&slice, bytes_max).map_err(|error| {
            tracing::error!(partition = %self.partition.id(), %error, "cannot read the log");
            read_code(&error)
        })?;
        let bytes = slice.read().map_err(|error| {
            tracing::error!(partition = %self.partition.id(), %error, "cannot read the log");
            ErrorCode::KafkaStorageError
        })?;
        let whole = whole_batches(&bytes).map_err(|_| ErrorCode::CorruptMessage)?.len();
        Ok(Bytes::from(bytes).slice(..whole))
    }

    fn start(&self) -> Offset {
        self.partition.log().log_start_offset()
    }

    fn end(&self) -> Offset {
        self.partition.log().log_end_offset()
    }

    fn committed(&self) -> Offset {
        if let Some(high_watermark) = self.partition.committed_in(self.epoch) {
            self.committed.fetch_max(high_watermark.0, Ordering::AcqRel);
        }
        Offset(self.committed.load(Ordering::Acquire))
    }

    fn committed_beyond(&self, seen: Offset) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let interest = Interest::committed(Offset(seen.0.saturating_add(1)));
            let wait = Wait::on([(Arc::clone(&self.partition), interest)]);
            while self.committed() <= seen {
                wait.rung().await;
            }
        })
    }
}
