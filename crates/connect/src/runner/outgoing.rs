//! What a source task has on its way to Kafka, and the offsets behind it.
//!
//! Picture: single records go through a producer, raw batches through a batch sender; each gets a ticket of [`Progress`]. As
//! acknowledgements come in, the room that they took is free again and the task's observer is told of raw batches; every
//! `offset.flush.interval.ms` the offsets of the acknowledged prefix are stored.
//! Bounds: everything under way counts against the worker's [`Memory`](super::memory), single records against a number too.
//! Waiting is cancel safe: nothing changes before something has happened.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use twinstream_client::raw::sender::{self, AlignedAppend, BatchSender, Delivered, SendFailure, Told};
use twinstream_client::{ClientError, ClientSettings, Producer, ProducerRecord};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{AfterRefusal, Aligned, OffsetMap, Placement, RawBatch, RawObserver, Refusal, TaskError};
use twinstream_model::{Offset, TopicPartition};

use super::exactly_once::{Boundary, Phase, Transactions, Waiting, failure, now_ms};
use super::memory::Share;
use super::progress::{Delivery, Progress, Size, Storable, Ticket};
use super::{Shared, TaskSpec};
use crate::metrics::TaskMetrics;
use crate::settings::Role;
use crate::state::offsets::OffsetState;
use crate::store::{StateLog, StoreError};

/// Single records under way: each holds a handful of allocations and a place in the producer's queue.
const RECORDS_MAX: usize = 20_000;
/// What a record or batch takes beside its bytes: its ticket, its place in a queue, the allocations around it. Without it
/// batches of one small record each would be counted as nothing.
const OVERHEAD_BYTES: usize = 512;

/// Kafka's default of `delivery.timeout.ms`.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an orderly end waits for the abort of what could not be committed.
const ABORT_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// What was to be stored, how that went, and how long it took.
type Stored = (Vec<Storable>, Result<(), StoreError>, Duration);
type SingleDelivered = (Ticket, Result<(), TaskError>);

pub(super) struct Outgoing {
    connector: String,
    producer_settings: ClientSettings,
    offsets: Arc<StateLog<OffsetState>>,
    producer: Option<Producer>,
    sender: Option<BatchSender>,
    connecting: Option<BoxFuture<'static, Result<BatchSender, ClientError>>>,
    /// Batches of one poll that wait for the sender to be connected.
    parked: Vec<RawBatch>,
    single: FuturesUnordered<BoxFuture<'static, SingleDelivered>>,
    observer: Option<Arc<dyn RawObserver>>,
    progress: Progress,
    /// Reused from one acknowledgement to the next.
    deliveries: Vec<Delivery>,
    share: Share,
    records: usize,
    storing: Option<BoxFuture<'static, Stored>>,
    /// Rings when the next store is due. Kept, because it is waited for again and again.
    next_store: Pin<Box<Sleep>>,
    store_interval: Duration,
    store_timeout: Duration,
    /// Offsets were stored since the task's last `commit`.
    commit_due: bool,
    has_delivered: bool,
    /// Records and their offsets are one transaction each.
    transactions: Option<Transactions>,
    metrics: TaskMetrics,
}

impl Outgoing {
    pub(super) fn new(shared: &Shared, spec: &TaskSpec) -> Result<Self, TaskError> {
        let client_id = format!("connector-producer-{}", spec.id);
        let own = [("client.id", client_id.as_str())].into_iter();
        let settings = shared.settings.client(Role::Producer, own.chain(spec.client_overrides("producer.override.")));
        let producer_settings = settings.map_err(|error| TaskError::fatal("producer settings").caused_by(error))?;
        let store_interval = shared.settings.millis("offset.flush.interval.ms");
        Ok(Self {
            connector: spec.id.connector.clone(),
            producer_settings,
            offsets: Arc::clone(&shared.offsets),
            producer: None,
            sender: None,
            connecting: None,
            parked: Vec::new(),
            single: FuturesUnordered::new(),
            observer: None,
            progress: Progress::default(),
            deliveries: Vec::new(),
            share: shared.memory.share(),
            records: 0,
            storing: None,
            next_store: Box::pin(tokio::time::sleep(store_interval)),
            store_interval,
            store_timeout: shared.settings.millis("offset.flush.timeout.ms"),
            commit_due: false,
            has_delivered: false,
            transactions: None,
            metrics: shared.metrics.task(&spec.id),
        })
    }

