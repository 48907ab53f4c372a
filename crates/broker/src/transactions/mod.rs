//! The transaction coordinator of this broker: one shard per partition of `__transaction_state` that it leads.
//!
//! Picture: the switchboard of [`coordinators`](crate::coordinators) for transactional ids. Whoever applies new metadata
//! calls [`TransactionService::reconcile`]; handlers [`TransactionService::call`]. What a shard wants written into other
//! partitions, the [`markers`] of transactions that end, is carried there by one task.
//!
//! Invariants: those of the switchboard; a producer id that a shard needs is fetched once per request at most; markers
//! are sent until they are written, the topic is gone, or the shard has moved away.
//!
//! Not here: what requests mean (`twinstream_coordinator::transaction`), wire messages (`handlers`), how a partition
//! takes a marker (`handlers::write_txn_markers`).

mod bells; // who waits for the end of a transaction
mod kind; // transactions as a kind of coordinator
pub(crate) mod markers; // to the leaders of a transaction's partitions
mod metrics; // how many transactional ids, and what waits

use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use twinstream_coordinator::transaction::{
    Answer, ListFilter, Listing, Refusal, Request, TransactionConfig, TransactionVersion,
};
use twinstream_metadata::features::TRANSACTION_VERSION;
use twinstream_metadata::{Image, TopicImage};
use twinstream_model::{ErrorCode, LeaderEpoch, ProducerId, TopicName, TopicPartition, TransactionalId};
use twinstream_telemetry::Metrics;

use crate::context::{Broker, RequestContext};
use crate::controller::Session;
use crate::coordinators::{Creation, InternalTopic, ShardLog, Shards, join_lists};
use crate::settings::{Settings, TransactionSettings};
use bells::Bells;
use kind::TransactionKind;
use markers::Outbox;
use metrics::TransactionMetrics;

/// The topic that transactions live in.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// How long an answer waits for its commit. Kafka has no setting for it either, and waits as long as the transaction may
/// take; a client that hears of it sooner asks again sooner.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The level of `transaction.version` before the first image.
const UNKNOWN: i16 = -1;

/// Starts, stops and finds the transaction shards of this broker.
pub(crate) struct TransactionService {
    shards: Shards<TransactionKind>,
    creation: Creation,
    outbox: Arc<Outbox>,
    bells: Arc<Bells>,
    metrics: TransactionMetrics,
    /// The level of `transaction.version` that shards start with; those that run are told of changes.
    version: Arc<AtomicI16>,
}

impl TransactionService {
    pub(crate) fn new(settings: &Settings, registry: &Metrics, session: Session) -> TransactionService {
        let (outbox, metrics) = (Arc::new(Outbox::default()), TransactionMetrics::new(registry));
        let (version, bells) = (Arc::new(AtomicI16::new(UNKNOWN)), Arc::<Bells>::default());
        let kind = TransactionKind {
            config: config(&settings.transactions),
            version: Arc::clone(&version),
            commit_timeout: COMMIT_TIMEOUT,
            outbox: Arc::clone(&outbox),
            bells: Arc::clone(&bells),
            metrics: metrics.clone(),
        };
        TransactionService {
            shards: Shards::new(kind, TRANSACTIONS_TOPIC, settings.node.id, session),
            creation: Creation::default(),
            outbox,
            bells,
            metrics,
            version,
        }
    }

    /// Starts what carries markers away. The handle ends with it, which only a stop of the broker should bring about:
    /// without it no transaction would ever be complete, and nobody else would take over from a broker that looks well.
    pub(crate) fn start(&self, broker: &Arc<Broker>, background: &TaskTracker) -> JoinHandle<()> {
        background.spawn(markers::run(Arc::clone(broker), Arc::clone(&self.outbox), self.metrics.clone()))
    }

    /// Makes the shards those of the partitions that `image` says this broker leads, see [`Shards::reconcile`].
    pub(crate) fn reconcile(
        &self,
        image: &Image,
        open: impl Fn(&TopicPartition, LeaderEpoch) -> Option<Arc<dyn ShardLog>>,
    ) {
        let level = image.feature_level(TRANSACTION_VERSION);
        let before = self.version.swap(level, Ordering::AcqRel);
        self.shards.reconcile(image, open);
        if level != before {
            self.set_version(level);
        }
        if level != before && before != UNKNOWN {
            info!(level, before, "transaction.version has changed");
        }
    }

    /// Tells every shard at which level the feature is; those that load hear it afterwards.
    fn set_version(&self, level: i16) {
        let Some(version) = TransactionVersion::from_level(level) else { return };
        for handle in self.shards.handles() {
            tokio::spawn(async move {
                match handle.call_when_loaded(Request::SetVersion(version)).await {
                    Ok(Answer::SetVersion(ErrorCode::None)) | Err(ErrorCode::NotCoordinator) => (),
                    other => warn!(?other, "transaction shard was not told of the new transaction.version"),
                }
            });
        }
    }

