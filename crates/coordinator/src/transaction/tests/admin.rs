//! Claims about DescribeTransactions and ListTransactions.

use twinstream_model::ProducerId;

use super::super::*;
use super::context::{TestContext, partition};
use TransactionVersion::V2;

/// `empty`, `running` for 5 s, `ending` for 3 s, `done`.
fn four() -> TestContext {
    let mut context = TestContext::new();
    context.init("empty");
    let done = context.init("done");
    context.end(V2, "done", done, false).unwrap();
    let running = context.init("running");
    context.add_by(V2, "running", running, &[0, 1]);
    context.advance(2_000);
    let ending = context.init("ending");
    context.add_by(V2, "ending", ending, &[2]);
    context.end(V2, "ending", ending, true).unwrap();
    context.advance(3_000);
    context
}

fn ids(context: &mut TestContext, filter: ListFilter) -> Vec<String> {
    let answer = context.ask(Request::List(filter));
    let Answer::List(Ok(listings)) = answer else { panic!("{answer:?}") };
    listings.into_iter().map(|listing| listing.transactional_id.to_string()).collect()
}

#[test]
fn every_id_is_listed_with_its_producer_and_state() {
    let mut context = four();
    let answer = context.ask(Request::List(ListFilter::default()));
    let Answer::List(Ok(listings)) = answer else { panic!("{answer:?}") };
    let states: Vec<_> = listings.iter().map(|l| (l.transactional_id.as_str(), l.state.name())).collect();
    let expected = [("done", "CompleteAbort"), ("empty", "Empty"), ("ending", "PrepareCommit"), ("running", "Ongoing")];
    assert_eq!(states, expected);
    assert_eq!(context.engine.shard().count_by_state().values().sum::<usize>(), 4);
}

#[test]
fn filters_leave_out_what_they_do_not_name() {
    let mut context = four();
    let producer_id = context.describe("running").unwrap().producer.id;
    let filter = ListFilter { producer_ids: [producer_id, ProducerId(5)].into(), ..ListFilter::default() };
    assert_eq!(ids(&mut context, filter), ["running"]);
    let states = [TransactionState::Ongoing, TransactionState::Empty].into();
    assert_eq!(ids(&mut context, ListFilter { states: Some(states), ..ListFilter::default() }), ["empty", "running"]);
    let none = ListFilter { states: Some([].into()), ..ListFilter::default() };
    assert!(ids(&mut context, none).is_empty(), "only unknown states were asked for");
    let pattern = IdPattern::parse(".*ing").ok();
    assert_eq!(ids(&mut context, ListFilter { id_pattern: pattern, ..ListFilter::default() }), ["ending", "running"]);
    let part = IdPattern::parse("run").ok();
    assert!(ids(&mut context, ListFilter { id_pattern: part, ..ListFilter::default() }).is_empty(), "the whole id");
    assert!(IdPattern::parse("(").is_err());
}

#[test]
fn duration_filter_leaves_out_what_began_lately() {
    let mut context = four();
    let longer_than = |ms| ListFilter { longer_than_ms: Some(ms), ..ListFilter::default() };
    assert_eq!(ids(&mut context, longer_than(4_000)), ["done", "empty", "running"]);
    assert_eq!(ids(&mut context, longer_than(5_000)), ["empty"], "never began, as in Kafka");
    assert_eq!(ids(&mut context, longer_than(-1)).len(), 4);
}

#[test]
fn description_of_a_running_transaction_names_its_partitions() {
    let mut context = four();
    let description = context.describe("running").unwrap();
    assert_eq!(description.state, TransactionState::Ongoing);
    assert_eq!(description.partitions, [partition(0), partition(1)].into());
    assert!(context.describe("done").unwrap().partitions.is_empty());
}

#[test]
fn states_are_named_as_in_kafka() {
    for state in TransactionState::ALL {
        assert_eq!(TransactionState::parse(state.name()), Some(state));
    }
    assert_eq!(TransactionState::parse("ongoing"), None, "case counts");
    assert_eq!(TransactionState::parse("Gone"), None);
}
