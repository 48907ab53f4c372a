//! A transactional producer that does one step at a time and says what it was told.
//!
//! Both protocols: the first one names partitions before it writes to them and keeps its epoch (KIP-98); in the second one
//! each transaction has an epoch of its own (KIP-890). A step is repeated until its fate is known, over a new connection when
//! the old one said nothing, as clients do; what ends it otherwise is a [`Refusal`], which knows whether the step may have
//! been done nevertheless. Requests can be kept, and said again when their time is over ([`Transactor::say_late`]).

mod line; // connections, and who coordinates

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::protocol::compression::Compression;
use twinstream_client::protocol::shape::Shaped;
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use twinstream_client::raw::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::raw::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest, ProducerId as WireProducerId,
    TopicName as WireTopic, TransactionalId,
};
use twinstream_client::raw::kafka_protocol::protocol::{Request, StrBytes};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, NodeId, ProducerEpoch, ProducerId, TopicPartition};

use super::payload;
use crate::history::Value;

pub use line::Line;

/// How long one try may take. A healthy broker needs a small part of it, also in a debug build.
const TRY_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a try of somebody in a hurry may take after others that were too short: the machine may be slow.
const TRY_WITHIN_MAX: Duration = Duration::from_secs(5);
/// How long a step is tried where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);
/// A step by its name.
const PRODUCE: &str = "Produce";
const PAUSE: Duration = Duration::from_millis(20);
/// The last version of AddPartitionsToTxn that clients speak; brokers use what is above.
const ADD_BY_CLIENTS: i16 = 3;

/// How a producer talks of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// An epoch lives as long as its producer (KIP-98).
    First,
    /// Every transaction has an epoch of its own (KIP-890).
    Second,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    fn init_version(self) -> i16 {
        if self == Self::First { 4 } else { 5 }
    }

    fn produce_version(self) -> i16 {
        if self == Self::First { 11 } else { 12 }
    }

    fn end_version(self) -> i16 {
        if self == Self::First { 4 } else { 5 }
    }
}

/// A step that was not done, or of which nobody knows.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Refusal {
    pub step: &'static str,
    pub code: Option<ErrorCode>,
    pub reason: String,
    /// An earlier try may have been done.
    pub in_doubt: bool,
    /// Nobody refused it: there was no good answer in time.
    pub gave_up: bool,
}

impl Refusal {
    /// How it was found out that another producer has taken the name. Of an older epoch leaders of partitions say something
    /// else than coordinators (KIP-588).
    pub fn fence(&self) -> Option<Fence> {
        match (self.code?, self.step == PRODUCE) {
            (ErrorCode::InvalidProducerEpoch, true) | (ErrorCode::ProducerFenced, false) => Some(Fence::Epoch),
            (ErrorCode::InvalidProducerIdMapping, _) => Some(Fence::Id),
            _ => None,
        }
    }
}

/// What shows that a producer has lost its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Its producer id has a newer epoch.
    Epoch,
    /// The name has another producer id.
    Id,
}

/// Said before anything is done.
const NOT_DONE: [ErrorCode; 5] = [
    ErrorCode::ConcurrentTransactions,
    ErrorCode::CoordinatorLoadInProgress,
    ErrorCode::LeaderNotAvailable,
    ErrorCode::UnknownTopicOrPartition,
    ErrorCode::NotEnoughReplicas,
];

/// Who a producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// One producer with its transactional id.
pub struct Transactor {
    transactional_id: String,
    protocol: Protocol,
    timeout: Duration,
    patience: Duration,
    tries: Tries,
    codec: Compression,
    line: Line,
    identity: Identity,
    sequences: BTreeMap<TopicPartition, i32>,
    added: BTreeSet<TopicPartition>,
}

/// How long tries take: the first, and any.
#[derive(Clone, Copy)]
struct Tries {
    first: Duration,
    longest: Duration,
}

enum Step {
    Init,
    Add(Vec<TopicPartition>),
    Send(TopicPartition, Bytes),
    End(bool),
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Init => "InitProducerId",
            Self::Add(_) => "AddPartitionsToTxn",
            Self::Send(..) => PRODUCE,
            Self::End(_) => "EndTxn",
        }
    }
}

/// Key and value of a record.
type Keyed<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

enum Done {
    Identity(Identity),
    Added,
    At(i64),
    Ended(Option<Identity>),
}

impl Transactor {
    /// Transactions that last longer than `timeout` are aborted by their coordinator.
    pub fn new(bootstrap: &str, transactional_id: &str, protocol: Protocol, timeout: Duration) -> Self {
        Self {
            transactional_id: transactional_id.to_owned(),
            protocol,
            timeout,
            patience: PATIENCE,
            tries: Tries { first: TRY_WITHIN, longest: TRY_WITHIN },
            codec: Compression::None,
            line: Line::new(bootstrap),
            identity: Identity { id: ProducerId::NONE, epoch: ProducerEpoch(-1) },
            sequences: BTreeMap::new(),
            added: BTreeSet::new(),
        }
    }

