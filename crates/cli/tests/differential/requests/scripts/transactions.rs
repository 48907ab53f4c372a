//! Producer ids and transactions.

use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::raw::kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use twinstream_client::raw::kafka_protocol::messages::describe_producers_request::TopicRequest;
use twinstream_client::raw::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::raw::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use twinstream_client::raw::kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, InitProducerIdRequest, ListTransactionsRequest, ProduceRequest, ProducerId, TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
};

use super::{NOWHERE, TOPIC, WRITTEN_AT_MS, group, s, topic, transactional};
use crate::requests::side::Side;

const ID: &str = "transfers";
/// From here on versions of AddPartitionsToTxn belong to brokers and name several transactions.
const ADD_OF_BROKERS: i16 = 4;
/// From here on versions of EndTxn and TxnOffsetCommit are those of transactions v2 (KIP-890).
const END_V2: i16 = 5;
/// The version of Produce from which on a batch adds its partition to the transaction; later ones name topics by id.
const PRODUCE_V2: i16 = 12;

/// What a coordinator gave to a producer.
#[derive(Clone, Copy)]
struct Producer {
    id: ProducerId,
    epoch: i16,
}

pub(super) fn run(side: &mut Side) {
    for name in ["i1", "i2", "second", ID] {
        // Every partition of the transactions log has to be loaded first.
        side.settle("a producer id", &init(Some(name)), |answer| answer.error_code == 0);
    }
    ids(side);
    let Some(producer) = begun(side) else { return };
    added(side, producer);
    offsets(side, producer);
    ended(side, producer);
    second_protocol(side);
    described(side);
    markers(side);
}

fn init(name: Option<&str>) -> InitProducerIdRequest {
    let request = InitProducerIdRequest::default().with_transactional_id(name.map(transactional));
    let request = request.with_transaction_timeout_ms(60_000).with_producer_id(ProducerId(-1));
    request.with_producer_epoch(-1)
}

fn ids(side: &mut Side) {
    let holding = |name, id, epoch| init(name).with_producer_id(ProducerId(id)).with_producer_epoch(epoch);
    for (label, request) in [
        ("an idempotent producer", init(None)),
        ("an idempotent producer without time", init(None).with_transaction_timeout_ms(0)),
        ("an empty id", init(Some(""))),
        ("no time", init(Some("i1")).with_transaction_timeout_ms(0)),
        ("negative time", init(Some("i1")).with_transaction_timeout_ms(-1)),
        ("too much time", init(Some("i1")).with_transaction_timeout_ms(i32::MAX)),
        ("an idempotent producer with an id", holding(None, 5, 0)),
        ("a producer id without an epoch", holding(Some("i2"), 5, -1)),
        ("an epoch without a producer id", holding(Some("i2"), -1, 5)),
        ("an unknown producer id", holding(Some("i2"), 123_456, 0)),
    ] {
        side.ask(label, &request);
    }
}

fn begun(side: &mut Side) -> Option<Producer> {
    let first = side.ask_once("a first time", &init(Some(ID)))?;
    let second = side.ask_once("a second time", &init(Some(ID)))?;
    let holding = |producer, epoch| init(Some(ID)).with_producer_id(producer).with_producer_epoch(epoch);
    side.ask_once("an older epoch", &holding(first.producer_id, first.producer_epoch - 1));
    side.ask_once("a newer epoch", &holding(second.producer_id, second.producer_epoch + 5));
    side.ask_once("another producer id", &holding(ProducerId(second.producer_id.0 + 1_000), second.producer_epoch));
    let last = side.ask_once("the epoch that it has", &holding(second.producer_id, second.producer_epoch))?;
    Some(Producer { id: last.producer_id, epoch: last.producer_epoch })
}

fn add(name: &str, producer: Producer, topics: &[(&str, i32)]) -> AddPartitionsToTxnRequest {
    let topics = topics.iter().map(|(name, partition)| {
        AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![*partition])
    });
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional(name))
        .with_v3_and_below_producer_id(producer.id)
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(topics.collect())
}

