//! The session against a leader that keeps Kafka's rules, and forgets, refuses and goes away at random.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicPartition};
use uuid::Uuid;

use super::FetchFrom;
use super::session::{Ask, Outcome, Session};
use crate::test_support::partition;

fn at(index: i32) -> TopicPartition {
    partition(&"t".parse().unwrap(), index)
}

fn from(index: i32, offset: i64) -> FetchFrom {
    FetchFrom::new(at(index), Offset(offset))
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

type Key = (TopicPartition, TopicId);

/// The sessions of a leader, by the rules of KIP-227 as Apache Kafka keeps them.
#[derive(Default)]
struct Leader {
    sessions: BTreeMap<i32, (i32, BTreeMap<Key, FetchFrom>)>,
    last_id: i32,
    /// Whether it has room for sessions.
    is_full: bool,
}

impl Leader {
    /// The error, the session's id and what is fetched.
    fn serve(&mut self, ask: &Ask) -> (ErrorCode, i32, BTreeMap<Key, FetchFrom>) {
        let named =
            || ask.partitions.iter().map(|asked| ((asked.from.partition.clone(), asked.id), asked.from.clone()));
        if ask.epoch <= 0 {
            self.sessions.remove(&ask.session_id);
            let fetched: BTreeMap<_, _> = named().collect();
            if ask.epoch < 0 || self.is_full || fetched.is_empty() {
                return (ErrorCode::None, 0, fetched);
            }
            self.last_id += 1;
            self.sessions.insert(self.last_id, (1, fetched.clone()));
            return (ErrorCode::None, self.last_id, fetched);
        }
        let Some((epoch, partitions)) = self.sessions.get_mut(&ask.session_id) else {
            return (ErrorCode::FetchSessionIdNotFound, 0, BTreeMap::new());
        };
        if *epoch != ask.epoch {
            return (ErrorCode::InvalidFetchSessionEpoch, 0, BTreeMap::new());
        }
        *epoch += 1;
        partitions.extend(named()); // what is new comes before what is forgotten
        for key in &ask.forgotten {
            assert!(partitions.remove(key).is_some(), "{key:?} is forgotten but was never told");
        }
        let fetched = partitions.clone();
        if fetched.is_empty() {
            self.sessions.remove(&ask.session_id);
            return (ErrorCode::None, 0, fetched);
        }
        (ErrorCode::None, ask.session_id, fetched)
    }
}

/// Numbers without a pattern, the same for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn whatever_happens_the_leader_serves_exactly_what_is_wanted() {
    for seed in 1..=300 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let (mut session, mut leader) = (Session::new(), Leader::default());
        let mut wanted: BTreeMap<Key, FetchFrom> = BTreeMap::new();
        for step in 0..200 {
            for _ in 0..dice.roll(4) {
                let index = dice.roll(6) as i32;
                wanted.retain(|(partition, _), _| *partition != at(index));
                if dice.roll(3) == 0 {
                    session.unwant(&at(index));
                } else {
                    let (from, id) = (from(index, dice.roll(5) as i64), id(1 + u128::from(dice.roll(10) == 0)));
                    session.want(from.clone(), id);
                    wanted.insert((at(index), id), from);
                }
            }
            leader.is_full = dice.roll(20) == 0;
            match dice.roll(30) {
                0 => leader.sessions.clear(),
                1 => session.lost(),
                2 => _ = leader.serve(&session.ask()), // the answer is lost, or the caller leaves
                3 => _ = session.ask(),                // the question is lost
                _ => {}
            }
            let mut tries = 0;
            let fetched = loop {
                tries += 1;
                assert!(tries <= 2, "seed {seed}, step {step}: a new session was refused");
                let (error, session_id, fetched) = leader.serve(&session.ask());
                match session.answered(error, session_id) {
                    Outcome::Answered => break fetched,
                    Outcome::AskAnew => {}
                    Outcome::Refused(error) => panic!("seed {seed}, step {step}: {error:?}"),
                }
            };
            assert_eq!(fetched, wanted, "seed {seed}, step {step}");
            let ids: BTreeSet<TopicId> = wanted.keys().map(|(_, id)| *id).collect();
            assert_eq!(session.names().keys().copied().collect::<BTreeSet<_>>(), ids, "seed {seed}, step {step}");
        }
    }
}

fn ask_and_answer(session: &mut Session, session_id: i32) -> Ask {
    let ask = session.ask();
    assert_eq!(session.answered(ErrorCode::None, session_id), Outcome::Answered);
    ask
}

