use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use twinstream_model::LeaderEpoch;
use twinstream_protocol::batch::{BatchBuilder, BatchView};

use super::super::Origin;
use super::super::tests::{Fixture, NOW, idempotent};
use super::*;
use crate::{CleanupPolicy, FullSpeed, Interrupted, LastStop};

mod crashes; // at each step of the exchange
mod transactional; // logs with transactions

const DAY: i64 = 86_400_000;

pub(super) fn compacted() -> LogConfig {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    LogConfig { cleanup, segment_bytes: 1_000, index_interval_bytes: 150, ..LogConfig::default() }
}

impl Fixture {
    /// Appends one batch of records such as `a=1 b` (a tombstone).
    pub(in crate::partition_log) fn put(&self, records: &str) -> i64 {
        let mut builder = BatchBuilder::new();
        add(&mut builder, records);
        self.append(builder).unwrap().base_offset.0
    }

    /// A new segment begins behind what there is, if the last one holds something.
    pub(in crate::partition_log) fn roll(&self) {
        if self.log.active().size() == 0 {
            return;
        }
        let mut writer = self.log.writer.lock();
        self.log.roll(&mut writer, self.log.log_end_offset(), &self.log.config()).unwrap();
    }

    pub(in crate::partition_log) fn clean_at(&self, now: i64) -> Cleaned {
        self.log.clean(&CleanerLimits::default(), &FullSpeed, now).unwrap()
    }

    pub(in crate::partition_log) fn clean(&self) -> Cleaned {
        self.clean_at(NOW)
    }

    /// The batches from the log start on.
    pub(in crate::partition_log) fn batches(&self) -> Vec<Vec<u8>> {
        self.batches_from(self.log.log_start_offset().0)
    }

    /// The records of data from the log start on, as `offset:key=value`.
    pub(in crate::partition_log) fn shown(&self) -> String {
        let mut text = Vec::new();
        for bytes in self.batches() {
            let batch = BatchView::parse(&bytes).unwrap();
            if batch.attributes().is_control() {
                text.push(format!("{}:marker", batch.last_offset()));
                continue;
            }
            for record in &batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let value = record.value.map_or(String::new(), |value| format!("={}", utf8(value)));
                text.push(format!("{}:{}{value}", record.offset, record.key.map_or("-".to_owned(), utf8)));
            }
        }
        text.join(" ")
    }

    /// The newest value of each key.
    fn state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        for record in self.shown().split_whitespace().filter_map(|record| record.split_once(':')) {
            match record.1.split_once('=') {
                Some((key, value)) => state.insert(key.to_owned(), value.to_owned()),
                None => state.remove(record.1),
            };
        }
        state
    }

    pub(in crate::partition_log) fn leftovers(&self) -> Vec<String> {
        [".cleaned", ".swap"].iter().flat_map(|suffix| self.files(suffix)).collect()
    }
}

pub(super) fn add(builder: &mut BatchBuilder, records: &str) {
    for record in records.split_whitespace() {
        match record.split_once('=') {
            Some((key, value)) => builder.append(NOW, Some(key.as_bytes()), Some(value.as_bytes()), []),
            None => builder.append(NOW, Some(record.as_bytes()), None, []),
        };
    }
}

/// Three closed segments and an active one.
fn sample() -> Fixture {
    let log = Fixture::new(compacted());
    for records in ["a=1 b=1", "a=2 c=1", "b=2 d=1"] {
        log.put(records);
        log.roll();
    }
    log.put("d=2");
    log
}

#[test]
fn newest_record_of_each_key_stays_at_its_offset() {
    let log = sample();
    let done = log.clean();
    assert_eq!(log.shown(), "2:a=2 3:c=1 4:b=2 5:d=1 6:d=2", "the active segment does not count yet");
    assert_eq!((done.records_before, done.records_after), (6, 4));
    assert_eq!((done.segments_before, done.segments_after, log.log.segment_count()), (3, 1, 2));
    assert!(done.bytes_after < done.bytes_before && done.map_utilization > 0.0);
    assert_eq!((log.end(), log.log.log_start_offset()), (7, Offset(0)));
    assert_eq!(log.log.cleaned_to(), Some(Offset(6)));
    assert!(log.leftovers().is_empty());
    for offset in 0..7 {
        assert!(log.bases(offset)[0] >= offset / 2 * 2, "offset {offset}");
    }
}