fn added(side: &mut Side, producer: Producer) {
    let older = Producer { epoch: producer.epoch - 1, ..producer };
    let newer = Producer { epoch: producer.epoch + 1, ..producer };
    let other = Producer { id: ProducerId(producer.id.0 + 1_000), ..producer };
    let end = |producer: Producer, committed| {
        let request = EndTxnRequest::default().with_transactional_id(transactional(ID)).with_committed(committed);
        request.with_producer_id(producer.id).with_producer_epoch(producer.epoch)
    };
    for version in side.versions_of::<EndTxnRequest>().filter(|version| *version < END_V2) {
        side.ask_in(version, "a commit of nothing", &end(producer, true));
        side.ask_in(version, "an abort of nothing", &end(producer, false));
    }
    for (label, request) in [
        ("an empty id", add("", producer, &[(TOPIC, 0)])),
        ("an unknown id", add("nobody", producer, &[(TOPIC, 0)])),
        ("an older epoch", add(ID, older, &[(TOPIC, 0)])),
        ("a newer epoch", add(ID, newer, &[(TOPIC, 0)])),
        ("another producer", add(ID, other, &[(TOPIC, 0)])),
        ("no topics", add(ID, producer, &[])),
        ("an unknown topic", add(ID, producer, &[(NOWHERE, 0)])),
        ("an unknown partition", add(ID, producer, &[(TOPIC, 9)])),
        ("a known and an unknown topic", add(ID, producer, &[(TOPIC, 0), (NOWHERE, 0)])),
        ("a partition", add(ID, producer, &[(TOPIC, 0)])),
        ("a partition again", add(ID, producer, &[(TOPIC, 0)])),
    ] {
        for version in side.versions_of::<AddPartitionsToTxnRequest>().filter(|version| *version < ADD_OF_BROKERS) {
            side.ask_in(version, label, &request);
        }
    }
    let of = |name: &str, producer: Producer, verify, partition| {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic(TOPIC)).with_partitions(vec![partition]);
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(transactional(name))
            .with_producer_id(producer.id)
            .with_producer_epoch(producer.epoch)
            .with_verify_only(verify)
            .with_topics(vec![topic])
    };
    for (label, transactions) in [
        ("a partition that was added, verified", vec![of(ID, producer, true, 0)]),
        ("a partition that was not added, verified", vec![of(ID, producer, true, 1)]),
        ("an unknown id, verified", vec![of("nobody", producer, true, 0)]),
        ("an older epoch, verified", vec![of(ID, older, true, 0)]),
        ("several, verified", vec![of(ID, producer, true, 0), of("nobody", producer, true, 0)]),
    ] {
        for version in side.versions_of::<AddPartitionsToTxnRequest>().filter(|version| *version >= ADD_OF_BROKERS) {
            let request = AddPartitionsToTxnRequest::default().with_transactions(transactions.clone());
            side.ask_in(version, label, &request);
        }
    }
}

fn offsets(side: &mut Side, producer: Producer) {
    let older = Producer { epoch: producer.epoch - 1, ..producer };
    let add = |name: &str, producer: Producer, of: &str| {
        let request = AddOffsetsToTxnRequest::default().with_transactional_id(transactional(name));
        request.with_producer_id(producer.id).with_producer_epoch(producer.epoch).with_group_id(group(of))
    };
    for (label, request) in [
        ("an unknown id", add("nobody", producer, "movers")),
        ("an empty id", add("", producer, "movers")),
        ("no group", add(ID, producer, "")),
        ("an older epoch", add(ID, older, "movers")),
        ("a group", add(ID, producer, "movers")),
        ("a group again", add(ID, producer, "movers")),
    ] {
        side.ask(label, &request);
    }
    let commit = |producer: Producer, name: &str, partition| commit_offset(ID, producer, name, partition);
    for (label, request) in [
        ("no group", commit(producer, TOPIC, 0).with_group_id(group(""))),
        ("an unknown topic", commit(producer, NOWHERE, 0)),
        ("an unknown partition", commit(producer, TOPIC, 9)),
        ("an offset", commit(producer, TOPIC, 0)),
        ("a generation of no group", commit(producer, TOPIC, 0).with_generation_id(4)),
        ("a member of no group", commit(producer, TOPIC, 0).with_member_id(s("nobody"))),
        ("no topics", commit(producer, TOPIC, 0).with_topics(vec![])),
    ] {
        for version in side.versions_of::<TxnOffsetCommitRequest>().filter(|version| *version < END_V2) {
            side.ask_in(version, label, &request);
        }
    }
}

fn commit_offset(id: &str, producer: Producer, name: &str, partition: i32) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(1);
    let topic = TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default().with_transactional_id(transactional(id));
    let request = request.with_group_id(group("movers")).with_generation_id(-1).with_topics(vec![topic]);
    request.with_producer_id(producer.id).with_producer_epoch(producer.epoch)
}

