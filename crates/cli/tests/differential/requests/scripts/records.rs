//! Writing and reading.

use bytes::{Bytes, BytesMut};
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_client::raw::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use twinstream_client::raw::kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use twinstream_client::raw::kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use twinstream_client::raw::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::raw::kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
};
use twinstream_model::{ErrorCode, ProducerEpoch, ProducerId};
use uuid::Uuid;

use super::{NOWHERE, TOPIC, WRITTEN_AT_MS, batch, no_id, s, topic, transactional};
use crate::requests::side::Side;

/// Versions below know topics by name, those from here on by id.
const PRODUCE_BY_ID: i16 = 13;
const FETCH_BY_ID: i16 = 13;

pub(super) fn run(side: &mut Side, id: Uuid) {
    produced(side, id);
    idempotent(side, id);
    fetched(side, id);
    sessions(side, id);
    offsets(side);
    epochs(side);
}

fn to(name: &str, id: Uuid, partition: i32, records: Option<Bytes>) -> TopicProduceData {
    let data = PartitionProduceData::default().with_index(partition).with_records(records);
    TopicProduceData::default().with_name(topic(name)).with_topic_id(id).with_partition_data(vec![data])
}

fn produce(acks: i16, topics: Vec<TopicProduceData>) -> ProduceRequest {
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(topics)
}

/// A batch with one byte changed.
fn with_byte(batch: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[at] = byte;
    bytes.freeze()
}

fn produced(side: &mut Side, id: Uuid) {
    let good = batch(None, &["one", "two", "three"]);
    side.ask_once("three records", &produce(-1, vec![to(TOPIC, id, 0, Some(good.clone()))]));
    let transaction = {
        let stamp = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: 0 };
        let mut builder = BatchBuilder::new().with_producer(stamp).with_transactional();
        builder.append(WRITTEN_AT_MS, None, Some(b"x"), []);
        Bytes::from(builder.build().expect("a small batch"))
    };
    let control = {
        let mut builder = BatchBuilder::new().with_control();
        builder.append(WRITTEN_AT_MS, Some(&[0, 0, 0, 0]), Some(&[0; 6]), []);
        Bytes::from(builder.build().expect("a small batch"))
    };
    let large = batch(None, &[&"x".repeat(1_100_000)]);
    let cut = good.slice(..good.len() - 1);
    let cases = [
        ("no topics", -1, vec![]),
        ("empty records", -1, vec![to(TOPIC, id, 0, Some(Bytes::new()))]),
        ("an unknown partition", -1, vec![to(TOPIC, id, 9, Some(good.clone()))]),
        ("a negative partition", -1, vec![to(TOPIC, id, -1, Some(good.clone()))]),
        ("two acks", 2, vec![to(TOPIC, id, 0, Some(good.clone()))]),
        ("minus two acks", -2, vec![to(TOPIC, id, 0, Some(good.clone()))]),
        ("a wrong checksum", -1, vec![to(TOPIC, id, 0, Some(with_byte(&good, 20, 7)))]),
        ("an unknown format", -1, vec![to(TOPIC, id, 0, Some(with_byte(&good, 16, 9)))]),
        ("an old format", -1, vec![to(TOPIC, id, 0, Some(with_byte(&good, 16, 1)))]),
        ("a wrong length", -1, vec![to(TOPIC, id, 0, Some(with_byte(&good, 11, 1)))]),
        ("a batch that was cut", -1, vec![to(TOPIC, id, 0, Some(cut))]),
        ("half a header", -1, vec![to(TOPIC, id, 0, Some(good.slice(..30)))]),
        ("two batches", -1, vec![to(TOPIC, id, 0, Some([&good[..], &good[..]].concat().into()))]),
        ("a batch that is too large", -1, vec![to(TOPIC, id, 0, Some(large))]),
        ("a transaction without an id", -1, vec![to(TOPIC, id, 0, Some(transaction.clone()))]),
        ("a marker of a client", -1, vec![to(TOPIC, id, 0, Some(control))]),
        ("an internal topic", -1, vec![to("__consumer_offsets", Uuid::nil(), 0, Some(good.clone()))]),
        (
            "a good and a bad partition",
            -1,
            vec![to(TOPIC, id, 0, Some(with_byte(&good, 20, 7))), to(TOPIC, id, 9, Some(good.clone()))],
        ),
    ];
    for (label, acks, topics) in cases {
        let request = produce(acks, topics);
        for version in side.versions_of::<ProduceRequest>() {
            if version >= PRODUCE_BY_ID && label.contains("internal") {
                continue; // its id differs between clusters
            }
            side.ask_in(version, label, &request);
        }
    }
    for version in side.versions_of::<ProduceRequest>() {
        let name = to("not a name!", no_id(), 0, Some(good.clone()));
        side.ask_in(version, "an unknown topic", &produce(-1, vec![name]));
        let request = produce(-1, vec![to(TOPIC, id, 0, Some(transaction.clone()))]);
        let label = "a transaction that nobody began";
        side.ask_in(version, label, &request.with_transactional_id(Some(transactional("nobody"))));
    }
}

