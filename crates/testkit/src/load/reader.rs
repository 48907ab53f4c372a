//! Our raw client as reader: whole batches, taken apart by this file, committed or as they are in the log.
//!
//! A reader of committed records leaves out what a client leaves out (KIP-98): it is told which producers have aborted
//! transactions among the batches, and from where on; the batches of such a producer count for nothing until its abort
//! marker. That is done here once more, beside librdkafka, so that no mistake of one of both hides what a broker tells.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use twinstream_client::protocol::batch::{BatchView, batches};
use twinstream_client::raw::{FetchFrom, FetchOptions, FetchedPartition};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerId, TopicPartition};

use super::raw::{PAUSE, TRY_WITHIN, connect};
use super::{Isolation, Place, Polls, goes_on};
use crate::history::{Recorder, What, Worker};

/// More than any batch of this load holds.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long a broker waits for records.
const WAIT: Duration = Duration::from_millis(200);
/// The type in the key of a marker: version, then type, of two bytes each.
const ABORT_MARKER: &[u8] = &[0, 0];

/// Reads all partitions from the beginning, along with the producers.
pub(super) async fn read(place: Place, isolation: Isolation, recorder: Recorder, running: watch::Receiver<bool>) {
    let mut readers = JoinSet::new();
    for partition in place.partitions() {
        let (place, recorder, running) = (place.clone(), recorder.clone(), running.clone());
        readers.spawn(async move { read_partition(&place, partition, isolation, &recorder, &running).await });
    }
    readers.join_all().await;
}

async fn read_partition(
    place: &Place,
    partition: TopicPartition,
    isolation: Isolation,
    recorder: &Recorder,
    running: &watch::Receiver<bool>,
) {
    let mut reader = Reader::start(partition, isolation, recorder);
    let mut client = None;
    while goes_on(running) {
        if client.is_none() {
            client = connect(place).await;
        }
        let Some(connected) = &client else { continue };
        match reader.poll(connected, recorder).await {
            Ok(()) => {}
            Err(error) if error.code().is_some() => tokio::time::sleep(PAUSE).await,
            Err(_) => client = None,
        }
    }
}

/// A position in one partition.
pub(super) struct Reader {
    worker: Worker,
    isolation: Isolation,
    wait: Duration,
    pub from: FetchFrom,
}

impl Reader {
    /// As a worker of its own, from the beginning.
    pub(super) fn start(partition: TopicPartition, isolation: Isolation, recorder: &Recorder) -> Self {
        let worker = recorder.worker();
        isolation.note(recorder, worker);
        recorder.note(worker, What::Assigned { partitions: vec![(partition.partition.0, 0)] });
        Self { worker, isolation, wait: WAIT, from: FetchFrom::new(partition, Offset(0)) }
    }

    /// As a part of a worker, which notes where it starts, and has little time.
    pub(super) fn of(worker: Worker, partition: TopicPartition) -> Self {
        let wait = Duration::from_millis(1);
        Self { worker, isolation: Isolation::Committed, wait, from: FetchFrom::new(partition, Offset(0)) }
    }

    pub(super) fn worker(&self) -> Worker {
        self.worker
    }

    /// Fetches once from the leader and notes what came.
    pub(super) async fn poll(&mut self, client: &RawClient, recorder: &Recorder) -> Result<(), ClientError> {
        match tokio::time::timeout(TRY_WITHIN, client.leader(&self.from.partition)).await {
            Ok(Ok(leader)) => self.fetch(client, leader, recorder).await.map(|_| ()),
            _ => {
                client.forget_leader(&self.from.partition);
                Err(ClientError::broker("find a leader", ErrorCode::LeaderNotAvailable))
            }
        }
    }

