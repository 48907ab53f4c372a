//! Requests to the coordinator of transactions, and what a sender with a transactional id can do more.
//!
//! Picture: [`super::core`] says when a partition joins and when the transaction ends; here is who is asked and what the codes
//! mean. The requests are those below `transaction.version` 2, which every broker serves.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, TransactionalId,
};
use kafka_protocol::protocol::{Request as _, StrBytes};
use parking_lot::Mutex;
use tokio::time::Instant;
use twinstream_model::{ErrorCode, NodeId, ProducerEpoch, ProducerId, TopicPartition};

use super::core::{Verb, is_fenced};
use super::lane::Producer;
use super::options::Options;
use super::{BatchSender, ClientError, ClientSettings, Event, Node, RawClient};

/// From this version on FindCoordinator asks for a list of keys.
const FIND_MANY: i16 = 4;
const TRANSACTION_KEY: i8 = 1;
/// The last version in which a client asks for itself.
const JOIN_VERSION_MAX: i16 = 3;
/// From the next version on the epoch grows with each end.
const END_VERSION_MAX: i16 = 4;
/// From this version on InitProducerId can name whose epoch is to be raised (KIP-360).
const RAISE_SINCE: i16 = 3;
/// From the next version on the producer may keep its number over two-phase commits.
const INIT_VERSION_MAX: i16 = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// Under which name a sender has transactions, and who looks after them.
#[derive(Clone)]
pub(super) struct Identity {
    name: Arc<str>,
    producer: Producer,
    timeout: Duration,
    coordinator: Arc<Mutex<Option<NodeId>>>,
}

impl Identity {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl BatchSender {
    /// A sender whose batches are parts of transactions of this id. Whoever had the id before is fenced when this returns,
    /// and its open transaction has been aborted, or its commit completed.
    pub async fn connect_transactional(
        settings: &ClientSettings,
        id: &str,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let options = Options::transactional(settings)?;
        let client = RawClient::connect(settings).await?;
        let within = options.delivery_timeout;
        let identity = init(&client, id, timeout, within).await?;
        let mut sender = Self::over(client, options);
        sender.core.numbered(Duration::ZERO, Ok(identity.producer));
        sender.transactional = Some(identity);
        Ok(sender)
    }

    /// Commits all that was given since the last time, as soon as it has arrived; [`super::Told::Ended`] tells. What is
    /// given from now on is part of the next transaction.
    pub fn commit(&mut self) {
        let now = self.began.elapsed();
        self.core.commit(now);
    }

    /// Aborts the open transaction, so that readers need not wait for its time to run out. For a sender that is given up:
    /// its epoch is raised with the abort (KIP-360), so that what is still on its way to a broker is refused there and
    /// does not become part of a later transaction. A successor is left alone.
    pub async fn abort(self, within: Duration) -> Result<(), ClientError> {
        let Some(identity) = self.transactional.clone() else { return Ok(()) };
        let ending = until_done(within, || async {
            match can_raise(&self.client, &identity).await? {
                true => raise(&self.client, &identity).await,
                false => end(&self.client, &identity, false).await,
            }
        });
        match ending.await {
            // Nothing was part of it.
            Err(error) if error.code() == Some(ErrorCode::InvalidTxnState) => Ok(()),
            // The epoch has been raised, by us or a successor.
            Err(error) if is_fenced(&error) => Ok(()),
            done => done,
        }
    }

    pub(super) fn coordinate(&mut self, verb: Verb) {
        let (client, identity) = (self.client.clone(), self.transactional.clone());
        self.spawn(async move {
            let result = match (&verb, &identity) {
                (_, None) => Ok(()), // a core without transactions asks for none
                (Verb::Join(partitions), Some(identity)) => join(&client, identity, partitions).await,
                (Verb::Commit, Some(identity)) => end(&client, identity, true).await,
            };
            Event::Coordinated(verb, result)
        });
    }
}

/// Fences whoever has this transactional id, and ends its transaction.
pub async fn fence(client: &RawClient, id: &str, timeout: Duration, within: Duration) -> Result<(), ClientError> {
    init(client, id, timeout, within).await.map(|_| ())
}

async fn init(client: &RawClient, id: &str, timeout: Duration, within: Duration) -> Result<Identity, ClientError> {
    let mut identity = Identity {
        name: Arc::from(id),
        producer: Producer { id: ProducerId::NONE, epoch: ProducerEpoch::NONE },
        timeout,
        coordinator: Arc::default(),
    };
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(wire_id(id)))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_producer_id(ProducerId::NONE.0.into())
        .with_producer_epoch(ProducerEpoch::NONE.0);
    let given = until_done(within, || async {
        let answer = ask(client, &identity, &request, INIT_VERSION_MAX).await?;
        let what = || format!("take the transactional id '{id}'");
        heard(&identity, ClientError::check(what, answer.error_code, None))?;
        Ok(Producer { id: ProducerId(answer.producer_id.0), epoch: ProducerEpoch(answer.producer_epoch) })
    });
    identity.producer = given.await?;
    Ok(identity)
}

