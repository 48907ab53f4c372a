//! The commit cycle of a source task whose records and offsets are one transaction.
//!
//! Picture: a transaction is *open* while the task's data goes out. At a boundary it *drains*: what was polled since waits,
//! until all of it has arrived. Then the offsets behind it go out as records of the same transaction, then the commit; once
//! that is answered, observers are told and what waited is the next transaction. Each step follows from the one before it, so a
//! worker that dies between two of them leaves a transaction that its successor ends, and an offset that says so.
//! Invariants: E1 an offset record is part of the transaction of what it covers. E2 nobody is told of a record before its
//! commit. E3 the first thing of a life is to take the transactional id, which fences the one before it; only then are
//! offsets read, committed ones only. E4 any failure ends the life: a transaction is never gone on with. E5 a life begins only
//! if the worker has its place in the group, before and after it has taken the id ([`crate::group::Place`]).
//! Not here: requests and sequences ([`twinstream_client::raw::sender`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use twinstream_client::raw::sender::{BatchSender, Outgoing};
use twinstream_client::raw::{ClusterView, RawClient};
use twinstream_client::{ClientError, ClientSettings, ProducerRecord};
use twinstream_connect_api::{OffsetMap, RawBatch, TaskError};
use twinstream_model::{TopicName, TopicPartition};

use super::packing::Packer;
use super::progress::{Storable, Ticket};
use super::sizes::Sizes;
use super::{Shared, TaskSpec};
use crate::settings::Role;
use crate::state::Replay as _;
use crate::state::offsets::OffsetState;
use crate::store::read_offsets;

/// Kafka's default of `transaction.timeout.ms`.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a broker allows by default (`transaction.max.timeout.ms`).
const TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);
/// Tickets of batches that are none of [`super::progress`]: packed records and offsets.
const OWN_TICKETS: u64 = 1 << 63;

/// Where a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    Poll,
    Interval(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Draining,
    /// The offsets are on their way.
    Offsets,
    Ending,
}

/// Something polled while a transaction was ending.
pub(super) enum Waiting {
    Batch(RawBatch),
    Record { to: TopicPartition, record: ProducerRecord, source: OffsetMap, offset: OffsetMap },
    Skipped { source: OffsetMap, offset: OffsetMap },
}

pub(super) struct Transactions {
    pub(super) boundary: Boundary,
    pub(super) phase: Phase,
    /// Something is part of the open transaction.
    pub(super) is_dirty: bool,
    pub(super) waiting: Vec<Waiting>,
    pub(super) packer: Packer,
    packs: HashMap<u64, Vec<Ticket>>,
    next_own: u64,
    partitions: HashMap<TopicName, u32>,
    offsets_topic: TopicName,
    offsets_partitions: u32,
    /// What is stored, as the newest transaction of this task leaves it; the task asks it too.
    stored: Arc<Mutex<OffsetState>>,
    storing: Vec<crate::state::StateRecord>,
    pub(super) sizes: Sizes,
}

impl Transactions {
    /// Takes the task's transactional id, then reads the offsets.
    pub(super) async fn begin(
        shared: &Shared,
        spec: &TaskSpec,
        settings: &ClientSettings,
    ) -> Result<(BatchSender, Self), TaskError> {
        let own = spec.setting("producer.override.bootstrap.servers");
        if own.is_some_and(|own| Some(own) != shared.settings.producer_servers()) {
            return Err(TaskError::fatal(
                "exactly-once sources write to the cluster of their worker: remove producer.override.bootstrap.servers, \
                 or run the connector on a worker of the cluster that it names",
            ));
        }
        let boundary = boundary_of(shared, spec);
        let timeout = match boundary {
            Boundary::Poll => TIMEOUT,
            Boundary::Interval(interval) => (2 * interval).clamp(TIMEOUT, TIMEOUT_MAX),
        };
        let id = format!("{}-{}", shared.settings.group_id(), spec.id);
        let failed = |error: ClientError| failure("cannot take the task's transactional id", error);
        shared.place.confirm().await.map_err(failed)?;
        let sender = BatchSender::connect_transactional(settings, &id, timeout).await.map_err(failed)?;
        // A successor that came in between was fenced, and takes the id back; this one must not begin.
        shared.place.confirm().await.map_err(failed)?;
        let consumer = shared.settings.client(Role::Consumer, [].into_iter());
        let consumer = consumer.map_err(|error| TaskError::fatal("consumer settings").caused_by(error))?;
        let offsets_topic = TopicName::parse(shared.settings.string("offset.storage.topic"))
            .map_err(|error| TaskError::fatal("offset.storage.topic").caused_by(error))?;
        let unread = |error| TaskError::retriable("cannot read the stored offsets").caused_by(error);
        let stored = read_offsets(&offsets_topic, &consumer, sender.client()).await.map_err(unread)?;
        let mut transactions = Self {
            boundary,
            phase: Phase::Open,
            is_dirty: false,
            waiting: Vec::new(),
            packer: Packer::default(),
            packs: HashMap::new(),
            next_own: OWN_TICKETS,
            partitions: HashMap::new(),
            offsets_topic: offsets_topic.clone(),
            offsets_partitions: 1,
            stored: Arc::new(Mutex::new(stored)),
            storing: Vec::new(),
            sizes: Sizes::default(),
        };
        transactions.offsets_partitions = transactions.partitions_of(sender.client(), &offsets_topic).await?;
        Ok((sender, transactions))
    }

