//! Whole batches into a cluster: many partitions, in order, each once.
//!
//! Picture: [`core`] decides what is sent next and what an answer means; this file carries it out. There is one pipeline per
//! leader, with requests of many partitions and a few of them under way. Batches travel as they are, under a header with
//! the numbers of an idempotent producer (KIP-98), or, over an aligned link, untouched.
//! Invariants: batches of a partition arrive in the order in which they were given; with idempotence each arrives once,
//! whatever connections and leaders do; all that is under way ends by `delivery.timeout.ms`; [`BatchSender::next`] may be
//! dropped at any time, as nothing but its caller's waiting ends with it.
//! Bounds: the caller bounds what is under way. Requests under way are bounded per leader, their size by
//! `max.request.size`.
//! With a transactional id ([`BatchSender::connect_transactional`]) everything given since the last commit is one transaction.
//! Not here: compression, and batches that must be made anew to fit the target.

mod core; // what to do next
mod lane; // one partition
mod options; // producer settings
mod transactions; // requests to their coordinator
mod verdict; // what a code means
mod wire; // requests in parts

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::Request as _;
use tokio::time::{Instant, Sleep};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, TopicName, TopicPartition};
use twinstream_protocol::mirror;
use uuid::Uuid;

pub use self::core::is_fenced;
use self::core::{Action, Answer, Core, Notice, Request, Verb};
use self::lane::Producer;
use self::options::Options;
pub use self::transactions::fence;
use self::wire::Envelope;
use super::connection::{self, Connection};
use super::{ClusterView, Lane, Node, RawClient};
use crate::error::ClientError;
use crate::settings::ClientSettings;

/// A broker that could not replicate in time says so itself, and is heard if it is waited for a little longer.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Time since the sender was made.
type Moment = Duration;

/// Something to append to a partition.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// What the caller knows it by.
    pub ticket: u64,
    /// Exactly one record batch, as its source has it; for an aligned append any number of them, or none.
    pub bytes: Bytes,
    /// How many records the caller counts in the batch; held against it. An aligned append is not counted.
    pub records: u32,
    pub aligned: Option<AlignedAppend>,
}

/// Where the bytes of an aligned append come from. Only for a target that has the feature `twinstream.mirror`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlignedAppend {
    pub link: Uuid,
    /// The offset at which the bytes go on.
    pub from: Offset,
    pub log_start: Offset,
    pub source_epoch: LeaderEpoch,
    pub high_watermark: Offset,
    /// The source's epoch of the record before `from`, if it is known: mirror and source must agree on it.
    pub last_epoch: LeaderEpoch,
    /// Without bytes: what the mirror has from `from` on goes.
    pub cut: bool,
}

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub ticket: u64,
    /// [`Offset::NONE`] if the broker has had the batch for so long that it does not know any more.
    pub base_offset: Offset,
    /// The log end after an aligned append.
    pub log_end: Option<Offset>,
}

/// A batch that failed for good. Those of its partition that stand behind it fail as well, each with an outcome of its own,
/// and none of them is sent any more; what is given later starts afresh.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot append to {partition}")]
pub struct SendFailure {
    pub ticket: u64,
    pub partition: TopicPartition,
    #[source]
    pub error: ClientError,
    /// Where the target's log ends, if an aligned append was refused for it.
    pub log_end: Option<Offset>,
}

/// What the rim has learned.
enum Event {
    Opened(NodeId, Result<Arc<Connection>, ClientError>),
    Answered(u64, Result<Answer, ClientError>),
    LookedUp(Result<Arc<ClusterView>, ClientError>),
    Numbered(Result<Producer, ClientError>),
    Coordinated(Verb, Result<(), ClientError>),
}

/// What a sender tells.
#[derive(Clone, Debug)]
pub enum Told {
    Outcome(Result<Delivered, SendFailure>),
    /// The transaction was committed, or what became of it is not known: then nothing goes on before the transactional id
    /// is taken anew, which ends it one way or the other.
    Ended(Result<(), ClientError>),
}

