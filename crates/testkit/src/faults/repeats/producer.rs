//! An idempotent producer of one partition whose batches can be sent again, and what it knows of their offsets.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp, add_sequence};
use twinstream_client::raw::kafka_protocol::messages::InitProducerIdRequest;
use twinstream_client::raw::{AppendedBatch, Node};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};

use crate::reading::{Isolation, read_partition};
use crate::records::{client_settings, topic_name};

const TRY_WITHIN: Duration = Duration::from_secs(5);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(30);

/// A batch that was sent, and where it must be.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub bytes: Bytes,
    pub offset: i64,
}

pub(super) struct Producer {
    bootstrap: String,
    client: RawClient,
    partition: TopicPartition,
    stamp: ProducerStamp,
    /// All values, in the order in which they must be read.
    values: Vec<String>,
    faults: Vec<String>,
}

impl Producer {
    /// A producer with an id of its own that begins at this sequence.
    pub(super) async fn start(bootstrap: &str, topic: &str, sequence: i32) -> Self {
        let client = connect(bootstrap).await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let deadline = Instant::now() + GIVE_UP_AFTER;
        let answer = loop {
            match client.request(Node::Any, &request).await {
                Ok(answer) if answer.error_code == 0 => break answer,
                other => assert!(Instant::now() < deadline, "no producer id: {other:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let (id, epoch) = (ProducerId(answer.producer_id.0), ProducerEpoch(answer.producer_epoch));
        Self {
            bootstrap: bootstrap.to_owned(),
            client,
            partition: TopicPartition::new(topic_name(topic), PartitionIndex(0)),
            stamp: ProducerStamp { id, epoch, base_sequence: sequence },
            values: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The next batch, which nobody has sent yet.
    pub(super) fn batch(&mut self, records: i32) -> Sent {
        let offset = i64::try_from(self.values.len()).expect("few records");
        let mut builder = BatchBuilder::new().with_producer(self.stamp);
        for _ in 0..records {
            let value = self.values.len().to_string();
            builder.append(crate::load::now_ms(), None, Some(value.as_bytes()), []);
            self.values.push(value);
        }
        self.stamp.base_sequence = add_sequence(self.stamp.base_sequence, records);
        Sent { bytes: builder.build().expect("a small batch").into(), offset }
    }

    /// A batch that leaves a hole of so many sequences; nobody may take it.
    pub(super) fn batch_after_a_hole(&self, hole: i32) -> Bytes {
        let base_sequence = add_sequence(self.stamp.base_sequence, hole);
        let mut builder = BatchBuilder::new().with_producer(ProducerStamp { base_sequence, ..self.stamp });
        builder.append(crate::load::now_ms(), None, Some(b"behind a hole"), []);
        builder.build().expect("a small batch").into()
    }

    /// Sends a batch until it is acknowledged, over a new connection whenever one breaks.
    pub(super) async fn deliver(&mut self, sent: &Sent) {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            let error = match self.try_once(&sent.bytes).await {
                Ok(at) => return self.check(sent, at),
                Err(error) => error,
            };
            match error.code() {
                None => self.reconnect().await,
                Some(code) if code.is_retriable() && code != ErrorCode::OutOfOrderSequenceNumber => {}
                Some(_) => {
                    return self.faults.push(format!("the batch of offset {} was refused: {error}", sent.offset));
                }
            }
            self.client.forget_leader(&self.partition);
            if Instant::now() > deadline {
                return self.faults.push(format!("the batch of offset {} found no end: {error}", sent.offset));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a batch once, and does not look at the answer.
    pub(super) async fn send_in_vain(&mut self, sent: &Sent) {
        if let Ok(at) = self.try_once(&sent.bytes).await {
            self.check(sent, at);
            self.faults.push(format!("the batch of offset {} was answered", sent.offset));
        }
        self.reconnect().await;
    }

    /// Sends all of them before the first is answered; how many answers were lost.
    pub(super) async fn deliver_together(&mut self, batches: &[Sent]) -> usize {
        let leader = self.leader().await;
        let sending = batches.iter().map(|sent| self.once(leader, &sent.bytes));
        let Ok(answers) = tokio::time::timeout(TRY_WITHIN, futures_join(sending)).await else { return batches.len() };
        let mut lost = 0;
        for (sent, answer) in batches.iter().zip(answers) {
            match answer {
                Ok(at) => self.check(sent, at),
                Err(_) => lost += 1,
            }
        }
        lost
    }

    /// Sends what must be refused for its sequence; the code.
    pub(super) async fn refused(&mut self, batch: &Bytes) -> Option<ErrorCode> {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            match self.try_once(batch).await {
                Ok(at) => {
                    self.faults.push(format!("a batch was taken that must be refused, at {}", at.base_offset));
                    return None;
                }
                Err(error) => match error.code() {
                    Some(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::DuplicateSequenceNumber) => {
                        return error.code();
                    }
                    Some(code) if !code.is_retriable() => {
                        self.faults.push(format!("a batch was refused, but not for its sequence: {error}"));
                        return Some(code);
                    }
                    Some(_) => self.client.forget_leader(&self.partition),
                    None => self.reconnect().await,
                },
            }
            assert!(Instant::now() < deadline, "no answer within {GIVE_UP_AFTER:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn check(&mut self, sent: &Sent, at: AppendedBatch) {
        // What is older than the broker remembers is answered without an offset.
        if at.base_offset.0 != sent.offset {
            self.faults.push(format!("the batch of offset {} was acknowledged at {}", sent.offset, at.base_offset));
        }
    }

    async fn try_once(&self, batch: &Bytes) -> Result<AppendedBatch, ClientError> {
        let asked = async {
            let leader = self.client.leader(&self.partition).await?;
            self.once(leader, batch).await
        };
        let timeout = |_| Err(ClientError::Timeout { what: "an answer".to_owned(), after: TRY_WITHIN });
        tokio::time::timeout(TRY_WITHIN, asked).await.unwrap_or_else(timeout)
    }

    async fn once(&self, leader: NodeId, batch: &Bytes) -> Result<AppendedBatch, ClientError> {
        let mut answers = self.client.produce_batches(leader, &[(self.partition.clone(), batch.clone())]).await?;
        let missing = || Err(ClientError::broker("an answer without the partition", ErrorCode::UnknownServerError));
        answers.remove(&self.partition).unwrap_or_else(missing)
    }

    async fn leader(&self) -> NodeId {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            match self.client.leader(&self.partition).await {
                Ok(leader) => return leader,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What another producer of the same scene found wrong.
    pub(super) fn complain(&mut self, faults: Vec<String>) {
        self.faults.extend(faults);
    }

    pub(super) async fn reconnect(&mut self) {
        self.client = connect(&self.bootstrap).await;
    }

    /// What every replica has must be what was sent, once and in order; and all that was wrong.
    pub(super) async fn end(mut self, replicas: &[usize]) -> Vec<String> {
        for replica in replicas {
            let node = NodeId(i32::try_from(*replica).expect("a node"));
            let deadline = Instant::now() + GIVE_UP_AFTER;
            let found = loop {
                match read_partition(&self.client, node, &self.partition, Isolation::All).await {
                    // A follower hears of the high watermark a moment later.
                    Ok(found) if found.records.len() >= self.values.len() || Instant::now() > deadline => break found,
                    Ok(_) => {}
                    Err(error) => {
                        assert!(Instant::now() < deadline, "read {} from {replica}: {error}", self.partition);
                        self.reconnect().await;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            };
            let found: Vec<String> = found.records.into_values().filter_map(|record| record.value).collect();
            if found != self.values {
                let same = found.iter().zip(&self.values).take_while(|(found, sent)| found == sent).count();
                let (count, sent) = (found.len(), self.values.len());
                let next = found.get(same).cloned().unwrap_or_default();
                self.faults.push(format!("broker {replica} has {count} records of {sent}, at {same} it has `{next}`"));
            }
        }
        self.faults
    }
}

/// In the order given, which is that of the connection.
async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        let mut open = false;
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect())
    })
    .await
}

async fn connect(bootstrap: &str) -> RawClient {
    let settings = client_settings(bootstrap, &[("request.timeout.ms", "5000")]);
    let deadline = Instant::now() + GIVE_UP_AFTER;
    loop {
        match RawClient::connect(&settings).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "connect to {bootstrap}: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
