//! Whether partitions belong to a transaction, asked of its coordinator before the first append (KIP-890).
//!
//! Picture: Produce and TxnOffsetCommit come here with a transaction and the partitions in which it would begin. The
//! coordinator looks them up, or adds them for producers that leave that to us (transaction version 2). If it is this
//! broker, its shard is asked; else its node is, with AddPartitionsToTxn as any broker of Kafka would ask.
//!
//! Invariants: no answer within `request.timeout.ms`, or before another broker becomes the coordinator, is NETWORK_EXCEPTION,
//! and says nothing about the transaction. What was asked may be carried out twice, which is the same as once.
//!
//! Not here: guards against answers that come too late (`twinstream_log`), what producers are told (`handlers`).

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ProducerId as WireProducerId, TopicName as WireTopicName,
    TransactionalId as WireTransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::watch;
use twinstream_coordinator::transaction::{AddPartitions, Answer, Producer, Request, TransactionVersion};
use twinstream_metadata::Image;
use twinstream_model::{
    ErrorCode, NodeId, PartitionIndex, ProducerEpoch, ProducerId, TopicName, TopicPartition, TransactionalId,
};

use crate::context::Broker;
use crate::coordinators::partition_of;
use crate::settings::live::LiveSettings;
use crate::transactions::transactions_topic;

/// The version with TRANSACTION_ABORTABLE, which every broker of a cluster serves.
const VERSION: i16 = 5;

/// The setting that lets transactions of producers that add partitions by themselves go unverified.
const ENABLED: &str = "transaction.partition.verification.enable";

/// What the client's version of its request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Looks up, for a client that does not know TRANSACTION_ABORTABLE and hears INVALID_TXN_STATE instead.
    VerifyForOld,
    Verify,
    Add,
}

/// A transaction and the partitions in which it would begin.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) transactional_id: TransactionalId,
    pub(crate) producer_id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) operation: Operation,
}

/// The partitions that do not belong to the transaction, with the reason.
pub(crate) type Refusals = BTreeMap<TopicPartition, ErrorCode>;

/// Whether the coordinator has to be asked at all. Who leaves it to us to add partitions cannot do without.
pub(crate) fn is_needed(broker: &Broker, image: &Image, operation: Operation) -> bool {
    let default = broker.settings.transactions.verifies_partitions;
    operation == Operation::Add || LiveSettings::new(&broker.settings, image).flag(ENABLED, default)
}

/// Asks the coordinator of the transaction.
pub(crate) async fn ask(broker: &Broker, image: &Image, question: &Question) -> Refusals {
    let answer = match coordinator(image, &question.transactional_id) {
        None => Err(ErrorCode::CoordinatorNotAvailable),
        Some(node) if node == broker.settings.node.id => ask_here(broker, question).await,
        Some(node) => ask_there(broker, image, node, question).await,
    };
    let mut refusals = answer.unwrap_or_else(|code| of_all(question, code));
    refusals.values_mut().for_each(|code| *code = known_code(*code, question.operation));
    refusals
}

/// The broker that coordinates a transaction.
fn coordinator(image: &Image, id: &TransactionalId) -> Option<NodeId> {
    let topic = transactions_topic(image)?;
    topic.partition(partition_of(id.as_str(), topic.partitions.len() as i32))?.leader
}

async fn ask_here(broker: &Broker, question: &Question) -> Result<Refusals, ErrorCode> {
    let add = AddPartitions {
        transactional_id: question.transactional_id.clone(),
        producer: Producer { id: question.producer_id, epoch: question.epoch },
        partitions: question.partitions.clone(),
        verify_only: question.operation != Operation::Add,
        version: TransactionVersion::V2,
        connection: None,
    };
    match broker.transactions.call(broker, &question.transactional_id, Request::AddPartitions(add)).await? {
        Answer::AddPartitions(answer) => {
            let codes = question.partitions.iter().map(|partition| (partition.clone(), answer.of(partition)));
            Ok(codes.filter(|(_, code)| code.is_error()).collect())
        }
        other => {
            tracing::error!(?other, "transaction coordinator answered another question");
            Err(ErrorCode::UnknownServerError)
        }
    }
}

async fn ask_there(broker: &Broker, image: &Image, node: NodeId, question: &Question) -> Result<Refusals, ErrorCode> {
    let request = to_request(question);
    let now = || coordinator(&broker.image.load(), &question.transactional_id);
    let answer = tokio::select! {
        answer = broker.calls.ask(&broker.settings, image, node, &request, VERSION) => answer,
        () = moved_from(node, broker.controller.watch_image(), now) => {
            tracing::debug!(node = node.0, "transaction coordinator has moved before it answered");
            return Err(ErrorCode::NetworkException);
        }
    };
    let answer = answer.map_err(|error| {
        tracing::warn!(node = node.0, %error, "transaction coordinator did not answer");
        ErrorCode::NetworkException
    })?;
    refusals_of(question, &answer)
}

/// Returns when another broker coordinates the transaction. One that hangs would answer late or never, and the producer's
/// connection waits meanwhile, with all that it has to write elsewhere.
async fn moved_from(node: NodeId, mut changes: watch::Receiver<u64>, now: impl Fn() -> Option<NodeId>) {
    while now() == Some(node) {
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await; // the broker stops
        }
    }
}

fn to_request(question: &Question) -> AddPartitionsToTxnRequest {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in &question.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let name = WireTopicName(StrBytes::from_string(name.as_str().to_owned()));
        AddPartitionsToTxnTopic::default().with_name(name).with_partitions(partitions)
    });
    let id = StrBytes::from_string(question.transactional_id.as_str().to_owned());
    let transaction = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(WireTransactionalId(id))
        .with_producer_id(WireProducerId(question.producer_id.0))
        .with_producer_epoch(question.epoch.0)
        .with_verify_only(question.operation != Operation::Add)
        .with_topics(topics.collect());
    AddPartitionsToTxnRequest::default().with_transactions(vec![transaction])
}

/// Partitions of which the answer says nothing were not verified.
fn refusals_of(question: &Question, answer: &AddPartitionsToTxnResponse) -> Result<Refusals, ErrorCode> {
    match code_of(answer.error_code) {
        ErrorCode::None => {}
        // That is between brokers; the producer may do what it wants to do.
        ErrorCode::ClusterAuthorizationFailed => return Err(ErrorCode::InvalidTxnState),
        code => return Err(code),
    }
    let mut refusals = of_all(question, ErrorCode::UnknownServerError);
    let results = answer.results_by_transaction.iter().flat_map(|transaction| &transaction.topic_results);
    for topic in results {
        let Ok(name) = TopicName::parse(topic.name.as_str()) else { continue };
        for result in &topic.results_by_partition {
            let partition = TopicPartition::new(name.clone(), PartitionIndex(result.partition_index));
            match code_of(result.partition_error_code) {
                ErrorCode::None => _ = refusals.remove(&partition),
                code => {
                    refusals.entry(partition).and_modify(|known| *known = code);
                }
            }
        }
    }
    Ok(refusals)
}

fn of_all(question: &Question, code: ErrorCode) -> Refusals {
    question.partitions.iter().map(|partition| (partition.clone(), code)).collect()
}

fn code_of(wire: i16) -> ErrorCode {
    ErrorCode::from_code(wire).unwrap_or(ErrorCode::UnknownServerError)
}

fn known_code(code: ErrorCode, operation: Operation) -> ErrorCode {
    match code {
        // What producers expect of an append.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if operation == Operation::VerifyForOld => ErrorCode::InvalidTxnState,
        code => code,
    }
}

#[cfg(test)]
mod tests;
