use super::*;
use twinstream_protocol::batch::BatchBuilder;

fn began(transactions: &Transactions, producer: i64, first: i64) {
    transactions.began(ProducerId(producer), Offset(first));
}

fn ended(transactions: &Transactions, producer: i64, first: i64, last: i64) -> i64 {
    let (producer_id, outcome) = (ProducerId(producer), Outcome::Commit);
    transactions.ended(&Completed { producer_id, first: Offset(first), last: Offset(last), outcome }).0
}

fn stable(transactions: &Transactions, high_watermark: i64) -> i64 {
    transactions.last_stable(Offset(high_watermark)).0
}

#[test]
fn without_transactions_all_that_is_committed_is_stable() {
    assert_eq!(stable(&Transactions::default(), 42), 42);
}

#[test]
fn readers_stop_before_the_first_open_transaction() {
    let transactions = Transactions::default();
    began(&transactions, 1, 10);
    began(&transactions, 2, 20);
    assert_eq!((stable(&transactions, 5), stable(&transactions, 30)), (5, 10));
    assert_eq!(ended(&transactions, 1, 10, 31), 20);
    assert_eq!(stable(&transactions, 40), 20);
    assert_eq!(ended(&transactions, 2, 20, 41), 42);
    assert_eq!(stable(&transactions, 42), 42);
}

#[test]
fn marker_counts_when_the_high_watermark_has_passed_it() {
    let transactions = Transactions::default();
    began(&transactions, 1, 10);
    ended(&transactions, 1, 10, 15);
    assert_eq!(stable(&transactions, 15), 10);
    assert_eq!(stable(&transactions, 16), 16);
    assert_eq!(stable(&transactions, 20), 20);
}

#[test]
fn reset_takes_over_what_is_open() {
    let transactions = Transactions::default();
    began(&transactions, 1, 10);
    transactions.reset([(Offset(7), ProducerId(3))]);
    assert_eq!(stable(&transactions, 9), 7);
    transactions.reset([]);
    assert_eq!(stable(&transactions, 9), 9);
}

fn control(key: &[u8], value: &[u8]) -> Option<Marker> {
    let mut builder = BatchBuilder::new().with_control().with_transactional();
    builder.append(0, Some(key), Some(value), []);
    let bytes = builder.build().unwrap();
    Marker::of(&BatchView::parse(&bytes).unwrap()).unwrap()
}

#[test]
fn marker_has_kafkas_bytes() {
    let epoch = [0, 0, 0, 0, 0, 9];
    let marker = |outcome| Some(Marker { outcome, coordinator_epoch: 9 });
    assert_eq!(control(&[0, 0, 0, 0], &epoch), marker(Outcome::Abort));
    assert_eq!(control(&[0, 0, 0, 1], &epoch), marker(Outcome::Commit));
    assert_eq!(control(&[0, 0, 0, 2], &epoch), None); // a leader change of a Raft log
    assert_eq!(control(&[0], &epoch), None);
    let empty = BatchBuilder::new().with_control().build().unwrap();
    assert_eq!(Marker::of(&BatchView::parse(&empty).unwrap()).unwrap(), None);
}
