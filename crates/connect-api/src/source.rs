//! Source tasks: from the outside into Kafka.

use std::sync::Arc;

use async_trait::async_trait;

use crate::record::{RawBatch, RawObserver, SourceRecord};
use crate::{RawConfig, TaskError};

/// A source partition (which part of the outside) or a source offset (how far in it) as Connect stores it: a JSON object
/// with scalar values.
pub type OffsetMap = serde_json::Map<String, serde_json::Value>;

/// What one poll brought.
#[derive(Debug)]
pub enum Polled {
    /// Records for the worker's converters, transforms and producer.
    Records(Vec<SourceRecord>),
    /// Whole record batches that are copied as they are, per lane in the order given.
    Batches(Vec<RawBatch>),
    /// Nothing new. The task has already waited; the worker polls again at once.
    Idle,
}

/// One task of a source connector.
///
/// Order of calls: `start`, then `raw_observer`, then `poll` again and again with `commit` and `reconfigure` in between, then
/// `stop`. After an error of any call only `stop` follows, except that a `Retriable` error of `poll` leads to another `poll`
/// after a pause. A `Retriable` error of any other call ends this task, and the worker starts a *fresh* one after a pause, as
/// it does when the target cluster does not take records within the time for a delivery: from the stored offsets.
///
/// The worker promises:
/// - What `poll` returned is sent in order per target partition; `poll` is called again while earlier data is still under
///   way, up to a bound in bytes, so a slow target slows polling down.
/// - The offset of a record or batch is stored only after it and all that came before it with the same source partition
///   were acknowledged by the target (acks=all). `commit` follows each such store that succeeded, and one store is tried at
///   a stop.
/// - The offsets of a killed worker are those of its last store: after a restart the task sees some data again.
///
/// The task must:
/// - wait inside `poll` for new data for up to about a second, then return [`Polled::Idle`]; never return `Idle` in a loop
///   without waiting;
/// - be *cancel safe* in `poll`: the worker drops a pending poll when the task is paused or stopped, and may poll again
///   after a pause. Advance positions only in the step that returns the data;
/// - ask [`SourceTaskContext::offsets`] in `start` where to go on.
#[async_trait]
pub trait SourceTask: Send {
    async fn start(&mut self, context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError>;

    async fn poll(&mut self) -> Result<Polled, TaskError>;

    /// Who is told where raw batches ended up. Asked once, right after `start`.
    fn raw_observer(&self) -> Option<Arc<dyn RawObserver>> {
        None
    }

    /// The offsets of everything that had been acknowledged at this moment are stored.
    async fn commit(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The task's configuration has changed in nothing but [`live_keys`](crate::Connector::live_keys) of its connector;
    /// `config` is the whole of the new one. `true`: it is in effect. `false`: the worker stops this task and starts a fresh
    /// one with it. Never called while a `poll` is pending.
    async fn reconfigure(&mut self, config: &RawConfig) -> Result<bool, TaskError> {
        let _unused = config;
        Ok(false)
    }

    async fn stop(&mut self) {}
}

/// What a source task may ask of the worker.
#[async_trait]
pub trait SourceTaskContext: Send + Sync {
    fn connector(&self) -> &str;

    fn task_id(&self) -> i32;

    /// The stored offset of each source partition, in the order asked; `None` where nothing was stored yet.
    ///
    /// Maps are compared as JSON values: the order of keys does not matter, numbers match by value.
    async fn offsets(&self, partitions: &[OffsetMap]) -> Result<Vec<Option<OffsetMap>>, TaskError>;
}
