//! Whether a mirror is as its source, by what the leaders of both serve.

use std::time::Duration;

use twinstream_client::RawClient;
use twinstream_model::{Offset, TopicPartition};

use super::compare::{epochs, first_difference};
use super::log::{self, Log};

/// What a comparison of one partition may take while brokers are dead.
const COMPARED_WITHIN: Duration = Duration::from_secs(60);

/// What was found the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub batches: usize,
    pub bytes: u64,
    pub end: Offset,
}

/// Compares from this offset on what the target has with what the source has there; up to where they are the same.
pub async fn prefix(
    source: &RawClient,
    target: &RawClient,
    partition: &TopicPartition,
    from: Offset,
) -> Result<Offset, String> {
    let mirror = log::read(target, partition, from, None, COMPARED_WITHIN).await?;
    let to = mirror.next(from);
    if to == from {
        return Ok(from);
    }
    let original = log::read(source, partition, from, Some(to), COMPARED_WITHIN).await?;
    match first_difference(&original.batches, &mirror.batches) {
        None => Ok(to),
        Some(difference) => Err(format!("{partition} is no prefix of its source: {difference}")),
    }
}

/// Compares both logs of a partition from one end to the other, with what leaders say of them: where they begin, are stable
/// and end, and where each epoch ends.
pub async fn same(source: &RawClient, target: &RawClient, partition: &TopicPartition) -> Result<Size, String> {
    let original = log::read(source, partition, Offset(0), None, COMPARED_WITHIN).await?;
    let mirror = log::read(target, partition, Offset(0), None, COMPARED_WITHIN).await?;
    if let Some(difference) = first_difference(&original.batches, &mirror.batches) {
        return Err(format!("{partition} is not as its source: {difference}"));
    }
    let ends = |log: &Log| (log.start, log.stable, log.end);
    if ends(&original) != ends(&mirror) {
        let (source, target) = (ends(&original), ends(&mirror));
        return Err(format!(
            "{partition}: start, stable offset and end are {source:?} upstream, {target:?} downstream"
        ));
    }
    for epoch in epochs(&original.batches) {
        let upstream = log::epoch_end(source, partition, epoch, COMPARED_WITHIN).await?;
        let downstream = log::epoch_end(target, partition, epoch, COMPARED_WITHIN).await?;
        if upstream != downstream {
            return Err(format!("{partition}: epoch {epoch} ends at {upstream:?} upstream, {downstream:?} downstream"));
        }
    }
    let bytes = original.batches.iter().map(|batch| batch.len() as u64).sum();
    Ok(Size { batches: original.batches.len(), bytes, end: original.end })
}
