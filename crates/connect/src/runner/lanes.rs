//! Raw batches on their way: in order per partition, many partitions at once.
//!
//! Picture: one lane per target partition, with one batch under way and the others waiting behind it. A Produce request
//! carries exactly one batch per partition, so a raw batch that holds several is sent piece by piece. What failed in a
//! way that may pass is sent again (at-least-once) until `delivery.timeout.ms` is over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::{RawBatch, TaskError};
use twinstream_model::TopicPartition;

use super::progress::Ticket;

/// Bytes of a batch's header up to and with its length field, and the position of that field.
const BATCH_PREFIX: usize = 12;
const BATCH_LENGTH_AT: usize = 8;
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A raw batch that arrived whole.
pub(super) struct Arrived {
    pub(super) ticket: Ticket,
    pub(super) records: u32,
    pub(super) bytes: usize,
}

struct Waiting {
    ticket: Ticket,
    records: u32,
    bytes: Bytes,
}

type Sending = BoxFuture<'static, (TopicPartition, Result<Arrived, TaskError>)>;

pub(super) struct Lanes {
    client: RawClient,
    give_up_after: Duration,
    /// Present while something of the partition is under way.
    waiting: BTreeMap<TopicPartition, VecDeque<Waiting>>,
    sending: FuturesUnordered<Sending>,
}

impl Lanes {
    pub(super) fn new(client: RawClient, give_up_after: Duration) -> Self {
        Self { client, give_up_after, waiting: BTreeMap::new(), sending: FuturesUnordered::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty()
    }

    pub(super) fn send(&mut self, ticket: Ticket, batch: RawBatch) {
        let partition = TopicPartition { topic: batch.topic, partition: batch.partition };
        let waiting = Waiting { ticket, records: batch.records, bytes: batch.bytes };
        match self.waiting.get_mut(&partition) {
            Some(lane) => lane.push_back(waiting),
            None => {
                self.waiting.insert(partition.clone(), VecDeque::new());
                self.start(partition, waiting);
            }
        }
    }

    fn start(&mut self, partition: TopicPartition, batch: Waiting) {
        let (client, give_up_after) = (self.client.clone(), self.give_up_after);
        self.sending.push(Box::pin(async move {
            let result = produce_all(&client, &partition, &batch.bytes, give_up_after).await;
            let arrived = Arrived { ticket: batch.ticket, records: batch.records, bytes: batch.bytes.len() };
            (partition, result.map(|()| arrived))
        }));
    }

    /// The next arrival or failure; pending for ever while nothing is under way.
    pub(super) async fn next(&mut self) -> Result<Arrived, TaskError> {
        let Some((partition, result)) = self.sending.next().await else { return futures::future::pending().await };
        match self.waiting.get_mut(&partition).and_then(VecDeque::pop_front) {
            Some(next) if result.is_ok() => self.start(partition, next),
            _ => _ = self.waiting.remove(&partition),
        }
        result
    }
}

async fn produce_all(
    client: &RawClient,
    partition: &TopicPartition,
    bytes: &Bytes,
    give_up_after: Duration,
) -> Result<(), TaskError> {
    for batch in split(bytes).map_err(TaskError::fatal)? {
        produce_one(client, partition, batch, give_up_after)
            .await
            .map_err(|error| TaskError::fatal(format!("cannot produce to {partition}: {error}")))?;
    }
    Ok(())
}

async fn produce_one(
    client: &RawClient,
    partition: &TopicPartition,
    batch: Bytes,
    give_up_after: Duration,
) -> Result<(), ClientError> {
    let deadline = Instant::now() + give_up_after;
    let mut pause = RETRY_PAUSE_FIRST;
    loop {
        match client.produce_batch(partition, batch.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retriable() && Instant::now() + pause < deadline => {
                tracing::warn!(%partition, %error, "batch is produced again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The single batches, each with its header, of several in a row.
fn split(bytes: &Bytes) -> Result<Vec<Bytes>, String> {
    let mut batches = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let length = rest.get(BATCH_LENGTH_AT..BATCH_PREFIX).and_then(|field| <[u8; 4]>::try_from(field).ok());
        let length = length.and_then(|field| usize::try_from(i32::from_be_bytes(field)).ok());
        let whole = length.and_then(|length| length.checked_add(BATCH_PREFIX)).filter(|whole| *whole <= rest.len());
        let Some(whole) = whole else {
            return Err(format!("raw batch is cut short: {} bytes are no whole record batch", rest.len()));
        };
        batches.push(rest.split_to(whole));
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(length: i32, body: usize) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        bytes.extend(length.to_be_bytes());
        bytes.extend(vec![7; body]);
        bytes
    }

    #[test]
    fn several_batches_are_split_at_their_lengths() {
        let joined = [batch(5, 5), batch(0, 0), batch(9, 9)].concat();
        let lengths: Vec<usize> = split(&Bytes::from(joined)).unwrap().iter().map(Bytes::len).collect();
        assert_eq!(lengths, [17, 12, 21]);
    }

    #[test]
    fn cut_or_lying_lengths_are_errors() {
        for bytes in [batch(5, 4), batch(-1, 4), batch(i32::MAX, 4), vec![0; 11]] {
            assert!(split(&Bytes::from(bytes)).is_err());
        }
    }
}
