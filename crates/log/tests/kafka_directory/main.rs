//! A data directory that Apache Kafka 4.3.1 wrote, opened by this crate: every record, every transaction, every hint.
//!
//! `../kafka-4.3.1` holds it: what `crates/cli/tests/log_exchange/write.py small` left on a broker that was stopped
//! cleanly, four partitions of it, and beside each the records that a consumer had read of Kafka before (`read.py`).
//! The same with larger data, a running Kafka and both directions is a test of the cli.

mod copy; // the directory, to be opened and spoiled
mod rows; // records as read.py prints them

use std::fs;

use copy::{Copy, PARTITIONS};
use rows::{Isolation, Row};
use twinstream_log::{Checkpoint, LastStop, LogDirectory, PartitionLog};
use twinstream_model::{NodeId, Offset, ProducerId, TopicId, TopicPartition};

const STOPS: [LastStop; 3] = [LastStop::Clean, LastStop::Killed, LastStop::Unknown];

#[test]
fn every_record_of_kafka_is_read_as_kafka_gave_it_out() {
    for partition in PARTITIONS {
        let expected = rows::expected(&format!("{partition}.records.json"));
        for stop in STOPS {
            let copy = Copy::new();
            let log = copy.open(partition, stop);
            assert_eq!(rows::of(&log, Isolation::ReadUncommitted), expected, "{partition} after {stop:?}");
        }
    }
}

#[test]
fn ends_and_epochs_are_those_of_kafkas_checkpoints() {
    let copy = Copy::new();
    let directory = LogDirectory::open(copy.path(), NodeId(1)).expect("kafka's directory");
    let ends = directory.read_checkpoint(Checkpoint::Replication).expect("kafka's checkpoint");
    let recovered = directory.read_checkpoint(Checkpoint::RecoveryPoint).expect("kafka's checkpoint");
    for partition in PARTITIONS {
        let at = copy::partition(partition);
        let log = copy.open(partition, LastStop::Clean);
        assert_eq!(ends[&at], log.log_end_offset(), "{partition}");
        assert_eq!(recovered[&at], log.log_end_offset(), "{partition}");
        assert_eq!(log.latest_epoch().map(|epoch| epoch.0), Some(0), "{partition}");
    }
}

#[test]
fn identity_and_clean_stop_of_kafka_are_taken_over() {
    let copy = Copy::new();
    let directory = LogDirectory::open(copy.path(), NodeId(1)).expect("kafka's directory");
    let meta = directory.meta().expect("an identity");
    assert_eq!(meta.cluster.as_str(), "36i6jnfPS4eNu7ZmdW0Kyg");
    assert_eq!(meta.directory.as_str(), "RFYJRX0uq4yqRGqqM759Kw");
    let found = directory.partitions().expect("a list");
    let expected: Vec<TopicPartition> = PARTITIONS.map(copy::partition).into();
    assert_eq!(found, expected);
    assert_eq!(directory.take_last_stop().expect("how it ended"), LastStop::Clean);
}

/// What DumpLogSegments 4.3.1 prints of the two `.txnindex` files.
const ABORTED: [(i64, i64); 5] = [(5, 6), (4, 12), (4, 36), (5, 42), (4, 60)];

#[test]
fn aborted_transactions_are_those_of_kafkas_index() {
    for stop in STOPS {
        let copy = Copy::new();
        let log = copy.open("transactional-0", stop);
        assert_eq!(aborted(&log), ABORTED, "after {stop:?}");
        assert_eq!(log.last_stable_offset(), log.log_end_offset());
    }
}

#[test]
fn lost_transaction_index_is_built_anew_with_kafkas_bytes() {
    for partition in ["transactional-0", "compacted-0"] {
        let copy = Copy::new();
        let lost = copy.files(partition, "txnindex");
        assert!(!lost.is_empty());
        lost.keys().for_each(|name| fs::remove_file(copy.path().join(partition).join(name)).expect("remove"));
        let log = copy.open(partition, LastStop::Unknown);
        log.close(copy::NOW).expect("close");
        assert_eq!(copy.files(partition, "txnindex"), lost, "{partition}");
    }
}

