//! Aborted transactions across a stop during which their index lost entries.

use twinstream_log::PartitionLog;
use twinstream_model::{ProducerEpoch, ProducerId};
use twinstream_protocol::batch::{NO_SEQUENCE, ProducerStamp};

use super::*;

fn stamp(base_sequence: i32) -> ProducerStamp {
    ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(0), base_sequence }
}

/// A transaction of one record, and the marker that aborts it.
fn abort_one(log: &PartitionLog, sequence: i32) {
    let mut data = BatchBuilder::new();
    data.append(now_ms(), Some(b"k"), Some(b"v"), []);
    let mut marker = BatchBuilder::new();
    marker.append(now_ms(), Some(&[0, 0, 0, 0]), Some(&[0, 0, 0, 0, 0, 1]), []);
    for (batch, sequence) in [(data, sequence), (marker.with_control(), NO_SEQUENCE)] {
        let batch = batch.with_producer(stamp(sequence)).with_transactional().build().unwrap();
        log.append(&batch, Origin::Coordinator, LeaderEpoch(0), now_ms()).unwrap();
    }
    log.advance_high_watermark(log.log_end_offset());
}

#[test]
fn entries_that_went_while_the_broker_was_stopped_are_there_before_anything_is_served() {
    let (_root, dirs) = one_dir();
    let mut cluster = Cluster::new();
    cluster.topic("t", 7, 2);
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    manager.directories().identity().reported.store(true, Ordering::Release);
    let partition = manager.get(&at("t", 0)).unwrap();
    (0..3).for_each(|sequence| abort_one(&partition.log(), sequence));
    let told = partition.log().aborted_transactions(Offset(0), Offset(6)).unwrap();
    assert_eq!(told.len(), 3);
    drop(partition);
    manager.close();
    drop(manager);
    assert_eq!(std::fs::read_to_string(dirs[0].join(".twinstream-aborted")).unwrap(), "0\n1\nt 0 3\n");

    let index = dirs[0].join("t-0/00000000000000000000.txnindex");
    let whole = std::fs::read(&index).unwrap();
    std::fs::write(&index, &whole[..whole.len() / 3]).unwrap();
    let manager = open(&dirs);
    manager.reconcile(&cluster.image).unwrap();
    let partition = manager.get(&at("t", 0)).unwrap();
    assert_eq!(partition.log().aborted_transactions(Offset(0), Offset(6)).unwrap(), told);
    assert_eq!(std::fs::read(&index).unwrap(), whole);
}
