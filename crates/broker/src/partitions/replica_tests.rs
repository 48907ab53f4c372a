//! A partition with three replicas, of which this broker is one: what it commits, what it refuses, what it cuts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use twinstream_log::{Flusher, LogConfig, LogMetrics, Origin, PartitionLog};
use twinstream_metadata::{Image, PartitionImage, Record};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, TopicId};
use twinstream_protocol::batch::{BatchBuilder, BatchMut, ProducerStamp};
use twinstream_replication::follower::Heard;
use twinstream_replication::leader::{Answer, LeaderSettings, Limits, ReplicaFetch};
use twinstream_testkit::wait_until_some;
use uuid::Uuid;

use super::partition::{Room, Surroundings};
use super::waiters::Event;
use super::*;

mod mirrors; // leaders and followers of topics that are mirrors

const SELF: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);
const NO_EPOCH: LeaderEpoch = LeaderEpoch::NONE;

struct Replica {
    _dir: tempfile::TempDir,
    partition: Arc<Partition>,
    image: Image,
    now: Instant,
}

fn open(dir: &Path) -> PartitionLog {
    let opening = twinstream_log::Opening::fresh(LogConfig::default(), LogMetrics::new(), now_ms());
    PartitionLog::create(&dir.join("t-0"), TopicId(Uuid::from_u128(7)), opening).unwrap()
}

/// A cluster of three live brokers; a broker's epoch is ten times its number.
fn brokers() -> Image {
    let mut image = Image::default();
    for node_id in [SELF, SECOND, THIRD] {
        let epoch = i64::from(node_id.0) * 10;
        let register = Record::RegisterBroker {
            node_id,
            incarnation: Uuid::from_u128(1),
            epoch,
            endpoints: Vec::new(),
            rack: None,
            controller: false,
            directories: Vec::new(),
            metadata_directory: None,
            boot_id: String::new(),
        };
        let unfence = Record::FenceBroker { node_id, epoch, fenced: false, shutting_down: false };
        image.apply_batch(&[register, unfence]).unwrap();
    }
    image
}

impl Replica {
    fn new(min_insync_replicas: usize) -> Replica {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { lag_max: Duration::from_secs(30), silence_max: Duration::from_secs(2) };
        let settings = LeaderSettings { min_insync_replicas, limits };
        let log = open(dir.path());
        let around = Surroundings {
            node: SELF,
            isr: Arc::default(),
            followers: Arc::default(),
            room: Room { dir: 0, flusher: Arc::new(Flusher::new(Arc::clone(log.disk()), u64::MAX, || ())) },
            failures: Arc::default(),
        };
        let partition = Partition::new(log, settings, around);
        Replica { _dir: dir, partition, image: brokers(), now: Instant::now() }
    }

    fn wanted(leader: NodeId, epoch: i32, partition_epoch: i32, isr: &[NodeId]) -> PartitionImage {
        PartitionImage {
            replicas: vec![SELF, SECOND, THIRD],
            isr: isr.to_vec(),
            leader: Some(leader),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch,
            ..PartitionImage::default()
        }
    }

    fn take_over(&self, wanted: &PartitionImage) {
        self.partition.take_over(wanted, &self.image, self.now);
    }

    fn lead(&self, epoch: i32) {
        self.take_over(&Replica::wanted(SELF, epoch, epoch, &[SELF, SECOND, THIRD]));
    }

    fn append(&self, values: &[&str]) -> Led {
        self.partition.append(&batch(0, values), Origin::Client, NO_EPOCH, true, now_ms()).unwrap()
    }

    fn fetch(&self, follower: NodeId, epoch: i32, offset: i64, last_epoch: i32) -> Result<bool, ReplicaRefused> {
        let fetch = ReplicaFetch {
            follower,
            broker_epoch: i64::from(follower.0) * 10,
            leader_epoch: LeaderEpoch(epoch),
            offset: Offset(offset),
            last_epoch: LeaderEpoch(last_epoch),
            log_start: Offset(0),
        };
        self.partition.fetched(&fetch, Intake::Asks, self.now)
    }

