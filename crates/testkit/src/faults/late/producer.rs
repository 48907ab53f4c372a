//! A transactional producer that says exactly what it is told, and the line over which it says it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::protocol::shape::Shaped;
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use twinstream_client::raw::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::raw::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ProduceRequest, ProduceResponse, TransactionalId,
};
use twinstream_client::raw::kafka_protocol::protocol::{Request, StrBytes};
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};

use crate::records::{client_settings, topic_name};

/// How long the answer to one request may take before it is asked again over another connection.
pub(super) const TRY_WITHIN: Duration = Duration::from_millis(400);
/// How long one request is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(20);
/// Clients of transactions below version 4 add partitions themselves; brokers use what is above.
const ADD_VERSION: i16 = 3;
const TRANSACTION: i8 = 1;

/// The two protocols of transactions.
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

/// Why a request got no good answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::faults) enum Trouble {
    #[error("refused with {}", .0.name())]
    Refused(ErrorCode),
    #[error("no good answer in {GIVE_UP_AFTER:?}; the last one: {0}")]
    Silence(String),
}

/// Connections to the cluster; a new line has new ones.
pub(in crate::faults) struct Line {
    bootstrap: String,
    client: RawClient,
    coordinator: Option<NodeId>,
}

/// Whom a request is for.
#[derive(Clone, Copy)]
enum Whom<'a> {
    Coordinator(&'a str),
    Leader(&'a TopicPartition),
}

impl Line {
    pub(in crate::faults) async fn open(bootstrap: &str) -> Self {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            match connect(bootstrap).await {
                Ok(client) => return Self { bootstrap: bootstrap.to_owned(), client, coordinator: None },
                Err(error) => assert!(Instant::now() < deadline, "connect to {bootstrap}: {error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) fn client(&self) -> &RawClient {
        &self.client
    }

    /// Asks until there is an answer that time will not change; silence is answered by another connection.
    async fn ask<R: Request<Response: Shaped>>(
        &mut self,
        whom: Whom<'_>,
        request: &R,
        version: i16,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Trouble> {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            let asked = async {
                let node = self.find(whom).await?;
                self.client.request_capped(Node::Id(node), request, version).await
            };
            let asked = tokio::time::timeout(TRY_WITHIN, asked).await;
            let timeout = || ClientError::Timeout { what: "an answer".to_owned(), after: TRY_WITHIN };
            let last = match asked.unwrap_or_else(|_| Err(timeout())) {
                Ok(answer) => {
                    let code = ErrorCode::from_code(code(&answer)).unwrap_or(ErrorCode::UnknownServerError);
                    match code {
                        ErrorCode::None => return Ok(answer),
                        code if !passes(code) => return Err(Trouble::Refused(code)),
                        code => code.name().to_owned(),
                    }
                }
                Err(error) => {
                    if error.code().is_none() {
                        *self = Self::open(&self.bootstrap).await;
                    }
                    error.to_string()
                }
            };
            if Instant::now() > deadline {
                return Err(Trouble::Silence(last));
            }
            self.coordinator = None;
            if let Whom::Leader(partition) = whom {
                self.client.forget_leader(partition);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn find(&mut self, whom: Whom<'_>) -> Result<NodeId, ClientError> {
        let id = match whom {
            Whom::Leader(partition) => return self.client.leader(partition).await,
            Whom::Coordinator(id) => id,
        };
        if let Some(node) = self.coordinator {
            return Ok(node);
        }
        let request =
            FindCoordinatorRequest::default().with_key_type(TRANSACTION).with_coordinator_keys(vec![text(id)]);
        let answer = self.client.request(Node::Any, &request).await?;
        let missing =
            || ClientError::broker(format!("find the coordinator of {id}"), ErrorCode::CoordinatorNotAvailable);
        let found = answer.coordinators.first().filter(|found| found.error_code == 0).ok_or_else(missing)?;
        // Its address, if the client does not know this broker yet.
        self.client.refresh(&[]).await?;
        self.coordinator = Some(NodeId(found.node_id.0));
        Ok(NodeId(found.node_id.0))
    }
}

/// Whether Kafka's clients ask again.
fn passes(code: ErrorCode) -> bool {
    code.is_retriable() && !matches!(code, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId)
}

async fn connect(bootstrap: &str) -> Result<RawClient, ClientError> {
    let settings = client_settings(bootstrap, &[("request.timeout.ms", "5000")]);
    RawClient::connect(&settings).await
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What a producer knows of itself.
pub(in crate::faults) struct Producer {
    pub id: String,
    topic: String,
    pub protocol: Protocol,
    stamp: (i64, i16),
    sequences: BTreeMap<i32, i32>,
}

impl Producer {
    /// What `initTransactions` does.
    pub(in crate::faults) async fn init(
        line: &mut Line,
        id: &str,
        topic: &str,
        protocol: Protocol,
        transactions_within: Duration,
    ) -> Result<Self, Trouble> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(i32::try_from(transactions_within.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let asked = line.ask(Whom::Coordinator(id), &request, protocol.init_version(), |answer| answer.error_code);
        let answer = asked.await?;
        let stamp = (answer.producer_id.0, answer.producer_epoch);
        Ok(Self { id: id.to_owned(), topic: topic.to_owned(), protocol, stamp, sequences: BTreeMap::new() })
    }

    /// Adds a partition, which clients of the second protocol do by producing.
    pub(in crate::faults) async fn add(&self, line: &mut Line, partition: i32) -> Result<(), Trouble> {
        self.say_add(line, &self.add_request(partition)).await
    }

    pub(super) fn add_request(&self, partition: i32) -> AddPartitionsToTxnRequest {
        let topic =
            AddPartitionsToTxnTopic::default().with_name(text(&self.topic).into()).with_partitions(vec![partition]);
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&self.id)))
            .with_v3_and_below_producer_id(self.stamp.0.into())
            .with_v3_and_below_producer_epoch(self.stamp.1)
            .with_v3_and_below_topics(vec![topic])
    }

    pub(super) async fn say_add(&self, line: &mut Line, request: &AddPartitionsToTxnRequest) -> Result<(), Trouble> {
        let code = |answer: &AddPartitionsToTxnResponse| {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let codes = topics.flat_map(|topic| &topic.results_by_partition).map(|found| found.partition_error_code);
            codes.max_by_key(|code| *code != 0).unwrap_or(answer.error_code)
        };
        line.ask(Whom::Coordinator(&self.id), request, ADD_VERSION, code).await.map(drop)
    }

    /// Writes one record without a key.
    pub(super) async fn write(&mut self, line: &mut Line, partition: i32, value: &str) -> Result<(), Trouble> {
        self.write_record(line, partition, None, Some(value)).await.map(drop)
    }

    /// Writes one record; its offset.
    pub(in crate::faults) async fn write_record(
        &mut self,
        line: &mut Line,
        partition: i32,
        key: Option<&str>,
        value: Option<&str>,
    ) -> Result<i64, Trouble> {
        let sequence = *self.sequences.entry(partition).or_default();
        let (id, epoch) = (ProducerId(self.stamp.0), ProducerEpoch(self.stamp.1));
        let stamp = ProducerStamp { id, epoch, base_sequence: sequence };
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional();
        builder.append(crate::load::now_ms(), key.map(str::as_bytes), value.map(str::as_bytes), []);
        let batch: Bytes = builder.build().expect("a small batch").into();
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(text(&self.topic).into()).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&self.id))))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        let target = TopicPartition::new(topic_name(&self.topic), PartitionIndex(partition));
        let code = |answer: &ProduceResponse| {
            let found = answer.responses.first().and_then(|topic| topic.partition_responses.first());
            found.map_or(ErrorCode::UnknownServerError.code(), |found| found.error_code)
        };
        let answer = line.ask(Whom::Leader(&target), &request, self.protocol.produce_version(), code).await?;
        self.sequences.insert(partition, sequence + 1);
        Ok(answer.responses[0].partition_responses[0].base_offset)
    }

    pub(in crate::faults) async fn end(&mut self, line: &mut Line, commit: bool) -> Result<(), Trouble> {
        let request = self.end_request(commit);
        self.stamp = self.say_end(line, &request).await?;
        if self.protocol == Protocol::Second {
            self.sequences.clear();
        }
        Ok(())
    }

    pub(super) fn end_request(&self, commit: bool) -> EndTxnRequest {
        EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(&self.id)))
            .with_producer_id(self.stamp.0.into())
            .with_producer_epoch(self.stamp.1)
            .with_committed(commit)
    }

    /// Says an end that may be of the past; who the producer is afterwards.
    pub(super) async fn say_end(&self, line: &mut Line, request: &EndTxnRequest) -> Result<(i64, i16), Trouble> {
        let version = self.protocol.end_version();
        let answer = line.ask(Whom::Coordinator(&self.id), request, version, |answer| answer.error_code).await?;
        let told = answer.producer_id.0 >= 0 && self.protocol == Protocol::Second;
        Ok(if told { (answer.producer_id.0, answer.producer_epoch) } else { self.stamp })
    }

    /// Says it once, whatever the answer: a late request has nobody who would ask again.
    pub(super) async fn say_late<R: Request<Response: Shaped>>(&self, line: &mut Line, request: &R) {
        let version = if R::KEY == EndTxnRequest::KEY { self.protocol.end_version() } else { ADD_VERSION };
        let node = line.find(Whom::Coordinator(&self.id)).await;
        let node = node.unwrap_or_else(|error| panic!("the coordinator of {}: {error}", self.id));
        // An error is an answer, too; the readers will tell what came of it.
        line.client.request_capped(Node::Id(node), request, version).await.ok();
    }

    /// A connection that the coordinator knows from now on.
    pub(super) async fn greet(&self, line: &mut Line) {
        let node = line.find(Whom::Coordinator(&self.id)).await.unwrap_or_else(|error| panic!("{error}"));
        let request =
            FindCoordinatorRequest::default().with_key_type(TRANSACTION).with_coordinator_keys(vec![text(&self.id)]);
        line.client.request(Node::Id(node), &request).await.unwrap_or_else(|error| panic!("greet {node}: {error}"));
    }
}
