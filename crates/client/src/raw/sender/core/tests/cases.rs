//! What must hold whatever the cluster does.

use std::collections::BTreeSet;

use twinstream_model::{Offset, ProducerEpoch, ProducerId};

use super::super::*;
use super::world::{World, answer_about, batch, broken, partition};

const SEEDS: u64 = 80;
const STEPS: usize = 1_500;
const PARTITIONS: i32 = 5;
const START: Moment = Moment::ZERO;
/// After every pause.
const LATER: Moment = Moment::from_secs(2);

pub(super) fn options() -> Options {
    Options {
        idempotent: true,
        is_transactional: false,
        acks: -1,
        window: 5,
        request_bytes_max: 400, // a handful of small batches
        one_may_be_larger: true,
        retries: u32::MAX,
        request_timeout: Duration::from_secs(30),
        // Longer than the trouble of a run.
        delivery_timeout: Duration::from_secs(100_000),
        backoff_first: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
    }
}

fn troubled(seed: u64, options: Options, prepare: impl Fn(&mut World)) -> World {
    let mut world = World::new(seed, options, PARTITIONS);
    prepare(&mut world);
    for _ in 0..STEPS {
        if world.dice.one_in(3) {
            world.give_anywhere();
        }
        world.step();
    }
    world.calm_down();
    world
}

/// The tickets without later copies.
fn first_copies(tickets: &[u64]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    tickets.iter().copied().filter(|ticket| seen.insert(*ticket)).collect()
}

#[test]
fn every_batch_arrives_once_and_in_order_whatever_connections_and_leaders_do() {
    for seed in 0..SEEDS {
        let world = troubled(seed, options(), |_| {});
        for (at, given) in &world.given {
            assert_eq!(&world.logs[at].tickets, given, "seed {seed}, {at}");
            let delivered: Vec<u64> = world.outcomes[at].iter().map(|done| done.as_ref().unwrap().ticket).collect();
            assert_eq!(&delivered, given, "seed {seed}, {at}");
            for (offset, done) in world.outcomes[at].iter().enumerate() {
                assert_eq!(done.as_ref().unwrap().base_offset, Offset(offset as i64), "seed {seed}, {at}");
            }
        }
    }
}

#[test]
fn aligned_appends_arrive_once_and_in_order() {
    for seed in 0..SEEDS {
        let world = troubled(seed, options(), World::align);
        for (at, given) in &world.given {
            assert_eq!(&world.logs[at].tickets, given, "seed {seed}, {at}");
            for (offset, done) in world.outcomes[at].iter().enumerate() {
                let done = done.as_ref().unwrap();
                assert_eq!(done.base_offset, Offset(offset as i64), "seed {seed}, {at}");
                assert!(done.log_end.unwrap() > done.base_offset, "seed {seed}, {at}");
            }
        }
    }
}

#[test]
fn without_idempotence_nothing_is_lost_and_first_copies_are_in_order() {
    for seed in 0..SEEDS {
        let world = troubled(seed, Options { idempotent: false, ..options() }, |_| {});
        for (at, given) in &world.given {
            assert_eq!(&first_copies(&world.logs[at].tickets), given, "seed {seed}, {at}");
            assert!(world.outcomes[at].iter().all(Result::is_ok), "seed {seed}, {at}");
        }
    }
}

#[test]
fn brokers_that_forget_producers_cost_copies_or_a_failure_but_never_a_silent_loss() {
    for seed in 0..SEEDS {
        let world = troubled(seed, options(), |world| world.forgets = true);
        for (at, given) in &world.given {
            let outcomes = &world.outcomes[at];
            assert_eq!(outcomes.len(), given.len(), "seed {seed}, {at}");
            for (ticket, done) in given.iter().zip(outcomes) {
                assert!(done.is_err() || world.logs[at].tickets.contains(ticket), "seed {seed}, {at}, {ticket}");
            }
        }
    }
}

#[test]
fn batches_that_nobody_takes_fail_in_time_and_in_order_and_the_next_ones_arrive() {
    let timeout = Duration::from_secs(5);
    let mut world = World::new(3, Options { delivery_timeout: timeout, ..options() }, PARTITIONS);
    world.is_headless = true;
    let given: Vec<u64> = (0..20).map(|_| world.give(1)).collect();
    world.calm_down();
    assert!(world.now >= timeout && world.now < timeout * 2, "{:?}", world.now);
    let failed: Vec<u64> = world.outcomes[&partition(1)].iter().map(|one| one.as_ref().unwrap_err().ticket).collect();
    assert_eq!(failed, given);
    let error = world.outcomes[&partition(1)][0].as_ref().unwrap_err().error.to_string();
    assert!(error.contains("odd-1") && error.contains("LEADER_NOT_AVAILABLE"), "{error}");

    world.is_headless = false;
    let later = world.give(1);
    world.calm_down();
    assert_eq!(world.logs[&partition(1)].tickets, [later]);
}