async fn join(client: &RawClient, identity: &Identity, partitions: &[TopicPartition]) -> Result<(), ClientError> {
    let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    for run in sorted.chunk_by(|a, b| a.topic == b.topic) {
        let name = StrBytes::from_string(run[0].topic.as_str().to_owned());
        let partitions = run.iter().map(|at| at.partition.0).collect();
        topics.push(AddPartitionsToTxnTopic::default().with_name(name.into()).with_partitions(partitions));
    }
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(wire_id(identity.name()))
        .with_v3_and_below_producer_id(identity.producer.id.0.into())
        .with_v3_and_below_producer_epoch(identity.producer.epoch.0)
        .with_v3_and_below_topics(topics);
    let answer = ask(client, identity, &request, JOIN_VERSION_MAX).await?;
    // A partition that is not attempted stands beside the one that says why.
    let mut codes: Vec<(i16, String)> = Vec::new();
    for topic in &answer.results_by_topic_v3_and_below {
        for partition in &topic.results_by_partition {
            codes.push((
                partition.partition_error_code,
                format!("{}-{}", topic.name.as_str(), partition.partition_index),
            ));
        }
    }
    codes.sort_by_key(|(code, _)| *code == ErrorCode::OperationNotAttempted.code());
    match codes.iter().find(|(code, _)| *code != 0) {
        None => Ok(()),
        Some((code, at)) => heard(identity, ClientError::check(|| format!("add {at} to the transaction"), *code, None)),
    }
}

async fn end(client: &RawClient, identity: &Identity, commit: bool) -> Result<(), ClientError> {
    let request = EndTxnRequest::default()
        .with_transactional_id(wire_id(identity.name()))
        .with_producer_id(identity.producer.id.0.into())
        .with_producer_epoch(identity.producer.epoch.0)
        .with_committed(commit);
    let answer = ask(client, identity, &request, END_VERSION_MAX).await?;
    let what = if commit { "commit the transaction" } else { "abort the transaction" };
    heard(identity, ClientError::check(|| what.to_owned(), answer.error_code, None))
}

/// Whether the coordinator can raise the epoch of this producer and no other.
async fn can_raise(client: &RawClient, identity: &Identity) -> Result<bool, ClientError> {
    let node = Node::Id(located(client, identity).await?);
    let served = client.versions(node, InitProducerIdRequest::KEY).await;
    if served.is_err() {
        *identity.coordinator.lock() = None;
    }
    Ok(served?.is_some_and(|(_, max)| max >= RAISE_SINCE))
}

/// Raises the epoch, which aborts what is open. While that goes on the coordinator asks to come back, and then says *fenced*.
async fn raise(client: &RawClient, identity: &Identity) -> Result<(), ClientError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(wire_id(identity.name())))
        .with_transaction_timeout_ms(i32::try_from(identity.timeout.as_millis()).unwrap_or(i32::MAX))
        .with_producer_id(identity.producer.id.0.into())
        .with_producer_epoch(identity.producer.epoch.0);
    let answer = ask(client, identity, &request, INIT_VERSION_MAX).await?;
    heard(identity, ClientError::check(|| "abort the transaction".to_owned(), answer.error_code, None))
}

fn wire_id(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

/// Asks the coordinator; one that cannot be reached is looked up again the next time.
async fn ask<R>(client: &RawClient, identity: &Identity, request: &R, cap: i16) -> Result<R::Response, ClientError>
where
    R: kafka_protocol::protocol::Request<Response: twinstream_protocol::shape::Shaped>,
{
    let node = located(client, identity).await?;
    let answer = client.request_capped(Node::Id(node), request, cap).await;
    if answer.is_err() {
        *identity.coordinator.lock() = None;
    }
    answer
}

async fn located(client: &RawClient, identity: &Identity) -> Result<NodeId, ClientError> {
    let known = *identity.coordinator.lock();
    if let Some(node) = known {
        return Ok(node);
    }
    let found = coordinator(client, identity.name()).await?;
    *identity.coordinator.lock() = Some(found);
    Ok(found)
}

/// Forgets a coordinator that is none any more.
fn heard(identity: &Identity, result: Result<(), ClientError>) -> Result<(), ClientError> {
    if let Err(error) = &result
        && matches!(error.code(), Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable))
    {
        *identity.coordinator.lock() = None;
    }
    result
}

async fn coordinator(client: &RawClient, id: &str) -> Result<NodeId, ClientError> {
    let key = StrBytes::from_string(id.to_owned());
    let served = client.versions(Node::Any, FindCoordinatorRequest::KEY).await?;
    let many = served.is_some_and(|(_, max)| max >= FIND_MANY);
    let request = FindCoordinatorRequest::default().with_key_type(TRANSACTION_KEY);
    let request = if many { request.with_coordinator_keys(vec![key]) } else { request.with_key(key) };
    let answer = client.request(Node::Any, &request).await?;
    let (code, node) = match answer.coordinators.first() {
        Some(found) => (found.error_code, found.node_id.0),
        None => (answer.error_code, answer.node_id.0),
    };
    ClientError::check(|| format!("find the coordinator of transactional id '{id}'"), code, None)?;
    Ok(NodeId(node))
}

/// Again and again while it may pass, within the time; the last error is the answer then.
async fn until_done<T, F: Future<Output = Result<T, ClientError>>>(
    within: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + within;
    loop {
        match call().await {
            Err(error) if error.is_retriable() && Instant::now() + PAUSE < deadline => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}