    /// Makes everything from now on part of transactions; the answer is what the task finds stored.
    pub(super) async fn begin_transactions(
        &mut self,
        shared: &Shared,
        spec: &TaskSpec,
    ) -> Result<Arc<Mutex<OffsetState>>, TaskError> {
        let (sender, transactions) = Transactions::begin(shared, spec, &self.producer_settings).await?;
        if let Boundary::Interval(interval) = transactions.boundary {
            self.store_interval = interval;
            self.next_store.as_mut().reset(Instant::now() + interval);
        }
        let stored = transactions.stored();
        self.sender = Some(sender);
        self.transactions = Some(transactions);
        Ok(stored)
    }

    /// Who is told of raw batches that arrived.
    pub(super) fn observe(&mut self, observer: Option<Arc<dyn RawObserver>>) {
        self.observer = observer;
    }

    /// Whether another poll is due, or what is under way must arrive first.
    pub(super) fn has_room(&self) -> bool {
        let waits = self.transactions.as_ref().is_some_and(|transactions| !transactions.waiting.is_empty());
        self.single.len() < RECORDS_MAX && self.parked.is_empty() && !waits && self.share.has_room()
    }

    /// Whether something has arrived.
    pub(super) fn has_delivered(&self) -> bool {
        self.has_delivered
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty()
            && self.parked.is_empty()
            && self.sender.as_ref().is_none_or(|sender| sender.is_empty())
            && self.transactions.as_ref().is_none_or(|transactions| transactions.phase == Phase::Open)
    }

    /// Whether offsets were stored since this was last asked.
    pub(super) fn take_commit_due(&mut self) -> bool {
        std::mem::take(&mut self.commit_due)
    }

    /// A record that is left out: its offset still counts, as soon as everything before it has arrived.
    pub(super) fn skip(&mut self, source: &OffsetMap, offset: OffsetMap) {
        if let Some(transactions) = self.transactions.as_mut().filter(|transactions| transactions.phase != Phase::Open)
        {
            transactions.waiting.push(Waiting::Skipped { source: source.clone(), offset });
            return;
        }
        let ticket = self.progress.sent(source, offset, Size::default());
        self.progress.acknowledged(ticket, Offset::default(), &mut self.deliveries);
        match &mut self.transactions {
            Some(transactions) => transactions.is_dirty = true,
            None => self.tell(),
        }
    }

    pub(super) async fn send_record(
        &mut self,
        record: ProducerRecord,
        source: &OffsetMap,
        offset: OffsetMap,
    ) -> Result<(), TaskError> {
        if self.transactions.is_some() {
            return self.pack_record(record, source, offset).await;
        }
        let failed = |error| undelivered(&record.topic, error);
        let producer = match &self.producer {
            Some(producer) => producer,
            None => {
                let made = Producer::connect(&self.producer_settings).await.map_err(failed)?;
                self.producer.insert(made)
            }
        };
        let delivery = producer.enqueue(&record).await.map_err(failed)?;
        let bytes = record.key.as_ref().map_or(0, |b| b.len()) + record.value.as_ref().map_or(0, |b| b.len());
        let size = Size { records: 1, bytes: bytes + OVERHEAD_BYTES };
        let ticket = self.progress.sent(source, offset, size);
        self.count_out(size);
        let topic = record.topic;
        self.single.push(Box::pin(async move {
            let done = delivery.wait().await;
            (ticket, done.map(|_| ()).map_err(|error| undelivered(&topic, error)))
        }));
        Ok(())
    }

