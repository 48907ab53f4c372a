//! Sink tasks: from Kafka to the outside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use twinstream_model::{Offset, TopicPartition};

use crate::record::SinkRecord;
use crate::{RawConfig, TaskError};

/// One task of a sink connector.
///
/// Order of calls: `start`; then per rebalance `open` for what was gained and, before something is lost, `pre_commit` and
/// `close`; between them `put` and `pre_commit`; at the end `pre_commit`, `close`, `stop`.
///
/// The worker promises:
/// - `put` carries records of open partitions only, in offset order per partition, and is called at least once a second,
///   with an empty list when there is nothing new: the place to notice failures of background work.
/// - After a `Retriable` error of `put` the *same* records are given again after a pause, nothing else in between; only
///   those of partitions that were closed meanwhile are left out.
/// - What `pre_commit` returns, capped by what was delivered, is all that is ever committed for the group
///   `connect-<name>`. It is called every `offset.flush.interval.ms`, after [`SinkTaskContext::request_commit`], and
///   before partitions close.
/// - Records that converters could not read never arrive here; they went to the dead-letter topic, or failed the task.
///
/// The task must:
/// - not hold a call for long: the consumer keeps its partitions only while `put` returns within
///   `max.poll.interval.ms`. To wait for a slow outside, pause partitions or return a `Retriable` error;
/// - in `close`, be done with those partitions: nothing may be written for them afterwards.
#[async_trait]
pub trait SinkTask: Send {
    async fn start(&mut self, context: Arc<dyn SinkTaskContext>, config: RawConfig) -> Result<(), TaskError>;

    /// These partitions are ours from now on; records start at the committed offsets.
    async fn open(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        let _unused = partitions;
        Ok(())
    }

    async fn put(&mut self, records: Vec<Arc<SinkRecord>>) -> Result<(), TaskError>;

    /// The offsets that may be committed now: for each partition the offset *after* the last record that is safe outside.
    ///
    /// `delivered` holds the offset after the last record given to `put` (or dropped before it by the error rules) of each
    /// open partition. Flush what is cheap to flush, then return the finished prefix; a partition left out keeps its
    /// committed offset. Return `delivered.clone()` when `put` itself finishes everything.
    async fn pre_commit(
        &mut self,
        delivered: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, TaskError>;

    /// These partitions leave us; `pre_commit` was called just before, unless they were lost without notice.
    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        let _unused = partitions;
        Ok(())
    }

    async fn stop(&mut self) {}
}

/// What a sink task may ask of the worker. All calls are cheap except `report`.
#[async_trait]
pub trait SinkTaskContext: Send + Sync {
    fn connector(&self) -> &str;

    fn task_id(&self) -> i32;

    /// The partitions that are open now.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// No records of these partitions from the next `put` on (those already handed over stay with the task).
    fn pause(&self, partitions: &[TopicPartition]);

    fn resume(&self, partitions: &[TopicPartition]);

    /// Delivery goes on at these offsets before the next `put`.
    fn seek(&self, offsets: BTreeMap<TopicPartition, Offset>);

    /// Asks for a `pre_commit` and commit soon, instead of waiting for the interval.
    fn request_commit(&self);

    /// How long the worker waits before it repeats a `put` that fails with a `Retriable` error next.
    fn retry_after(&self, delay: Duration);

    /// Hands over a record that the outside will never accept.
    ///
    /// With `errors.tolerance=all` it is logged if `errors.log.enable`, written to the dead-letter topic if one is
    /// configured (this waits for its acknowledgement), and counted: the record is then finished and its offset may be
    /// committed. With `errors.tolerance=none` the answer is a fatal error, which the task returns from its current call.
    async fn report(&self, record: &SinkRecord, error: TaskError) -> Result<(), TaskError>;
}
