use std::time::{Duration, Instant};

use super::OpenLoop;

#[test]
fn records_are_due_at_equal_distances_from_the_start() {
    let start = Instant::now();
    let plan = OpenLoop::new(start, 1_000.0).expect("a rate");
    assert_eq!(plan.due(0), start);
    assert_eq!(plan.due(2_500), start + Duration::from_millis(2_500));
}

#[test]
fn a_late_sender_does_not_sleep_and_does_not_shift_what_follows() {
    let start = Instant::now();
    let plan = OpenLoop::new(start, 10.0).expect("a rate");
    let late = start + Duration::from_millis(450);
    assert_eq!(plan.pause(4, late), Duration::ZERO);
    assert_eq!(plan.pause(5, late), Duration::from_millis(50));
}

#[test]
fn a_stall_is_charged_to_every_record_that_was_due_in_it() {
    let start = Instant::now();
    let plan = OpenLoop::new(start, 1_000.0).expect("a rate");
    let answered = start + Duration::from_millis(100);
    assert_eq!(plan.latency_us(0, answered), 100_000.0);
    assert_eq!(plan.latency_us(99, answered), 1_000.0);
}

#[test]
fn a_rate_that_is_no_positive_number_is_refused() {
    assert!([0.0, -1.0, f64::NAN, f64::INFINITY].iter().all(|rate| OpenLoop::new(Instant::now(), *rate).is_none()));
}