fn ended(side: &mut Side, producer: Producer) {
    let older = Producer { epoch: producer.epoch - 1, ..producer };
    let newer = Producer { epoch: producer.epoch + 1, ..producer };
    let end = |name: &str, producer: Producer, committed| {
        let request = EndTxnRequest::default().with_transactional_id(transactional(name)).with_committed(committed);
        request.with_producer_id(producer.id).with_producer_epoch(producer.epoch)
    };
    let describe = DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional(ID)]);
    side.ask("an open transaction", &describe);
    side.ask("an open transaction", &ListTransactionsRequest::default());
    for (label, request) in [
        ("an unknown id", end("nobody", producer, true)),
        ("an empty id", end("", producer, true)),
        ("an older epoch", end(ID, older, true)),
        ("a newer epoch", end(ID, newer, true)),
        ("another producer", end(ID, Producer { id: ProducerId(producer.id.0 + 1_000), ..producer }, true)),
    ] {
        side.ask(label, &request);
    }
    side.ask_in(END_V2 - 1, "a commit", &end(ID, producer, true));
    side.settle("the transaction is complete", &describe, |answer| {
        answer.transaction_states.iter().all(|state| state.transaction_state.starts_with("Complete"))
    });
    for version in side.versions_of::<EndTxnRequest>().filter(|version| *version < END_V2) {
        side.ask_in(version, "the commit again", &end(ID, producer, true));
        side.ask_in(version, "an abort after the commit", &end(ID, producer, false));
    }
    side.ask("a complete transaction", &describe);
}

/// What a producer of transactions v2 sends: the epoch rises with every end.
fn second_protocol(side: &mut Side) {
    let Some(first) = side.ask_once("a producer of the second protocol", &init(Some("second"))) else { return };
    let producer = Producer { id: first.producer_id, epoch: first.producer_epoch };
    let end = |producer: Producer, committed| {
        let request = EndTxnRequest::default().with_transactional_id(transactional("second"));
        let request = request.with_committed(committed).with_producer_id(producer.id);
        request.with_producer_epoch(producer.epoch)
    };
    side.ask_once("a commit of nothing, second protocol", &end(producer, true));
    let Some(aborted) = side.ask_once("an abort of nothing, second protocol", &end(producer, false)) else { return };
    let raised = Producer { id: aborted.producer_id, epoch: aborted.producer_epoch };
    let describe = DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional("second")]);
    let is_done = |state: &str| state.starts_with("Complete") || state == "Empty";
    side.settle("the transaction is complete", &describe, |answer| {
        answer.transaction_states.iter().all(|state| is_done(state.transaction_state.as_str()))
    });
    side.ask_once("the abort again, second protocol", &end(producer, false));
    side.ask_once("a commit after it, second protocol", &end(raised, true));
    side.ask("after an abort, second protocol", &describe);
    added_by_itself(side, raised);
    side.ask("an open transaction, second protocol", &describe);
    let Some(ended) = side.ask_once("a commit, second protocol", &end(raised, true)) else { return };
    side.settle("the transaction is complete", &describe, |answer| {
        answer.transaction_states.iter().all(|state| is_done(state.transaction_state.as_str()))
    });
    side.ask("after a commit, second protocol", &describe);
    // What the transaction that is over has written is not written once more, in none of its epochs.
    let next = Producer { id: ended.producer_id, epoch: ended.producer_epoch };
    for (label, producer) in [
        ("the epoch of before", raised),
        ("an epoch that is not there yet", Producer { epoch: next.epoch + 1, ..next }),
    ] {
        side.ask_in(END_V2, label, &commit_offset("second", producer, TOPIC, 0));
        side.ask_in(PRODUCE_V2, label, &write("second", producer, TOPIC, 0, 0));
    }
}

/// Offsets and batches of the second protocol need no request that adds them to the transaction before (KIP-890).
fn added_by_itself(side: &mut Side, producer: Producer) {
    let older = Producer { epoch: producer.epoch - 1, ..producer };
    let newer = Producer { epoch: producer.epoch + 1, ..producer };
    let other = Producer { id: ProducerId(producer.id.0 + 1_000), ..producer };
    let commit = |producer, name, partition| commit_offset("second", producer, name, partition);
    for (label, request) in [
        ("an unknown id", commit_offset("nobody", producer, TOPIC, 0)),
        ("an empty id", commit_offset("", producer, TOPIC, 0)),
        ("an older epoch", commit(older, TOPIC, 0)),
        ("a newer epoch", commit(newer, TOPIC, 0)),
        ("another producer", commit(other, TOPIC, 0)),
        ("no group", commit(producer, TOPIC, 0).with_group_id(group(""))),
        ("an unknown topic", commit(producer, NOWHERE, 0)),
        ("an unknown partition", commit(producer, TOPIC, 9)),
        ("an offset", commit(producer, TOPIC, 0)),
        ("an offset again", commit(producer, TOPIC, 0)),
        ("a generation of no group", commit(producer, TOPIC, 0).with_generation_id(4)),
        ("a member of no group", commit(producer, TOPIC, 0).with_member_id(s("nobody"))),
        ("an older epoch of an open transaction", commit(older, TOPIC, 0)),
        ("no topics", commit(producer, TOPIC, 0).with_topics(vec![])),
    ] {
        side.ask_in(END_V2, label, &request);
    }
    for (label, request) in [
        ("an unknown id", write("nobody", producer, TOPIC, 0, 0)),
        ("an empty id", write("", producer, TOPIC, 0, 0)),
        ("an older epoch", write("second", older, TOPIC, 0, 0)),
        ("a newer epoch", write("second", newer, TOPIC, 0, 0)),
        ("another producer", write("second", other, TOPIC, 0, 0)),
        ("an unknown topic", write("second", producer, NOWHERE, 0, 0)),
        ("an unknown partition", write("second", producer, TOPIC, 9, 0)),
        ("a batch", write("second", producer, TOPIC, 0, 0)),
        ("the batch again", write("second", producer, TOPIC, 0, 0)),
        ("a batch behind a hole", write("second", producer, TOPIC, 0, 7)),
        ("the next batch", write("second", producer, TOPIC, 0, 1)),
        ("a newer epoch in an open transaction", write("second", newer, TOPIC, 0, 0)),
    ] {
        side.ask_in(PRODUCE_V2, &format!("{label} of a transaction"), &request);
    }
}

