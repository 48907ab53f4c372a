//! The life of shards on a log in memory: loading, serving, resigning, what survives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use twinstream_coordinator::group::*;
use twinstream_metadata::{Image, PartitionImage, Record};
use twinstream_model::{
    ErrorCode, GroupId, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use twinstream_protocol::batch::BatchBuilder;
use twinstream_telemetry::Metrics;
use uuid::Uuid;

use super::OFFSETS_TOPIC;
use super::kind::GroupKind;
use super::metrics::GroupMetrics;
use crate::controller::Session;
use crate::coordinators::memory_log::{MemoryLog, wait_until};
use crate::coordinators::{ShardHandle, ShardLog, Shards};

const NODE: NodeId = NodeId(1);

fn config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }
}

fn kind() -> GroupKind {
    GroupKind { group: config(), commit_timeout: Duration::from_secs(60), metrics: GroupMetrics::new(&Metrics::new()) }
}

pub(super) fn shard(log: &Arc<MemoryLog>) -> ShardHandle<GroupKind> {
    shard_of(kind(), log)
}

fn shard_of(kind: GroupKind, log: &Arc<MemoryLog>) -> ShardHandle<GroupKind> {
    let partition = TopicPartition::new(TopicName::parse("__consumer_offsets").unwrap(), 0);
    ShardHandle::start(kind, partition, LeaderEpoch(0), log.clone())
}

fn commit(offset: i64) -> Request {
    Request::CommitOffsets(CommitOffsets {
        group: "g".into(),
        generation: Generation::NONE,
        member: MemberId::default(),
        instance: None,
        retention_ms: None,
        knows_group_id_not_found: true,
        offsets: vec![OffsetToCommit {
            topic: TopicName::parse("orders").unwrap(),
            topic_id: TopicId::NONE,
            topic_now: TopicId::NONE,
            partition: PartitionIndex(0),
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            metadata: "note".into(),
        }],
    })
}

fn fetch() -> Request {
    Request::FetchOffsets(FetchOffsets {
        group: "g".into(),
        member: None,
        epoch: Epoch(-1),
        partitions: None,
        require_stable: false,
    })
}

fn offset_of(answer: Result<Answer, ErrorCode>) -> Option<(Offset, String)> {
    let Ok(Answer::FetchOffsets(answer)) = answer else { panic!("{answer:?}") };
    let found = answer.topics.first()?.1.first()?;
    Some((found.offset, found.metadata.to_string()))
}

fn join(group: &str) -> Request {
    Request::Join(Join {
        group: group.into(),
        member: MemberId::default(),
        instance: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::new() }],
        reason: None,
        requires_member_id: false,
        can_skip_assignment: false,
        cluster: None,
        fresh_id: Uuid::from_u128(1),
    })
}

#[tokio::test]
async fn committed_offsets_survive_a_new_shard_on_the_same_log() {
    let log = MemoryLog::new();
    let first = shard(&log);
    first.call(commit(5)).await.unwrap();
    first.call(commit(6)).await.unwrap();
    drop(first);
    let second = shard(&log);
    assert_eq!(offset_of(second.call(fetch()).await), Some((Offset(6), "note".to_owned())));
}

#[tokio::test]
async fn answers_wait_for_the_commit_of_what_they_saw() {
    let log = MemoryLog::new();
    let shard = shard(&log);
    shard.call(fetch()).await.unwrap(); // it has loaded
    *log.commits.lock() = false;
    let mut committing = Box::pin(shard.call(commit(5)));
    assert!(committing.as_mut().now_or_never().is_none());
    let mut fetching = Box::pin(shard.call(fetch()));
    wait_until(|| log.end() == Offset(1)).await;
    assert!(committing.as_mut().now_or_never().is_none());
    assert!(fetching.as_mut().now_or_never().is_none());
    log.commit();
    assert!(matches!(committing.await, Ok(Answer::CommitOffsets(a)) if a.error.is_none()));
    assert_eq!(offset_of(fetching.await), Some((Offset(5), "note".to_owned())));
}