/// Ours asks for it to be sent again for a moment.
const UNKNOWN_IN_THE_MIDDLE: &str = "an unknown producer that does not begin at 0";

fn idempotent(side: &mut Side, id: Uuid) {
    let stamped = |producer, epoch, sequence| {
        let stamp = ProducerStamp { id: ProducerId(producer), epoch: ProducerEpoch(epoch), base_sequence: sequence };
        batch(Some(stamp), &["a", "b"])
    };
    for (label, records) in [
        ("a first batch", stamped(4_000, 5, 0)),
        ("the same batch again", stamped(4_000, 5, 0)),
        ("a batch with a gap before it", stamped(4_000, 5, 9)),
        ("the next batch", stamped(4_000, 5, 2)),
        ("the first batch again", stamped(4_000, 5, 0)),
        ("a part of a batch again", stamped(4_000, 5, 1)),
        ("an older epoch", stamped(4_000, 4, 4)),
        ("a newer epoch that does not begin at 0", stamped(4_000, 6, 4)),
        ("a newer epoch", stamped(4_000, 6, 0)),
        (UNKNOWN_IN_THE_MIDDLE, stamped(4_001, 0, 5)),
        ("an unknown producer that does not begin at 0 again", stamped(4_001, 0, 5)),
        ("a producer without an epoch", stamped(4_002, -1, 0)),
        ("a producer without an epoch again", stamped(4_002, -1, 0)),
        ("a producer without an epoch goes on", stamped(4_002, -1, 2)),
        ("a producer without an epoch gets one", stamped(4_002, 0, 0)),
        ("a producer without a sequence", stamped(4_003, 0, -1)),
        ("an epoch without a producer", stamped(-1, 3, 0)),
    ] {
        let request = produce(-1, vec![to(TOPIC, id, 0, Some(records))]);
        side.ask_once(label, &request);
        if label == UNKNOWN_IN_THE_MIDDLE {
            // As clients do: what is before it may be on its way.
            side.settle("the batch is taken", &request, |answer| {
                answer.responses[0].partition_responses[0].error_code != ErrorCode::NotLeaderOrFollower.code()
            });
        }
    }
}

fn part(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default().with_partition(partition).with_fetch_offset(offset).with_partition_max_bytes(1_048_576)
}

fn from(name: &str, id: Uuid, partitions: Vec<FetchPartition>) -> FetchTopic {
    FetchTopic::default().with_topic(topic(name)).with_topic_id(id).with_partitions(partitions)
}

fn fetch(topics: Vec<FetchTopic>) -> FetchRequest {
    let request = FetchRequest::default().with_replica_id(BrokerId(-1)).with_max_wait_ms(0).with_min_bytes(0);
    // Without a session, as librdkafka does.
    request.with_max_bytes(10_485_760).with_session_epoch(-1).with_topics(topics)
}

fn fetched(side: &mut Side, id: Uuid) {
    let here = |partition: FetchPartition| vec![from(TOPIC, id, vec![partition])];
    let cases = [
        ("no topics", vec![]),
        ("from the start", here(part(0, 0))),
        ("from within a batch", here(part(0, 1))),
        ("at the end", here(part(0, 1_000_000))),
        ("a negative offset", here(part(0, -5))),
        ("an unknown partition", here(part(9, 0))),
        ("a negative partition", here(part(-1, 0))),
        ("no bytes of the partition", here(part(0, 0).with_partition_max_bytes(0))),
        ("a few bytes of the partition", here(part(0, 0).with_partition_max_bytes(100))),
        ("the leader's epoch", here(part(0, 0).with_current_leader_epoch(0))),
        ("a newer epoch", here(part(0, 0).with_current_leader_epoch(7))),
        ("an epoch of records", here(part(0, 0).with_last_fetched_epoch(0))),
        ("a newer epoch of records", here(part(0, 3).with_last_fetched_epoch(7))),
        ("one partition twice", vec![from(TOPIC, id, vec![part(0, 0), part(0, 3)])]),
        ("a known and an unknown partition", vec![from(TOPIC, id, vec![part(0, 0), part(9, 0)])]),
    ];
    for (label, topics) in cases {
        side.ask(label, &fetch(topics.clone()));
        side.ask(&format!("{label}, committed"), &fetch(topics).with_isolation_level(1));
    }
    for version in side.versions_of::<FetchRequest>() {
        let name = if version >= FETCH_BY_ID { TOPIC } else { NOWHERE };
        side.ask_in(version, "an unknown topic", &fetch(vec![from(name, no_id(), vec![part(0, 0)])]));
    }
    side.ask("few bytes", &fetch(here(part(0, 0))).with_max_bytes(1));
    side.ask("no bytes", &fetch(here(part(0, 0))).with_max_bytes(0));
    side.ask("an unknown isolation", &fetch(here(part(0, 0))).with_isolation_level(9));
    side.ask("a rack", &fetch(here(part(0, 0))).with_rack_id(s("somewhere")));
    side.ask("another cluster", &fetch(here(part(0, 0))).with_cluster_id(Some(s("elsewhere"))));
}