#[test]
fn cleaning_again_brings_in_what_was_closed_since() {
    let log = sample();
    log.clean();
    log.roll();
    log.put("z=1");
    let dirt = log.log.dirt(NOW).unwrap();
    assert_eq!((dirt.first_dirty, dirt.first_uncleanable), (Offset(6), Offset(7)));
    log.clean();
    assert_eq!(log.shown(), "2:a=2 3:c=1 4:b=2 6:d=2 7:z=1");
    assert_eq!(log.log.dirt(NOW).unwrap().cleanable_bytes, 0);
    let again = log.clean();
    assert_eq!((again.segments_before, again.records_before), (0, 0), "nothing is left to do");
}

#[test]
fn compacted_log_is_the_same_after_a_restart_and_a_crash() {
    let log = sample();
    log.clean();
    let before = log.shown();
    let log = log.close();
    assert_eq!(log.shown(), before);
    let log = log.reopen(|opening| opening.cleaned_to = Some(Offset(6)));
    assert_eq!(log.log.cleaned_to(), Some(Offset(6)));
    let log = log.crash();
    assert_eq!(log.shown(), before);
    assert_eq!(log.end(), 7);
}

#[test]
fn several_rounds_with_a_small_map_come_to_the_same() {
    let log = sample();
    let limits = CleanerLimits { map_bytes: 0, io_bytes: 1, ..CleanerLimits::default() };
    let mut rounds = 0;
    while log.log.dirt(NOW).unwrap().cleanable_bytes > 0 {
        let before = log.log.cleaned_to();
        log.log.clean(&limits, &FullSpeed, NOW).unwrap();
        assert!(log.log.cleaned_to() > before);
        rounds += 1;
    }
    assert!(rounds > 2);
    assert_eq!(log.shown(), "2:a=2 3:c=1 4:b=2 5:d=1 6:d=2");
}

#[test]
fn tombstones_live_for_their_time_and_then_go() {
    let log = Fixture::new(compacted());
    log.put("a=1 b=1");
    log.put("a");
    log.roll();
    log.put("z=1");
    log.clean_at(NOW);
    assert_eq!(log.shown(), "1:b=1 2:a 3:z=1");
    let clean_later = |records: &str, now: i64| {
        log.put(records);
        log.roll();
        log.put("-=-");
        log.clean_at(now);
    };
    clean_later("x=1", NOW + DAY - 1);
    assert!(log.shown().contains("2:a "), "{}", log.shown());
    clean_later("y=1", NOW + DAY);
    assert!(!log.shown().contains(":a"), "{}", log.shown());
    assert!(log.state().contains_key("b"));
}

#[test]
fn nothing_from_the_high_watermark_on_is_touched() {
    let log = Fixture::new(compacted());
    for _ in 0..3 {
        let mut builder = BatchBuilder::new();
        add(&mut builder, "a=1");
        log.log.append(&builder.build().unwrap(), Origin::Client, LeaderEpoch(0), NOW).unwrap();
        log.roll();
    }
    log.log.advance_high_watermark(Offset(2));
    log.clean();
    assert_eq!(log.log.cleaned_to(), Some(Offset(2)));
    assert_eq!(log.log.segment_count(), 3);
}

#[test]
fn records_younger_than_the_lag_stay() {
    let log = Fixture::new(LogConfig { min_compaction_lag_ms: 1_000, ..compacted() });
    log.put("a=1 a=2");
    log.roll();
    log.put("z=1");
    assert_eq!(log.log.dirt(NOW + 999).unwrap().cleanable_bytes, 0);
    assert!(log.log.dirt(NOW + 1_000).unwrap().is_due(&log.log.config()));
}