#[tokio::test]
async fn new_shard_says_nothing_before_the_records_of_its_predecessor_are_committed() {
    let log = MemoryLog::new();
    let first = shard(&log);
    first.call(commit(5)).await.unwrap(); // answered: the old leader's high watermark had passed it
    drop(first);
    log.committed.send_replace(Offset(0)); // the new leader's high watermark is behind
    *log.commits.lock() = false;
    let second = shard(&log);
    assert_eq!(second.call(fetch()).await, Err(ErrorCode::CoordinatorLoadInProgress));
    log.commit();
    wait_until(|| second.call(fetch()).now_or_never().is_none_or(|answer| answer.is_ok())).await;
    assert_eq!(offset_of(second.call(fetch()).await), Some((Offset(5), "note".to_owned())));
}

#[tokio::test]
async fn commit_that_no_follower_confirms_is_answered_in_time() {
    let log = MemoryLog::new();
    let shard = shard_of(GroupKind { commit_timeout: Duration::from_millis(20), ..kind() }, &log);
    shard.call(fetch()).await.unwrap(); // it has loaded
    *log.commits.lock() = false;
    let answer = shard.call(commit(5)).await;
    assert!(matches!(answer, Ok(Answer::CommitOffsets(a)) if a.error == ErrorCode::CoordinatorNotAvailable));
}

#[tokio::test]
async fn a_commit_right_after_the_shard_looked_for_one_is_not_missed() {
    let log = MemoryLog::new();
    let shard = shard(&log);
    shard.call(fetch()).await.unwrap(); // it has loaded
    *log.commits.lock() = false;
    *log.commits_after_a_look.lock() = true;
    // Missed, the answer would be a failure: nothing was confirmed in time.
    assert!(matches!(shard.call(commit(5)).await, Ok(Answer::CommitOffsets(a)) if a.error.is_none()));
}

#[tokio::test]
async fn list_that_cannot_be_trusted_is_an_error_and_not_an_empty_one() {
    let log = MemoryLog::new();
    let shard = shard_of(GroupKind { commit_timeout: Duration::from_millis(20), ..kind() }, &log);
    shard.call(commit(5)).await.unwrap();
    *log.commits.lock() = false;
    shard.call(commit(6)).await.unwrap();
    let answer = shard.call(Request::List(ListFilter::default())).await;
    assert_eq!(answer, Ok(Answer::List(Err(ErrorCode::CoordinatorNotAvailable))));
}

#[tokio::test]
async fn refused_append_is_an_error_that_clients_understand() {
    let log = MemoryLog::new();
    let shard = shard(&log);
    for (refused, told) in [
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
    ] {
        *log.refuses.lock() = Some(refused);
        let answer = shard.call(commit(5)).await;
        assert!(matches!(answer, Ok(Answer::CommitOffsets(a)) if a.error == told));
    }
    *log.refuses.lock() = None;
    assert_eq!(offset_of(shard.call(fetch()).await), None);
}