    /// Fetches once from this broker and notes what came; the high watermark that it told.
    pub(super) async fn fetch(
        &mut self,
        client: &RawClient,
        broker: NodeId,
        recorder: &Recorder,
    ) -> Result<Offset, ClientError> {
        let read_committed = self.isolation == Isolation::Committed;
        let options = FetchOptions { wait_max: self.wait, read_committed, ..FetchOptions::default() };
        let fetching = client.fetch_batches(broker, std::slice::from_ref(&self.from), &options);
        let what = || format!("fetch {} from broker {broker}", self.from.partition);
        let timeout = |_| ClientError::Timeout { what: what(), after: TRY_WITHIN };
        let fetched = tokio::time::timeout(TRY_WITHIN, fetching).await.map_err(timeout)??;
        let Some(fetched) = fetched.into_iter().next() else {
            return Err(ClientError::broker(what(), ErrorCode::UnknownServerError));
        };
        if fetched.error != ErrorCode::None {
            return Err(ClientError::broker(what(), fetched.error));
        }
        if let Some((epoch, end)) = fetched.diverging {
            // What was read is not in this log. To go back shows it to the checker.
            self.from.offset = end;
            self.from.last_epoch = epoch;
            return Ok(fetched.high_watermark);
        }
        self.take(&fetched, recorder);
        Ok(fetched.high_watermark)
    }

    fn take(&mut self, fetched: &FetchedPartition, recorder: &Recorder) {
        let mut polls = Polls::default();
        let mut aborted = Aborted::of(fetched);
        for batch in batches(&fetched.batches) {
            // The last one may be cut short by the broker.
            let Ok(batch) = batch else { break };
            batch.check_crc().unwrap_or_else(|error| panic!("{} is damaged: {error}", self.from.partition));
            if !aborted.leaves_out(&batch) {
                self.take_records(&batch, &mut polls, recorder);
            }
            self.from.offset = self.from.offset.max(batch.header().next_offset());
            self.from.last_epoch = LeaderEpoch(batch.header().leader_epoch.0);
        }
        polls.note(recorder, self.worker);
    }

    fn take_records(&self, batch: &BatchView<'_>, polls: &mut Polls, recorder: &Recorder) {
        let (of, partition) = (&self.from.partition, self.from.partition.partition.0);
        let records = batch.records(BATCH_BYTES_MAX).unwrap_or_else(|error| panic!("{of} is damaged: {error}"));
        for record in records.iter() {
            let record = record.unwrap_or_else(|error| panic!("{of} is damaged: {error}"));
            // A batch is sent whole, also when it begins before what was asked for.
            if record.offset >= self.from.offset {
                polls.take_record(recorder, self.worker, partition, &record);
            }
        }
    }
}

/// Aborted transactions, while one goes through the batches of an answer.
struct Aborted {
    /// Those that begin further on, the next one last.
    ahead: Vec<(ProducerId, Offset)>,
    open: BTreeSet<ProducerId>,
}

impl Aborted {
    fn of(fetched: &FetchedPartition) -> Self {
        let mut ahead = fetched.aborted.clone();
        ahead.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
        Self { ahead, open: BTreeSet::new() }
    }

    /// Whether a batch holds nothing for a reader: a marker, or what was aborted.
    fn leaves_out(&mut self, batch: &BatchView<'_>) -> bool {
        let (header, last) = (batch.header(), batch.last_offset());
        while let Some((producer, _)) = self.ahead.pop_if(|(_, first)| *first <= last) {
            self.open.insert(producer);
        }
        if batch.attributes().is_control() {
            if is_abort(batch) {
                self.open.remove(&header.producer_id);
            }
            return true;
        }
        batch.attributes().is_transactional() && self.open.contains(&header.producer_id)
    }
}

fn is_abort(batch: &BatchView<'_>) -> bool {
    let Ok(records) = batch.records(BATCH_BYTES_MAX) else { return false };
    let first = records.iter().next().and_then(Result::ok);
    first.and_then(|record| record.key).is_some_and(|key| key.get(2..4) == Some(ABORT_MARKER))
}
