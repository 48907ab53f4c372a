//! Whoever leads next must know of producers what its log says, no more and no less: what it was cut to, and however it stopped.

use proptest::prelude::*;

use super::*;

const PRODUCERS: usize = 3;
/// Of each batch.
const RECORDS: usize = 2;

/// What happens to a replica.
#[derive(Clone, Debug)]
enum Event {
    /// Its leader wrote batches of these producers, and it copied them.
    Copied(Vec<usize>),
    /// It led, and a producer wrote.
    Led(usize),
    /// A producer began a new epoch.
    Raised(usize),
    Flushed,
    /// So many batches are cut.
    Cut(usize),
    Stopped(LastStop),
}

fn event() -> impl Strategy<Value = Event> {
    let producer = 0..PRODUCERS;
    prop_oneof![
        6 => proptest::collection::vec(producer.clone(), 1..12).prop_map(Event::Copied),
        4 => producer.clone().prop_map(Event::Led),
        1 => producer.prop_map(Event::Raised),
        2 => Just(Event::Flushed),
        3 => (1usize..15).prop_map(Event::Cut),
        1 => prop_oneof![Just(LastStop::Clean), Just(LastStop::Killed), Just(LastStop::Unknown)].prop_map(Event::Stopped),
    ]
}

/// A batch as the log of a model has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Written {
    producer: usize,
    epoch: i16,
    sequence: i32,
    offset: i64,
}

/// What a log knows of a producer, asked by what it answers: where each of its last five batches is, and which comes next.
fn check_answers(log: &Replica, model: &[Written], leader_epoch: i32) -> Result<(), TestCaseError> {
    let append = |producer: usize, epoch, sequence| {
        let batch = idempotent(producer as i64, epoch, sequence, RECORDS).build().unwrap();
        log.0.log.append(&batch, Origin::Client, LeaderEpoch(leader_epoch), NOW)
    };
    for producer in 0..PRODUCERS {
        let of_it: Vec<Written> = model.iter().copied().filter(|written| written.producer == producer).collect();
        let Some(last) = of_it.last() else { continue };
        let newest = of_it.iter().rev().take_while(|written| written.epoch == last.epoch);
        for known in newest.take(5) {
            let answer = append(producer, known.epoch, known.sequence).unwrap();
            prop_assert_eq!((answer.duplicate, answer.base_offset.0), (true, known.offset));
        }
        let next = last.sequence + RECORDS as i32;
        let gap = append(producer, last.epoch, next + 1);
        let is_told = matches!(gap, Err(AppendError::OutOfOrderSequence { expected, .. }) if expected == next);
        prop_assert!(is_told, "producer {} goes on at {}: {:?}", producer, next, gap);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_known_of_producers_is_what_the_log_says(events in proptest::collection::vec(event(), 1..50)) {
        let mut log = Replica::new();
        let mut model: Vec<Written> = Vec::new();
        let mut raised = [0i16; PRODUCERS];
        let mut leader_epoch = 1;
        let next = |model: &[Written], raised: &[i16; PRODUCERS], producer: usize| {
            let last = model.iter().rev().find(|written| written.producer == producer);
            let sequence = last.filter(|last| last.epoch == raised[producer]).map_or(0, |last| last.sequence + RECORDS as i32);
            let offset = (model.len() * RECORDS) as i64;
            Written { producer, epoch: raised[producer], sequence, offset }
        };
        for event in events {
            match event {
                Event::Copied(producers) => {
                    let mut sent = Vec::new();
                    for producer in producers {
                        let batch = next(&model, &raised, producer);
                        sent.extend(stored(batch.offset, leader_epoch, idempotent(producer as i64, batch.epoch, batch.sequence, RECORDS)));
                        model.push(batch);
                    }
                    log.0.log.append_as_follower(&sent, LeaderEpoch(leader_epoch), NOW).unwrap();
                }
                Event::Led(producer) => {
                    let batch = next(&model, &raised, producer);
                    prop_assert_eq!(log.lead(leader_epoch, idempotent(producer as i64, batch.epoch, batch.sequence, RECORDS)), batch.offset);
                    model.push(batch);
                }
                Event::Raised(producer) => raised[producer] += 1,
                Event::Flushed => _ = log.0.log.flush(NOW).unwrap(),
                Event::Cut(batches) => {
                    model.truncate(model.len().saturating_sub(batches));
                    let _cut = log.cut((model.len() * RECORDS) as i64);
                    // A producer whose epoch was cut goes on in it all the same: it knows nothing of cuts.
                    leader_epoch += 1;
                }
                Event::Stopped(stop) => log = log.stop(stop),
            }
            check_answers(&log, &model, leader_epoch)?;
        }
    }
}
