//! Two clusters that change places: the mirror is promoted, the former source becomes its mirror, and both have the same log again.

mod support;

use std::path::Path;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, OffsetForLeaderEpochRequest};
use support::mirrors::{create_mirror, cut, from, mark, mirror, open, plain, promote, stored};
use support::records::{create_topic, fetch, list_offset, produce, topic_name, values};
use support::replicas::Trio;
use support::transactions::{End, end_transaction, produce_in, read_committed, transactional};
use support::{Client, PATIENCE, TestBroker, comes_true, wait_until};
use twinstream_protocol::batch::batches;

const POLICY_VIOLATION: i16 = 44;
const UNVERIFIED: (&str, &str) = ("transaction.partition.verification.enable", "false");

/// Batches from an offset on, as they are stored, with their epochs and ends.
async fn stored_from(client: &mut Client, start: i64) -> Vec<(i32, i64, bytes::Bytes)> {
    let (mut found, mut next) = (Vec::new(), start);
    loop {
        let bytes = fetch(client, "m", 0, next).await.records.unwrap_or_default();
        if bytes.is_empty() {
            return found;
        }
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            let header = batch.header();
            next = header.next_offset().0;
            found.push((header.leader_epoch.0, next, bytes::Bytes::copy_from_slice(batch.bytes())));
        }
    }
}

/// The epoch of the batch at this offset. Which one a promotion begins depends on the ids of both clusters.
async fn epoch_at(client: &mut Client, offset: i64) -> i32 {
    stored_from(client, offset).await.first().expect("a batch").0
}

/// What a link does.
async fn copy(source: &mut Client, target: &mut Client, start: i64) {
    let mut at = start;
    for (epoch, end, bytes) in stored_from(source, start).await {
        assert_eq!(mirror(target, "m", from(at, epoch), bytes).await, end);
        at = end;
    }
}

/// Where the newest epoch of at most this one ended.
async fn end_of_epoch(client: &mut Client, epoch: i32) -> (i32, i64) {
    let partition = OffsetForLeaderPartition::default().with_leader_epoch(epoch).with_current_leader_epoch(-1);
    let topic = OffsetForLeaderTopic::default().with_topic(topic_name("m")).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = client.call(request, 4).await;
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0, "{answer:?}");
    (found.leader_epoch, found.end_offset)
}

async fn delete_before(client: &mut Client, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name("m")).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
    assert_eq!(client.call(request, 2).await.topics[0].partitions[0].error_code, 0);
}

/// The directory as a crash at this moment would leave it.
fn as_crashed(dir: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                std::fs::create_dir(&target).unwrap();
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir, crashed.path());
    crashed
}