#[test]
fn committed_records_are_those_that_kafka_gave_out() {
    let committed = rows::expected("transactional-0.committed.json");
    let compacted = rows::expected("compacted-0.records.json");
    for stop in STOPS {
        let copy = Copy::new();
        let log = copy.open("transactional-0", stop);
        assert_eq!(rows::of(&log, Isolation::ReadCommitted), committed, "after {stop:?}");
        // The data of its aborted transactions was compacted away, the markers and one index entry stay.
        let log = copy.open("compacted-0", stop);
        assert_eq!(rows::of(&log, Isolation::ReadCommitted), compacted, "after {stop:?}");
    }
}

#[test]
fn lost_indexes_are_built_anew_and_find_the_same() {
    for partition in PARTITIONS {
        let expected = rows::expected(&format!("{partition}.records.json"));
        for extension in ["index", "timeindex", "snapshot"] {
            let copy = Copy::new();
            for name in copy.files(partition, extension).keys() {
                fs::remove_file(copy.path().join(partition).join(name)).expect("remove");
            }
            let log = copy.open(partition, LastStop::Clean);
            assert_eq!(rows::of(&log, Isolation::ReadUncommitted), expected, "{partition} without {extension}");
            finds_by_time(&log, &expected);
        }
    }
}

#[test]
fn timestamps_are_found_where_kafka_put_them() {
    for partition in PARTITIONS {
        let expected = rows::expected(&format!("{partition}.records.json"));
        let copy = Copy::new();
        finds_by_time(&copy.open(partition, LastStop::Clean), &expected);
    }
}

/// The first record of at least each timestamp. Markers of transactions have timestamps, too, which no consumer sees.
fn finds_by_time(log: &PartitionLog, rows: &[Row]) {
    for row in rows {
        let found = log.offset_for_time(row.timestamp).expect("a readable log").expect("a record of this time");
        let first = rows.iter().find(|other| other.timestamp >= row.timestamp).expect("this one at least");
        assert!(found.offset.0 <= first.offset, "{found:?} for {}, the first is {}", row.timestamp, first.offset);
        assert!(found.timestamp >= row.timestamp);
    }
}

#[test]
fn appends_go_on_where_kafka_stopped_and_survive_a_start() {
    for partition in PARTITIONS {
        let copy = Copy::new();
        let mut expected = rows::expected(&format!("{partition}.records.json"));
        let log = copy.open(partition, LastStop::Clean);
        let end = log.log_end_offset();
        expected.push(copy::append_one(&log, end));
        log.close(copy::NOW).expect("close");
        let log = copy.open(partition, LastStop::Unknown);
        assert_eq!(rows::of(&log, Isolation::ReadUncommitted), expected, "{partition}");
        assert_eq!(log.log_end_offset(), end.next());
    }
}

#[test]
fn topic_ids_are_kafkas() {
    let copy = Copy::new();
    for partition in PARTITIONS {
        let text = fs::read_to_string(copy.path().join(partition).join("partition.metadata")).expect("a file");
        let id = text.lines().find_map(|line| line.strip_prefix("topic_id: ")).expect("a topic id");
        assert_eq!(Some(copy.open(partition, LastStop::Clean).topic_id()), TopicId::parse(id), "{partition}");
    }
}

fn aborted(log: &PartitionLog) -> Vec<(i64, i64)> {
    let found = log.aborted_transactions(Offset(0), log.log_end_offset()).expect("a readable index");
    found
        .iter()
        .map(|aborted| (aborted.producer_id, aborted.first_offset))
        .map(|(id, at): (ProducerId, Offset)| (id.0, at.0))
        .collect()
}
