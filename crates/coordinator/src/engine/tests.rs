use twinstream_model::{ErrorCode, Offset};

use super::{APPEND_BYTES_MAX, Decision, Engine, Now, Shard, Token};

/// A sum that is stored as its steps; asking for 0 only reads it.
#[derive(Default)]
struct Sum {
    value: i64,
    due_at: Option<u64>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Value(i64),
    Failed(ErrorCode),
}

impl Shard for Sum {
    type Request = Vec<i64>;
    type Answer = Answer;
    type Record = i64;
    type Event = String;
    type Then = &'static str;
    type Effect = i64; // an odd sum, to be told to the world

    fn decide(&mut self, _now: Now, token: Token, steps: Vec<i64>) -> Decision<Self> {
        let sum = self.value + steps.iter().sum::<i64>();
        let then = (!steps.is_empty()).then_some("steps");
        let effects = odd(sum);
        let answers = vec![(token, Answer::Value(sum))];
        Decision { records: steps, answers, events: vec![], then, effects, seen: None }
    }

    fn expire(&mut self, now: Now) -> Option<Decision<Self>> {
        self.due_at.take_if(|at| *at <= now.monotonic_ms)?;
        Some(Decision { records: vec![100], ..Decision::default() })
    }

    fn replay(&mut self, _offset: Offset, step: &i64) {
        self.value += step;
    }

    fn stored(&mut self, _now: Now, then: &'static str) -> Decision<Self> {
        Decision { events: vec![format!("stored {then}, sum {}", self.value)], ..Decision::default() }
    }

    fn not_stored(&mut self, _now: Now, then: &'static str, error: ErrorCode) -> Decision<Self> {
        Decision { events: vec![format!("lost {then}: {}", error.name())], ..Decision::default() }
    }

    fn failed(_answer: Answer, error: ErrorCode) -> Answer {
        Answer::Failed(error)
    }

    fn loaded(&mut self, _now: Now) -> Decision<Self> {
        Decision { effects: odd(self.value), ..Decision::default() }
    }

    fn unload(&mut self, error: ErrorCode) -> Vec<(Token, Answer)> {
        vec![(Token(99), Answer::Failed(error))]
    }

    fn next_deadline(&self) -> Option<u64> {
        self.due_at
    }

    fn record_bytes(_record: &i64) -> usize {
        1
    }
}

fn odd(sum: i64) -> Vec<i64> {
    if sum % 2 == 0 { Vec::new() } else { vec![sum] }
}

const COMMIT_TIMEOUT_MS: u64 = 50;
const NOW: Now = Now { monotonic_ms: 10, wall_ms: 1_000 };

fn loaded(shard: Sum) -> Engine<Sum> {
    let mut engine = Engine::new(shard, COMMIT_TIMEOUT_MS);
    engine.handle_loaded(NOW, Offset(0), Offset(0));
    engine
}

#[test]
fn state_changes_only_when_the_log_has_the_records() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3, 4]);
    assert_eq!(engine.shard().value, 0);
    assert_eq!(engine.poll_append(), Some(&[3, 4][..]));
    assert_eq!(engine.poll_event(), None);
    engine.handle_appended(NOW, Offset(0));
    assert_eq!(engine.shard().value, 7);
    assert_eq!(engine.poll_event().as_deref(), Some("stored steps, sum 7"));
    assert_eq!(engine.poll_append(), None);
    assert_eq!(engine.log_end(), Offset(2));
}

#[test]
fn answers_leave_in_order_when_what_they_saw_is_committed() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    engine.handle_appended(NOW, Offset(0));
    engine.handle_request(NOW, Token(2), vec![]);
    assert_eq!(engine.poll_answer(), None, "not even the read, it saw the step");
    engine.handle_request(NOW, Token(3), vec![4]);
    engine.handle_appended(NOW, Offset(1));
    engine.handle_committed(Offset(1));
    assert_eq!(engine.poll_answer(), Some((Token(1), Answer::Value(3))));
    assert_eq!(engine.poll_answer(), Some((Token(2), Answer::Value(3))));
    assert_eq!(engine.poll_answer(), None);
    engine.handle_committed(Offset(2));
    assert_eq!(engine.poll_answer(), Some((Token(3), Answer::Value(7))));
    engine.handle_request(NOW, Token(4), vec![]);
    assert_eq!(engine.poll_answer(), Some((Token(4), Answer::Value(7))), "nothing to wait for");
}

#[test]
fn refused_records_change_nothing_and_fail_the_answer() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    engine.handle_append_failed(NOW, ErrorCode::KafkaStorageError);
    assert_eq!(engine.shard().value, 0);
    assert_eq!(engine.poll_append(), None);
    assert_eq!(engine.poll_answer(), Some((Token(1), Answer::Failed(ErrorCode::KafkaStorageError))));
    assert_eq!(engine.poll_event().as_deref(), Some("lost steps: KAFKA_STORAGE_ERROR"));
}