/// Appends whole batches; see the module's documentation.
pub struct BatchSender {
    client: RawClient,
    options: Options,
    /// Under which name it has transactions.
    transactional: Option<transactions::Identity>,
    core: Core,
    began: Instant,
    connections: HashMap<NodeId, Arc<Connection>>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Kept from one wait to the next: it may ring too early, never too late.
    timer: Pin<Box<Sleep>>,
}

impl BatchSender {
    /// Connects to the cluster; producer settings hold as far as they concern whole batches.
    pub async fn connect(settings: &ClientSettings) -> Result<Self, ClientError> {
        let options = Options::read(settings)?;
        Ok(Self::over(RawClient::connect(settings).await?, options))
    }

    fn over(client: RawClient, options: Options) -> Self {
        Self {
            client,
            transactional: None,
            core: Core::new(options.clone()),
            options,
            began: Instant::now(),
            connections: HashMap::new(),
            events: FuturesUnordered::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// The cluster that it sends to.
    pub fn client(&self) -> &RawClient {
        &self.client
    }

    /// Puts a batch behind those of its partition. Never waits: it leaves while [`Self::next`] is waited for.
    pub fn send(&mut self, to: &TopicPartition, batch: Outgoing) {
        let now = self.began.elapsed();
        self.core.send(now, to, batch);
    }

    /// Whether every batch has had its outcome.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty()
    }

    /// Whether everything given has had its outcome, though a commit may be under way.
    pub fn is_settled(&self) -> bool {
        self.core.is_settled()
    }

    /// The next outcome; pending for ever while nothing is under way. Cancel safe.
    pub async fn next(&mut self) -> Result<Delivered, SendFailure> {
        loop {
            if let Told::Outcome(outcome) = self.told().await {
                return outcome;
            }
        }
    }

    /// As [`Self::next`], and the ends of transactions, each behind the outcomes of all that was part of it. Cancel safe.
    pub async fn told(&mut self) -> Told {
        loop {
            if let Some(outcome) = self.core.pop_outcome() {
                return Told::Outcome(outcome);
            }
            if let Some(end) = self.core.pop_end() {
                return Told::Ended(end);
            }
            self.act();
            if self.core.has_news() {
                continue; // what was to be done next was to give something up
            }
            let now = self.began.elapsed();
            if let Some(deadline) = self.core.deadline(now) {
                let deadline = self.began + deadline;
                if self.timer.deadline() > deadline || self.timer.is_elapsed() {
                    self.timer.as_mut().reset(deadline);
                }
            }
            // Without anything under way there is nothing to wake up for.
            let is_timed = !self.core.is_empty();
            tokio::select! {
                Some(event) = self.events.next() => {
                    self.take(event);
                    self.act(); // the pipe is full again before the caller hears of what arrived
                }
                () = self.timer.as_mut(), if is_timed => {}
                else => std::future::pending().await,
            }
        }
    }

    fn act(&mut self) {
        for Notice { partition, cause, what } in self.core.take_notices() {
            tracing::warn!(%partition, %cause, "{what}");
        }
        loop {
            let now = self.began.elapsed();
            match self.core.next_action(now) {
                None => return,
                Some(Action::Open(leader)) => self.open(leader),
                Some(Action::Send(request)) => self.post(request),
                Some(Action::LookUp(topics)) => self.look_up(topics),
                Some(Action::AskProducer) => self.ask_producer(),
                Some(Action::Coordinate(verb)) => self.coordinate(verb),
            }
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.began.elapsed();
        match event {
            Event::Opened(leader, result) => {
                let result = result.map(|connection| _ = self.connections.insert(leader, connection));
                self.core.opened(now, leader, result);
            }
            Event::Answered(request, result) => {
                let result = result.map(|answer| self.with_known_leaders(answer));
                self.core.answered(now, request, result);
            }
            Event::Numbered(result) => self.core.numbered(now, result),
            Event::Coordinated(verb, result) => self.core.coordinated(now, verb, result),
            Event::LookedUp(Ok(view)) => self.core.looked_up(now, Ok(()), |at| leader_in(&view, at)),
            Event::LookedUp(Err(error)) => {
                self.core.looked_up(now, Err(error), |_| Err(ErrorCode::LeaderNotAvailable));
            }
        }
    }

    fn open(&mut self, leader: NodeId) {
        let client = self.client.clone();
        self.connections.remove(&leader);
        self.spawn(async move { Event::Opened(leader, client.connection(Node::Id(leader), Lane::Call).await) });
    }

    /// Hands a request to its connection; order is that of the calls, so nothing is awaited before.
    fn post(&mut self, request: Request) {
        let id = request.id;
        match self.posted(&request) {
            Ok(answer) => {
                let within = self.options.request_timeout + ANSWER_GRACE;
                self.spawn(async move {
                    let answer = answer.decoded::<ProduceResponse>(within).await;
                    Event::Answered(id, answer.map(wire::read))
                });
            }
            Err(error) => self.core.answered(self.began.elapsed(), id, Err(error)),
        }
    }

    fn posted(&self, request: &Request) -> Result<connection::Answer, ClientError> {
        let Some(connection) = self.connections.get(&request.leader) else {
            let address = format!("broker {}", request.leader);
            return Err(ClientError::Connection { address, reason: "not open".to_owned() });
        };
        let transactional_id = self.transactional.as_ref().map(|identity| identity.name());
        let is_transactional = transactional_id.is_some();
        let cap = if is_transactional { wire::VERSION_MAX_IN_TRANSACTION } else { wire::VERSION_MAX };
        let version = connection.version_of::<ProduceRequest>(cap)?;
        if request.link.is_some() && version < mirror::PRODUCE_SINCE {
            return Err(ClientError::UnsupportedVersion {
                address: connection.address().to_owned(),
                api: "Produce of aligned links".to_owned(),
                broker: format!("..={version}"),
                ours: format!("{}..", mirror::PRODUCE_SINCE),
            });
        }
        let envelope =
            Envelope { transactional_id, version, acks: self.options.acks, timeout: self.options.request_timeout };
        connection.send_parts(ProduceRequest::KEY, version, wire::encode(request, envelope))
    }

    /// Leaves out leaders whose address is not known: those are looked up.
    fn with_known_leaders(&self, mut answer: Answer) -> Answer {
        if answer.partitions.iter().any(|said| said.leader.is_some()) {
            let view = self.client.view();
            for said in &mut answer.partitions {
                said.leader = said.leader.filter(|leader| view.brokers.contains_key(leader));
            }
        }
        answer
    }

    fn look_up(&mut self, topics: Vec<TopicName>) {
        let client = self.client.clone();
        self.spawn(async move { Event::LookedUp(client.refresh(&topics).await) });
    }

    fn ask_producer(&mut self) {
        let client = self.client.clone();
        self.spawn(async move { Event::Numbered(init_producer(&client).await) });
    }

    fn spawn(&mut self, event: impl Future<Output = Event> + Send + 'static) {
        self.events.push(Box::pin(event));
    }
}

fn leader_in(view: &ClusterView, at: &TopicPartition) -> Result<NodeId, ErrorCode> {
    let topic = view.topics.get(&at.topic).ok_or_else(|| view.topic_error(&at.topic))?;
    let partition = topic.partitions.get(&at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    partition.leader.ok_or(ErrorCode::LeaderNotAvailable)
}

/// A producer id that nobody else has.
async fn init_producer(client: &RawClient) -> Result<Producer, ClientError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(ProducerId::NONE.0.into())
        .with_producer_epoch(ProducerEpoch::NONE.0);
    let answer = client.request(Node::Any, &request).await?;
    ClientError::check(|| "get a producer id".to_owned(), answer.error_code, None)?;
    Ok(Producer { id: ProducerId(answer.producer_id.0), epoch: ProducerEpoch(answer.producer_epoch) })
}

#[cfg(test)]
mod tests;