    fn end(&self) -> i64 {
        self.partition.log().log_end_offset().0
    }
}

fn batch(base: i64, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(now_ms(), None, Some(value.as_bytes()), []);
    }
    let mut bytes = builder.build().unwrap();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes
}

/// A batch as a leader of this epoch stores it.
fn stored(base: i64, epoch: i32, values: &[&str]) -> Vec<u8> {
    let mut bytes = batch(base, values);
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

#[test]
fn records_are_committed_when_every_in_sync_replica_has_them() {
    let replica = Replica::new(2);
    replica.lead(1);
    let led = replica.append(&["a", "b"]);
    let commitment = || replica.partition.commitment(led.epoch, Offset(2));
    assert_eq!(commitment(), Commitment::Waiting);
    let wait = Wait::on([(Arc::clone(&replica.partition), Interest::committed(Offset(2)))]);
    assert_eq!(replica.fetch(SECOND, 1, 2, 1), Ok(true));
    assert_eq!(commitment(), Commitment::Waiting);
    assert!(wait.rung().now_or_never().is_none());
    assert_eq!(replica.fetch(THIRD, 1, 2, 1), Ok(true));
    assert!(wait.rung().now_or_never().is_some());
    assert_eq!((commitment(), replica.partition.high_watermark()), (Commitment::Committed, Offset(2)));
}

#[test]
fn lost_leadership_ends_waits_whatever_the_next_leader_commits() {
    let replica = Replica::new(1);
    replica.lead(1);
    let led = replica.append(&["mine"]);
    let wait = Wait::on([(Arc::clone(&replica.partition), Interest::committed(Offset(1)))]);
    replica.take_over(&Replica::wanted(SECOND, 2, 2, &[SECOND, THIRD]));
    assert!(wait.rung().now_or_never().is_some());
    assert_eq!(replica.partition.commitment(led.epoch, Offset(1)), Commitment::Lost);
    assert_eq!(replica.partition.committed_in(led.epoch), None);
    let refused = replica.partition.append(&batch(0, &["x"]), Origin::Client, NO_EPOCH, false, now_ms());
    assert_eq!(append_code(&refused.unwrap_err()), ErrorCode::NotLeaderOrFollower);
}

/// A batch of one record of the same producer.
fn numbered(sequence: i32) -> Vec<u8> {
    let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: sequence };
    let mut builder = BatchBuilder::new().with_producer(stamp);
    builder.append(now_ms(), None, Some(b"v"), []);
    builder.build().unwrap()
}

impl Replica {
    /// One whose leaderships all began a while ago.
    fn at_rest(min_insync_replicas: usize) -> Replica {
        let now = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        Replica { now, ..Replica::new(min_insync_replicas) }
    }

    fn append_numbered(&self, sequence: i32) -> Result<Offset, ErrorCode> {
        let led = self.partition.append(&numbered(sequence), Origin::Client, NO_EPOCH, true, now_ms());
        led.map(|led| led.appended.base_offset).map_err(|refused| append_code(&refused))
    }
}

/// The batch before was refused, because it came before this broker heard that it leads.
#[test]
fn new_leader_asks_for_a_gap_in_a_sequence_to_be_sent_again() {
    for (replica, code) in
        [(Replica::new(1), ErrorCode::NotLeaderOrFollower), (Replica::at_rest(1), ErrorCode::OutOfOrderSequenceNumber)]
    {
        replica.lead(1);
        replica.append_numbered(0).unwrap();
        assert_eq!(replica.append_numbered(2), Err(code));
        replica.append_numbered(1).unwrap();
        replica.append_numbered(2).unwrap();
    }
}

