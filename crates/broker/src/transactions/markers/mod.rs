//! Carries the markers of transactions that end to the leaders of their partitions.
//!
//! Picture: a post office. Shards drop transactions into the [`Outbox`]; one task sorts their partitions by the broker that
//! leads them, sends each broker what has gathered for it (WriteTxnMarkers), and tells the shard which markers are
//! written. What a leader does not take now, or what nobody leads, is tried again after a pause, or at once when the
//! metadata changed.
//!
//! Invariants: a transaction stays until its markers are written, its topics are gone, or its shard has moved away; then
//! the next coordinator begins anew. A broker gets at most [`book::REQUESTS_MAX`] requests at a time, so that markers
//! gather into few requests when there are many. There is at most one entry per transactional id, so the books are
//! bounded by what the shards here hold. What is sent may arrive twice; a partition takes that for done.
//!
//! Not here: how a partition takes a marker (`handlers::write_txn_markers`), when a transaction ends (`coordinator`).

mod book; // what is where
mod wire; // requests and answers

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{debug, warn};
use twinstream_coordinator::transaction::{Answer, MarkersWritten, Request, WriteMarkers};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, TopicPartition};

use self::book::{Batch, Book, Origin, Place, Report};
use self::wire::Codes;
use super::kind::TransactionKind;
use super::metrics::TransactionMetrics;
use crate::context::{Broker, RequestContext};
use crate::coordinators::Site;
use crate::handlers::write_txn_markers;

/// Pause before partitions whose leader did not take a marker, or is not known, are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Where shards leave transactions whose markers are to be written.
#[derive(Default)]
pub(super) struct Outbox {
    /// At most one per transactional id matters, and they are taken away at once.
    left: Mutex<Vec<(Site<TransactionKind>, WriteMarkers)>>,
    bell: Notify,
}

impl Outbox {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.left.lock().is_empty()
    }

    pub(super) fn put(&self, site: Site<TransactionKind>, markers: WriteMarkers) {
        self.left.lock().push((site, markers));
        self.bell.notify_one();
    }

    /// What was left since the last look; waits until there is something.
    pub(super) async fn take(&self) -> Vec<(Site<TransactionKind>, WriteMarkers)> {
        loop {
            let left = std::mem::take(&mut *self.left.lock());
            if !left.is_empty() {
                return left;
            }
            self.bell.notified().await;
        }
    }
}

impl Origin for Site<TransactionKind> {
    fn is_gone(&self) -> bool {
        self.resigned.is_cancelled()
    }

    fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }
}

/// Carries markers until the broker stops.
pub(super) async fn run(broker: Arc<Broker>, outbox: Arc<Outbox>, metrics: TransactionMetrics) {
    let mut changes = broker.controller.watch_image();
    let shutdown = broker.shutdown.clone();
    let mut office = Office::new(broker, metrics);
    loop {
        let retry_at = office.retry_at;
        tokio::select! {
            () = shutdown.cancelled() => return,
            left = outbox.take() => office.add(left),
            Some(flown) = office.flights.join_next_with_id() => office.landed(flown),
            Some(told) = office.telling.join_next() => if let Err(error) = told {
                warn!(%error, "a shard could not be told of its markers");
            },
            changed = changes.changed() => match changed {
                Ok(()) => office.try_again(),
                Err(_) => return,
            },
            () = until(retry_at) => office.try_again(),
        }
        office.send();
    }
}

/// The books, and what is under way.
struct Office {
    broker: Arc<Broker>,
    metrics: TransactionMetrics,
    book: Book<Site<TransactionKind>>,
    flights: JoinSet<Result<Codes, String>>,
    /// What each flight carries.
    cargo: HashMap<Id, Batch>,
    /// Shards that are being told; at most one for each of their transactional ids.
    telling: JoinSet<()>,
    retry_at: Option<Instant>,
}

impl Office {
    fn new(broker: Arc<Broker>, metrics: TransactionMetrics) -> Office {
        Office {
            broker,
            metrics,
            book: Book::default(),
            flights: JoinSet::new(),
            cargo: HashMap::new(),
            telling: JoinSet::new(),
            retry_at: None,
        }
    }