/// A batch with one record.
fn write(id: &str, producer: Producer, name: &str, partition: i32, sequence: i32) -> ProduceRequest {
    let stamp = ProducerStamp {
        id: twinstream_model::ProducerId(producer.id.0),
        epoch: twinstream_model::ProducerEpoch(producer.epoch),
        base_sequence: sequence,
    };
    let mut batch = BatchBuilder::new().with_producer(stamp).with_transactional();
    batch.append(WRITTEN_AT_MS, None, Some(b"second"), []);
    let batch = bytes::Bytes::from(batch.build().expect("a small batch"));
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_transactional_id(Some(transactional(id))).with_acks(-1);
    request.with_timeout_ms(30_000).with_topic_data(vec![topic])
}

fn described(side: &mut Side) {
    for (label, names) in [
        ("no ids", vec![]),
        ("an unknown id", vec!["nobody"]),
        ("an empty id", vec![""]),
        ("one id twice", vec!["nobody", "nobody"]),
    ] {
        let ids = names.into_iter().map(transactional).collect();
        side.ask(label, &DescribeTransactionsRequest::default().with_transactional_ids(ids));
    }
    for (label, states) in [
        ("all", vec![]),
        ("complete ones", vec!["CompleteCommit"]),
        ("unknown states", vec!["NoSuchState", "Ongoing"]),
        ("an empty state", vec![""]),
    ] {
        let states = states.into_iter().map(s).collect();
        side.ask(label, &ListTransactionsRequest::default().with_state_filters(states));
    }
    let list = ListTransactionsRequest::default;
    side.ask("of an unknown producer", &list().with_producer_id_filters(vec![ProducerId(987_654)]));
    side.ask("long ones", &list().with_duration_filter(1_000_000));
    side.ask("by pattern", &list().with_transactional_id_pattern(Some(s("trans.*"))));
    side.ask("by a pattern of nothing", &list().with_transactional_id_pattern(Some(s("zzz"))));
    side.ask("by an empty pattern", &list().with_transactional_id_pattern(Some(s(""))));
    side.ask("by a pattern that is none", &list().with_transactional_id_pattern(Some(s("("))));
    for (label, name, partitions) in [
        ("an unknown topic", NOWHERE, vec![0]),
        ("an unknown partition", TOPIC, vec![9]),
        ("no partitions", TOPIC, vec![]),
        ("an illegal topic", "not a name!", vec![0]),
        ("a partition", TOPIC, vec![0]),
    ] {
        let topic = TopicRequest::default().with_name(topic(name)).with_partition_indexes(partitions);
        side.ask(label, &DescribeProducersRequest::default().with_topics(vec![topic]));
    }
    side.ask("no topics", &DescribeProducersRequest::default());
}

fn markers(side: &mut Side) {
    let of = |producer, epoch, name: &str, partitions| {
        let topic = WritableTxnMarkerTopic::default().with_name(topic(name)).with_partition_indexes(partitions);
        let marker = WritableTxnMarker::default().with_producer_id(ProducerId(producer)).with_producer_epoch(epoch);
        marker.with_transaction_result(false).with_coordinator_epoch(0).with_topics(vec![topic])
    };
    for (label, markers) in [
        ("no markers", vec![]),
        ("an unknown topic", vec![of(8_000, 0, NOWHERE, vec![0])]),
        ("an unknown partition", vec![of(8_000, 0, TOPIC, vec![9])]),
        ("no partitions", vec![of(8_000, 0, TOPIC, vec![])]),
        ("a producer that wrote nothing", vec![of(8_000, 0, TOPIC, vec![0])]),
        ("an older epoch of a producer", vec![of(4_000, 1, TOPIC, vec![0])]),
        ("a partition of groups", vec![of(8_000, 0, "__consumer_offsets", vec![0])]),
    ] {
        side.ask(label, &WriteTxnMarkersRequest::default().with_markers(markers));
    }
}