/// The one before it comes back from the leader before, which hung, and was overtaken.
#[test]
fn gap_of_a_producer_that_comes_from_the_leader_before_may_close() {
    let replica = Replica::at_rest(1);
    replica.lead(1);
    replica.append_numbered(0).unwrap();
    replica.lead(2);
    assert_eq!(replica.append_numbered(2), Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(replica.append_numbered(0), Ok(Offset(0)), "the answer of the leader before was lost");
    assert_eq!(replica.append_numbered(1), Ok(Offset(1)));
    assert_eq!(replica.append_numbered(3), Err(ErrorCode::NotLeaderOrFollower), "four more may have been under way");
    (2..6).for_each(|sequence| assert_eq!(replica.append_numbered(sequence), Ok(Offset(i64::from(sequence)))));
    assert_eq!(replica.append_numbered(7), Err(ErrorCode::OutOfOrderSequenceNumber));
    assert_eq!(replica.append_numbered(0), Err(ErrorCode::OutOfOrderSequenceNumber));
}

/// Its first batch came before this broker had heard of the topic. librdkafka would take it for acknowledged with the second.
#[test]
fn second_batch_of_a_new_producer_is_not_taken_for_its_first() {
    for replica in [Replica::new(1), Replica::at_rest(1)] {
        replica.lead(0);
        assert_eq!(replica.append_numbered(1), Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(replica.append_numbered(2), Err(ErrorCode::NotLeaderOrFollower));
        (0..3).for_each(|sequence| assert_eq!(replica.append_numbered(sequence), Ok(Offset(i64::from(sequence)))));
        assert_eq!(replica.append_numbered(4), Err(ErrorCode::OutOfOrderSequenceNumber));
    }
}

/// Whose past was forgotten, or deleted with a topic of the same name, goes on after a moment (KIP-360).
#[tokio::test]
async fn producer_that_nobody_knows_goes_on_where_it_was() {
    let replica = Replica::at_rest(1);
    replica.lead(1);
    assert_eq!(replica.append_numbered(17), Err(ErrorCode::NotLeaderOrFollower));
    let taken = || async { replica.append_numbered(17).ok() };
    assert_eq!(wait_until_some("the batch is taken", Duration::from_secs(20), taken).await, Offset(0));
    assert_eq!(replica.append_numbered(18), Ok(Offset(1)));
}

#[test]
fn gap_behind_a_batch_that_was_sent_away_may_close() {
    let replica = Replica::at_rest(2);
    replica.lead(1);
    replica.append_numbered(0).unwrap();
    replica.take_over(&Replica::wanted(SELF, 1, 2, &[SELF]));
    assert_eq!(replica.append_numbered(1), Err(ErrorCode::NotEnoughReplicas));
    replica.take_over(&Replica::wanted(SELF, 1, 3, &[SELF, SECOND]));
    assert_eq!(replica.append_numbered(2), Err(ErrorCode::NotLeaderOrFollower));
    replica.append_numbered(1).unwrap();
    replica.append_numbered(2).unwrap();
    assert_eq!(replica.append_numbered(4), Err(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn too_few_in_sync_replicas_refuse_acks_all_and_commit_nothing() {
    let replica = Replica::new(2);
    replica.take_over(&Replica::wanted(SELF, 1, 1, &[SELF]));
    let refused = replica.partition.append(&batch(0, &["x"]), Origin::Client, NO_EPOCH, true, now_ms()).unwrap_err();
    assert_eq!(append_code(&refused), ErrorCode::NotEnoughReplicas);
    replica.partition.append(&batch(0, &["x"]), Origin::Client, NO_EPOCH, false, now_ms()).unwrap();
    assert_eq!(replica.partition.high_watermark(), Offset(0));
}

#[test]
fn nothing_is_committed_while_there_are_eligible_replicas_outside_the_isr() {
    let replica = Replica::new(1);
    let mut wanted = Replica::wanted(SELF, 1, 1, &[SELF]);
    wanted.elr = vec![SECOND];
    replica.take_over(&wanted);
    replica.partition.append(&batch(0, &["x"]), Origin::Client, NO_EPOCH, false, now_ms()).unwrap();
    assert_eq!(replica.partition.high_watermark(), Offset(0));
    wanted.elr = Vec::new();
    wanted.partition_epoch = 2;
    replica.take_over(&wanted);
    assert_eq!(replica.partition.high_watermark(), Offset(1));
}

#[test]
fn commit_below_the_minimum_is_told_as_such() {
    let replica = Replica::new(2);
    replica.lead(1);
    let led = replica.append(&["a"]);
    replica.fetch(SECOND, 1, 1, 1).unwrap();
    replica.fetch(THIRD, 1, 1, 1).unwrap();
    replica.take_over(&Replica::wanted(SELF, 1, 2, &[SELF]));
    assert_eq!(replica.partition.commitment(led.epoch, Offset(1)), Commitment::TooFew);
}

#[test]
fn silent_follower_is_proposed_to_leave_and_counts_until_the_controller_agrees() {
    let mut replica = Replica::new(1);
    replica.lead(1);
    replica.append(&["a"]);
    replica.fetch(SECOND, 1, 1, 1).unwrap();
    // In small steps: a leader that did not run itself blames nobody.
    for _ in 0..8 {
        replica.now += Duration::from_millis(500);
        replica.fetch(SECOND, 1, 1, 1).unwrap();
        replica.partition.check_followers(replica.now);
    }
    let (id, change) = replica.partition.isr_change().expect("a change is proposed");
    assert_eq!(change.isr.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [SELF, SECOND]);
    assert_eq!(replica.partition.high_watermark(), Offset(0));
    let decided = Answer::Decided { leader_epoch: LeaderEpoch(1), partition_epoch: 2, isr: vec![SELF, SECOND] };
    assert!(!replica.partition.isr_answered(id, LeaderEpoch(1), decided, replica.now));
    assert_eq!(replica.partition.high_watermark(), Offset(1));
    assert!(!replica.partition.has_in_sync(THIRD));
}

#[test]
fn follower_is_refused_by_epoch_and_by_registration() {
    let replica = Replica::new(1);
    replica.lead(4);
    let refused = |follower, epoch| match replica.fetch(follower, epoch, 0, -1) {
        Err(ReplicaRefused::Code(code)) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(SECOND, 3), ErrorCode::FencedLeaderEpoch);
    assert_eq!(refused(SECOND, 5), ErrorCode::UnknownLeaderEpoch);
    assert_eq!(refused(NodeId(9), 4), ErrorCode::NotLeaderOrFollower);
}

#[test]
fn new_leader_does_not_say_what_is_latest_before_it_knows() {
    let replica = Replica::new(1);
    replica.take_over(&Replica::wanted(SECOND, 1, 1, &[SELF, SECOND]));
    let ask = replica.partition.question(LeaderEpoch(1)).unwrap().ask;
    let heard = Heard::Records { high_watermark: Offset(0), log_start: Offset(0) };
    assert_eq!(replica.partition.heard(&ask, heard, &stored(0, 1, &["a", "b"]), now_ms()), Followed::Goes);
    replica.take_over(&Replica::wanted(SELF, 2, 2, &[SELF, THIRD]));
    assert_eq!(replica.partition.latest_offset(), Err(ErrorCode::OffsetNotAvailable));
    replica.fetch(THIRD, 2, 2, 1).unwrap();
    assert_eq!(replica.partition.latest_offset(), Ok(Offset(2)));
}

#[test]
fn answer_of_an_earlier_epoch_or_question_is_dropped() {
    let replica = Replica::new(1);
    replica.take_over(&Replica::wanted(SECOND, 1, 1, &[SELF, SECOND]));
    let ask = replica.partition.question(LeaderEpoch(1)).unwrap().ask;
    let heard = Heard::Records { high_watermark: Offset(0), log_start: Offset(0) };
    replica.take_over(&Replica::wanted(THIRD, 2, 2, &[SELF, THIRD]));
    assert_eq!(replica.partition.heard(&ask, heard, &stored(0, 1, &["late"]), now_ms()), Followed::Dropped);
    assert_eq!((replica.end(), replica.partition.question(LeaderEpoch(1))), (0, None));
    replica.lead(3);
    let ask = twinstream_replication::follower::Ask { leader_epoch: LeaderEpoch(3), ..ask };
    assert_eq!(replica.partition.heard(&ask, heard, &stored(0, 2, &["late"]), now_ms()), Followed::Dropped);
    assert_eq!(replica.end(), 0);
}

#[test]
fn old_leader_cuts_what_the_new_one_does_not_have() {
    let replica = Replica::new(1);
    replica.lead(1);
    replica.append(&["both"]);
    replica.fetch(SECOND, 1, 1, 1).unwrap();
    replica.append(&["mine alone"]);
    replica.take_over(&Replica::wanted(SECOND, 2, 2, &[SECOND]));
    let question = replica.partition.question(LeaderEpoch(2)).unwrap();
    assert_eq!((question.ask.offset, question.ask.last_epoch), (Offset(2), LeaderEpoch(1)));
    let fork = Heard::Diverging { epoch: LeaderEpoch(1), end: Offset(1), log_start: Offset(0) };
    let Followed::Repair(step) = replica.partition.heard(&question.ask, fork, &[], now_ms()) else {
        panic!("the log is to be cut")
    };
    assert_eq!(replica.partition.repair(&question.ask, step), Followed::Goes);
    assert_eq!(replica.end(), 1);
    let ask = replica.partition.question(LeaderEpoch(2)).unwrap().ask;
    let heard = Heard::Records { high_watermark: Offset(2), log_start: Offset(0) };
    assert_eq!(replica.partition.heard(&ask, heard, &stored(1, 2, &["theirs"]), now_ms()), Followed::Goes);
    assert_eq!((replica.end(), replica.partition.high_watermark()), (2, Offset(2)));
}

#[test]
fn follower_of_a_log_that_begins_within_a_batch_begins_with_that_batch() {
    let replica = Replica::new(1);
    replica.take_over(&Replica::wanted(SECOND, 1, 1, &[SECOND]));
    let ask = || replica.partition.question(LeaderEpoch(1)).unwrap().ask;
    let repair = |followed| match followed {
        Followed::Repair(step) => replica.partition.repair(&ask(), step),
        other => panic!("{other:?}"),
    };
    assert_eq!(replica.partition.heard(&ask(), Heard::OutOfRange, &[], now_ms()), Followed::AskBounds);
    repair(replica.partition.heard_bounds(&ask(), Offset(12), Offset(13)));
    let heard = Heard::Records { high_watermark: Offset(13), log_start: Offset(12) };
    let records = stored(10, 1, &["gone", "gone, too", "there"]);
    let begun = repair(replica.partition.heard(&ask(), heard, &records, now_ms()));
    assert_eq!(begun, Followed::Checkpoint, "before anything is appended");
    assert_eq!((replica.end(), ask().offset), (10, Offset(12)));
    assert_eq!(replica.partition.heard(&ask(), heard, &records, now_ms()), Followed::Goes);
    let log = replica.partition.log();
    assert_eq!(
        (log.log_start_offset(), log.high_watermark(), log.log_end_offset()),
        (Offset(12), Offset(13), Offset(13))
    );
    assert_eq!(ask().offset, Offset(13));
}

#[test]
fn log_that_is_cut_at_a_hole_follows_nobody_before_the_next_epoch() {
    let replica = Replica::new(1);
    replica.take_over(&Replica::wanted(SECOND, 1, 1, &[SECOND]));
    let ask = replica.partition.question(LeaderEpoch(1)).unwrap().ask;
    let heard = Heard::Records { high_watermark: Offset(3), log_start: Offset(0) };
    for (at, value) in ["a", "b", "c"].into_iter().enumerate() {
        let ask = replica.partition.question(LeaderEpoch(1)).unwrap().ask;
        let records = stored(at as i64, 1, &[value]);
        assert_eq!(replica.partition.heard(&ask, heard, &records, now_ms()), Followed::Goes);
    }
    assert!(replica.partition.cut_at_hole(LeaderEpoch(2), Offset(1)).is_none(), "that is not the state it was seen in");
    assert_eq!(replica.end(), 3);
    let cut = replica.partition.cut_at_hole(LeaderEpoch(1), Offset(1)).unwrap();
    assert_eq!((cut.log_end, cut.offsets), (Offset(1), 2));
    assert_eq!(replica.partition.question(LeaderEpoch(1)), None);
    // An answer that was under way, and an image without a new leadership.
    assert_eq!(replica.partition.heard(&ask, heard, &stored(1, 1, &["late"]), now_ms()), Followed::Dropped);
    replica.take_over(&Replica::wanted(SECOND, 1, 2, &[SECOND]));
    assert_eq!((replica.end(), replica.partition.question(LeaderEpoch(1))), (1, None));
    replica.take_over(&Replica::wanted(SECOND, 2, 3, &[SECOND]));
    assert_eq!(replica.partition.question(LeaderEpoch(2)).unwrap().ask.offset, Offset(1));
    replica.lead(3);
    assert!(replica.partition.cut_at_hole(LeaderEpoch(3), Offset(0)).is_none(), "a leader is never cut");
}

#[test]
fn copy_that_is_aside_is_not_taken_in_and_what_it_had_before_it_came_back_counts_no_more() {
    let replica = Replica::new(1);
    let aside = |epoch, partition_epoch, offline: &[NodeId]| PartitionImage {
        offline: offline.to_vec(),
        ..Replica::wanted(SELF, epoch, partition_epoch, &[SELF, SECOND])
    };
    replica.take_over(&aside(1, 1, &[THIRD]));
    replica.append(&["a"]);
    replica.fetch(THIRD, 1, 1, 1).unwrap();
    replica.fetch(SECOND, 1, 1, 1).unwrap();
    assert!(replica.partition.isr_change().is_none(), "it has everything, but it is aside");
    // It cut its log and came back.
    replica.take_over(&aside(2, 2, &[]));
    replica.fetch(SECOND, 2, 1, 1).unwrap();
    assert!(replica.partition.isr_change().is_none());
    assert!(replica.fetch(THIRD, 1, 1, 1).is_err(), "a request from before");
    replica.fetch(THIRD, 2, 0, -1).unwrap();
    assert!(replica.partition.isr_change().is_none(), "it lags");
    replica.fetch(THIRD, 2, 1, 1).unwrap();
    let (_, change) = replica.partition.isr_change().unwrap();
    assert!(change.isr.iter().any(|(node, _)| *node == THIRD));
}

#[test]
fn consumers_may_read_followers_only_if_they_know_how() {
    let replica = Replica::new(1);
    replica.take_over(&Replica::wanted(SECOND, 1, 1, &[SELF, SECOND]));
    let check = |served| replica.partition.check_reader(LeaderEpoch(1), served);
    assert_eq!(check(Served::ByAnyReplica), Ok(()));
    assert_eq!(check(Served::ByLeader), Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(
        replica.partition.check_reader(LeaderEpoch(2), Served::ByAnyReplica),
        Err(ErrorCode::UnknownLeaderEpoch)
    );
}

#[test]
fn bells_ring_for_what_their_waiters_want_only() {
    let replica = Replica::new(1);
    replica.lead(1);
    let partition = &replica.partition;
    let wait = |interest| Wait::on([(Arc::clone(partition), interest)]);
    let (consumer, deletion) = (wait(Interest::committed(Offset(1))), wait(Interest::starts()));
    let rung = || [&consumer, &deletion].map(|wait| wait.rung().now_or_never().is_some());
    for (event, hears) in [
        (Event::Committed(Offset(0)), [false, false]),
        (Event::Committed(Offset(1)), [true, false]),
        (Event::Started, [false, true]),
        (Event::Changed, [true, true]),
    ] {
        partition.waiters().ring(event);
        assert_eq!(rung(), hears, "{event:?}");
    }
    drop((consumer, deletion));
    assert!(partition.waiters().is_empty());
}

/// Waits for the flusher's thread.
async fn flushed(replica: &Replica) {
    replica.partition.until_flushed().await;
}

fn acknowledge_flushed(replica: &Replica) {
    let log = replica.partition.log();
    log.set_config(LogConfig { flush_before_ack: true, ..LogConfig::clone(&log.config()) });
}

#[tokio::test]
async fn leader_commits_what_is_on_its_disk() {
    let replica = Replica::new(1);
    acknowledge_flushed(&replica);
    replica.take_over(&Replica::wanted(SELF, 1, 1, &[SELF]));
    let led = replica.append(&["a", "b"]);
    flushed(&replica).await;
    assert!(replica.partition.log().is_flushed());
    assert_eq!(replica.partition.commitment(led.epoch, Offset(2)), Commitment::Committed);
}

#[tokio::test]
async fn flush_that_panicked_ends_the_wait_for_it() {
    let replica = Replica::new(1);
    acknowledge_flushed(&replica);
    replica.take_over(&Replica::wanted(SELF, 1, 1, &[SELF]));
    let log = replica.partition.log();
    let written = log.append(&batch(0, &["a"]), Origin::Client, LeaderEpoch(1), now_ms());
    assert_eq!(written.unwrap().base_offset, Offset(0));
    assert!(replica.partition.owes_flush(), "nobody was asked to flush it");
    twinstream_log::Flush::panicked(&*replica.partition.seat(), "flushing it panicked: no reason");
    replica.partition.until_flushed().await;
    assert!(replica.partition.has_failed());
    let refused = log.append(&batch(0, &["b"]), Origin::Client, LeaderEpoch(1), now_ms()).unwrap_err();
    assert!(refused.to_string().contains("flushing it panicked: no reason"), "{refused}");
}

#[tokio::test]
async fn followers_count_only_with_the_leaders_own_flush() {
    let replica = Replica::new(1);
    acknowledge_flushed(&replica);
    replica.lead(1);
    let led = replica.append(&["a"]);
    flushed(&replica).await;
    assert_eq!(replica.partition.commitment(led.epoch, Offset(1)), Commitment::Waiting);
    for follower in [SECOND, THIRD] {
        replica.fetch(follower, 1, 1, 1).unwrap();
    }
    assert_eq!(replica.partition.commitment(led.epoch, Offset(1)), Commitment::Committed);
}

#[tokio::test]
async fn follower_owes_a_flush_before_it_asks_on() {
    let replica = Replica::new(1);
    acknowledge_flushed(&replica);
    replica.take_over(&Replica::wanted(SECOND, 1, 1, &[SELF, SECOND, THIRD]));
    let ask = replica.partition.question(LeaderEpoch(1)).unwrap().ask;
    let heard = Heard::Records { high_watermark: Offset(0), log_start: Offset(0) };
    let mut records = batch(0, &["a"]);
    BatchMut::parse(&mut records).unwrap().set_leader_epoch(LeaderEpoch(1));
    assert_eq!(replica.partition.heard(&ask, heard, &records, now_ms()), Followed::Goes);
    flushed(&replica).await;
    assert!(!replica.partition.owes_flush());
    assert!(replica.partition.log().is_flushed());
}

#[tokio::test]
async fn disk_that_fails_ends_the_wait_for_it_and_the_role() {
    let replica = Replica::new(1);
    acknowledge_flushed(&replica);
    replica.take_over(&Replica::wanted(SELF, 1, 1, &[SELF]));
    replica.append(&["a"]);
    replica.partition.log().disk().fail("gone");
    replica.partition.take_offline();
    flushed(&replica).await;
    assert_eq!(replica.partition.check_leader(NO_EPOCH), Err(ErrorCode::KafkaStorageError));
    replica.lead(2);
    assert_eq!(replica.partition.check_leader(NO_EPOCH), Err(ErrorCode::KafkaStorageError), "until the next start");
}