    /// Asks the coordinator of a transactional id if it is here, see [`Shards::call`]. A producer id that it needs is
    /// fetched for it. While the last transaction of the id still ends, this waits a moment for that.
    pub(crate) async fn call(
        &self,
        broker: &Broker,
        id: &TransactionalId,
        request: Request,
    ) -> Result<Answer, ErrorCode> {
        let deadline = Instant::now() + broker.settings.transactions.add_partitions_backoff_max;
        loop {
            let over = self.bells.hear(id); // before the question, so that an end right after it is heard
            let answer = self.call_once(broker, id, request.clone()).await;
            let still_ends = answer.as_ref().is_ok_and(waits_for_end);
            if !still_ends || timeout_at(deadline, over).await.is_err() {
                return answer;
            }
        }
    }

    async fn call_once(
        &self,
        broker: &Broker,
        id: &TransactionalId,
        mut request: Request,
    ) -> Result<Answer, ErrorCode> {
        let image = broker.image.load_full();
        let answer = self.shards.call(&image, id.as_str(), request.clone()).await?;
        if !needs_producer_id(&answer) {
            return Ok(answer);
        }
        give_producer_id(&mut request, fresh_producer_id(broker).await?);
        self.shards.call(&image, id.as_str(), request).await
    }

    /// Lists the transactional ids of every shard here. A shard that loads makes the list incomplete, which clients are
    /// told.
    pub(crate) async fn list(&self, filter: &ListFilter) -> Result<Vec<Listing>, ErrorCode> {
        let answers = self.shards.call_all(&Request::List(filter.clone())).await;
        join_lists(answers.into_iter().map(|answer| match answer? {
            Answer::List(ids) => ids,
            other => {
                error!(?other, "transaction coordinator answered another question");
                Err(ErrorCode::UnknownServerError)
            }
        }))
    }

    /// Resigns everywhere and for good.
    pub(crate) fn stop(&self) {
        self.shards.stop();
    }

    /// Brings `__transaction_state` into being, see [`Creation::create`].
    pub(crate) async fn create_topic(&self, broker: &Arc<Broker>, ctx: &RequestContext) -> bool {
        self.creation.create(broker, ctx, &internal_topic(&broker.settings.transactions)).await
    }
}

/// The topic of transactions, once it exists.
pub(crate) fn transactions_topic(image: &Image) -> Option<&Arc<TopicImage>> {
    image.topic(&TopicName::parse(TRANSACTIONS_TOPIC).ok()?)
}

/// A producer id that nobody has. While no block of them can be had the error is COORDINATOR_LOAD_IN_PROGRESS, upon
/// which every client asks again without looking for a coordinator.
pub(crate) async fn fresh_producer_id(broker: &Broker) -> Result<ProducerId, ErrorCode> {
    let allocate = || async {
        broker.controller.allocate_producer_ids().await.map_err(|error| {
            warn!(%error, "no producer ids from the controller");
            ErrorCode::CoordinatorLoadInProgress
        })
    };
    broker.producer_ids.next(allocate).await
}

/// Whether the producer wants to begin something while its last transaction still ends. A repeated EndTxn is none of
/// these: the client that sends it has lost an answer, and has waited already.
fn waits_for_end(answer: &Answer) -> bool {
    match answer {
        Answer::AddPartitions(answer) => answer.error == ErrorCode::ConcurrentTransactions,
        Answer::InitProducerId(answer) => *answer == Err(Refusal::Error(ErrorCode::ConcurrentTransactions)),
        _ => false,
    }
}

fn needs_producer_id(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::InitProducerId(Err(Refusal::NeedsProducerId)) | Answer::EndTxn(Err(Refusal::NeedsProducerId))
    )
}

fn give_producer_id(request: &mut Request, id: ProducerId) {
    match request {
        Request::InitProducerId(init) => init.fresh = Some(id),
        Request::EndTxn(end) => end.fresh = Some(id),
        _ => {}
    }
}

fn internal_topic(settings: &TransactionSettings) -> InternalTopic {
    InternalTopic {
        name: TRANSACTIONS_TOPIC,
        partitions: settings.topic_partitions,
        replication_factor: settings.topic_replication_factor,
        configs: vec![
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "uncompressed".to_owned()),
            ("min.insync.replicas", settings.topic_min_isr.to_string()),
            ("segment.bytes", settings.topic_segment_bytes.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ],
        replication_setting: "transaction.state.log.replication.factor",
        nobody: "transactional producer",
    }
}

/// The version is filled in when a shard starts.
fn config(settings: &TransactionSettings) -> TransactionConfig {
    let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    TransactionConfig {
        timeout_ms_max: millis(settings.timeout_max),
        id_expiration_ms: settings.id_expiration.as_millis() as i64,
        id_expiration_check_interval_ms: settings.expiration_check_interval.as_millis() as u64,
        timeout_check_interval_ms: settings.abort_check_interval.as_millis() as u64,
        version: TransactionVersion::V0,
    }
}

#[cfg(test)]
mod tests;
