//! Producer ids and transactions.

use twinstream_client::raw::kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use twinstream_client::raw::kafka_protocol::messages::describe_producers_request::TopicRequest;
use twinstream_client::raw::kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use twinstream_client::raw::kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, InitProducerIdRequest, ListTransactionsRequest, ProducerId, TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
};

use super::{NOWHERE, TOPIC, group, s, topic, transactional};
use crate::requests::side::Side;

const ID: &str = "transfers";
/// From here on versions of AddPartitionsToTxn belong to brokers and name several transactions.
const ADD_OF_BROKERS: i16 = 4;
/// From here on versions of EndTxn and TxnOffsetCommit are those of transactions v2 (KIP-890).
const END_V2: i16 = 5;

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
    let commit = |producer: Producer, name: &str, partition| {
        let partition =
            TxnOffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(1);
        let topic = TxnOffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default().with_transactional_id(transactional(ID));
        let request = request.with_group_id(group("movers")).with_generation_id(-1).with_topics(vec![topic]);
        request.with_producer_id(producer.id).with_producer_epoch(producer.epoch)
    };
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