#[test]
fn idempotent_producer_is_known_after_compaction_and_loss_of_all_snapshots() {
    let log = Fixture::new(compacted());
    for sequence in 0..3 {
        log.append(idempotent(9, 0, sequence, 1)).unwrap();
        log.roll();
    }
    log.append(idempotent(8, 0, 0, 1)).unwrap();
    log.roll();
    log.clean();
    // All have the same key, so only the header of producer 9's last batch is left of it.
    assert_eq!(log.bases(0), [2, 3]);
    for name in log.files(".snapshot") {
        fs::remove_file(log.dir().join(name)).unwrap();
    }
    let log = log.crash();
    assert!(log.append(idempotent(9, 0, 2, 1)).unwrap().duplicate);
    assert!(log.append(idempotent(9, 0, 4, 1)).is_err());
    assert!(!log.append(idempotent(9, 0, 3, 1)).unwrap().duplicate);
}

#[test]
fn damaged_batch_ends_the_cleaning_and_leaves_the_log_as_it_was() {
    let log = sample();
    let path = log.dir().join("00000000000000000002.log");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = log.log.clean(&CleanerLimits::default(), &FullSpeed, NOW).unwrap_err();
    assert!(matches!(&error, CleanError::Damaged { path: found, .. } if *found == path), "{error}");
    assert!(log.leftovers().is_empty());
    assert_eq!((log.log.cleaned_to(), log.log.segment_count()), (None, 4));
    assert_eq!(log.log.damage().len(), 1, "readers do not get it, either");
}

/// Does something after a number of reads and writes.
struct After<F>(AtomicUsize, F);

impl<F: Fn() -> Result<(), Interrupted>> Pace for After<F> {
    fn spent(&self, _bytes: u64) -> Result<(), Interrupted> {
        match self.0.fetch_sub(1, Ordering::Relaxed) {
            1 => (self.1)(),
            _ => Ok(()),
        }
    }
}

#[test]
fn interrupted_cleaning_leaves_the_log_as_it_was() {
    for at in 1..=7 {
        let log = sample();
        let before = log.shown();
        let pace = After(AtomicUsize::new(at), || Err(Interrupted));
        let result = log.log.clean(&CleanerLimits::default(), &pace, NOW);
        assert!(matches!(result, Err(CleanError::Interrupted)), "{at}");
        assert_eq!(log.shown(), before);
        assert!(log.leftovers().is_empty());
        assert!(log.log.tidy(NOW + DAY).is_ok() && log.files(".deleted").is_empty());
    }
}

#[test]
fn segments_that_retention_takes_meanwhile_end_the_cleaning() {
    let log = sample();
    let pace = After(AtomicUsize::new(5), || {
        log.log.delete_records(Offset(2), NOW).unwrap();
        Ok(())
    });
    let result = log.log.clean(&CleanerLimits::default(), &pace, NOW);
    assert!(matches!(result, Err(CleanError::Superseded)), "{result:?}");
    assert_eq!(log.shown(), "2:a=2 3:c=1 4:b=2 5:d=1 6:d=2");
    assert!(log.leftovers().is_empty());
    log.clean();
    assert_eq!(log.state()["d"], "2");
}

#[test]
fn cut_of_a_segment_while_it_is_copied_ends_the_cleaning() {
    for at in [5, 6] {
        let log = sample();
        let pace = After(AtomicUsize::new(at), || {
            assert_eq!(log.log.truncate_to(Offset(4)).unwrap().log_end, Offset(4));
            Ok(())
        });
        let result = log.log.clean(&CleanerLimits::default(), &pace, NOW);
        assert!(result.is_err(), "{result:?}");
        assert_eq!(
            (log.shown().as_str(), log.end()),
            ("0:a=1 1:b=1 2:a=2 3:c=1", 4),
            "what was cut does not come back"
        );
        assert!(log.leftovers().is_empty());
    }
}

