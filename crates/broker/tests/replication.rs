//! Three brokers that copy each other: what is acknowledged, who is in sync, what a new leader has.

mod support;

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, DeleteRecordsRequest, ListOffsetsRequest,
};
use support::records::{batch, fetch, list_offset, records_of, topic_name, values};
use support::replicas::{Trio, fetch_in_rack, produce_with, read_all};
use support::transactions::{End, end_transaction, produce_in, read_committed_from, transactional};
use support::{Client, wait_until};

const OK: i16 = 0;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const REQUEST_TIMED_OUT: i16 = 7;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const ALL: i16 = -1;
const LEADER: i16 = 1;
const OFFSET_NOT_AVAILABLE: i16 = 78;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

async fn produce(client: &mut Client, topic: &str, acks: i16, value: &str) -> i16 {
    produce_with(client, topic, 0, acks, 10_000, values(&[value])).await.error_code
}

/// Writes through a leader that may not know yet that it leads.
async fn write_to_new(client: &mut Client, topic: &str, value: &str) {
    wait_until("the new leader takes a record", async || match produce(client, topic, ALL, value).await {
        NOT_LEADER_OR_FOLLOWER => false,
        code => {
            assert_eq!(code, OK);
            true
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_all_waits_for_every_in_sync_replica_and_consumers_wait_with_it() {
    let mut trio = Trio::start(&[("broker.session.timeout.ms", "20000")]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let mut leader = trio.client(2).await;
    trio.node(3).pause();
    let late = produce_with(&mut leader, "t", 0, ALL, 300, values(&["late"])).await;
    assert_eq!(late.error_code, REQUEST_TIMED_OUT);
    let soon = produce_with(&mut leader, "t", 0, LEADER, 300, values(&["soon"])).await;
    assert_eq!((soon.error_code, soon.base_offset), (OK, 2));
    assert_eq!(read_all(&mut leader, "t").await, Vec::<String>::new());
    assert_eq!(list_offset(&mut leader, "t", 0, -1).await.offset, 1);
    // Between the high watermark and the log end there is nothing to see, and nothing wrong.
    let beyond = fetch(&mut leader, "t", 0, 2).await;
    assert_eq!((beyond.error_code, beyond.high_watermark), (OK, 1));
    trio.node(3).go_on();
    assert_eq!(trio.read(2, "t", 2).await, ["late", "soon"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_follower_leaves_the_isr_and_comes_back_with_everything() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3, 1]], &[]).await;
    let mut leader = trio.client(2).await;
    trio.node(3).pause();
    // The first write waits until the silence has been noticed.
    assert_eq!(produce(&mut leader, "t", ALL, "without 3").await, OK);
    trio.wait_for_isr("t", &[1, 2]).await;
    assert_eq!(produce(&mut leader, "t", ALL, "still without 3").await, OK);
    trio.node(3).go_on();
    trio.wait_for_isr("t", &[1, 2, 3]).await;
    assert_eq!(trio.read(3, "t", 2).await, ["without 3", "still without 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_leader_has_every_acknowledged_record_and_the_old_one_copies_it() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3, 1]], &[("min.insync.replicas", "2")]).await;
    let mut leader = trio.client(2).await;
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let value = format!("v{number}");
        assert_eq!(produce(&mut leader, "t", ALL, &value).await, OK);
        acknowledged.push(value);
    }
    trio.node(2).kill();
    let next = trio.wait_for_leader("t", &[1, 3]).await;
    let mut leader = trio.client(next).await;
    write_to_new(&mut leader, "t", "after").await;
    acknowledged.push("after".to_owned());
    assert_eq!(trio.read(next, "t", acknowledged.len()).await, acknowledged);
    trio.restart(2).await;
    trio.wait_for_isr("t", &[1, 2, 3]).await;
    assert_eq!(trio.read(2, "t", acknowledged.len()).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_leader_cuts_what_was_never_committed() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let mut old = trio.client(2).await;
    trio.node(3).pause();
    // The answer to the fetch that waits lies in the stopped follower's socket, with the first few of these.
    for number in 0..50 {
        assert_eq!(produce(&mut old, "t", LEADER, &format!("old {number}")).await, OK);
    }
    trio.node(2).kill();
    trio.node(3).go_on();
    trio.wait_for_leader("t", &[3]).await;
    let mut new = trio.client(3).await;
    write_to_new(&mut new, "t", "kept").await;
    trio.restart(2).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    assert_eq!(produce(&mut new, "t", ALL, "both").await, OK);
    let on_new = trio.read(3, "t", 2).await;
    wait_until("both have the same", async || read_all(&mut trio.client(2).await, "t").await == on_new).await;
    assert!(on_new.ends_with(&["kept".to_owned(), "both".to_owned()]), "{on_new:?}");
    assert!(!on_new.contains(&"old 49".to_owned()), "{on_new:?}");
    assert!(trio.node(2).log().contains("cutting records that were never committed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_leader_is_fenced_when_it_goes_on() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3, 1]], &[("min.insync.replicas", "2")]).await;
    let mut old = trio.client(2).await;
    assert_eq!(produce(&mut old, "t", ALL, "before").await, OK);
    trio.node(2).pause();
    let next = trio.wait_for_leader("t", &[1, 3]).await;
    write_to_new(&mut trio.client(next).await, "t", "meanwhile").await;
    trio.node(2).go_on();
    let stale = produce_with(&mut old, "t", 0, ALL, 5_000, values(&["stale"])).await;
    assert_ne!(stale.error_code, OK, "an old leader acknowledged a write");
    wait_until("the old leader knows", async || {
        produce_with(&mut old, "t", 0, LEADER, 1_000, values(&["x"])).await.error_code == NOT_LEADER_OR_FOLLOWER
    })
    .await;
    trio.wait_for_isr("t", &[1, 2, 3]).await;
    assert_eq!(trio.read(2, "t", 2).await, ["before", "meanwhile"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_in_sync_replicas_commit_nothing_until_there_are_enough() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3]], &[("min.insync.replicas", "2")]).await;
    let mut leader = trio.client(2).await;
    trio.node(3).kill();
    trio.wait_for_isr("t", &[2]).await;
    wait_until("the leader has heard of it", async || {
        produce_with(&mut leader, "t", 0, ALL, 100, values(&["refused"])).await.error_code == NOT_ENOUGH_REPLICAS
    })
    .await;
    assert_eq!(produce(&mut leader, "t", LEADER, "alone").await, OK);
    let before = read_all(&mut leader, "t").await;
    assert!(!before.contains(&"alone".to_owned()), "{before:?}");
    trio.restart(3).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    wait_until("what waited is committed", async || read_all(&mut leader, "t").await.contains(&"alone".to_owned()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_is_sent_to_the_follower_in_its_rack_and_reads_there() {
    let trio = Trio::start_with(|node| {
        let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
        vec![("broker.rack".into(), format!("rack-{node}")), ("replica.selector.class".into(), selector.into())]
    })
    .await;
    trio.create("t", &[&[2, 3, 1]], &[]).await;
    let mut leader = trio.client(2).await;
    assert_eq!(produce(&mut leader, "t", ALL, "near").await, OK);
    wait_until("node 3 is preferred", async || {
        let sent = fetch_in_rack(&mut leader, "t", 0, "rack-3").await;
        assert_eq!(sent.error_code, OK);
        sent.preferred_read_replica.0 == 3
    })
    .await;
    for rack in ["rack-2", "rack-9", ""] {
        let stays = fetch_in_rack(&mut leader, "t", 0, rack).await;
        assert_eq!(stays.preferred_read_replica.0, -1, "{rack}");
        assert!(stays.records.is_some_and(|records| !records.is_empty()));
    }
    assert_eq!(trio.read(3, "t", 1).await, ["near"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_is_answered_when_every_replica_has_deleted() {
    // Followers that find nothing new poll so rarely that an answer in time was waiting for none of these polls.
    let trio = Trio::start(&[("replica.fetch.wait.max.ms", "600000"), ("replica.lag.time.max.ms", "600000")]).await;
    trio.create("t", &[&[2, 3, 1]], &[]).await;
    let mut leader = trio.client(2).await;
    for number in 0..5 {
        assert_eq!(produce(&mut leader, "t", ALL, &number.to_string()).await, OK);
    }
    delete_to(&mut leader, "t", 4).await;
    for node in [1, 3] {
        assert_eq!(start_of_replica(&mut trio.client(node).await, "t").await, 4, "node {node}");
    }
}

/// DeleteRecords may move the start of a log into a batch. Whoever begins to copy there gets the whole batch.
#[tokio::test(flavor = "multi_thread")]
async fn new_replica_copies_a_log_that_begins_within_a_batch() {
    let trio = Trio::start(&[]).await;
    trio.create("t", &[&[2]], &[]).await;
    let mut leader = trio.client(2).await;
    let start = write_and_delete_half(&mut leader, "t").await;
    reassign(&trio, "t", &[2, 3]).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    assert_eq!(produce(&mut leader, "t", ALL, "both").await, OK);
    let expected = ["5", "6", "7", "8", "9", "after", "both"];
    assert_has_from(&trio, 3, "t", start, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_that_was_away_begins_anew_within_a_batch() {
    let mut trio = Trio::start(&[]).await;
    trio.create("t", &[&[2, 3]], &[]).await;
    let mut leader = trio.client(2).await;
    trio.node(3).kill();
    trio.wait_for_isr("t", &[2]).await;
    let start = write_and_delete_half(&mut leader, "t").await;
    trio.restart(3).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    assert_has_from(&trio, 3, "t", start, &["5", "6", "7", "8", "9", "after"]).await;
    // Killed before or after its start was written down, it begins there again.
    trio.node(3).kill();
    trio.restart(3).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    assert_has_from(&trio, 3, "t", start, &["5", "6", "7", "8", "9", "after"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_lost_its_first_records_is_aborted_on_a_new_replica() {
    let trio = Trio::start(&[("transaction.partition.verification.enable", "false")]).await;
    trio.create("t", &[&[2]], &[]).await;
    let mut leader = trio.client(2).await;
    let written = produce_in(&mut leader, "x", "t", 0, transactional(7, 0, 0, &["a", "b", "c", "d"])).await;
    assert_eq!(written.error_code, OK);
    // What is not stable can be deleted all the same, as far as it is replicated.
    let start = written.base_offset + 2;
    delete_to(&mut leader, "t", start).await;
    assert_eq!(produce(&mut leader, "t", ALL, "after").await, OK);
    reassign(&trio, "t", &[2, 3]).await;
    trio.wait_for_isr("t", &[2, 3]).await;
    let mut follower = trio.client(3).await;
    wait_until("it begins where the leader does", async || start_of_replica(&mut follower, "t").await == start).await;
    assert_eq!(read_committed_from(&mut follower, "t", 0, start).await, (start, vec![]));
    assert_eq!(end_transaction(&mut leader, End::abort(7, 0), "t", 0).await, OK);
    wait_until("the follower knows that it was aborted", async || {
        read_committed_from(&mut follower, "t", 0, start).await == (start + 4, vec!["after".to_owned()])
    })
    .await;
}

/// Writes a batch of ten records between two others, and deletes what comes before the sixth of it. Returns where the
/// log begins then.
async fn write_and_delete_half(leader: &mut Client, topic: &str) -> i64 {
    assert_eq!(produce(leader, topic, ALL, "before").await, OK);
    let ten: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let ten: Vec<(Option<&str>, Option<&str>)> = ten.iter().map(|value| (None, Some(value.as_str()))).collect();
    let written = produce_with(leader, topic, 0, ALL, 10_000, batch(1_700_000_000_000, &ten)).await;
    assert_eq!(written.error_code, OK);
    assert_eq!(produce(leader, topic, ALL, "after").await, OK);
    let start = written.base_offset + 5;
    delete_to(leader, topic, start).await;
    start
}

/// The log of this very replica begins there and has these values.
async fn assert_has_from(trio: &Trio, node: i32, topic: &str, start: i64, values: &[&str]) {
    let mut client = trio.client(node).await;
    wait_until("it begins where its leader does", async || start_of_replica(&mut client, topic).await == start).await;
    let end = start + values.len() as i64;
    wait_until("it has everything", async || fetch(&mut client, topic, 0, start).await.high_watermark == end).await;
    let (mut next, mut found) = (start, Vec::new());
    while next < end {
        let records = records_of(&fetch(&mut client, topic, 0, next).await);
        found.extend(records.into_iter().filter(|(offset, _)| *offset >= next).map(|(_, value)| value));
        next = start + found.len() as i64;
    }
    assert_eq!(found, values);
}

async fn delete_to(leader: &mut Client, topic: &str, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = leader.call(request, 2).await;
    let deleted = &answer.topics[0].partitions[0];
    assert_eq!((deleted.error_code, deleted.low_watermark), (OK, offset));
}

async fn reassign(trio: &Trio, topic: &str, replicas: &[i32]) {
    let replicas = replicas.iter().map(|node| BrokerId(*node)).collect();
    let partition = ReassignablePartition::default().with_partition_index(0).with_replicas(Some(replicas));
    let topic = ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = trio.client(1).await.call(request, 0).await;
    assert_eq!((answer.error_code, answer.responses[0].partitions[0].error_code), (OK, OK), "{answer:?}");
}

/// KIP-207.
#[tokio::test(flavor = "multi_thread")]
async fn new_leader_does_not_deny_a_record_that_it_cannot_show_yet() {
    let mut trio = Trio::start(&[("broker.session.timeout.ms", "20000")]).await;
    trio.create("t", &[&[2, 1, 3]], &[("min.insync.replicas", "2")]).await;
    let mut old = trio.client(2).await;
    trio.node(3).pause();
    let (first, later) = (1_700_000_000_000, 1_700_000_005_000);
    let written = produce_with(&mut old, "t", 0, LEADER, 5_000, batch(later, &[(None, Some("later"))])).await;
    assert_eq!(written.error_code, OK);
    let mut next = trio.client(1).await;
    let end = written.base_offset + 1;
    wait_until("the next leader has it", async || replica_offset(&mut next, "t", LATEST).await == end).await;
    trio.node(2).kill();
    trio.wait_for_leader("t", &[1]).await;
    wait_until("it leads", async || list_offset(&mut next, "t", 0, EARLIEST).await.error_code == OK).await;
    for asked in [later, later - 1, LATEST] {
        assert_eq!(list_offset(&mut next, "t", 0, asked).await.error_code, OFFSET_NOT_AVAILABLE, "{asked}");
    }
    let known = list_offset(&mut next, "t", 0, first).await;
    assert_eq!((known.error_code, known.offset), (OK, 0));
    trio.node(3).go_on();
    wait_until("it knows", async || {
        let found = list_offset(&mut next, "t", 0, later - 1).await;
        assert!([OK, OFFSET_NOT_AVAILABLE].contains(&found.error_code), "{found:?}");
        found.offset == written.base_offset
    })
    .await;
}

/// Where the log begins on this very replica.
async fn start_of_replica(client: &mut Client, topic: &str) -> i64 {
    replica_offset(client, topic, EARLIEST).await
}

async fn replica_offset(client: &mut Client, topic: &str, at: i64) -> i64 {
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(at);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-2)).with_topics(vec![topic]);
    client.call(request, 7).await.topics[0].partitions[0].offset
}