#[test]
fn decision_larger_than_a_batch_is_appended_in_parts() {
    let mut engine = loaded(Sum::default());
    let steps = vec![1; APPEND_BYTES_MAX + 10];
    engine.handle_request(NOW, Token(1), steps);
    assert_eq!(engine.poll_append().map(<[i64]>::len), Some(APPEND_BYTES_MAX));
    engine.handle_appended(NOW, Offset(0));
    assert_eq!(engine.poll_append().map(<[i64]>::len), Some(10));
    assert_eq!(engine.poll_event(), None, "not finished before the last part");
    engine.handle_appended(NOW, Offset(APPEND_BYTES_MAX as i64));
    assert_eq!(engine.poll_append(), None);
    assert_eq!(engine.shard().value, (APPEND_BYTES_MAX + 10) as i64);
    assert!(engine.poll_event().is_some());
}

#[test]
fn loading_and_running_live_give_the_same_state() {
    let mut live = loaded(Sum::default());
    for step in [5, -2, 9] {
        live.handle_request(NOW, Token(step as u64), vec![step]);
        live.handle_appended(NOW, live.log_end());
    }
    let mut restarted = Engine::new(Sum::default(), COMMIT_TIMEOUT_MS);
    for (offset, step) in [5, -2, 9].iter().enumerate() {
        restarted.load(Offset(offset as i64), step);
    }
    assert_eq!(restarted.shard().value, live.shard().value);
}

#[test]
fn deadline_that_is_due_decides_like_a_request() {
    let mut engine = loaded(Sum { due_at: Some(10), ..Sum::default() });
    assert_eq!(engine.poll_deadline(), Some(10));
    assert!(engine.handle_timeout(NOW));
    assert_eq!(engine.poll_append(), Some(&[100][..]));
    engine.handle_appended(NOW, Offset(0));
    assert_eq!(engine.shard().value, 100);
    assert!(!engine.handle_timeout(NOW));
}

#[test]
fn unloading_answers_everybody_who_waits() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    engine.handle_appended(NOW, Offset(0));
    engine.handle_request(NOW, Token(2), vec![4]);
    engine.handle_unload(ErrorCode::NotCoordinator);
    for token in [1, 2, 99] {
        let failed = Answer::Failed(ErrorCode::NotCoordinator);
        assert_eq!(engine.poll_answer(), Some((Token(token), failed)));
    }
    assert_eq!(engine.poll_answer(), None);
    assert_eq!(engine.poll_append(), None);
}

#[test]
fn answer_that_waits_too_long_for_its_commit_fails_and_the_next_ones_keep_their_order() {
    let later = |ms| Now { monotonic_ms: NOW.monotonic_ms + ms, ..NOW };
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    engine.handle_appended(NOW, Offset(0));
    engine.handle_request(later(20), Token(2), vec![]);
    assert_eq!(engine.poll_deadline(), Some(NOW.monotonic_ms + COMMIT_TIMEOUT_MS));
    assert!(!engine.handle_timeout(later(49)));
    assert!(engine.handle_timeout(later(50)));
    assert_eq!(engine.poll_answer(), Some((Token(1), Answer::Failed(ErrorCode::RequestTimedOut))));
    assert_eq!(engine.poll_answer(), None, "the second has 20 ms left");
    engine.handle_committed(Offset(1));
    assert_eq!(engine.poll_answer(), Some((Token(2), Answer::Value(3))), "what was committed late stays in the state");
    assert_eq!(engine.poll_deadline(), None);
}

#[test]
fn effect_leaves_when_its_records_are_committed_however_long_that_takes() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    assert_eq!(engine.poll_effect(), None);
    engine.handle_appended(NOW, Offset(0));
    assert_eq!(engine.poll_effect(), None, "the log could lose it");
    let late = Now { monotonic_ms: NOW.monotonic_ms + COMMIT_TIMEOUT_MS, ..NOW };
    assert!(engine.handle_timeout(late), "the answer gives up");
    assert_eq!(engine.poll_effect(), None);
    engine.handle_committed(Offset(1));
    assert_eq!(engine.poll_effect(), Some(3));
    engine.handle_request(NOW, Token(2), vec![]);
    assert_eq!(engine.poll_effect(), Some(3), "nothing to wait for");
    assert_eq!(engine.poll_effect(), None);
}

#[test]
fn effect_of_refused_records_is_dropped() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    engine.handle_append_failed(NOW, ErrorCode::KafkaStorageError);
    engine.handle_committed(Offset(9));
    assert_eq!(engine.poll_effect(), None);
}

#[test]
fn unloading_drops_effects_and_loading_asks_for_them_again() {
    let mut engine = loaded(Sum::default());
    engine.handle_request(NOW, Token(1), vec![3]);
    engine.handle_appended(NOW, Offset(0));
    engine.handle_committed(Offset(1));
    engine.handle_unload(ErrorCode::NotCoordinator);
    assert_eq!(engine.poll_effect(), None);

    let mut next = Engine::new(Sum::default(), COMMIT_TIMEOUT_MS);
    next.load(Offset(0), &3);
    next.handle_loaded(NOW, Offset(1), Offset(0));
    assert_eq!(next.poll_effect(), None, "what it loaded is not committed in its own leadership");
    next.handle_committed(Offset(1));
    assert_eq!(next.poll_effect(), Some(3));
}
