use super::*;
use crate::CleanupPolicy;

const NOW: i64 = 1_000_000;

/// Base, size, first and last timestamp.
#[derive(Clone, Copy)]
struct Fake(i64, u64, i64, i64);

impl Facts for Fake {
    fn base(&self) -> Offset {
        Offset(self.0)
    }

    fn size(&self) -> u64 {
        self.1
    }

    fn max_timestamp(&self) -> Result<Option<i64>, LogError> {
        Ok(Some(self.3))
    }

    fn first_timestamp(&self) -> Result<Option<i64>, LogError> {
        Ok(Some(self.2))
    }
}

/// Four closed segments of 100 bytes and an active one, ten offsets each.
const ROW: [Fake; 5] = [
    Fake(0, 100, 1_000, 1_900),
    Fake(10, 100, 2_000, 2_900),
    Fake(20, 100, 3_000, 3_900),
    Fake(30, 100, 4_000, 4_900),
    Fake(40, 100, 5_000, 5_900),
];

fn bounds(cleaned_to: Option<i64>) -> Bounds {
    Bounds { cleaned_to: cleaned_to.map(Offset), start: Offset(0), last_stable: Offset(50), end: Offset(50) }
}

fn config() -> LogConfig {
    LogConfig { cleanup: CleanupPolicy { delete: false, compact: true }, ..LogConfig::default() }
}

fn look(bounds: Bounds, config: &LogConfig) -> Dirt {
    survey(&ROW, bounds, config, NOW).unwrap()
}

fn range(dirt: &Dirt) -> (i64, i64, u64, u64) {
    (dirt.first_dirty.0, dirt.first_uncleanable.0, dirt.clean_bytes, dirt.cleanable_bytes)
}

#[test]
fn log_that_was_never_compacted_is_dirty_up_to_the_active_segment() {
    let dirt = look(bounds(None), &config());
    assert_eq!(range(&dirt), (0, 40, 0, 400));
    assert!(dirt.is_due(&config()) && !dirt.is_due(&LogConfig::default()));
}

#[test]
fn compacted_log_is_due_when_its_dirty_share_is_large_enough() {
    let dirt = look(bounds(Some(20)), &config());
    assert_eq!(range(&dirt), (20, 40, 200, 200));
    assert!(!dirt.is_due(&config()));
    assert!(dirt.is_due(&LogConfig { min_cleanable_dirty_ratio: 0.49, ..config() }));
}

#[test]
fn log_that_is_clean_up_to_the_active_segment_has_nothing_to_clean() {
    for cleaned_to in [40, 45] {
        let dirt = look(bounds(Some(cleaned_to)), &config());
        assert_eq!(range(&dirt), (cleaned_to, 40, 400, 0));
        assert!(!dirt.is_due(&LogConfig { min_cleanable_dirty_ratio: 0.0, ..config() }));
    }
    let nothing = survey(&ROW[4..], bounds(None), &config(), NOW).unwrap();
    assert_eq!(range(&nothing), (0, 40, 0, 0));
}

#[test]
fn segment_that_is_clean_in_part_counts_as_dirty() {
    assert_eq!(range(&look(bounds(Some(25)), &config())), (25, 40, 200, 200));
}

#[test]
fn segment_of_the_last_stable_offset_and_those_behind_it_stay() {
    let at = |last_stable| range(&look(Bounds { last_stable: Offset(last_stable), ..bounds(None) }, &config()));
    assert_eq!(at(25), (0, 20, 0, 200));
    assert_eq!(at(20), (0, 20, 0, 200));
    assert_eq!(at(5), (0, 0, 0, 0));
    assert_eq!(at(45), (0, 40, 0, 400));
    let clean_beyond = Bounds { last_stable: Offset(22), ..bounds(Some(25)) };
    assert_eq!(range(&look(clean_beyond, &config())), (25, 25, 200, 0));
}

#[test]
fn young_segments_stay() {
    let config = LogConfig { min_compaction_lag_ms: NOW - 3_000, ..config() };
    assert_eq!(range(&look(bounds(None), &config)), (0, 20, 0, 200));
}

#[test]
fn old_dirty_record_makes_a_compaction_due() {
    let config = LogConfig { max_compaction_lag_ms: NOW - 3_500, min_cleanable_dirty_ratio: 1.0, ..config() };
    let dirt = look(bounds(Some(20)), &config);
    assert_eq!(dirt.overdue_ms, 500);
    assert!(dirt.is_due(&config));
    assert_eq!(look(bounds(Some(30)), &config).overdue_ms, 0);
    // Nothing to be done about it as long as a transaction is open.
    let stuck = look(Bounds { last_stable: Offset(20), ..bounds(Some(20)) }, &config);
    assert!(stuck.overdue_ms > 0 && !stuck.is_due(&config));
}

#[test]
fn checkpoint_outside_the_log_is_passed_over() {
    let bounds = Bounds { start: Offset(10), ..bounds(None) };
    for wrong in [5, 51] {
        let dirt = look(Bounds { cleaned_to: Some(Offset(wrong)), ..bounds }, &config());
        assert_eq!(range(&dirt), (10, 40, 100, 300));
    }
}