    fn add(&mut self, left: Vec<(Site<TransactionKind>, WriteMarkers)>) {
        let image = self.broker.image.load_full();
        for (site, markers) in left {
            self.book.add(site, markers, Instant::now(), |partition| place(&image, partition));
        }
    }

    /// Looks anew where the partitions are that could not be served.
    fn try_again(&mut self) {
        let image = self.broker.image.load_full();
        self.retry_at = None;
        self.book.try_again(|partition| place(&image, partition));
    }

    /// Sends what may be sent, tells what is to be told.
    fn send(&mut self) {
        while let Some(batch) = self.book.next_batch() {
            let flight = fly(Arc::clone(&self.broker), batch.clone());
            let task = self.flights.spawn(flight);
            self.cargo.insert(task.id(), batch);
        }
        for report in self.book.take_reports() {
            self.metrics.written.inc_by(report.partitions.len() as u64);
            self.telling.spawn(tell(report));
        }
        let waiting = self.book.waiting();
        if waiting > 0 {
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_PAUSE);
        }
        self.metrics.waiting.set(waiting as i64);
        self.metrics.ending.set(self.book.transactions() as i64);
        self.book.overdue(Instant::now(), |id, partitions| {
            warn!(
                transactional_id = %id, ?partitions,
                "transaction has ended and cannot be ended in all of its partitions yet: start the brokers that lead them"
            );
        });
    }

    fn landed(&mut self, flown: Result<(Id, Result<Codes, String>), JoinError>) {
        let (id, outcome) = match flown {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(error.to_string())),
        };
        let Some(batch) = self.cargo.remove(&id) else { return };
        if let Err(error) = &outcome {
            debug!(node = batch.node.0, error, "markers of transactions were not delivered");
        }
        self.book.settle(batch, outcome.ok().as_ref());
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Where a partition is now.
fn place(image: &Image, partition: &TopicPartition) -> Place {
    let found = image.topic(&partition.topic).and_then(|topic| topic.partition(partition.partition));
    match found {
        // The coordinator had the topic in its image when the partition joined the transaction, and images of later
        // coordinators are newer than that: so it was deleted.
        None => Place::Gone,
        Some(found) => found.leader.map_or(Place::Unknown, Place::At),
    }
}

/// Sends one batch and waits for the answer. Given up when the broker leads none of the partitions any more: one that
/// hangs would answer late, and others lead by then.
async fn fly(broker: Arc<Broker>, batch: Batch) -> Result<Codes, String> {
    tokio::select! {
        codes = deliver(&broker, &batch) => codes,
        () = leads_none(&broker, &batch) => Err("it does not lead any of the partitions any more".to_owned()),
    }
}

async fn deliver(broker: &Arc<Broker>, batch: &Batch) -> Result<Codes, String> {
    let request = wire::request(batch);
    if batch.node == broker.settings.node.id {
        let ctx = RequestContext::of_broker(broker, ApiKey::WriteTxnMarkers, "WriteTxnMarkers", wire::VERSION);
        return Ok(wire::codes(&write_txn_markers::handle(broker, &ctx, request).await));
    }
    let image = broker.image.load_full();
    let answer = broker.calls.ask(&broker.settings, &image, batch.node, &request, wire::VERSION).await;
    answer.map(|answer| wire::codes(&answer)).map_err(|error| error.to_string())
}

async fn leads_none(broker: &Broker, batch: &Batch) {
    let mut changes = broker.controller.watch_image();
    let leads = |node: NodeId| {
        let image = broker.image.load();
        batch.partitions().any(|partition| matches!(place(&image, partition), Place::At(leader) if leader == node))
    };
    while leads(batch.node) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the shard which markers are written. It need not be told again: what it could not store it remembers.
async fn tell(report: Report<Site<TransactionKind>>) {
    let Report { site, transactional_id, producer, partitions } = report;
    let written = MarkersWritten { transactional_id: transactional_id.clone(), producer, partitions };
    match site.tell(Request::MarkersWritten(written)).await {
        Ok(Answer::MarkersWritten(ErrorCode::None)) | Err(ErrorCode::NotCoordinator) => {}
        Ok(Answer::MarkersWritten(error)) => {
            debug!(%transactional_id, error = error.name(), "end of a transaction could not be stored yet");
        }
        other => warn!(%transactional_id, ?other, "shard did not take the report of markers"),
    }
}
