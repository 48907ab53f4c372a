//! The log of a partition as its leader has it: whole batches, untouched, and where it begins, is stable and ends.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinstream_client::protocol::batch::{BatchError, batches};
use twinstream_client::raw::{EpochEnd, EpochQuestion, FetchFrom, FetchOptions, FetchedPartition, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

/// One try; leaders may be dead or cut off.
const TRY_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub start: Offset,
    /// The last stable offset and the high watermark when reading began.
    pub stable: Offset,
    pub end: Offset,
    /// Whole batches of the range.
    pub batches: Vec<Bytes>,
}

impl Log {
    /// Where the last batch of the range ends, `from` without any.
    pub(super) fn next(&self, from: Offset) -> Offset {
        let last = self.batches.last().and_then(|batch| batches(batch).next()?.ok());
        last.map_or(from, |batch| batch.header().next_offset())
    }
}

/// Reads what lies between two offsets, up to the high watermark where no second one is given. Tries until the time is over.
pub(super) async fn read(
    client: &RawClient,
    partition: &TopicPartition,
    from: Offset,
    to: Option<Offset>,
    within: Duration,
) -> Result<Log, String> {
    let deadline = Instant::now() + within;
    let mut log: Option<Log> = None;
    let mut next = from;
    loop {
        let end = to.or(log.as_ref().map(|log| log.end));
        if let Some(log) = log.take_if(|_| end.is_some_and(|end| next >= end)) {
            return Ok(log);
        }
        let fetched = tokio::time::timeout(TRY_WITHIN, fetch(client, partition, next)).await;
        let problem = match fetched {
            Ok(Ok(fetched)) => {
                let log = log.get_or_insert_with(|| Log {
                    start: fetched.log_start_offset,
                    stable: fetched.last_stable_offset,
                    end: fetched.high_watermark,
                    batches: Vec::new(),
                });
                let before = next;
                next = take(&fetched.batches, next, to.unwrap_or(log.end), &mut log.batches)
                    .map_err(|error| format!("{partition} is damaged at {before}: {error}"))?;
                if next > before || next >= to.unwrap_or(log.end) {
                    continue;
                }
                format!("no batch at {next}, and its end is {}", fetched.high_watermark)
            }
            Ok(Err(error)) if error.is_retriable() => error.to_string(),
            Ok(Err(error)) => return Err(format!("read {partition} from {next}: {error}")),
            Err(_) => format!("no answer within {TRY_WITHIN:?}"),
        };
        client.forget_leader(partition);
        if Instant::now() > deadline {
            return Err(format!("read {partition} from {next}: {problem}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn fetch(client: &RawClient, partition: &TopicPartition, from: Offset) -> Result<FetchedPartition, ClientError> {
    let what = || format!("fetch {partition} from {from}");
    let leader = client.leader(partition).await?;
    let options = FetchOptions { wait_max: Duration::ZERO, bytes_min: 0, ..FetchOptions::default() };
    let answers = client.fetch_batches(leader, &[FetchFrom::new(partition.clone(), from)], &options).await?;
    let Some(answer) = answers.into_iter().next() else {
        return Err(ClientError::broker(what(), ErrorCode::UnknownServerError));
    };
    match answer.error {
        ErrorCode::None => Ok(answer),
        code => Err(ClientError::broker(what(), code)),
    }
}

/// Takes the batches between two offsets; the offset behind them. What is left of the range beyond the last one is a gap
/// that the next answer shows.
fn take(bytes: &Bytes, from: Offset, to: Offset, into: &mut Vec<Bytes>) -> Result<Offset, BatchError> {
    let mut next = from;
    for batch in batches(bytes) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(BatchError::Truncated { .. }) => break, // by the broker, to the size that was asked for
            Err(error) => return Err(error),
        };
        let header = batch.header();
        if header.next_offset() > to {
            break;
        }
        if header.base_offset >= from {
            into.push(bytes.slice_ref(batch.bytes()));
            next = header.next_offset();
        }
    }
    Ok(next)
}

/// The high watermark of a partition.
pub(super) async fn end(client: &RawClient, partition: &TopicPartition, within: Duration) -> Result<Offset, String> {
    let ask = || async {
        let asked = client.list_offsets_now(std::slice::from_ref(partition), OffsetAt::Latest).await?;
        asked.into_values().next().unwrap_or_else(|| Err(unanswered(partition)))
    };
    until_answered(client, partition, within, "the end", ask).await
}

/// Where an epoch ends in the log of a partition, as its leader says.
pub(super) async fn epoch_end(
    client: &RawClient,
    partition: &TopicPartition,
    epoch: LeaderEpoch,
    within: Duration,
) -> Result<Option<EpochEnd>, String> {
    let ask = || async {
        let asked = client.epoch_ends(&[EpochQuestion::new(partition.clone(), epoch)]).await?;
        asked.into_values().next().unwrap_or_else(|| Err(unanswered(partition)))
    };
    until_answered(client, partition, within, &format!("the end of epoch {epoch}"), ask).await
}

fn unanswered(partition: &TopicPartition) -> ClientError {
    ClientError::broker(format!("an answer without {partition}"), ErrorCode::UnknownServerError)
}

/// Asks until there is a good answer, each time whoever leads then.
async fn until_answered<T, F: Future<Output = Result<T, ClientError>>>(
    client: &RawClient,
    partition: &TopicPartition,
    within: Duration,
    what: &str,
    ask: impl Fn() -> F,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        let problem = match tokio::time::timeout(TRY_WITHIN, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {TRY_WITHIN:?}"),
        };
        client.forget_leader(partition);
        if Instant::now() > deadline {
            return Err(format!("{what} of {partition}: {problem}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
