//! What differs between coordinators: a state machine, its bytes, its effects, its figures.

use std::time::Duration;

use tracing::warn;
use twinstream_coordinator::codec::{EncodeError, Encoded};
use twinstream_coordinator::{Engine, Shard};
use twinstream_model::{ErrorCode, Offset};
use twinstream_protocol::batch::{BatchBuilder, BatchView};

use super::loader::{LoadError, Loaded};
use super::shard::Site;

/// One kind of coordinator. The value holds its settings and is cloned into each of its shards.
pub(crate) trait Kind: Clone + Send + Sync + Sized + 'static {
    type Shard: Shard<
            Request: Clone + Send,
            Answer: Send + Sync,
            Record: Send + Sync,
            Event: Send + Sync,
            Then: Send + Sync,
            Effect: Send + Sync,
        > + Send
        + Sync;

    /// What one shard has added to the metrics; it takes that back when it is dropped.
    type Share: Send + Sync;

    /// The coordinator's name in the log.
    const NAME: &'static str;

    /// A state machine that knows nothing yet.
    fn shard(&self) -> Self::Shard;

    /// How long an answer waits for its commit.
    fn commit_timeout(&self) -> Duration;

    /// The batch that stores the records of a decision.
    fn batch(records: &[<Self::Shard as Shard>::Record], timestamp_ms: i64) -> Result<Vec<u8>, ErrorCode>;

    /// Replays a batch that the log holds, from offset `from` on. Its checksum is right.
    fn replay(
        engine: &mut Engine<Self::Shard>,
        batch: &BatchView<'_>,
        from: Offset,
        loaded: &mut Loaded,
    ) -> Result<(), LoadError>;

    /// Writes to the log what an operator wants to know.
    fn log_event(&self, event: <Self::Shard as Shard>::Event);

    /// Has something done outside of the shard. Returns at once: the shard waits for nothing.
    fn carry_out(&self, effect: <Self::Shard as Shard>::Effect, site: &Site<Self>);

    /// A share that counts nothing yet.
    fn share(&self) -> Self::Share;

    /// Makes the share what the shard holds now.
    fn count(share: &mut Self::Share, shard: &Self::Shard);
}

/// A batch of records that belong to no transaction.
pub(crate) fn plain_batch<K: Kind>(
    records: impl Iterator<Item = Result<Encoded, EncodeError>>,
    timestamp_ms: i64,
) -> Result<Vec<u8>, ErrorCode> {
    fill_batch::<K>(BatchBuilder::new(), records, timestamp_ms)
}

/// Puts records into a batch and closes it.
pub(crate) fn fill_batch<K: Kind>(
    mut batch: BatchBuilder,
    records: impl Iterator<Item = Result<Encoded, EncodeError>>,
    timestamp_ms: i64,
) -> Result<Vec<u8>, ErrorCode> {
    for encoded in records {
        let encoded = encoded.map_err(|error| {
            warn!(coordinator = K::NAME, %error, "record cannot be encoded");
            ErrorCode::InvalidRequest
        })?;
        batch.append(timestamp_ms, Some(&encoded.key), encoded.value.as_deref(), []);
    }
    batch.build().map_err(|error| {
        warn!(coordinator = K::NAME, %error, "records do not make a batch");
        ErrorCode::RecordListTooLarge
    })
}