    /// A single record becomes part of a batch of the open transaction, or waits for the next one.
    async fn pack_record(
        &mut self,
        record: ProducerRecord,
        source: &OffsetMap,
        offset: OffsetMap,
    ) -> Result<(), TaskError> {
        let (Some(transactions), Some(sender)) = (&mut self.transactions, &self.sender) else { return Ok(()) };
        let count = transactions.partitions_of(sender.client(), &record.topic).await?;
        let partition = transactions.packer.partition_of(&record, count);
        let to = TopicPartition::new(record.topic.clone(), partition);
        let source = source.clone();
        if transactions.phase == Phase::Open {
            self.pack(&to, &record, &source, offset);
        } else {
            transactions.waiting.push(Waiting::Record { to, record, source, offset });
        }
        Ok(())
    }

    fn pack(&mut self, to: &TopicPartition, record: &ProducerRecord, source: &OffsetMap, offset: OffsetMap) {
        let Some(transactions) = &mut self.transactions else { return };
        let bytes = record.key.as_ref().map_or(0, |b| b.len()) + record.value.as_ref().map_or(0, |b| b.len());
        let size = Size { records: 1, bytes: bytes + OVERHEAD_BYTES };
        let ticket = self.progress.sent(source, offset, size);
        transactions.is_dirty = true;
        transactions.packer.add(to, record, now_ms(), ticket);
        self.count_out(size);
    }

    /// All of one poll was handed over: what was packed leaves, and a transaction of one poll ends.
    pub(super) fn end_of_poll(&mut self) {
        let (Some(transactions), Some(sender)) = (&mut self.transactions, &mut self.sender) else { return };
        if transactions.phase == Phase::Open {
            transactions.send_packed(sender);
            if transactions.boundary == Boundary::Poll {
                self.begin_commit();
            }
        }
    }

    /// Ends the open transaction, if there is anything in it.
    pub(super) fn begin_commit(&mut self) {
        if let Some(transactions) = &mut self.transactions
            && transactions.phase == Phase::Open
            && transactions.is_dirty
        {
            transactions.phase = Phase::Draining;
            self.advance();
        }
    }

    /// Takes the next steps of a commit that are due.
    fn advance(&mut self) {
        let (Some(transactions), Some(sender)) = (&mut self.transactions, &mut self.sender) else { return };
        if transactions.phase == Phase::Draining && sender.is_settled() {
            let offsets = self.progress.take_storable();
            transactions.send_offsets(sender, &self.connector, &offsets);
            transactions.phase = Phase::Offsets;
        }
        if transactions.phase == Phase::Offsets && sender.is_settled() {
            transactions.phase = Phase::Ending;
            sender.commit();
        }
    }

    /// The transaction has ended: observers hear of it, and what waited is the next one.
    fn ended(&mut self, end: Result<(), ClientError>) -> Result<(), TaskError> {
        let Some(transactions) = &mut self.transactions else { return Ok(()) };
        end.map_err(|error| failure("cannot commit the transaction", error))?;
        transactions.committed();
        self.metrics.transaction(transactions.sizes.committed());
        let waiting = std::mem::take(&mut transactions.waiting);
        self.metrics.commits.inc();
        (self.commit_due, self.has_delivered) = (true, true);
        self.tell();
        for one in waiting {
            match one {
                Waiting::Batch(batch) => self.send_batches(vec![batch]),
                Waiting::Record { to, record, source, offset } => self.pack(&to, &record, &source, offset),
                Waiting::Skipped { source, offset } => self.skip(&source, offset),
            }
        }
        self.end_of_poll();
        Ok(())
    }

