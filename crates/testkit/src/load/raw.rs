//! Our raw client as producer: whole batches, numbered and retried by this file.
//!
//! The producer is idempotent as KIP-98 describes it: a producer id from the cluster, a sequence per partition, the same
//! batch sent again until its fate is known. When it gives up on a batch it raises its epoch and begins at sequence 0, so
//! that the old one, should it still be under way, is refused and cannot overtake what comes next.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::raw::kafka_protocol::messages::InitProducerIdRequest;
use twinstream_client::raw::{AppendedBatch, Node};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition};

use super::{Place, Values, goes_on, payload};
use crate::history::{Recorder, Value, What};
use crate::records::client_settings;

/// How long one request may take before it is sent again over a new connection. Shorter than what brokers need to notice
/// a hung one of them, so that copies of a batch race each other.
pub(super) const TRY_WITHIN: Duration = Duration::from_millis(700);
const TRY_MS: &str = "700";
/// How long a batch is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
pub(super) const PAUSE: Duration = Duration::from_millis(40);
/// Batches have one to so many records.
const RECORDS_MAX: u64 = 5;

/// Produces batches to one partition, one after the other.
pub(super) async fn produce(place: Place, partition: i32, recorder: Recorder, running: watch::Receiver<bool>) {
    let target = place.partition(partition);
    while goes_on(&running) {
        let Some((client, stamp)) = identity(&place).await else { continue };
        let values = Values::new(&recorder);
        let mut producer = RawProducer { place: &place, target: &target, client, stamp, values, recorder: &recorder };
        while goes_on(&running) && producer.send_one().await {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

struct RawProducer<'a> {
    place: &'a Place,
    target: &'a TopicPartition,
    client: RawClient,
    stamp: ProducerStamp,
    values: Values,
    recorder: &'a Recorder,
}

/// What became of one batch.
enum Fate {
    Written(AppendedBatch),
    /// Surely not written.
    Refused(String),
    InDoubt(String),
    /// In doubt, and this producer id is of no use any more.
    Fenced(String),
}

impl RawProducer<'_> {
    /// `false` when the producer needs a new identity.
    async fn send_one(&mut self) -> bool {
        let values: Vec<Value> = (0..=self.values.next % RECORDS_MAX).map(|_| self.values.next()).collect();
        let partition = self.target.partition.0;
        let mut builder = BatchBuilder::new().with_producer(self.stamp);
        for value in &values {
            builder.append(super::now_ms(), None, Some(&payload(*value)), []);
        }
        let batch: Bytes = builder.build().expect("a small batch").into();
        self.recorder.note(self.values.worker, What::Send { partition, values: values.clone() });
        let count = i32::try_from(values.len()).expect("a few records");
        let fate = self.deliver(&batch).await;
        let (what, goes_on) = match fate {
            Fate::Written(at) => {
                self.stamp.base_sequence += count;
                (What::Sent { partition, values, offset: at.base_offset.0 }, true)
            }
            Fate::Refused(reason) => (What::Failed { values, reason }, true),
            Fate::InDoubt(reason) => {
                self.stamp.base_sequence = 0;
                self.stamp.epoch = ProducerEpoch(self.stamp.epoch.0 + 1);
                (What::Unknown { values, reason }, true)
            }
            Fate::Fenced(reason) => (What::Unknown { values, reason }, false),
        };
        self.recorder.note(self.values.worker, what);
        goes_on
    }

    /// Sends the same batch until its fate is known, or patience ends.
    async fn deliver(&mut self, batch: &Bytes) -> Fate {
        let started = Instant::now();
        let mut perhaps_written = false;
        loop {
            let answer = tokio::time::timeout(TRY_WITHIN, self.try_once(batch)).await;
            let timeout = || ClientError::Timeout { what: format!("produce to {}", self.target), after: TRY_WITHIN };
            let error = match answer.unwrap_or_else(|_| Err(timeout())) {
                Ok(at) => return Fate::Written(at),
                Err(error) => error,
            };
            match error.code() {
                // Said before anything is written. "Not the leader" is not: one that loses leadership says it of a batch
                // that it has appended, too.
                Some(
                    ErrorCode::LeaderNotAvailable | ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas,
                ) => {}
                // These cannot be cured by sending it again. What a first try wrote is in doubt, not refused.
                Some(
                    ErrorCode::OutOfOrderSequenceNumber
                    | ErrorCode::UnknownProducerId
                    | ErrorCode::InvalidProducerEpoch
                    | ErrorCode::DuplicateSequenceNumber,
                ) => return Fate::Fenced(error.to_string()),
                Some(_) if !error.is_retriable() && !perhaps_written => return Fate::Refused(error.to_string()),
                Some(_) if !error.is_retriable() => return Fate::InDoubt(error.to_string()),
                Some(_) => perhaps_written = true,
                None => {
                    perhaps_written = true;
                    self.reconnect().await;
                }
            }
            self.client.forget_leader(self.target);
            if started.elapsed() > GIVE_UP_AFTER {
                return Fate::InDoubt(error.to_string());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_once(&self, batch: &Bytes) -> Result<AppendedBatch, ClientError> {
        let leader = self.client.leader(self.target).await?;
        let mut answers = self.client.produce_batches(leader, &[(self.target.clone(), batch.clone())]).await?;
        let missing = || Err(ClientError::broker("an answer without the partition", ErrorCode::UnknownServerError));
        answers.remove(self.target).unwrap_or_else(missing)
    }

    /// The old connections may hang; what was sent over them may still arrive.
    async fn reconnect(&mut self) {
        if let Some(client) = connect(self.place).await {
            self.client = client;
        }
    }
}

/// A client and a producer id; `None` when the cluster does not give one now.
async fn identity(place: &Place) -> Option<(RawClient, ProducerStamp)> {
    let client = connect(place).await?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let answer = tokio::time::timeout(TRY_WITHIN, client.request(Node::Any, &request)).await;
    match answer {
        Ok(Ok(answer)) if answer.error_code == 0 => {
            let (id, epoch) = (ProducerId(answer.producer_id.0), ProducerEpoch(answer.producer_epoch));
            Some((client, ProducerStamp { id, epoch, base_sequence: 0 }))
        }
        _ => {
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

pub(super) async fn connect(place: &Place) -> Option<RawClient> {
    let settings =
        client_settings(&place.bootstrap, &[("request.timeout.ms", TRY_MS), ("default.api.timeout.ms", TRY_MS)]);
    let connecting = tokio::time::timeout(TRY_WITHIN, RawClient::connect(&settings)).await;
    if let Ok(Ok(client)) = connecting {
        return Some(client);
    }
    tokio::time::sleep(PAUSE).await;
    None
}
