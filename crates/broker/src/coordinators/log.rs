//! What a shard needs of its partition's log.
//!
//! A trait, so that the shard's life can be tested on a log in memory; the real one is the partition itself.

use bytes::Bytes;
use futures::future::BoxFuture;
use twinstream_model::{ErrorCode, Offset};

/// One partition of an internal topic that this broker leads.
pub(crate) trait ShardLog: Send + Sync + 'static {
    /// Appends one record batch and says where it went. Offsets within the batch follow each other.
    fn append(&self, batch: Vec<u8>) -> Result<Offset, ErrorCode>;

    /// Batches from the one that holds `from` on: at least one whole batch if there is any, about `bytes_max` at
    /// most; the last may be cut.
    fn read(&self, from: Offset, bytes_max: usize) -> Result<Bytes, ErrorCode>;

    fn start(&self) -> Offset;

    fn end(&self) -> Offset;

    /// Everything below survives a change of leadership.
    fn committed(&self) -> Offset;

    /// Resolves when `committed` has moved beyond `seen`.
    fn committed_beyond(&self, seen: Offset) -> BoxFuture<'_, ()>;
}