    /// Takes in what a sender with transactions tells.
    fn transactional(&mut self, told: Told) -> Result<(), TaskError> {
        match told {
            Told::Ended(end) => self.ended(end)?,
            Told::Outcome(Err(failed)) => {
                let ticket = Ticket::from_number(failed.ticket);
                // Whoever reads ahead hears what was wrong, so that the next life may know better.
                if let (Some((lane, false)), Some(observer)) = (self.progress.lane_of(ticket), &self.observer) {
                    let error = TaskError::fatal("refused").caused_by(failed.error.clone());
                    let refusal = Refusal { code: failed.error.code(), error: &error, log_end: failed.log_end };
                    observer.refused(&lane, &refusal);
                }
                return Err(failure(format!("cannot produce to {}", failed.partition), failed.error));
            }
            Told::Outcome(Ok(delivered)) => {
                let own = self.transactions.as_mut().and_then(|transactions| transactions.unpacked(delivered.ticket));
                match own {
                    Some(tickets) => tickets.into_iter().for_each(|ticket| _ = self.arrived(ticket, Offset::default())),
                    None => self.raw_arrived(&delivered),
                }
            }
        }
        self.advance();
        self.show_active();
        Ok(())
    }

    /// Gives up the open transaction at once, so that nobody has to wait for its time to run out.
    pub(super) async fn abort(&mut self, within: Duration) {
        if self.transactions.is_some()
            && let Some(sender) = self.sender.take()
            && let Err(error) = sender.abort(within).await
        {
            let cause = trace_of(&error);
            tracing::warn!(connector = self.connector, cause, "the open transaction is left to its successor");
        }
    }

    /// Hands batches to the sender. The first ones wait until it is connected; nothing is polled meanwhile.
    pub(super) fn send_batches(&mut self, batches: Vec<RawBatch>) {
        if let Some(transactions) = &mut self.transactions {
            if transactions.phase != Phase::Open {
                transactions.waiting.extend(batches.into_iter().map(Waiting::Batch));
                return;
            }
            transactions.is_dirty |= !batches.is_empty();
        }
        let Some(sender) = &mut self.sender else {
            self.parked.extend(batches);
            if self.connecting.is_none() {
                self.connecting = Some(Box::pin(connect(self.producer_settings.clone())));
            }
            return;
        };
        let mut all = Size::default();
        for batch in batches {
            let is_nothing = batch.bytes.is_empty() && batch.placement == Placement::Assigned;
            let size = match is_nothing {
                true => Size::default(),
                false => Size { records: batch.records, bytes: batch.bytes.len() + OVERHEAD_BYTES },
            };
            let Some(ticket) = self.progress.sent_raw(&batch.lane, batch.next, size) else { continue };
            if is_nothing {
                self.progress.acknowledged(ticket, Offset::NONE, &mut self.deliveries);
                continue;
            }
            all = Size { records: all.records.saturating_add(size.records), bytes: all.bytes + size.bytes };
            let RawBatch { lane, bytes, records, placement, .. } = batch;
            let aligned = aligned(placement);
            sender.send(&lane.target, sender::Outgoing { ticket: ticket.to_number(), bytes, records, aligned });
        }
        self.count_out(all);
        if self.transactions.is_none() {
            self.tell();
        }
    }

    fn count_out(&mut self, size: Size) {
        self.records += size.records as usize;
        self.share.take(size.bytes);
        self.show_active();
    }

    /// Takes in one acknowledgement; the answer is what it weighed.
    fn arrived(&mut self, ticket: Ticket, base_offset: Offset) -> Size {
        let size = self.progress.acknowledged(ticket, base_offset, &mut self.deliveries);
        self.count_in(size);
        self.metrics.written.inc_by(u64::from(size.records));
        match &mut self.transactions {
            Some(transactions) => transactions.sizes.add(size.records),
            None => {
                self.has_delivered = true;
                self.tell();
            }
        }
        size
    }

