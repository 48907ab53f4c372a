use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Moves answers of `answer` bytes whenever the bucket is open, asking every `every`; returns the bytes moved.
fn run(throttle: &mut Throttle, from: Instant, time: Duration, answer: u64, every: Duration) -> u64 {
    let mut now = from;
    let mut moved = 0;
    while now < from + time {
        if throttle.is_open(now) {
            throttle.spend(answer, now);
            moved += answer;
        }
        now += every;
    }
    moved
}

fn off_by(moved: u64, rate: u64, seconds: u64) -> f64 {
    moved as f64 / (rate * seconds) as f64 - 1.0
}

#[test]
fn rate_holds_within_ten_percent_over_a_few_seconds() {
    for rate in [200_000, 1 << 20, 50 << 20] {
        let now = Instant::now();
        let throttle = Throttle::new(Some(rate), now);
        let answer = throttle.ration().unwrap();
        for every in [1, 20, 100] {
            let start = now + Duration::from_secs(every * 100);
            let mut throttle = Throttle::new(Some(rate), start);
            let moved = run(&mut throttle, start, SECOND * 5, answer, Duration::from_millis(every));
            assert!(off_by(moved, rate, 5).abs() < 0.1, "rate {rate}, every {every} ms: {moved}");
        }
    }
}

#[test]
fn answers_larger_than_a_seconds_worth_are_paid_back() {
    let (rate, now) = (1 << 20, Instant::now());
    let mut throttle = Throttle::new(Some(rate), now);
    let moved = run(&mut throttle, now, SECOND * 100, 10 << 20, Duration::from_millis(10));
    assert!((0.0..=0.1).contains(&off_by(moved, rate, 100)), "{moved}");
    assert!(throttle.opens_in(now + SECOND * 91).is_some());
}

#[test]
fn idle_bucket_saves_a_quarter_of_a_second_and_no_more() {
    let now = Instant::now();
    let mut throttle = Throttle::new(Some(1_000_000), now);
    let later = now + SECOND * 3600;
    throttle.spend(250_000, later);
    assert!(throttle.is_open(later));
    throttle.spend(1_000, later);
    assert!(!throttle.is_open(later));
    assert_eq!(throttle.opens_in(later), Some(Duration::from_millis(1)));
}

#[test]
fn without_a_rate_everything_passes() {
    let now = Instant::now();
    let mut throttle = Throttle::new(None, now);
    throttle.spend(1 << 40, now);
    assert!(throttle.is_open(now));
    assert_eq!((throttle.opens_in(now), throttle.ration()), (None, None));
}

#[test]
fn debt_outlives_a_change_of_the_rate_and_ends_with_the_throttle() {
    let now = Instant::now();
    let mut throttle = Throttle::new(Some(1_000), now);
    throttle.spend(10_000, now);
    throttle.set_rate(Some(10_000), now);
    assert_eq!(throttle.opens_in(now), Some(SECOND));
    throttle.set_rate(None, now);
    throttle.set_rate(Some(1_000), now);
    assert!(throttle.is_open(now));
}

#[test]
fn clock_that_stands_still_or_goes_back_gives_nothing() {
    let now = Instant::now() + SECOND;
    let mut throttle = Throttle::new(Some(1_000), now);
    throttle.spend(500, now);
    assert!(!throttle.is_open(now - SECOND));
    assert!(!throttle.is_open(now));
    assert!(throttle.is_open(now + SECOND / 2));
}

#[test]
fn rate_of_zero_lets_nothing_pass_twice() {
    let now = Instant::now();
    let mut throttle = Throttle::new(Some(0), now);
    throttle.spend(1, now);
    assert!(!throttle.is_open(now + SECOND * 1_000));
}
