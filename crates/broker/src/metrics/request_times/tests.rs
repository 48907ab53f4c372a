use super::*;

#[test]
fn every_duration_falls_into_a_bucket_whose_upper_end_is_close_above() {
    for micros in [1, 2, 3, 7, 8, 9, 100, 999, 1_000, 65_537, 3_600_000_000] {
        let upper = bucket_ms(bucket_of(micros)) * 1000.0;
        let value = micros as f64;
        assert!(upper >= value && upper <= value * 1.13 + 1.0, "{micros} in a bucket up to {upper}");
    }
    assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
}

#[test]
fn quantiles_are_in_milliseconds() {
    let times = RequestTimes::new("times_ms", "help");
    for millis in 1..=100 {
        times.row("Fetch").observe(Duration::from_millis(millis));
    }
    let family = times.collect().remove(0);
    let summary = family.get_metric()[0].get_summary().clone();
    assert_eq!(summary.sample_count(), 100);
    let p99 = summary.get_quantile().iter().find(|q| q.quantile() == 0.99).map(|q| q.value());
    assert!(p99.is_some_and(|value| (99.0..=112.0).contains(&value)), "{p99:?}");
}