    /// Takes in a refusal: the task's observer is asked once for a lane, and without one the task fails. Then the ticket
    /// stays open, so that no offset behind it is stored at the end.
    fn refused(&mut self, failure: SendFailure) -> Result<(), TaskError> {
        let ticket = Ticket::from_number(failure.ticket);
        if let Some((lane, false)) = self.progress.lane_of(ticket) {
            let (code, log_end) = (failure.error.code(), failure.log_end);
            let error = undelivered(&failure.partition, failure.error);
            let refusal = Refusal { code, error: &error, log_end };
            let answer = self.observer.as_ref().map(|observer| observer.refused(&lane, &refusal));
            self.progress.close(&lane);
            if answer != Some(AfterRefusal::CloseLane) {
                return Err(error);
            }
            let cause = error.trace();
            tracing::warn!(connector = self.connector, partition = %lane.target, cause, "batch is refused");
            self.metrics.refused.inc();
        }
        let size = self.progress.dropped(ticket, &mut self.deliveries);
        self.count_in(size);
        self.tell();
        Ok(())
    }

    fn count_in(&mut self, size: Size) {
        self.records = self.records.saturating_sub(size.records as usize);
        self.share.give_back(size.bytes);
    }

    fn tell(&mut self) {
        for Delivery { lane, next, base_offset } in self.deliveries.drain(..) {
            if let Some(observer) = &self.observer {
                observer.delivered(&lane, next, base_offset);
            }
        }
    }

    fn show_active(&self) {
        self.metrics.active.set(i64::try_from(self.records).unwrap_or(i64::MAX));
    }

    /// Waits for the next thing to happen and takes it in. Cancel safe.
    pub(super) async fn step(&mut self) -> Result<(), TaskError> {
        tokio::select! {
            told = next_told(&mut self.sender) => match told {
                told if self.transactions.is_some() => self.transactional(told)?,
                Told::Outcome(outcome) => self.raw_outcomes(outcome)?,
                Told::Ended(_) => {}
            },
            Some((ticket, delivered)) = self.single.next() => {
                delivered?;
                self.arrived(ticket, Offset::default());
                self.show_active();
            }
            connected = next_of(&mut self.connecting) => {
                self.connecting = None;
                let failed = |error: ClientError| passing(&error, "cannot reach the target cluster").caused_by(error);
                self.sender = Some(connected.map_err(failed)?);
                let parked = std::mem::take(&mut self.parked);
                self.send_batches(parked);
            }
            stored = next_of(&mut self.storing) => {
                self.storing = None;
                self.stored(stored);
            }
            () = self.next_store.as_mut(), if self.storing.is_none() => self.begin_store(),
        }
        Ok(())
    }

    /// Takes in what became of a raw batch, and all else that is known already: one answer of a broker tells of many.
    fn raw_outcomes(&mut self, first: Result<Delivered, SendFailure>) -> Result<(), TaskError> {
        let mut outcome = Some(first);
        while let Some(known) = outcome {
            match known {
                Ok(delivered) => self.raw_arrived(&delivered),
                Err(failure) => self.refused(failure)?,
            }
            outcome = self.sender.as_mut().and_then(|sender| sender.next().now_or_never());
        }
        self.show_active();
        Ok(())
    }

    fn raw_arrived(&mut self, delivered: &Delivered) {
        let ticket = Ticket::from_number(delivered.ticket);
        if let (Some(end), Some(observer)) = (delivered.log_end, &self.observer)
            && let Some((lane, _)) = self.progress.lane_of(ticket)
        {
            observer.log_end(&lane, end);
        }
        let size = self.arrived(ticket, delivered.base_offset);
        self.metrics.raw_batches.inc();
        self.metrics.raw_bytes.inc_by(size.bytes.saturating_sub(OVERHEAD_BYTES) as u64);
    }

