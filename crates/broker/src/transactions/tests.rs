//! The life of transaction shards on a log in memory: effects, reports, what a new shard takes up again.

use std::sync::Arc;
use std::sync::atomic::AtomicI16;
use std::time::Duration;

use twinstream_coordinator::transaction::*;
use twinstream_model::{ErrorCode, LeaderEpoch, TopicName, TopicPartition, TransactionalId};
use twinstream_telemetry::Metrics;

use super::kind::TransactionKind;
use super::markers::Outbox;
use super::metrics::TransactionMetrics;
use crate::coordinators::memory_log::{MemoryLog, wait_until};
use crate::coordinators::{ShardHandle, ShardLog};

struct Bench {
    log: Arc<MemoryLog>,
    outbox: Arc<Outbox>,
    registry: Metrics,
    metrics: TransactionMetrics,
}

impl Bench {
    fn new() -> Bench {
        let registry = Metrics::new();
        let metrics = TransactionMetrics::new(&registry);
        Bench { log: MemoryLog::new(), outbox: Arc::default(), registry, metrics }
    }

    fn shard(&self, epoch: i32) -> ShardHandle<TransactionKind> {
        let kind = TransactionKind {
            config: TransactionConfig::default(),
            version: Arc::new(AtomicI16::new(2)),
            commit_timeout: Duration::from_secs(60),
            outbox: Arc::clone(&self.outbox),
            bells: Arc::default(),
            metrics: self.metrics.clone(),
        };
        let partition = TopicPartition::new(TopicName::parse("__transaction_state").unwrap(), 0);
        ShardHandle::start(kind, partition, LeaderEpoch(epoch), self.log.clone())
    }
}

fn id() -> TransactionalId {
    "t".into()
}

fn orders() -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").unwrap(), 0)
}

/// A producer with a transaction in `orders`.
async fn begin(shard: &ShardHandle<TransactionKind>) -> Producer {
    let init = InitProducerId { transactional_id: id(), timeout_ms: 60_000, producer: None, fresh: Some(7.into()) };
    let answer = shard.call(Request::InitProducerId(init)).await;
    let Ok(Answer::InitProducerId(Ok(producer))) = answer else { panic!("{answer:?}") };
    let add = AddPartitions {
        transactional_id: id(),
        producer,
        partitions: [orders()].into(),
        verify_only: false,
        version: TransactionVersion::V2,
        connection: None,
    };
    let answer = shard.call(Request::AddPartitions(add)).await;
    assert!(matches!(&answer, Ok(Answer::AddPartitions(answer)) if answer.error.is_none()), "{answer:?}");
    producer
}

fn commit(producer: Producer) -> Request {
    Request::EndTxn(EndTxn {
        transactional_id: id(),
        producer,
        commit: true,
        version: TransactionVersion::V2,
        fresh: None,
        connection: None,
    })
}

async fn state(shard: &ShardHandle<TransactionKind>) -> TransactionState {
    match shard.call(Request::Describe(id())).await {
        Ok(Answer::Describe(Ok(description))) => description.state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn markers_are_asked_for_when_the_outcome_is_committed_and_not_before() {
    let bench = Bench::new();
    let shard = bench.shard(3);
    let producer = begin(&shard).await;
    *bench.log.commits.lock() = false;
    let end = bench.log.end();
    let committing = async { shard.call(commit(producer)).await.unwrap() };
    let watching = async {
        wait_until(|| bench.log.end() > end).await;
        assert!(bench.outbox.is_empty(), "nothing leaves before its commit");
        bench.log.commit();
        bench.outbox.take().await
    };
    let (answer, left) = tokio::join!(committing, watching);
    assert!(matches!(answer, Answer::EndTxn(Ok(_))), "{answer:?}");
    let (site, markers) = &left[0];
    assert_eq!((site.epoch, markers.commit, markers.partitions.len()), (LeaderEpoch(3), true, 1));
}

#[tokio::test]
async fn new_shard_asks_again_for_the_markers_of_the_one_before_and_hears_of_them() {
    let bench = Bench::new();
    let first = bench.shard(3);
    let producer = begin(&first).await;
    first.call(commit(producer)).await.unwrap();
    let left = bench.outbox.take().await;
    drop(first);
    wait_until(|| left[0].0.resigned.is_cancelled()).await;

    let second = bench.shard(4);
    let (site, markers) = bench.outbox.take().await.remove(0);
    assert_eq!((site.epoch, &markers.partitions), (LeaderEpoch(4), &left[0].1.partitions));
    assert_eq!(state(&second).await, TransactionState::PrepareCommit);
    let WriteMarkers { transactional_id, producer, partitions, .. } = markers;
    let written = MarkersWritten { transactional_id, producer, partitions };
    assert_eq!(site.tell(Request::MarkersWritten(written.clone())).await, Ok(Answer::MarkersWritten(ErrorCode::None)));
    assert_eq!(state(&second).await, TransactionState::CompleteCommit);
    let late = left[0].0.tell(Request::MarkersWritten(written)).await;
    assert_eq!(late, Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn ids_are_counted_by_state_and_taken_back_with_the_shard() {
    let bench = Bench::new();
    let shard = bench.shard(0);
    begin(&shard).await;
    let shows = |line: &str| bench.registry.render().unwrap().lines().any(|l| l == line);
    wait_until(|| shows("twinstream_transactions_count{state=\"Ongoing\"} 1")).await;
    drop(shard);
    wait_until(|| shows("twinstream_transactions_count{state=\"Ongoing\"} 0")).await;
}
