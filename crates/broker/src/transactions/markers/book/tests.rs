use std::cell::Cell;
use std::rc::Rc;

use twinstream_coordinator::transaction::TransactionVersion;
use twinstream_model::TopicName;

use super::*;

/// A coordinator that can move away.
#[derive(Clone, Default)]
struct Coordinator {
    gone: Rc<Cell<bool>>,
}

impl Origin for Coordinator {
    fn is_gone(&self) -> bool {
        self.gone.get()
    }

    fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(3)
    }
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new(TopicName::parse("orders").unwrap(), partition)
}

fn ending(id: &str, partitions: &[i32]) -> WriteMarkers {
    WriteMarkers {
        transactional_id: id.into(),
        producer: Producer::new(7, 1),
        commit: true,
        partitions: partitions.iter().copied().map(at).collect(),
        version: TransactionVersion::V2,
    }
}

/// Partitions below 10 are led by node 1, below 20 by node 2, below 30 by nobody, and others are deleted.
fn map(partition: &TopicPartition) -> Place {
    match partition.partition.0 {
        ..10 => Place::At(NodeId(1)),
        10..20 => Place::At(NodeId(2)),
        20..30 => Place::Unknown,
        _ => Place::Gone,
    }
}

fn codes(batch: &Batch, code: ErrorCode) -> Codes {
    batch.partitions().map(|partition| ((Producer::new(7, 1).id, partition.clone()), code)).collect()
}

fn reported(book: &mut Book<Coordinator>) -> Vec<Vec<i32>> {
    let reports = book.take_reports();
    reports.iter().map(|report| report.partitions.iter().map(|partition| partition.partition.0).collect()).collect()
}

fn book_with(markers: WriteMarkers) -> (Book<Coordinator>, Coordinator) {
    let (mut book, coordinator) = (Book::default(), Coordinator::default());
    book.add(coordinator.clone(), markers, Instant::now(), map);
    (book, coordinator)
}

#[test]
fn each_leader_gets_its_partitions_and_the_shard_hears_once() {
    let (mut book, _) = book_with(ending("a", &[1, 2, 11]));
    let (first, second) = (book.next_batch().unwrap(), book.next_batch().unwrap());
    assert!(book.next_batch().is_none());
    assert_eq!((first.node, first.partitions().count()), (NodeId(1), 2));
    assert_eq!((second.node, second.partitions().count()), (NodeId(2), 1));
    assert_eq!(first.parcels[0].coordinator_epoch, LeaderEpoch(3));
    let done = codes(&first, ErrorCode::None);
    book.settle(first, Some(&done));
    assert!(reported(&mut book).is_empty(), "the other leader has not answered");
    let done = codes(&second, ErrorCode::None);
    book.settle(second, Some(&done));
    assert_eq!(reported(&mut book), [vec![1, 2, 11]]);
    assert_eq!((book.transactions(), book.waiting()), (0, 0));
}

#[test]
fn what_was_not_taken_waits_and_goes_to_the_leader_of_then() {
    let (mut book, _) = book_with(ending("a", &[1, 2]));
    let batch = book.next_batch().unwrap();
    let mut answer = codes(&batch, ErrorCode::None);
    answer.insert((Producer::new(7, 1).id, at(2)), ErrorCode::NotLeaderOrFollower);
    book.settle(batch, Some(&answer));
    assert_eq!(reported(&mut book), [vec![1]]);
    assert_eq!((book.transactions(), book.waiting()), (1, 1));
    assert!(book.next_batch().is_none());
    book.try_again(|_| Place::At(NodeId(2)));
    let batch = book.next_batch().unwrap();
    assert_eq!((batch.node, batch.partitions().cloned().collect::<Vec<_>>()), (NodeId(2), vec![at(2)]));
    let done = codes(&batch, ErrorCode::None);
    book.settle(batch, Some(&done));
    assert_eq!(reported(&mut book), [vec![2]]);
    assert_eq!(book.transactions(), 0);
}

#[test]
fn lost_answer_and_missing_codes_are_tried_again() {
    let (mut book, _) = book_with(ending("a", &[1]));
    let batch = book.next_batch().unwrap();
    book.settle(batch, None);
    assert_eq!(book.waiting(), 1);
    book.try_again(map);
    let batch = book.next_batch().unwrap();
    book.settle(batch, Some(&Codes::new()));
    assert_eq!(book.waiting(), 1);
}