    /// How long a step is tried.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Who hears nothing for so long dials anew; each time in vain it waits twice as long.
    pub fn in_a_hurry(mut self, first: Duration) -> Self {
        self.tries = Tries { first, longest: TRY_WITHIN_MAX.max(first) };
        self
    }

    /// Batches are packed.
    pub fn with_codec(mut self, codec: Compression) -> Self {
        self.codec = codec;
        self
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn transactional_id(&self) -> &str {
        &self.transactional_id
    }

    pub fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Takes the name: fences who had it, and ends what it left open.
    pub async fn init(&mut self) -> Result<Identity, Refusal> {
        let Done::Identity(identity) = self.repeat(&Step::Init).await? else { unreachable!("an answer to its step") };
        self.become_identity(identity);
        Ok(identity)
    }

    /// Sends one batch of these values; the offset of the first one.
    pub async fn send(&mut self, partition: &TopicPartition, values: &[Value]) -> Result<i64, Refusal> {
        let values: Vec<Bytes> = values.iter().map(|value| payload(*value)).collect();
        let records: Vec<Keyed<'_>> = values.iter().map(|value| (None, Some(&value[..]))).collect();
        self.append(partition, &records).await
    }

    /// Writes one record, or without a value a tombstone; its offset.
    pub async fn write(
        &mut self,
        partition: &TopicPartition,
        key: Option<&str>,
        value: Option<&str>,
    ) -> Result<i64, Refusal> {
        self.append(partition, &[(key.map(str::as_bytes), value.map(str::as_bytes))]).await
    }

    /// Clients of the second protocol add a partition by producing.
    async fn append(&mut self, partition: &TopicPartition, records: &[Keyed<'_>]) -> Result<i64, Refusal> {
        if self.protocol == Protocol::First && !self.added.contains(partition) {
            self.repeat(&Step::Add(vec![partition.clone()])).await?;
            self.added.insert(partition.clone());
        }
        let sequence = self.sequences.get(partition).copied().unwrap_or(0);
        let Identity { id, epoch } = self.identity;
        let stamp = ProducerStamp { id, epoch, base_sequence: sequence };
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional().with_compression(self.codec);
        for (key, value) in records {
            builder.append(super::now_ms(), *key, *value, []);
        }
        let batch: Bytes = builder.build().expect("a small batch").into();
        let Done::At(offset) = self.repeat(&Step::Send(partition.clone(), batch)).await? else {
            unreachable!("an answer to its step")
        };
        let count = i32::try_from(records.len()).expect("a few records");
        self.sequences.insert(partition.clone(), sequence + count);
        Ok(offset)
    }

    /// Ends the transaction.
    pub async fn end(&mut self, commit: bool) -> Result<(), Refusal> {
        let Done::Ended(next) = self.repeat(&Step::End(commit)).await? else { unreachable!("an answer to its step") };
        self.added.clear();
        if let Some(next) = next.filter(|next| *next != self.identity) {
            self.become_identity(next);
        }
        Ok(())
    }

    /// The broker that coordinates this name, by the newest answer.
    pub async fn find_coordinator(&mut self) -> Option<NodeId> {
        self.line.forget(None);
        self.line.coordinator(&self.transactional_id).await.ok()
    }

    /// Says over this line, once, what was asked before, whatever the answer: a late request has nobody who would ask again.
    pub async fn say_late<R: Request<Response: Shaped>>(&self, line: &mut Line, request: &R) {
        let version = if R::KEY == EndTxnRequest::KEY { self.protocol.end_version() } else { ADD_BY_CLIENTS };
        let node = line.coordinator(&self.transactional_id).await;
        let node = node.unwrap_or_else(|error| panic!("the coordinator of {}: {error}", self.transactional_id));
        let client = line.connected().await.unwrap_or_else(|error| panic!("{}: {error}", self.transactional_id));
        // An error is an answer, too; the readers will tell what came of it.
        client.request_capped(Node::Id(node), request, version).await.ok();
    }

    fn become_identity(&mut self, identity: Identity) {
        self.identity = identity;
        self.sequences.clear();
        self.added.clear();
    }

    async fn repeat(&mut self, step: &Step) -> Result<Done, Refusal> {
        let started = Instant::now();
        let (mut in_doubt, mut within) = (false, self.tries.first);
        let mut first = None;
        loop {
            let tried = tokio::time::timeout(within, self.once(step)).await;
            let timeout = || ClientError::Timeout { what: step.name().to_owned(), after: within };
            let error = match tried.unwrap_or_else(|_| Err(timeout())) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let code = error.code();
            let not_done = code.is_some_and(|code| NOT_DONE.contains(&code));
            let passes = not_done || error.is_retriable();
            if !passes || started.elapsed() > self.patience {
                let in_doubt = in_doubt || (passes && !not_done);
                let reason = first.map_or_else(|| error.to_string(), |first| format!("{error}; at first {first}"));
                return Err(Refusal { step: step.name(), code, reason, in_doubt, gave_up: passes });
            }
            first.get_or_insert_with(|| format!("{error}, after {:.2} s", started.elapsed().as_secs_f64()));
            in_doubt |= !not_done;
            if code.is_none() {
                within = self.tries.longest.min(2 * within);
            }
            self.look_again(step, code.is_none());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Who did not serve is looked up again; a connection that may hang is given up.
    fn look_again(&mut self, step: &Step, silent: bool) {
        self.line.forget(if let Step::Send(partition, _) = step { Some(partition) } else { None });
        if silent {
            self.line.hang_up();
        }
    }

    async fn once(&mut self, step: &Step) -> Result<Done, ClientError> {
        let client = self.line.connected().await?;
        if let Step::Send(partition, batch) = step {
            let leader = client.leader(partition).await?;
            return self.produce(&client, leader, partition, batch.clone()).await.map(Done::At);
        }
        let node = Node::Id(self.line.coordinator(&self.transactional_id).await?);
        match step {
            Step::Init => {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(self.name()))
                    .with_transaction_timeout_ms(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX))
                    .with_producer_id(WireProducerId(-1))
                    .with_producer_epoch(-1);
                let answer = client.request_capped(node, &request, self.protocol.init_version()).await?;
                check(step.name(), answer.error_code)?;
                Ok(Done::Identity(identity(answer.producer_id, answer.producer_epoch)))
            }
            Step::Add(partitions) => {
                let answer = client.request_capped(node, &self.add_request(partitions), ADD_BY_CLIENTS).await?;
                let results = answer.results_by_topic_v3_and_below.iter();
                for result in results.flat_map(|topic| &topic.results_by_partition) {
                    check(step.name(), result.partition_error_code)?;
                }
                Ok(Done::Added)
            }
            Step::End(commit) => {
                let answer =
                    client.request_capped(node, &self.end_request(*commit), self.protocol.end_version()).await?;
                check(step.name(), answer.error_code)?;
                let next = identity(answer.producer_id, answer.producer_epoch);
                Ok(Done::Ended((next.id.0 >= 0).then_some(next)))
            }
            Step::Send(..) => unreachable!("sent above"),
        }
    }

    /// The end of the present transaction, as it is asked for.
    pub fn end_request(&self, commit: bool) -> EndTxnRequest {
        EndTxnRequest::default()
            .with_transactional_id(self.name())
            .with_producer_id(WireProducerId(self.identity.id.0))
            .with_producer_epoch(self.identity.epoch.0)
            .with_committed(commit)
    }

    /// Partitions of the present transaction, as they are added in the first protocol.
    pub fn add_request(&self, partitions: &[TopicPartition]) -> AddPartitionsToTxnRequest {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(partition.topic.as_str()).or_default().push(partition.partition.0);
        }
        let topics = topics
            .into_iter()
            .map(|(name, indexes)| AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(indexes));
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.name())
            .with_v3_and_below_producer_id(WireProducerId(self.identity.id.0))
            .with_v3_and_below_producer_epoch(self.identity.epoch.0)
            .with_v3_and_below_topics(topics.collect())
    }

    async fn produce(
        &self,
        client: &RawClient,
        leader: NodeId,
        partition: &TopicPartition,
        batch: Bytes,
    ) -> Result<i64, ClientError> {
        let data = PartitionProduceData::default().with_index(partition.partition.0).with_records(Some(batch));
        let data =
            TopicProduceData::default().with_name(topic(partition.topic.as_str())).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.name()))
            .with_acks(-1)
            .with_timeout_ms(i32::try_from(TRY_WITHIN.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(vec![data]);
        let answer = client.request_capped(Node::Id(leader), &request, self.protocol.produce_version()).await?;
        let response = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let nothing = || ClientError::broker("an answer without the partition", ErrorCode::UnknownServerError);
        let response = response.ok_or_else(nothing)?;
        check(PRODUCE, response.error_code)?;
        Ok(response.base_offset)
    }

    fn name(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(self.transactional_id.clone()))
    }
}

fn check(what: &str, code: i16) -> Result<(), ClientError> {
    match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::broker(what, code)),
    }
}

fn identity(id: WireProducerId, epoch: i16) -> Identity {
    Identity { id: ProducerId(id.0), epoch: ProducerEpoch(epoch) }
}

fn topic(name: &str) -> WireTopic {
    WireTopic(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
mod tests;