    fn begin_store(&mut self) {
        self.next_store.as_mut().reset(Instant::now() + self.store_interval);
        if let Some(transactions) = &self.transactions {
            if matches!(transactions.boundary, Boundary::Interval(_)) {
                self.begin_commit();
            }
            return;
        }
        let offsets = self.progress.take_storable();
        if !offsets.is_empty() {
            self.storing =
                Some(Box::pin(store(Arc::clone(&self.offsets), self.connector.clone(), offsets, self.store_timeout)));
        }
    }

    fn stored(&mut self, (offsets, result, took): Stored) {
        match result {
            Ok(()) => {
                self.metrics.commits.inc();
                self.metrics.commit_times.add(took);
                self.commit_due = true;
            }
            Err(error) => {
                self.metrics.commit_failures.inc();
                let cause = trace_of(&error);
                tracing::warn!(connector = self.connector, cause, "offsets are not stored yet");
                self.progress.put_back(offsets);
            }
        }
    }

    /// Until nothing is under way, or something failed; then an open transaction is given up.
    pub(super) async fn drain(&mut self) {
        while !self.is_empty() {
            if let Err(error) = self.step().await {
                tracing::warn!(connector = self.connector, cause = %error.trace(), "not all of it arrived");
                self.abort(ABORT_WITHIN).await;
                return;
            }
        }
    }

    /// Stores what is storable; `false` if there was nothing.
    pub(super) async fn store_now(&mut self) -> Result<bool, StoreError> {
        if let Some(storing) = self.storing.take() {
            let stored = storing.await;
            self.stored(stored);
        }
        if self.transactions.is_some() {
            return Ok(self.take_commit_due()); // offsets are stored by commits, or not at all
        }
        let offsets = self.progress.take_storable();
        if offsets.is_empty() {
            return Ok(self.take_commit_due());
        }
        let stored = store(Arc::clone(&self.offsets), self.connector.clone(), offsets, self.store_timeout).await;
        stored.1.map(|()| true)
    }
}

/// Something that the target did not take. One that is only away makes the task start afresh, see [`super::lives`].
fn undelivered(to: &dyn std::fmt::Display, error: ClientError) -> TaskError {
    passing(&error, format!("cannot produce to {to}")).caused_by(error)
}

fn passing(cause: &ClientError, message: impl Into<String>) -> TaskError {
    if cause.is_retriable() { TaskError::retriable(message) } else { TaskError::fatal(message) }
}

async fn next_told(sender: &mut Option<BatchSender>) -> Told {
    match sender {
        Some(sender) => sender.told().await,
        None => futures::future::pending().await,
    }
}

fn aligned(placement: Placement) -> Option<AlignedAppend> {
    match placement {
        Placement::Assigned => None,
        Placement::Aligned(Aligned { link, from, log_start, source_epoch, high_watermark, last_epoch, cut }) => {
            Some(AlignedAppend { link, from, log_start, source_epoch, high_watermark, last_epoch, cut })
        }
    }
}

async fn next_of<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => futures::future::pending().await,
    }
}

/// A sender, asked for again while the cluster is away, within the time that a delivery may take.
async fn connect(settings: ClientSettings) -> Result<BatchSender, ClientError> {
    let within = settings.get("delivery.timeout.ms").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let deadline = Instant::now() + within.unwrap_or(DELIVERY_TIMEOUT);
    loop {
        match BatchSender::connect(&settings).await {
            Err(error) if error.is_retriable() && Instant::now() + CONNECT_PAUSE < deadline => {
                tracing::warn!(cause = trace_of(&error), "the target cluster does not answer, it is tried again");
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn store(log: Arc<StateLog<OffsetState>>, connector: String, offsets: Vec<Storable>, within: Duration) -> Stored {
    let started = Instant::now();
    let records = {
        let state = log.state();
        offsets.iter().map(|one| state.record(&connector, &one.source, &one.offset)).collect()
    };
    let result = match tokio::time::timeout(within, log.write(records)).await {
        Ok(result) => result,
        Err(_) => Err(log.late(within)),
    };
    (offsets, result, started.elapsed())
}