/// A core whose one partition is led by an open node, with the first batch acknowledged.
fn settled(options: Options) -> Core {
    let mut core = Core::new(options);
    core.send(START, &partition(0), outgoing(0));
    let mut sent = None;
    while let Some(action) = core.next_action(START) {
        match action {
            Action::Open(node) => core.opened(START, node, Ok(())),
            Action::Send(request) => sent = Some(request),
            Action::LookUp(_) => core.looked_up(START, Ok(()), |_| Ok(NodeId(1))),
            Action::AskProducer => {
                let producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(i16::MAX) };
                core.numbered(START, Ok(producer));
            }
            Action::Coordinate(verb) => panic!("{verb:?} without transactions"),
        }
    }
    answer(&mut core, START, &sent.unwrap(), ErrorCode::None);
    assert!(core.pop_outcome().unwrap().is_ok());
    core
}

fn outgoing(ticket: u64) -> Outgoing {
    Outgoing { ticket, bytes: batch(ticket, 3), records: 3, aligned: None }
}

fn answer(core: &mut Core, now: Moment, request: &Request, code: ErrorCode) {
    let answer = Answer { throttle: Duration::ZERO, partitions: vec![answer_about(&partition(0), code)] };
    core.answered(now, request.id, Ok(answer));
}

fn sent(core: &mut Core, now: Moment) -> Vec<Request> {
    std::iter::from_fn(|| core.next_action(now))
        .map(|action| match action {
            Action::Send(request) => request,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Ticket and success of each.
fn outcomes(core: &mut Core) -> Vec<(u64, bool)> {
    std::iter::from_fn(|| core.pop_outcome())
        .map(|done| done.map_or_else(|failure| (failure.ticket, false), |done| (done.ticket, true)))
        .collect()
}

#[test]
fn no_more_batches_of_a_partition_are_under_way_than_a_broker_remembers() {
    let mut core = settled(options());
    (1..=8).for_each(|ticket| core.send(START, &partition(0), outgoing(ticket)));
    let requests = sent(&mut core, START);
    let sequences: Vec<i32> = requests.iter().map(|request| request.pieces[0].stamp.unwrap().base_sequence).collect();
    assert_eq!(sequences, [3, 6, 9, 12, 15]);
    assert!(requests.iter().all(|request| request.pieces.len() == 1));
}

#[test]
fn a_broker_that_asks_for_silence_gets_it() {
    let mut core = settled(options());
    core.send(START, &partition(0), outgoing(1));
    let request = sent(&mut core, START).remove(0);
    let throttle = Duration::from_millis(300);
    let partitions = vec![answer_about(&partition(0), ErrorCode::None)];
    core.answered(START, request.id, Ok(Answer { throttle, partitions }));
    core.send(START, &partition(0), outgoing(2));
    assert!(sent(&mut core, START).is_empty());
    assert_eq!(core.deadline(START), Some(throttle));
    assert_eq!(sent(&mut core, throttle).len(), 1);
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_a_new_id() {
    let mut core = settled(options());
    core.send(START, &partition(0), outgoing(1));
    let request = sent(&mut core, START).remove(0);
    answer(&mut core, START, &request, ErrorCode::OutOfOrderSequenceNumber);
    assert!(matches!(core.next_action(LATER), Some(Action::AskProducer)));
    core.numbered(LATER, Ok(Producer { id: ProducerId(2), epoch: ProducerEpoch(0) }));
    let stamp = sent(&mut core, LATER)[0].pieces[0].stamp.unwrap();
    assert_eq!((stamp.id, stamp.epoch.0, stamp.base_sequence), (ProducerId(2), 0, 0));
}

#[test]
fn bytes_damaged_here_are_told_apart_from_bytes_damaged_on_the_way() {
    let mut core = settled(options());
    core.send(START, &partition(0), outgoing(1));
    let request = sent(&mut core, START).remove(0);
    answer(&mut core, START, &request, ErrorCode::CorruptMessage);
    assert!(core.pop_outcome().is_none(), "a sound batch is sent again");
    let again = sent(&mut core, LATER).remove(0);
    answer(&mut core, LATER, &again, ErrorCode::None);
    assert_eq!(outcomes(&mut core), [(1, true)]);

    let mut bytes = outgoing(2).bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    core.send(LATER, &partition(0), Outgoing { bytes: Bytes::from(bytes), ..outgoing(2) });
    let request = sent(&mut core, LATER).remove(0);
    answer(&mut core, LATER, &request, ErrorCode::CorruptMessage);
    let failure = core.pop_outcome().unwrap().unwrap_err();
    assert!(failure.error.to_string().contains("damaged before it was sent"), "{}", failure.error);
}

#[test]
fn what_no_broker_takes_is_refused_in_its_turn() {
    let mut core = settled(options());
    core.send(START, &partition(0), outgoing(1));
    core.send(START, &partition(0), Outgoing { bytes: outgoing(2).bytes.slice(..70), ..outgoing(2) });
    core.send(START, &partition(0), outgoing(3));
    let request = sent(&mut core, START).remove(0);
    assert!(core.pop_outcome().is_none(), "what is under way has its outcome first");
    answer(&mut core, START, &request, ErrorCode::None);
    assert_eq!(outcomes(&mut core), [(1, true), (2, false), (3, false)]);
    assert!(core.is_empty());
}

#[test]
fn a_batch_whose_records_its_caller_counts_otherwise_is_refused() {
    let mut core = settled(options());
    core.send(START, &partition(0), Outgoing { records: 2, ..outgoing(1) });
    assert_eq!(outcomes(&mut core), [(1, false)]);
}

#[test]
fn batches_over_a_stated_bound_are_refused_and_others_go_alone() {
    for (one_may_be_larger, is_delivered) in [(true, true), (false, false)] {
        let mut core = settled(Options { one_may_be_larger, ..options() });
        core.send(START, &partition(0), Outgoing { bytes: batch(1, 100), records: 100, ..outgoing(1) });
        for request in sent(&mut core, START) {
            answer(&mut core, START, &request, ErrorCode::None);
        }
        assert_eq!(outcomes(&mut core), [(1, is_delivered)]);
    }
}

#[test]
fn refusals_for_good_and_used_up_retries_fail_what_is_behind_as_well() {
    for (code, retries) in [(ErrorCode::TopicAuthorizationFailed, u32::MAX), (ErrorCode::NotEnoughReplicas, 0)] {
        let mut core = settled(Options { retries, ..options() });
        (1..=3).for_each(|ticket| core.send(START, &partition(0), outgoing(ticket)));
        let requests = sent(&mut core, START);
        answer(&mut core, START, &requests[0], code);
        let failures: Vec<_> = std::iter::from_fn(|| core.pop_outcome()).map(|done| done.unwrap_err()).collect();
        assert_eq!(failures.iter().map(|failure| failure.ticket).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(failures.iter().all(|failure| failure.error.code() == Some(code)));
        // Late answers about what was given up change nothing.
        answer(&mut core, START, &requests[1], ErrorCode::OutOfOrderSequenceNumber);
        core.answered(START, requests[2].id, Err(broken()));
        assert!(core.is_empty() && core.pop_outcome().is_none());
        core.check_invariants();
    }
}

#[test]
fn an_operator_hears_once_of_batches_that_are_sent_again_and_again() {
    let mut core = settled(options());
    core.send(START, &partition(0), outgoing(1));
    let mut now = START;
    let mut told = Vec::new();
    for _ in 0..6 {
        let request = sent(&mut core, now).remove(0);
        answer(&mut core, now, &request, ErrorCode::NotEnoughReplicas);
        told.extend(core.take_notices());
        now += LATER;
    }
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].cause.code(), Some(ErrorCode::NotEnoughReplicas));
}

#[test]
fn a_topic_that_may_not_be_seen_fails_at_once_and_one_that_is_not_there_yet_is_waited_for() {
    for (code, fails) in [(ErrorCode::TopicAuthorizationFailed, true), (ErrorCode::UnknownTopicOrPartition, false)] {
        let mut core = Core::new(Options { idempotent: false, ..options() });
        core.send(START, &partition(0), outgoing(1));
        assert!(matches!(core.next_action(START), Some(Action::LookUp(_))));
        core.looked_up(START, Ok(()), |_| Err(code));
        assert_eq!(core.pop_outcome().is_some(), fails, "{code:?}");
        assert_eq!(core.is_empty(), fails);
    }
}