#[test]
fn deleted_partitions_need_no_marker_and_those_without_leader_wait() {
    let (mut book, _) = book_with(ending("a", &[20, 30]));
    assert!(book.next_batch().is_none());
    assert_eq!(reported(&mut book), [vec![30]]);
    book.try_again(map);
    assert_eq!((book.waiting(), book.transactions()), (1, 1));
    let (mut book, _) = book_with(ending("b", &[30]));
    assert_eq!(reported(&mut book), [vec![30]]);
    assert_eq!(book.transactions(), 0);
}

#[test]
fn shard_that_moved_away_leaves_nothing_behind() {
    let (mut book, coordinator) = book_with(ending("waits and flies", &[1, 20]));
    book.add(coordinator.clone(), ending("stands in a lane", &[11]), Instant::now(), map);
    let flying = book.next_batch().unwrap();
    coordinator.gone.set(true);
    book.try_again(map);
    assert!(book.next_batch().is_none());
    assert_eq!((book.transactions(), book.waiting()), (0, 0));
    book.settle(flying, None);
    assert_eq!((book.transactions(), book.waiting()), (0, 0));
}

#[test]
fn later_transaction_of_an_id_replaces_the_earlier_one() {
    let (mut book, coordinator) = book_with(ending("a", &[1]));
    let old = book.next_batch().unwrap();
    book.add(coordinator, ending("a", &[2]), Instant::now(), map);
    let done = codes(&old, ErrorCode::None);
    book.settle(old, Some(&done));
    assert!(reported(&mut book).is_empty());
    let new = book.next_batch().unwrap();
    assert_eq!(new.partitions().cloned().collect::<Vec<_>>(), [at(2)]);
}

#[test]
fn newer_coordinator_ends_the_work_and_newer_producer_counts_as_written() {
    let (mut book, _) = book_with(ending("a", &[1]));
    let batch = book.next_batch().unwrap();
    let fenced = codes(&batch, ErrorCode::TransactionCoordinatorFenced);
    book.settle(batch, Some(&fenced));
    assert_eq!((book.transactions(), reported(&mut book).len()), (0, 0));

    let (mut book, _) = book_with(ending("a", &[1]));
    let batch = book.next_batch().unwrap();
    let newer = codes(&batch, ErrorCode::InvalidProducerEpoch);
    book.settle(batch, Some(&newer));
    assert_eq!(reported(&mut book), [vec![1]]);
}

#[test]
fn topic_that_has_become_a_mirror_holds_no_transaction_up() {
    let (mut book, _) = book_with(ending("a", &[1]));
    let batch = book.next_batch().unwrap();
    let mirror = codes(&batch, ErrorCode::PolicyViolation);
    book.settle(batch, Some(&mirror));
    assert_eq!((book.transactions(), reported(&mut book)), (0, vec![vec![1]]));
}

#[test]
fn broker_gets_few_requests_at_a_time_and_the_rest_gathers() {
    let (mut book, coordinator) = book_with(ending("0", &[1]));
    let mut flying = Vec::new();
    for i in 1..=REQUESTS_MAX {
        flying.push(book.next_batch().unwrap());
        book.add(coordinator.clone(), ending(&i.to_string(), &[1]), Instant::now(), map);
    }
    book.add(coordinator, ending("last", &[1]), Instant::now(), map);
    assert!(book.next_batch().is_none());
    let done = codes(&flying[0], ErrorCode::None);
    book.settle(flying.remove(0), Some(&done));
    assert_eq!(book.next_batch().unwrap().parcels.len(), 2);
}

#[test]
fn transaction_that_waits_for_long_is_named_once_in_a_while() {
    let (mut book, _) = book_with(ending("slow", &[20]));
    let start = Instant::now();
    let mut named = 0;
    for seconds in 0..65 {
        book.overdue(start + Duration::from_secs(seconds), |id, partitions| {
            assert_eq!((id.as_str(), partitions.len()), ("slow", 1));
            named += 1;
        });
    }
    assert_eq!(named, 2);
}
