use bytes::BytesMut;
use kafka_protocol::messages::WriteTxnMarkersRequest;
use kafka_protocol::protocol::Encodable;

use super::*;
use crate::batch::BatchView;
use crate::shape;

const COMMIT: EndMarker =
    EndMarker { producer_id: ProducerId(9), producer_epoch: ProducerEpoch(4), commit: true, coordinator_epoch: 77 };

#[test]
fn marker_is_a_control_batch_as_kafka_writes_it() {
    let batch = COMMIT.to_batch(1_700_000_000_000).unwrap();
    let view = BatchView::parse(&batch).unwrap();
    view.check_crc().unwrap();
    let header = view.header();
    assert!(header.attributes.is_control() && header.attributes.is_transactional());
    assert_eq!(
        (header.producer_id, header.producer_epoch, header.base_sequence),
        (ProducerId(9), ProducerEpoch(4), -1)
    );
    let records = view.records(1 << 10).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!((record.key, record.value), (Some(&[0, 0, 0, 1][..]), Some(&[0, 0, 0, 0, 0, 77][..])));
}

#[test]
fn transaction_version_travels_beside_the_fields_that_the_codec_knows() {
    let mut told = WritableTxnMarker::default();
    assert_eq!(transaction_version(&told), 0);
    tell_transaction_version(&mut told, 2);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![told]);
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, 1).unwrap();
    let heard: WriteTxnMarkersRequest = shape::decode(bytes.freeze(), 1).unwrap();
    assert_eq!(transaction_version(&heard.markers[0]), 2);
}