#[test]
fn cut_below_what_was_compacted_makes_the_rest_dirty_again() {
    let log = sample();
    log.clean();
    assert_eq!(log.log.truncate_to(Offset(4)).unwrap().log_end, Offset(4));
    assert_eq!(log.log.cleaned_to(), Some(Offset(4)));
    log.put("e=1");
    assert_eq!(log.shown(), "2:a=2 3:c=1 4:e=1");
    let log = log.crash();
    assert_eq!(log.shown(), "2:a=2 3:c=1 4:e=1");
}

#[test]
fn retention_passes_closed_segments_without_records() {
    let cleanup = CleanupPolicy { delete: true, compact: true };
    let log = Fixture::new(LogConfig { cleanup, segment_bytes: 120, retention_ms: Some(1_000), ..compacted() });
    for _ in 0..4 {
        log.put("a=1");
        log.roll();
    }
    log.clean();
    assert!(log.log.segments.load().iter().rev().skip(1).any(|segment| segment.size() == 0));
    // An empty segment is as old as its file.
    let done = log.log.enforce_retention(NOW + 100_000 * DAY).unwrap();
    assert!(done.deleted_segments >= 2);
    assert_eq!(log.log.log_start_offset(), Offset(4));
}

#[test]
fn reader_of_an_old_segment_goes_on_while_it_is_replaced() {
    let log = sample();
    let slice = log.log.read(Offset(0), 1 << 20, true, Offset(i64::MAX)).unwrap().slice.unwrap();
    let before = slice.read().unwrap();
    log.clean();
    log.log.tidy(NOW + DAY).unwrap();
    assert!(log.files(".deleted").is_empty());
    assert_eq!(slice.read().unwrap(), before);
}

#[test]
fn records_are_found_by_time_in_compacted_segments() {
    let log = sample();
    log.clean();
    let found = log.log.offset_for_time(NOW).unwrap().unwrap();
    assert_eq!(found.offset, Offset(2));
}

#[derive(Clone, Debug)]
enum Act {
    Put(u8, Option<u8>),
    Roll,
    Clean { map: usize, hours: i64 },
    Crash,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..12u8, prop::option::weighted(0.8, any::<u8>())).prop_map(|(key, value)| Act::Put(key, value)),
        3 => Just(Act::Roll),
        3 => (2..20usize, 0..30i64).prop_map(|(map, hours)| Act::Clean { map, hours }),
        1 => Just(Act::Crash),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// What Kafka's LogCompactionTester checks, on one log: whatever happens, who reads all learns the same.
    #[test]
    fn state_of_all_keys_is_that_of_an_uncompacted_log(acts in prop::collection::vec(act(), 1..80)) {
        let mut log = Fixture::new(LogConfig { segment_bytes: 400, ..compacted() });
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        let (mut now, mut end) = (NOW, 0);
        for act in acts {
            match act {
                Act::Put(key, value) => {
                    let record = value.map_or(format!("k{key}"), |value| format!("k{key}={value}"));
                    log.put(&record);
                    end += 1;
                    match value {
                        Some(value) => model.insert(format!("k{key}"), value.to_string()),
                        None => model.remove(&format!("k{key}")),
                    };
                }
                Act::Roll => log.roll(),
                Act::Clean { map, hours } => {
                    now += hours * 3_600_000;
                    let limits = CleanerLimits { map_bytes: map * 24, ..CleanerLimits::default() };
                    log.log.clean(&limits, &FullSpeed, now).unwrap();
                }
                Act::Crash => {
                    let cleaned_to = log.log.cleaned_to();
                    log = log.reopen(|opening| {
                        opening.last_stop = LastStop::Unknown;
                        opening.cleaned_to = cleaned_to;
                    });
                }
                Act::Restart => {
                    log.log.close(NOW).unwrap();
                    log = log.reopen(|_| {});
                }
            }
            prop_assert_eq!(&log.state(), &model);
            prop_assert_eq!(log.end(), end);
        }
    }
}
