//! Bodies are what the codec of the protocol reads, and records are lent, not copied.

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::protocol::Decodable as _;
use twinstream_model::LeaderEpoch;
use twinstream_model::{ProducerEpoch, ProducerId, TopicName, TopicPartition};
use twinstream_protocol::batch::{BatchBuilder, BatchView, ProducerStamp};
use uuid::Uuid;

use super::*;
use crate::raw::sender::AlignedAppend;

const STAMP: ProducerStamp = ProducerStamp { id: ProducerId(3), epoch: ProducerEpoch(2), base_sequence: 40 };

fn batch(value: usize) -> Bytes {
    let mut builder = BatchBuilder::new().with_base_offset(Offset(77)).with_leader_epoch(LeaderEpoch(5));
    builder.append(1, None, Some(&vec![9; value]), []);
    Bytes::from(builder.build().unwrap())
}

fn piece(topic: &str, partition: i32, bytes: Bytes, aligned: Option<AlignedAppend>) -> Piece {
    let at = TopicPartition::new(TopicName::parse(topic).unwrap(), partition);
    Piece { at, bytes, stamp: aligned.is_none().then_some(STAMP), aligned }
}

fn request(pieces: Vec<Piece>, link: Option<Uuid>) -> Request {
    Request { id: 0, leader: NodeId(1), link, pieces }
}

fn encoded(request: &Request, version: i16) -> Vec<Bytes> {
    encode(request, Envelope { transactional_id: None, version, acks: -1, timeout: Duration::from_secs(30) })
}

fn decoded(parts: &[Bytes], version: i16) -> ProduceRequest {
    let mut joined = Bytes::from(parts.concat());
    let request = ProduceRequest::decode(&mut joined, version).unwrap();
    assert!(joined.is_empty());
    request
}

#[test]
fn bodies_of_every_version_are_what_the_protocol_says() {
    let request = request(
        vec![piece("a", 0, batch(10), None), piece("a", 7, batch(9_000), None), piece("b", 1, batch(600), None)],
        None,
    );
    for version in 3..=VERSION_MAX {
        let read = decoded(&encoded(&request, version), version);
        assert_eq!((read.acks, read.timeout_ms, read.transactional_id.clone()), (-1, 30_000, None));
        let places: Vec<(String, Vec<i32>)> = read
            .topic_data
            .iter()
            .map(|topic| (topic.name.to_string(), topic.partition_data.iter().map(|data| data.index).collect()))
            .collect();
        assert_eq!(places, [("a".to_owned(), vec![0, 7]), ("b".to_owned(), vec![1])], "version {version}");
        for (data, given) in read.topic_data.iter().flat_map(|topic| &topic.partition_data).zip(&request.pieces) {
            let records = data.records.as_ref().unwrap();
            let view = BatchView::parse(records).unwrap();
            view.check_crc().unwrap();
            assert_eq!((view.len(), view.base_offset()), (records.len(), Offset(0)));
            assert_eq!((view.header().producer_id, view.header().base_sequence), (ProducerId(3), 40));
            assert_eq!(view.body(), &given.bytes[HEADER_BYTES..]);
        }
    }
}

#[test]
fn long_records_are_lent_and_short_ones_written_out() {
    let (long, short) = (batch(5_000), batch(20));
    let parts = encoded(&request(vec![piece("a", 0, long.clone(), None), piece("a", 1, short, None)], None), 9);
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[1].as_ptr(), long[HEADER_BYTES..].as_ptr());
}

#[test]
fn aligned_batches_go_as_they_are_with_the_source_beside_them() {
    let link = Uuid::from_u128(5);
    let aligned = |from| AlignedAppend {
        link,
        from: Offset(from),
        log_start: Offset(3),
        source_epoch: LeaderEpoch(6),
        high_watermark: Offset(90),
        last_epoch: LeaderEpoch::NONE,
        cut: false,
    };
    let run = Bytes::from([batch(10), batch(700)].concat());
    let pieces = vec![piece("a", 0, run.clone(), Some(aligned(77))), piece("a", 1, Bytes::new(), Some(aligned(0)))];
    let read = decoded(&encoded(&request(pieces, Some(link)), 12), 12);
    assert_eq!(mirror::link_of(&read).unwrap(), Some(link));
    let data = &read.topic_data[0].partition_data;
    assert_eq!(data[0].records.as_ref(), Some(&run));
    assert!(data[1].records.as_ref().is_none_or(Bytes::is_empty));
    let range = mirror::range_of(&data[0]).unwrap();
    assert_eq!((range.from, range.log_start, range.high_watermark), (Offset(77), Offset(3), Offset(90)));
    assert_eq!(range.leader_epoch, LeaderEpoch(6));
}