    /// How many partitions a topic has; asked for once.
    pub(super) async fn partitions_of(&mut self, client: &RawClient, topic: &TopicName) -> Result<u32, TaskError> {
        if let Some(known) = self.partitions.get(topic) {
            return Ok(*known);
        }
        let failed = |error| failure(format!("cannot find topic {topic}"), error);
        let view = client.refresh(std::slice::from_ref(topic)).await.map_err(failed)?;
        let Some(count) = partitions_in(&view, topic) else {
            return Err(TaskError::retriable(format!("topic {topic} does not exist: create it")));
        };
        self.partitions.insert(topic.clone(), count);
        Ok(count)
    }

    /// Sends what was packed.
    pub(super) fn send_packed(&mut self, sender: &mut BatchSender) {
        for packed in self.packer.take() {
            let ticket = self.own_ticket();
            self.packs.insert(ticket, packed.tickets);
            let (bytes, records) = (packed.bytes, packed.records);
            sender.send(&packed.to, Outgoing { ticket, bytes, records, aligned: None });
        }
    }

    fn own_ticket(&mut self) -> u64 {
        self.next_own += 1;
        self.next_own
    }

    /// The tickets behind a batch that is none of the connector's own; `None` for one that is.
    pub(super) fn unpacked(&mut self, ticket: u64) -> Option<Vec<Ticket>> {
        (ticket >= OWN_TICKETS).then(|| self.packs.remove(&ticket).unwrap_or_default())
    }

    /// Sends the offsets; the answer is whether there are any.
    pub(super) fn send_offsets(&mut self, sender: &mut BatchSender, connector: &str, offsets: &[Storable]) -> bool {
        let (topic, count) = (self.offsets_topic.clone(), self.offsets_partitions);
        let stored = self.stored.lock();
        self.storing = offsets.iter().map(|one| stored.record(connector, &one.source, &one.offset)).collect();
        drop(stored);
        let mut packer = Packer::default();
        let now = now_ms();
        for state in &self.storing {
            let record = ProducerRecord::new(topic.clone(), Some(state.key.clone()), state.value.clone());
            let to = TopicPartition::new(topic.clone(), packer.partition_of(&record, count));
            packer.add(&to, &record, now, Ticket::from_number(0));
        }
        for packed in packer.take() {
            let (ticket, bytes, records) = (self.own_ticket(), packed.bytes, packed.records);
            sender.send(&packed.to, Outgoing { ticket, bytes, records, aligned: None });
        }
        !self.storing.is_empty()
    }

    /// The transaction is committed, and with it what was being stored.
    pub(super) fn committed(&mut self) {
        for record in self.storing.drain(..) {
            if let Err(error) = self.stored.lock().replay(&record.key, record.value.as_deref()) {
                tracing::warn!(%error, "an offset that was just stored cannot be read");
            }
        }
        (self.phase, self.is_dirty) = (Phase::Open, false);
    }

    /// What the task finds stored.
    pub(super) fn stored(&self) -> Arc<Mutex<OffsetState>> {
        Arc::clone(&self.stored)
    }
}

fn boundary_of(shared: &Shared, spec: &TaskSpec) -> Boundary {
    match spec.setting("transaction.boundary") {
        Some(text) if text.eq_ignore_ascii_case("interval") => {
            let own = spec.setting("transaction.boundary.interval.ms").and_then(|text| text.parse().ok());
            let interval = own.map(Duration::from_millis);
            Boundary::Interval(interval.unwrap_or_else(|| shared.settings.millis("offset.flush.interval.ms")))
        }
        _ => Boundary::Poll,
    }
}

fn partitions_in(view: &ClusterView, topic: &TopicName) -> Option<u32> {
    let count = view.topics.get(topic)?.partitions.len();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

pub(super) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// What ends a life, as an error that another life may follow where that can help.
///
/// Being fenced ends no task for good: a successor on another worker is looked for as the next life begins
/// ([`Transactions::begin`]), and what else it can be passes: a transaction that took too long, or a worker that had lost its
/// place without knowing. What fails for good in a transaction may be mended by a fresh task too, which asks the target anew
/// what it takes; so only whoever may not have the transactional id fails.
pub(super) fn failure(what: impl Into<String>, error: ClientError) -> TaskError {
    use twinstream_client::raw::sender::is_fenced;
    let what = what.into();
    if is_fenced(&error) {
        let text = format!(
            "{what}: another one has taken the task's transactional id, or the transaction took longer than \
             its time; the task takes the id back if its worker is still in its group"
        );
        return TaskError::retriable(text).caused_by(error);
    }
    let is_hopeless = error.code().is_some_and(|code| code.name().ends_with("_AUTHORIZATION_FAILED"))
        || matches!(error, ClientError::Settings(_) | ClientError::Library { retriable: false, .. });
    let made = if is_hopeless { TaskError::fatal(what) } else { TaskError::retriable(what) };
    made.caused_by(error)
}
