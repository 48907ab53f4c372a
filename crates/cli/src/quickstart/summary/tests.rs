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
