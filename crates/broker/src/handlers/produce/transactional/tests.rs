use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_protocol::batch::{BatchBuilder, ProducerStamp};

use super::*;

fn batch(id: i64, transactional: bool) -> Bytes {
    let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(2), base_sequence: 5 };
    let mut builder = BatchBuilder::new().with_producer(stamp);
    if transactional {
        builder = builder.with_transactional();
    }
    builder.append(0, None, Some(b"v"), []);
    Bytes::from(builder.build().unwrap())
}

#[test]
fn transactional_batches_are_found_by_their_headers() {
    let data = |records| PartitionProduceData::default().with_records(records);
    let first = vec![data(Some(batch(1, false))), data(Some(batch(1, true)))];
    let second = vec![data(None), data(Some(Bytes::from_static(b"no batch"))), data(Some(batch(4, true)))];
    let topics = [first, second].map(|partitions| TopicProduceData::default().with_partition_data(partitions));
    let request = ProduceRequest::default().with_topic_data(topics.to_vec());
    let found: Vec<_> = candidates(&request).iter().map(|c| (c.place, c.producer_id.0, c.base_sequence)).collect();
    assert_eq!(found, [((0, 1), 1, 5), ((1, 2), 4, 5)]);
}

#[test]
fn versions_say_what_the_coordinator_is_asked_for() {
    let operations = [3, 10, 11, 12, 13].map(operation);
    use Operation::{Add, Verify, VerifyForOld};
    assert_eq!(operations, [VerifyForOld, VerifyForOld, Verify, Add, Add]);
}

#[test]
fn producers_hear_codes_upon_which_they_do_the_right_thing() {
    use ErrorCode as E;
    for (code, operation, told) in [
        (E::ConcurrentTransactions, Operation::Verify, E::NotEnoughReplicas),
        (E::ConcurrentTransactions, Operation::Add, E::ConcurrentTransactions),
        (E::NotCoordinator, Operation::Add, E::NotEnoughReplicas),
        (E::NetworkException, Operation::VerifyForOld, E::NotEnoughReplicas),
        (E::InvalidTxnState, Operation::VerifyForOld, E::InvalidTxnState),
        (E::TransactionAbortable, Operation::Verify, E::TransactionAbortable),
        (E::InvalidProducerEpoch, Operation::Add, E::InvalidProducerEpoch),
    ] {
        assert_eq!(refused(code, operation).code, told, "{code:?}, {operation:?}");
    }
}