#[tokio::test]
async fn parked_join_hears_when_the_shard_resigns_and_later_calls_too() {
    let log = MemoryLog::new();
    let slow = GroupConfig { initial_rebalance_delay_ms: 60_000, ..GroupConfig::default() };
    let shard = shard_of(GroupKind { group: slow, ..kind() }, &log);
    shard.call(Request::Describe("g".into())).await.unwrap(); // it has loaded
    let mut joining = Box::pin(shard.call(join("g")));
    assert!(joining.as_mut().now_or_never().is_none());
    shard.call(Request::Describe("g".into())).await.unwrap(); // the join is in
    shard.stop();
    assert!(matches!(joining.await, Ok(Answer::Join(a)) if a.error == ErrorCode::NotCoordinator));
    wait_until(|| shard.call(fetch()).now_or_never().is_some()).await;
    assert_eq!(shard.call(fetch()).await, Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn deadlines_fire_without_requests() {
    let log = MemoryLog::new();
    let shard = shard(&log);
    let joined = shard.call(join("g")).await;
    assert!(matches!(joined, Ok(Answer::Join(a)) if a.error.is_none() && a.generation == Generation(1)));
}

#[tokio::test]
async fn records_of_newer_kinds_are_skipped_and_newer_values_stop_the_load() {
    let log = MemoryLog::new();
    let append = |key: &[u8], value: &[u8]| {
        let mut batch = BatchBuilder::new();
        batch.append(0, Some(key), Some(value), []);
        log.append(batch.build().unwrap()).unwrap()
    };
    append(b"\x00\x63\x00\x01g", b"\x00\x00"); // a record of a protocol to come
    let lives = shard(&log);
    assert_eq!(offset_of(lives.call(fetch()).await), None);
    lives.call(commit(7)).await.unwrap();
    assert_eq!(offset_of(shard(&log).call(fetch()).await), Some((Offset(7), "note".to_owned())));

    append(b"\x00\x02\x00\x01g", b"\x00\x09");
    let failed = shard(&log);
    assert_eq!(failed.call(fetch()).await, Err(ErrorCode::CoordinatorNotAvailable));
    // Nobody waits for a shard that will never serve.
    assert_eq!(failed.call_when_loaded(fetch()).await, Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn hundreds_of_callers_are_all_answered() {
    let log = MemoryLog::new();
    let shard = Arc::new(shard(&log));
    let callers: Vec<_> = (0..3_000)
        .map(|i| {
            let shard = shard.clone();
            tokio::spawn(async move { shard.call(commit(i)).await })
        })
        .collect();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Ok(Answer::CommitOffsets(a)) if a.error.is_none()));
    }
    assert_eq!(log.end(), Offset(3_000));
}

#[tokio::test]
async fn unknown_group_is_not_found_and_not_created_by_asking() {
    let log = MemoryLog::new();
    let shard = shard(&log);
    let group = GroupId::from("nobody");
    let answer = shard.call(Request::Describe(group)).await;
    assert_eq!(answer, Ok(Answer::Describe(Err(ErrorCode::GroupIdNotFound))));
    let Ok(Answer::List(Ok(groups))) = shard.call(Request::List(ListFilter::default())).await else { panic!() };
    assert!(groups.is_empty());
}

#[tokio::test]
async fn counts_are_shown_and_taken_back_with_the_shard() {
    let (log, registry) = (MemoryLog::new(), Metrics::new());
    let metrics = GroupMetrics::new(&registry);
    let shard = shard_of(GroupKind { metrics, ..kind() }, &log);
    shard.call(commit(5)).await.unwrap();
    let shows = |line: &str| registry.render().unwrap().lines().any(|l| l == line);
    wait_until(|| shows("kafka_coordinator_group_groupmetadatamanager_numoffsets 1")).await;
    assert!(shows("kafka_coordinator_group_groupmetadatamanager_numgroups 1"));
    assert!(shows("kafka_coordinator_group_groupmetadatamanager_numgroupsempty 1"));
    drop(shard);
    wait_until(|| shows("kafka_coordinator_group_groupmetadatamanager_numgroups 0")).await;
}

/// A cluster in which this broker leads the only partition of the offsets topic.
fn image_with_topic(id: u128) -> Image {
    let topic_id = TopicId(Uuid::from_u128(id));
    let led = PartitionImage { replicas: vec![NODE], isr: vec![NODE], leader: Some(NODE), ..PartitionImage::default() };
    let mut image = Image::default();
    let records = [
        Record::Topic { name: TopicName::parse(OFFSETS_TOPIC).unwrap(), topic_id },
        Record::Partition { topic_id, partition: PartitionIndex(0), image: led },
    ];
    image.apply_batch(&records).unwrap();
    image
}

#[tokio::test]
async fn topic_that_was_made_again_between_two_looks_is_coordinated_from_its_new_log() {
    let shards = Shards::new(kind(), OFFSETS_TOPIC, NODE, Session::for_ever());
    let (old, new) = (MemoryLog::new(), MemoryLog::new());
    let (before, after) = (image_with_topic(1), image_with_topic(2));
    let logs = |log: &Arc<MemoryLog>| {
        let log: Arc<dyn ShardLog> = log.clone();
        move |_: &TopicPartition, _: LeaderEpoch| Some(log.clone())
    };
    shards.reconcile(&before, logs(&old));
    shards.call(&before, "g", commit(5)).await.unwrap();
    shards.reconcile(&after, logs(&new));
    assert_eq!(offset_of(shards.call(&after, "g", fetch()).await), None, "it went with the topic");
    shards.call(&after, "g", commit(6)).await.unwrap();
    assert_eq!((old.end(), new.end()), (Offset(1), Offset(1)));
}
