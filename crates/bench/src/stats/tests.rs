use super::{Latency, Spread};

#[test]
fn median_of_an_odd_count_is_the_middle_and_of_an_even_one_the_mean_of_two() {
    assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
}

#[test]
fn a_spread_of_nothing_or_of_what_is_no_number_does_not_exist() {
    assert_eq!(Spread::of(&[]), None);
    assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
}

#[test]
fn ratios_are_taken_pair_by_pair() {
    let spread = Spread::of_ratios(&[2.0, 8.0, 3.0], &[1.0, 2.0, 3.0]);
    assert_eq!(spread, Some(Spread { median: 2.0, min: 1.0, max: 4.0 }));
}

#[test]
fn percentiles_are_samples_by_nearest_rank() {
    let latency = Latency::of((1..=1_000).rev().map(f64::from).collect()).expect("samples");
    assert_eq!((latency.p50, latency.p90, latency.p99, latency.p999), (500.0, 900.0, 990.0, 999.0));
    assert_eq!((latency.max, latency.mean, latency.count), (1_000.0, 500.5, 1_000));
}

#[test]
fn percentiles_of_one_sample_are_that_sample() {
    let latency = Latency::of(vec![7.0]).expect("a sample");
    assert_eq!((latency.p50, latency.p999, latency.max), (7.0, 7.0, 7.0));
    assert_eq!(Latency::of(Vec::new()), None);
}