async fn write(client: &mut Client, value: &str) {
    wait_until("a producer is let in", async || produce(client, "m", 0, values(&[value])).await.error_code == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_former_source_gives_up_its_tail_and_has_the_successors_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let broker_a = TestBroker::start(dirs[0].path(), &[UNVERIFIED]).await;
    let broker_b = TestBroker::start(dirs[1].path(), &[UNVERIFIED]).await;
    let (mut a, mut b) = (broker_a.client().await, broker_b.client().await);
    create_topic(&mut a, "m", 1, &[]).await;
    write(&mut a, "a0").await;
    write(&mut a, "a1").await;
    let begun = produce_in(&mut a, "tx", "m", 0, transactional(1_000_070, 0, 0, &["open"])).await;
    assert_eq!(begun.error_code, 0, "{begun:?}");
    create_mirror(&mut b, "m", &[1]).await;
    copy(&mut a, &mut b, 0).await;

    // The link is cut, both sides go on.
    promote(&mut b, "m").await;
    assert_eq!(end_transaction(&mut a, End::commit(1_000_070, 0), "m", 0).await, 0);
    write(&mut a, "given up").await;
    write(&mut b, "b4").await;
    assert_eq!(read_committed(&mut a, "m", 0).await.1, ["a0", "a1", "open", "given up"]);
    let begun = produce_in(&mut a, "tx2", "m", 0, transactional(1_000_071, 0, 0, &["given up, too"])).await;
    assert_eq!(begun.error_code, 0, "{begun:?}");

    // A becomes B's mirror.
    mark(&mut a, "m").await;
    wait_until("producers of A are fenced", async || {
        produce(&mut a, "m", 0, values(&["late"])).await.error_code == POLICY_VIOLATION
    })
    .await;
    // Its coordinator may have answered already that it is committed.
    assert_eq!(end_transaction(&mut a, End::commit(1_000_071, 0), "m", 0).await, 0);
    assert_eq!(end_transaction(&mut a, End::commit(1_000_071, 0), "m", 0).await, POLICY_VIOLATION, "once");
    let (_, parted) = end_of_epoch(&mut b, 1_023).await;
    assert_eq!(parted, 3, "behind what A's link had brought");
    let theirs = epoch_at(&mut b, parted).await;
    assert_eq!(mirror(&mut a, "m", cut(parted, theirs), bytes::Bytes::new()).await, parted);
    assert_eq!(list_offset(&mut a, "m", 0, -1).await.offset, parted, "the high watermark went back with the log");
    copy(&mut b, &mut a, parted).await;
    assert_eq!(
        end_transaction(&mut a, End::commit(1_000_070, 0), "m", 0).await,
        POLICY_VIOLATION,
        "the source says how"
    );
    let committed = ["a0", "a1", "b4"].map(str::to_owned);
    for client in [&mut a, &mut b] {
        assert_eq!(read_committed(client, "m", 0).await, (5, committed.to_vec()), "nothing is open, nothing is left");
    }
    assert_eq!(stored_from(&mut a, 0).await, stored_from(&mut b, 0).await);

    // A dies and comes back as it was, and leads again.
    drop(a);
    broker_a.stop().await.unwrap();
    let broker_a = TestBroker::start(dirs[0].path(), &[UNVERIFIED]).await;
    let mut a = broker_a.client().await;
    wait_until("A serves", async || list_offset(&mut a, "m", 0, -1).await.error_code == 0).await;
    assert_eq!(stored_from(&mut a, 0).await, stored_from(&mut b, 0).await);
    promote(&mut a, "m").await;
    write(&mut a, "a5").await;
    let own = epoch_at(&mut a, 5).await;
    assert!(own / 1_024 > theirs / 1_024, "an era of its own, above all of B's: {own}, {theirs}");
    assert_eq!(end_of_epoch(&mut a, own - 1).await, (theirs, 5));

    // Where both parted stays known when the records are gone.
    write(&mut b, "b5").await;
    delete_before(&mut b, 5).await;
    assert_eq!(end_of_epoch(&mut b, 1_023).await.1, parted);
    drop(b);
    broker_b.stop().await.unwrap();
    let broker_b = TestBroker::start(dirs[1].path(), &[UNVERIFIED]).await;
    let mut b = broker_b.client().await;
    wait_until("B serves", async || list_offset(&mut b, "m", 0, -1).await.error_code == 0).await;
    assert_eq!(end_of_epoch(&mut b, 1_023).await.1, parted, "after a restart, too");
    broker_a.stop().await.unwrap();
    broker_b.stop().await.unwrap();
}

/// A fail-back was called off in its middle: the topic was fenced, and leads again. Once before it heard anything of the other site's
/// era, and once after that, when leaders refuse markers of their own coordinators.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_was_open_when_its_topic_was_fenced_is_ended_by_its_own_coordinator_if_that_can_be() {
    for (heard, expected) in [(false, vec!["b0", "open", "b4"]), (true, vec!["b0", "b4"])] {
        let dir = tempfile::tempdir().unwrap();
        let broker = TestBroker::start(dir.path(), &[UNVERIFIED]).await;
        let mut b = broker.client().await;
        create_topic(&mut b, "m", 1, &[]).await;
        write(&mut b, "b0").await;
        let begun = produce_in(&mut b, "tx", "m", 0, transactional(1_000_070, 0, 0, &["open"])).await;
        assert_eq!(begun.error_code, 0, "{begun:?}");
        mark(&mut b, "m").await;
        wait_until("producers are fenced", async || {
            produce(&mut b, "m", 0, values(&["late"])).await.error_code == POLICY_VIOLATION
        })
        .await;
        if heard {
            let theirs = stored(2, EPOCH, open(1_000_071, &["theirs"]));
            assert_eq!(mirror(&mut b, "m", from(2, EPOCH), theirs).await, 3);
            assert_eq!(end_transaction(&mut b, End::commit(1_000_070, 0), "m", 0).await, POLICY_VIOLATION);
        }
        promote(&mut b, "m").await;
        write(&mut b, "b4").await;
        // A restart, and so another leadership, decides the same.
        drop(b);
        broker.stop().await.unwrap();
        let broker = TestBroker::start(dir.path(), &[UNVERIFIED]).await;
        let mut b = broker.client().await;
        wait_until("it serves", async || list_offset(&mut b, "m", 0, -1).await.error_code == 0).await;
        if !heard {
            assert_eq!(
                read_committed(&mut b, "m", 0).await.1,
                ["b0"],
                "what is open holds readers of committed records"
            );
            assert_eq!(end_transaction(&mut b, End::commit(1_000_070, 0), "m", 0).await, 0);
        }
        let (end, committed) = read_committed(&mut b, "m", 0).await;
        assert_eq!(
            (end, committed),
            (list_offset(&mut b, "m", 0, -1).await.offset, expected.iter().map(ToString::to_string).collect())
        );
        broker.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_home_behind_records_that_retention_had_removed_survives_a_crash() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let broker_a = TestBroker::start(dirs[0].path(), &[]).await;
    let broker_b = TestBroker::start(dirs[1].path(), &[]).await;
    let (mut a, mut b) = (broker_a.client().await, broker_b.client().await);
    create_topic(&mut a, "m", 1, &[]).await;
    for value in ["a0", "a1"] {
        write(&mut a, value).await;
    }
    create_mirror(&mut b, "m", &[1]).await;
    copy(&mut a, &mut b, 0).await;
    promote(&mut b, "m").await;
    write(&mut b, "b2").await;
    // What the former source removes reaches beyond the point where both part, and it writes that down.
    for number in 2..7 {
        write(&mut a, &format!("given up {number}")).await;
    }
    delete_before(&mut a, 6).await;
    drop(a);
    broker_a.stop().await.unwrap();
    let broker_a = TestBroker::start(dirs[0].path(), &[]).await;
    let mut a = broker_a.client().await;
    wait_until("A serves", async || list_offset(&mut a, "m", 0, -2).await.offset == 6).await;

    mark(&mut a, "m").await;
    wait_until("producers of A are fenced", async || {
        produce(&mut a, "m", 0, values(&["late"])).await.error_code == POLICY_VIOLATION
    })
    .await;
    let (_, parted) = end_of_epoch(&mut b, 1_023).await;
    let theirs = epoch_at(&mut b, parted).await;
    assert_eq!(mirror(&mut a, "m", cut(parted, theirs), bytes::Bytes::new()).await, parted);
    let cut_only = as_crashed(dirs[0].path());
    copy(&mut b, &mut a, parted).await;
    let with_records = as_crashed(dirs[0].path());
    drop(a);
    broker_a.stop().await.unwrap();
    for (crashed, end) in [(cut_only, parted), (with_records, parted + 1)] {
        let broker_a = TestBroker::start(crashed.path(), &[]).await;
        let mut a = broker_a.client().await;
        wait_until("A serves", async || list_offset(&mut a, "m", 0, -1).await.error_code == 0).await;
        let (first, last) =
            (list_offset(&mut a, "m", 0, -2).await.offset, list_offset(&mut a, "m", 0, -1).await.offset);
        assert!(first <= parted, "it begins at {first}, and what came home from {parted} on is gone");
        assert_eq!(last, end);
        assert_eq!(stored_from(&mut a, parted).await, stored_from(&mut b, parted).await[..(end - parted) as usize]);
        broker_a.stop().await.unwrap();
    }
    broker_b.stop().await.unwrap();
}

/// Where both logs part, and where the former source had begun before: behind that.
const PARTED: i64 = 20;
const REMOVED: i64 = 23;
/// Of the site that led meanwhile: its era is above all that this one may have been promoted in, which depends on the ids of both clusters.
const EPOCH: i32 = 4_096;

/// A replica that was away while its leader was cut below the log start that both had; the leader's batches, and the leader
/// itself, connected.
async fn with_a_replica_that_missed_a_cut() -> (Trio, Client, Vec<(i32, i64, bytes::Bytes)>) {
    let mut trio = Trio::start(&[("min.insync.replicas", "2"), ("broker.session.timeout.ms", "3000")]).await;
    let mut leader = trio.client(2).await;
    create_mirror(&mut leader, "m", &[2, 3, 1]).await;
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    for offset in 0..PARTED {
        mirror(&mut leader, "m", from(offset, 3), stored(offset, 3, plain(&["in both"]))).await;
    }
    promote(&mut leader, "m").await;
    while list_offset(&mut leader, "m", 0, -1).await.offset < REMOVED + 2 {
        write(&mut leader, "given up").await;
    }
    wait_until("all replicas have it", async || list_offset(&mut leader, "m", 0, -1).await.offset >= REMOVED + 2).await;
    delete_before(&mut leader, REMOVED).await;
    assert_eq!(list_offset(&mut leader, "m", 0, -2).await.offset, REMOVED);
    // A clean end writes down where its log begins.
    assert_eq!(trio.node(3).terminate(), Some(0));
    assert!(begins_at(trio.dir(), REMOVED), "the replica had heard of the removal");
    trio.wait_for_isr("m", &[1, 2]).await;

    mark(&mut leader, "m").await;
    wait_until("producers are fenced", async || {
        produce(&mut leader, "m", 0, values(&["late"])).await.error_code == POLICY_VIOLATION
    })
    .await;
    assert_eq!(mirror(&mut leader, "m", cut(PARTED, EPOCH), bytes::Bytes::new()).await, PARTED);
    for offset in PARTED..PARTED + 10 {
        let batch = stored(offset, EPOCH, plain(&[&format!("came home {offset}")]));
        mirror(&mut leader, "m", from(offset, EPOCH), batch).await;
    }
    wait_until("it is committed", async || list_offset(&mut leader, "m", 0, -1).await.offset == PARTED + 10).await;
    let has = stored_from(&mut leader, PARTED).await;
    assert_eq!(has.last().map(|(epoch, end, _)| (*epoch, *end)), Some((EPOCH, PARTED + 10)));
    (trio, leader, has)
}

/// Whether node 3 has written down that its log begins here.
fn begins_at(dir: &Path, offset: i64) -> bool {
    let written = std::fs::read_to_string(dir.join("3/log-start-offset-checkpoint")).unwrap_or_default();
    written.lines().any(|line| line == format!("m 0 {offset}"))
}

/// Node 3 is in sync again; leading, it has what its leader had, from the same start on.
async fn node_3_has_the_same(mut trio: Trio, mut leader: Client, has: &[(i32, i64, bytes::Bytes)]) {
    trio.wait_for_isr("m", &[1, 2, 3]).await;
    let begins = list_offset(&mut leader, "m", 0, -2).await.offset;
    trio.node(2).kill();
    assert_eq!(trio.wait_for_leader("m", &[3]).await, 3);
    let mut client = trio.client(3).await;
    wait_until("it serves", async || list_offset(&mut client, "m", 0, -1).await.offset == PARTED + 10).await;
    assert_eq!(stored_from(&mut client, PARTED).await, has);
    assert_eq!(list_offset(&mut client, "m", 0, -2).await.offset, begins);
    assert_eq!(end_of_epoch(&mut client, EPOCH - 1).await.1, PARTED, "it knows where both parted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_away_follows_a_cut_below_its_log_start() {
    let (mut trio, leader, has) = with_a_replica_that_missed_a_cut().await;
    trio.restart(3).await;
    node_3_has_the_same(trio, leader, &has).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_in_the_middle_of_a_cut_below_its_log_start_has_what_its_leader_has_afterwards() {
    let (mut trio, leader, has) = with_a_replica_that_missed_a_cut().await;
    let dir = trio.dir().to_path_buf();
    // The start is written down before the log is cut, so that is when it dies.
    let seen = comes_true(PATIENCE, async || begins_at(&dir, PARTED));
    let running = async {
        trio.restart(3).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        seen = seen => assert!(seen, "no cut within {PATIENCE:?}"),
        () = running => unreachable!("it runs on"),
    }
    trio.node(3).kill();
    trio.restart(3).await;
    node_3_has_the_same(trio, leader, &has).await;
}
