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
use tokio::time::{Instant, Sleep};
use twinstream_client::raw::sender::{self, AlignedAppend, BatchSender, Delivered, SendFailure};
use twinstream_client::{ClientError, ClientSettings, Producer, ProducerRecord};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{AfterRefusal, Aligned, OffsetMap, Placement, RawBatch, RawObserver, Refusal, TaskError};
use twinstream_model::Offset;

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
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

type Stored = (Vec<Storable>, Result<(), StoreError>);
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
            metrics: shared.metrics.task(&spec.id),
        })
    }

    /// Who is told of raw batches that arrived.
    pub(super) fn observe(&mut self, observer: Option<Arc<dyn RawObserver>>) {
        self.observer = observer;
    }

    /// Whether another poll is due, or what is under way must arrive first.
    pub(super) fn has_room(&self) -> bool {
        self.single.len() < RECORDS_MAX && self.parked.is_empty() && self.share.has_room()
    }

    /// Whether offsets were stored since this was last asked.
    pub(super) fn take_commit_due(&mut self) -> bool {
        std::mem::take(&mut self.commit_due)
    }

    /// A record that is left out: its offset still counts, as soon as everything before it has arrived.
    pub(super) fn skip(&mut self, source: &OffsetMap, offset: OffsetMap) {
        let ticket = self.progress.sent(source, offset, Size::default());
        self.progress.acknowledged(ticket, Offset::default(), &mut self.deliveries);
        self.tell();
    }

    pub(super) async fn send_record(
        &mut self,
        record: ProducerRecord,
        source: &OffsetMap,
        offset: OffsetMap,
    ) -> Result<(), TaskError> {
        let failed = |error| TaskError::fatal(format!("cannot produce to {}", record.topic)).caused_by(error);
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
            let failed = |error| TaskError::fatal(format!("cannot produce to {topic}")).caused_by(error);
            (ticket, done.map(|_| ()).map_err(failed))
        }));
        Ok(())
    }

    /// Hands batches to the sender. The first ones wait until it is connected; nothing is polled meanwhile.
    pub(super) fn send_batches(&mut self, batches: Vec<RawBatch>) {
        let Some(sender) = &mut self.sender else {
            self.parked.extend(batches);
            if self.connecting.is_none() {
                self.connecting = Some(Box::pin(connect(self.producer_settings.clone())));
            }
            return;
        };
        let mut all = Size::default();
        for batch in batches {
            let size = Size { records: batch.records, bytes: batch.bytes.len() + OVERHEAD_BYTES };
            let Some(ticket) = self.progress.sent_raw(&batch.lane, batch.next, size) else { continue };
            all = Size { records: all.records.saturating_add(size.records), bytes: all.bytes + size.bytes };
            let RawBatch { lane, bytes, records, placement, .. } = batch;
            let aligned = aligned(placement);
            sender.send(&lane.target, sender::Outgoing { ticket: ticket.to_number(), bytes, records, aligned });
        }
        self.count_out(all);
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
        self.tell();
        size
    }

    /// Takes in a refusal: the task's observer is asked once for a lane, and without one the task fails. Then the ticket
    /// stays open, so that no offset behind it is stored at the end.
    fn refused(&mut self, failure: SendFailure) -> Result<(), TaskError> {
        let ticket = Ticket::from_number(failure.ticket);
        if let Some((lane, false)) = self.progress.lane_of(ticket) {
            let (code, log_end) = (failure.error.code(), failure.log_end);
            let error = TaskError::fatal(format!("cannot produce to {}", failure.partition)).caused_by(failure.error);
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
            outcome = next_outcome(&mut self.sender) => self.raw_outcomes(outcome)?,
            Some((ticket, delivered)) = self.single.next() => {
                delivered?;
                self.arrived(ticket, Offset::default());
                self.show_active();
            }
            connected = next_of(&mut self.connecting) => {
                self.connecting = None;
                let failed = |error| TaskError::fatal("cannot reach the target cluster").caused_by(error);
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
        let offsets = self.progress.take_storable();
        if !offsets.is_empty() {
            self.storing =
                Some(Box::pin(store(Arc::clone(&self.offsets), self.connector.clone(), offsets, self.store_timeout)));
        }
    }

    fn stored(&mut self, (offsets, result): Stored) {
        match result {
            Ok(()) => {
                self.metrics.commits.inc();
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

    /// Until nothing is under way, or something failed.
    pub(super) async fn drain(&mut self) {
        while !self.single.is_empty()
            || !self.parked.is_empty()
            || self.sender.as_ref().is_some_and(|sender| !sender.is_empty())
        {
            if self.step().await.is_err() {
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
        let offsets = self.progress.take_storable();
        if offsets.is_empty() {
            return Ok(self.take_commit_due());
        }
        let stored = store(Arc::clone(&self.offsets), self.connector.clone(), offsets, self.store_timeout).await;
        stored.1.map(|()| true)
    }
}

async fn next_outcome(sender: &mut Option<BatchSender>) -> Result<Delivered, SendFailure> {
    match sender {
        Some(sender) => sender.next().await,
        None => futures::future::pending().await,
    }
}

fn aligned(placement: Placement) -> Option<AlignedAppend> {
    match placement {
        Placement::Assigned => None,
        Placement::Aligned(Aligned { link, from, log_start, source_epoch, high_watermark }) => {
            Some(AlignedAppend { link, from, log_start, source_epoch, high_watermark })
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
    let records = {
        let state = log.state();
        offsets.iter().map(|one| state.record(&connector, &one.source, &one.offset)).collect()
    };
    let result = match tokio::time::timeout(within, log.write(records)).await {
        Ok(result) => result,
        Err(_) => Err(log.late(within)),
    };
    (offsets, result)
}
