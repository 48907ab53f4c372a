//! A transactional producer that does one step at a time and says what it was told.
//!
//! Both protocols: the first one names partitions before it writes to them and keeps its epoch (KIP-98); in the second one
//! each transaction has an epoch of its own (KIP-890). A step is repeated until its fate is known, over a new connection when
//! the old one said nothing, as clients do; what ends it otherwise is a [`Refusal`], which knows whether the step may have
//! been done nevertheless.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use twinstream_client::raw::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::raw::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest,
    ProducerId as WireProducerId, TopicName as WireTopic, TransactionalId,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, NodeId, ProducerEpoch, ProducerId, TopicPartition};

use super::payload;
use crate::history::Value;
use crate::records::client_settings;

/// How long one try may take. A healthy broker needs a small part of it, also in a debug build.
const TRY_WITHIN: Duration = Duration::from_millis(1_500);
const TRY_MS: &str = "1500";
/// How long a step is tried where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// In FindCoordinator.
const TRANSACTION_KEY: i8 = 1;
/// The last version of FindCoordinator that asks for one.
const FIND_ONE: i16 = 3;
/// The last version of AddPartitionsToTxn that clients speak.
const ADD_BY_CLIENTS: i16 = 3;

/// How a producer talks of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    First,
    Second,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

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
}

impl Refusal {
    /// Another producer has taken the name, or the coordinator has ended the transaction by itself.
    pub fn is_fenced(&self) -> bool {
        self.code.is_some_and(|code| FENCED.contains(&code))
    }
}

const FENCED: [ErrorCode; 3] =
    [ErrorCode::InvalidProducerEpoch, ErrorCode::ProducerFenced, ErrorCode::InvalidProducerIdMapping];
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
    bootstrap: String,
    transactional_id: String,
    protocol: Protocol,
    timeout: Duration,
    patience: Duration,
    client: Option<RawClient>,
    coordinator: Option<NodeId>,
    identity: Identity,
    sequences: BTreeMap<TopicPartition, i32>,
    added: BTreeSet<TopicPartition>,
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
            Self::Send(..) => "Produce",
            Self::End(_) => "EndTxn",
        }
    }
}

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
            bootstrap: bootstrap.to_owned(),
            transactional_id: transactional_id.to_owned(),
            protocol,
            timeout,
            patience: PATIENCE,
            client: None,
            coordinator: None,
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

    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Takes the name: fences who had it, and ends what it left open.
    pub async fn init(&mut self) -> Result<Identity, Refusal> {
        let Done::Identity(identity) = self.repeat(&Step::Init).await? else { unreachable!("an answer to its step") };
        self.become_identity(identity);
        Ok(identity)
    }

    /// Sends one batch of these values; the offset of the first one.
    pub async fn send(&mut self, partition: &TopicPartition, values: &[Value]) -> Result<i64, Refusal> {
        if self.protocol == Protocol::First && !self.added.contains(partition) {
            self.repeat(&Step::Add(vec![partition.clone()])).await?;
            self.added.insert(partition.clone());
        }
        let sequence = self.sequences.get(partition).copied().unwrap_or(0);
        let Identity { id, epoch } = self.identity;
        let stamp = ProducerStamp { id, epoch, base_sequence: sequence };
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional();
        for value in values {
            builder.append(super::now_ms(), None, Some(&payload(*value)), []);
        }
        let batch: Bytes = builder.build().expect("a small batch").into();
        let Done::At(offset) = self.repeat(&Step::Send(partition.clone(), batch)).await? else {
            unreachable!("an answer to its step")
        };
        let count = i32::try_from(values.len()).expect("a few values");
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
        self.coordinator = None;
        let client = self.connected().await.ok()?;
        self.coordinator(&client).await.ok()
    }

    fn become_identity(&mut self, identity: Identity) {
        self.identity = identity;
        self.sequences.clear();
        self.added.clear();
    }

    async fn repeat(&mut self, step: &Step) -> Result<Done, Refusal> {
        let started = Instant::now();
        let mut in_doubt = false;
        loop {
            let tried = tokio::time::timeout(TRY_WITHIN, self.once(step)).await;
            let timeout = || ClientError::Timeout { what: step.name().to_owned(), after: TRY_WITHIN };
            let error = match tried.unwrap_or_else(|_| Err(timeout())) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let code = error.code();
            let not_done = code.is_some_and(|code| NOT_DONE.contains(&code));
            let passes = not_done || error.is_retriable();
            if !passes || started.elapsed() > self.patience {
                let in_doubt = in_doubt || (passes && !not_done);
                return Err(Refusal { step: step.name(), code, reason: error.to_string(), in_doubt });
            }
            in_doubt |= !not_done;
            self.look_again(step, code.is_none());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Who did not serve is looked up again; a connection that may hang is given up.
    fn look_again(&mut self, step: &Step, silent: bool) {
        self.coordinator = None;
        if let (Step::Send(partition, _), Some(client)) = (step, &self.client) {
            client.forget_leader(partition);
        }
        if silent {
            self.client = None;
        }
    }

    async fn once(&mut self, step: &Step) -> Result<Done, ClientError> {
        let client = self.connected().await?;
        if let Step::Send(partition, batch) = step {
            let leader = client.leader(partition).await?;
            return self.produce(&client, leader, partition, batch.clone()).await.map(Done::At);
        }
        let node = Node::Id(self.coordinator(&client).await?);
        match step {
            Step::Init => {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(self.name()))
                    .with_transaction_timeout_ms(i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX))
                    .with_producer_id(WireProducerId(-1))
                    .with_producer_epoch(-1);
                let answer = client.request(node, &request).await?;
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
                let request = EndTxnRequest::default()
                    .with_transactional_id(self.name())
                    .with_producer_id(WireProducerId(self.identity.id.0))
                    .with_producer_epoch(self.identity.epoch.0)
                    .with_committed(*commit);
                let answer = client.request_capped(node, &request, self.protocol.end_version()).await?;
                check(step.name(), answer.error_code)?;
                let next = identity(answer.producer_id, answer.producer_epoch);
                Ok(Done::Ended((next.id.0 >= 0).then_some(next)))
            }
            Step::Send(..) => unreachable!("sent above"),
        }
    }

    fn add_request(&self, partitions: &[TopicPartition]) -> AddPartitionsToTxnRequest {
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
        check("Produce", response.error_code)?;
        Ok(response.base_offset)
    }

    async fn connected(&mut self) -> Result<RawClient, ClientError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let settings = [("request.timeout.ms", TRY_MS), ("default.api.timeout.ms", TRY_MS)];
        let client = RawClient::connect(&client_settings(&self.bootstrap, &settings)).await?;
        self.client = Some(client.clone());
        Ok(client)
    }

    async fn coordinator(&mut self, client: &RawClient) -> Result<NodeId, ClientError> {
        if let Some(known) = self.coordinator {
            return Ok(known);
        }
        let key = StrBytes::from_string(self.transactional_id.clone());
        let request = FindCoordinatorRequest::default().with_key(key).with_key_type(TRANSACTION_KEY);
        let answer = client.request_capped(Node::Any, &request, FIND_ONE).await?;
        check("FindCoordinator", answer.error_code)?;
        let node = NodeId(answer.node_id.0);
        self.coordinator = Some(node);
        Ok(node)
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