#[test]
fn only_what_changed_travels() {
    let mut session = Session::new();
    (0..10_000).for_each(|index| session.want(from(index, 0), id(1)));
    let first = ask_and_answer(&mut session, 7);
    assert_eq!((first.session_id, first.epoch, first.partitions.len()), (0, 0, 10_000));
    let idle = ask_and_answer(&mut session, 7);
    assert_eq!((idle.session_id, idle.epoch, idle.partitions.len(), idle.forgotten.len()), (7, 1, 0, 0));

    session.want(from(3, 0), id(1)); // as it is
    session.want(from(4, 9), id(1));
    session.unwant(&at(5));
    session.unwant(&at(6));
    session.want(from(6, 0), id(1)); // there again before anybody was told
    session.want(from(20_000, 1), id(1));
    session.unwant(&at(20_000));
    let busy = ask_and_answer(&mut session, 7);
    let told: Vec<_> =
        busy.partitions.iter().map(|asked| (asked.from.partition.partition.0, asked.from.offset.0)).collect();
    assert_eq!((busy.epoch, told), (2, vec![(4, 9), (6, 0)]));
    assert_eq!(busy.forgotten, [(at(5), id(1))]);
}

#[test]
fn a_topic_made_anew_takes_the_place_of_the_old_one() {
    let mut session = Session::new();
    session.want(from(0, 50), id(1));
    session.want(from(1, 50), id(1));
    ask_and_answer(&mut session, 7);
    session.want(from(0, 0), id(2));
    let ask = ask_and_answer(&mut session, 7);
    assert_eq!(ask.partitions.iter().map(|asked| asked.id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(ask.forgotten, [(at(0), id(1))]);
    assert_eq!(session.names().len(), 2, "the other partition is still asked by the old id");
    session.want(from(1, 0), id(2));
    assert_eq!(session.names().keys().copied().collect::<Vec<_>>(), [id(2)]);
}

#[test]
fn an_epoch_of_the_reader_that_changes_is_told() {
    let mut session = Session::new();
    session.want(from(0, 5), id(1));
    ask_and_answer(&mut session, 7);
    session.want(FetchFrom { last_epoch: LeaderEpoch(3), ..from(0, 5) }, id(1));
    assert_eq!(ask_and_answer(&mut session, 7).partitions[0].from.last_epoch, LeaderEpoch(3));
}

#[test]
fn errors_of_the_session_begin_it_anew_and_end_the_old_one_where_there_is_one() {
    for (error, ends) in [
        (ErrorCode::FetchSessionIdNotFound, 0),
        (ErrorCode::InvalidFetchSessionEpoch, 7),
        (ErrorCode::FetchSessionTopicIdError, 7),
    ] {
        let mut session = Session::new();
        session.want(from(0, 5), id(1));
        ask_and_answer(&mut session, 7);
        session.ask();
        assert_eq!(session.answered(error, 0), Outcome::AskAnew, "{error:?}");
        let anew = session.ask();
        assert_eq!((anew.session_id, anew.epoch, anew.partitions.len()), (ends, 0, 1), "{error:?}");
    }
}

#[test]
fn another_error_is_the_callers_and_the_next_request_begins_anew() {
    let mut session = Session::new();
    session.want(from(0, 5), id(1));
    ask_and_answer(&mut session, 7);
    session.ask();
    let error = ErrorCode::ClusterAuthorizationFailed;
    assert_eq!(session.answered(error, 0), Outcome::Refused(error));
    assert_eq!((session.ask().epoch, session.is_empty()), (0, false));
}

#[test]
fn epochs_wrap_to_one() {
    let mut session = Session::new();
    session.want(from(0, 5), id(1));
    ask_and_answer(&mut session, 7);
    session.set_epoch(i32::MAX);
    assert_eq!(ask_and_answer(&mut session, 7).epoch, i32::MAX);
    assert_eq!(ask_and_answer(&mut session, 7).epoch, 1);
}

#[test]
fn without_a_session_everybodys_turn_comes() {
    let mut session = Session::new();
    (0..4).for_each(|index| session.want(from(index, 0), id(1)));
    let mut firsts = Vec::new();
    for _ in 0..5 {
        let ask = ask_and_answer(&mut session, 0);
        assert_eq!((ask.epoch, ask.partitions.len()), (0, 4));
        let first = ask.partitions[0].from.partition.clone(); // which fills the answer
        session.served(Some(&first));
        firsts.push(first.partition.0);
    }
    assert_eq!(firsts, [0, 1, 2, 3, 0]);
}

#[test]
fn a_session_that_ends_is_named_and_one_that_never_was_is_not() {
    let mut session = Session::new();
    session.want(from(0, 5), id(1));
    assert_eq!(session.end(), None);
    ask_and_answer(&mut session, 7);
    let end = session.end().unwrap();
    assert_eq!((end.session_id, end.epoch, end.partitions.len()), (7, -1, 0));
    assert_eq!(session.end(), None);
}