fn sessions(side: &mut Side, id: Uuid) {
    let here = || vec![from(TOPIC, id, vec![part(0, 0)])];
    for (label, session, epoch) in [
        ("a session that nobody opened", 77, 1),
        ("a session that nobody opened, closed", 77, -1),
        ("a session that nobody opened, reset", 77, 0),
        ("no session with an epoch", 0, 5),
        ("a negative epoch", 0, -2),
    ] {
        side.ask(label, &fetch(here()).with_session_id(session).with_session_epoch(epoch));
    }
    for version in side.versions_of::<FetchRequest>().filter(|version| *version >= 7) {
        let open = fetch(here()).with_session_epoch(0);
        let Some(Ok(opened)) = side.ask_in(version, "a new session", &open) else { continue };
        let session = opened.session_id;
        let next = |epoch, topics| fetch(topics).with_session_id(session).with_session_epoch(epoch);
        side.ask_in(version, "nothing new", &next(1, vec![]));
        side.ask_in(version, "an epoch again", &next(1, vec![]));
        side.ask_in(version, "an epoch too late", &next(9, vec![]));
        side.ask_in(version, "a partition moved on", &next(2, vec![from(TOPIC, id, vec![part(0, 3)])]));
        side.ask_in(version, "an unknown partition joins", &next(3, vec![from(TOPIC, id, vec![part(9, 0)])]));
        let forgotten =
            ForgottenTopic::default().with_topic(topic(TOPIC)).with_topic_id(id).with_partitions(vec![0, 9]);
        side.ask_in(version, "all forgotten", &next(4, vec![]).with_forgotten_topics_data(vec![forgotten]));
        side.ask_in(version, "nothing left", &next(5, vec![]));
        side.ask_in(version, "closed", &next(-1, vec![]));
        side.ask_in(version, "after the end", &next(6, vec![]));
    }
}

fn offsets(side: &mut Side) {
    let at = |name: &str, partition, timestamp| {
        let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
        ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    };
    let with_epoch = |epoch| {
        let mut topic = at(TOPIC, 0, -1);
        topic.partitions[0].current_leader_epoch = epoch;
        topic
    };
    let cases = [
        ("no topics", vec![]),
        ("latest", vec![at(TOPIC, 0, -1)]),
        ("earliest", vec![at(TOPIC, 0, -2)]),
        ("largest time", vec![at(TOPIC, 0, -3)]),
        ("earliest here", vec![at(TOPIC, 0, -4)]),
        ("latest elsewhere", vec![at(TOPIC, 0, -5)]),
        ("earliest not yet elsewhere", vec![at(TOPIC, 0, -6)]),
        ("an unknown wish", vec![at(TOPIC, 0, -9)]),
        ("the time of the records", vec![at(TOPIC, 0, WRITTEN_AT_MS)]),
        ("a time before all records", vec![at(TOPIC, 0, 0)]),
        ("a time behind all records", vec![at(TOPIC, 0, WRITTEN_AT_MS + 1)]),
        ("an unknown topic", vec![at(NOWHERE, 0, -1)]),
        ("an unknown partition", vec![at(TOPIC, 9, -1)]),
        ("a negative partition", vec![at(TOPIC, -1, -1)]),
        ("one partition twice", vec![at(TOPIC, 0, -1), at(TOPIC, 0, -2)]),
        ("the leader's epoch", vec![with_epoch(0)]),
        ("a newer epoch", vec![with_epoch(7)]),
    ];
    for (label, topics) in cases {
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        side.ask(label, &request);
        side.ask(&format!("{label}, committed"), &request.clone().with_isolation_level(1));
        side.ask(&format!("{label}, of a replica"), &request.with_replica_id(BrokerId(-2)));
    }
}

fn epochs(side: &mut Side) {
    let of = |name: &str, partition, current, epoch| {
        let partition = OffsetForLeaderPartition::default().with_partition(partition).with_leader_epoch(epoch);
        let partition = partition.with_current_leader_epoch(current);
        OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(vec![partition])
    };
    for (label, topics) in [
        ("no topics", vec![]),
        ("the first epoch", vec![of(TOPIC, 0, -1, 0)]),
        ("the leader's epoch", vec![of(TOPIC, 0, 0, 0)]),
        ("a newer leader's epoch", vec![of(TOPIC, 0, 7, 0)]),
        ("an epoch to come", vec![of(TOPIC, 0, -1, 7)]),
        ("no epoch", vec![of(TOPIC, 0, -1, -1)]),
        ("an unknown topic", vec![of(NOWHERE, 0, -1, 0)]),
        ("an unknown partition", vec![of(TOPIC, 9, -1, 0)]),
    ] {
        side.ask(label, &OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics));
    }
}
