//! Compaction and readers of committed records on logs with transactions.

use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{NO_SEQUENCE, ProducerStamp, batches, whole_batches};

use super::*;

fn stamp(producer: i64, base_sequence: i32) -> ProducerStamp {
    ProducerStamp { id: ProducerId(producer), epoch: ProducerEpoch(0), base_sequence }
}

impl Fixture {
    fn append_internal(&self, builder: BatchBuilder) -> i64 {
        let appended = self.log.append(&builder.build().unwrap(), Origin::Coordinator, LeaderEpoch(0), NOW).unwrap();
        self.log.advance_high_watermark(self.log.log_end_offset());
        appended.base_offset.0
    }

    /// Appends one batch of a transaction.
    pub(in crate::partition_log) fn put_transactional(&self, producer: i64, sequence: i32, records: &str) -> i64 {
        let mut builder = BatchBuilder::new().with_producer(stamp(producer, sequence)).with_transactional();
        add(&mut builder, records);
        self.append_internal(builder)
    }

    pub(in crate::partition_log) fn end_transaction(&self, producer: i64, commit: bool) -> i64 {
        let stamp = stamp(producer, NO_SEQUENCE);
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional().with_control();
        let key = [0, 0, 0, u8::from(commit)];
        builder.append(NOW, Some(&key), Some(&[0, 0, 0, 0, 0, 3]), []);
        self.append_internal(builder)
    }

    /// What a reader of committed records sees, told as it is what was aborted.
    pub(in crate::partition_log) fn committed(&self) -> String {
        self.committed_from(&mut self.log.log_start_offset())
    }

    /// Likewise from an offset on, which moves to the end of what was read.
    pub(in crate::partition_log) fn committed_from(&self, next: &mut Offset) -> String {
        let mut text = Vec::new();
        loop {
            let (found, aborted) = self.log.read_committed(*next, 1 << 20, true).unwrap();
            let Some(slice) = found.slice else { return text.join(" ") };
            let mut aborted: Vec<_> = aborted.into_iter().map(|a| (a.first_offset, a.producer_id)).collect();
            aborted.sort();
            let mut aborting: Vec<ProducerId> = Vec::new();
            for batch in batches(whole_batches(&slice.read().unwrap()).unwrap()) {
                let batch = batch.unwrap();
                let header = batch.header();
                *next = header.next_offset();
                // As clients do it: transactions begin with their first offset and end with any marker.
                while aborted.first().is_some_and(|(first, _)| *first <= header.last_offset()) {
                    aborting.push(aborted.remove(0).1);
                }
                if header.attributes.is_control() {
                    aborting.retain(|id| *id != header.producer_id);
                    continue;
                }
                if header.attributes.is_transactional() && aborting.contains(&header.producer_id) {
                    continue;
                }
                for record in &batch.records(1 << 20).unwrap() {
                    let record = record.unwrap();
                    let utf8 = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or(b"").to_vec()).unwrap();
                    text.push(format!("{}:{}={}", record.offset, utf8(record.key), utf8(record.value)));
                }
            }
        }
    }
}

#[test]
fn aborted_records_do_not_outlive_a_cleaning_and_do_not_supersede_others() {
    let log = Fixture::new(compacted());
    log.put("a=1 b=1");
    log.put_transactional(1, 0, "a=2");
    log.put_transactional(2, 0, "b=2");
    log.end_transaction(1, false);
    log.end_transaction(2, true);
    log.roll();
    log.put("z=1");
    assert_eq!(log.committed(), "0:a=1 1:b=1 3:b=2 6:z=1");
    log.clean();
    assert_eq!(log.shown(), "0:a=1 3:b=2 4:marker 5:marker 6:z=1");
    assert_eq!(log.committed(), "0:a=1 3:b=2 6:z=1");
}

#[test]
fn open_transactions_hold_compaction_back() {
    let log = Fixture::new(compacted());
    log.put("a=1 a=2");
    log.roll();
    log.put_transactional(1, 0, "a=3");
    log.roll();
    log.put("a=4");
    log.roll();
    log.put("z=1");
    assert_eq!(log.log.last_stable_offset(), Offset(2));
    log.clean();
    assert_eq!(log.shown(), "1:a=2 2:a=3 3:a=4 4:z=1");
    assert_eq!(log.log.cleaned_to(), Some(Offset(2)));
    log.end_transaction(1, true);
    log.roll();
    log.put("z=2");
    log.clean();
    assert_eq!(log.shown(), "3:a=4 4:z=1 5:marker 6:z=2");
}

#[test]
fn markers_go_when_their_records_are_gone_and_their_time_is_over() {
    let log = Fixture::new(compacted());
    log.put_transactional(1, 0, "a=1");
    log.end_transaction(1, false);
    log.put_transactional(1, 1, "b=1");
    log.end_transaction(1, true);
    log.put_transactional(1, 2, "b=2");
    log.end_transaction(1, true);
    log.roll();
    log.put("z=1");
    log.clean_at(NOW);
    // The records of the aborted one went, with those of the first commit, and the markers of both stay for now.
    assert_eq!(log.shown(), "1:marker 3:marker 4:b=2 5:marker 6:z=1");
    assert_eq!(log.files(".txnindex").len(), 1);
    let clean_later = |now: i64| {
        log.roll();
        log.put("z=1");
        log.clean_at(now);
    };
    clean_later(NOW + 1);
    assert!(log.files(".txnindex").is_empty(), "nothing of an aborted transaction was met");
    assert!(log.shown().starts_with("1:marker 3:marker 4:b=2 5:marker"), "{}", log.shown());
    clean_later(NOW + DAY + 1);
    assert!(log.shown().starts_with("4:b=2 5:marker"), "{}", log.shown());
}

#[test]
fn transaction_over_several_segments_and_groups_keeps_its_index_entry() {
    let log = Fixture::new(LogConfig { segment_bytes: 200, ..compacted() });
    log.put_transactional(1, 0, "a=1");
    log.put_transactional(2, 0, "b=1");
    log.roll();
    log.put_transactional(1, 1, "c=1");
    log.end_transaction(1, false);
    log.roll();
    log.end_transaction(2, true);
    log.roll();
    log.put("z=1");
    assert_eq!(log.committed(), "1:b=1 5:z=1");
    log.clean();
    assert_eq!(log.committed(), "1:b=1 5:z=1");
    let aborted = log.log.aborted_transactions(Offset(0), Offset(6)).unwrap();
    assert_eq!(aborted.iter().map(|a| a.first_offset).collect::<Vec<_>>(), [Offset(0)]);
    let log = log.crash();
    assert_eq!(log.committed(), "1:b=1 5:z=1");
}

#[test]
fn fencing_epoch_of_a_marker_outlives_compaction() {
    let log = Fixture::new(compacted());
    log.append(idempotent(1, 3, 0, 1)).unwrap();
    let newer = ProducerStamp { id: ProducerId(1), epoch: ProducerEpoch(4), base_sequence: NO_SEQUENCE };
    let mut builder = BatchBuilder::new().with_producer(newer).with_transactional().with_control();
    builder.append(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]), []);
    log.append_internal(builder);
    log.roll();
    for day in 1..4 {
        log.put("key=1");
        log.roll();
        log.clean_at(NOW + day * 2 * DAY);
    }
    for name in log.files(".snapshot") {
        fs::remove_file(log.dir().join(name)).unwrap();
    }
    let log = log.crash();
    assert!(matches!(log.append(idempotent(1, 3, 1, 1)), Err(crate::AppendError::InvalidProducerEpoch { .. })));
}
