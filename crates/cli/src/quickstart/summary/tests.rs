//! Claims about the verdict.

use super::*;

fn report(upstream_records: u64, downstream_records: u64, documents: u64) -> Report {
    let flow = Flow { upstream_records, downstream_records, documents, mirrored_ms: 2, indexed_ms: 3, strongest: None };
    Report { ready_ms: 1, flow }
}

#[test]
fn complete_means_three_equal_counts_and_not_three_times_nothing() {
    assert!(report(7, 7, 7).is_complete());
    assert!(!report(7, 7, 6).is_complete());
    assert!(!report(7, 6, 7).is_complete());
    assert!(!report(0, 0, 0).is_complete());
}

#[test]
fn dates_are_right_around_leap_days_and_before_1970() {
    assert_eq!(utc(1_517_932_242_400), "2018-02-06 15:50:42 UTC");
    assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
    assert_eq!(utc(951_868_800_000), "2000-03-01 00:00:00 UTC");
    assert_eq!(utc(-1), "1969-12-31 23:59:59 UTC");
}
