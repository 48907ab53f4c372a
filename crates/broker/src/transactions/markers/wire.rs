//! Markers as WriteTxnMarkers, and its answers.

use std::collections::BTreeMap;

use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    ProducerId as WireProducerId, TopicName as WireTopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::{ErrorCode, PartitionIndex, ProducerId, TopicName, TopicPartition};
use twinstream_protocol::marker::tell_transaction_version;

use super::book::{Batch, Parcel};

/// The version that brokers use among each other.
pub(super) const VERSION: i16 = 1;

/// What became of each marker.
pub(super) type Codes = BTreeMap<(ProducerId, TopicPartition), ErrorCode>;

pub(super) fn request(batch: &Batch) -> WriteTxnMarkersRequest {
    WriteTxnMarkersRequest::default().with_markers(batch.parcels.iter().map(marker).collect())
}

fn marker(parcel: &Parcel) -> WritableTxnMarker {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in &parcel.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = topics.into_iter().map(|(name, indexes)| {
        let name = WireTopicName(StrBytes::from_string(name.as_str().to_owned()));
        WritableTxnMarkerTopic::default().with_name(name).with_partition_indexes(indexes)
    });
    let markers = &parcel.markers;
    let mut marker = WritableTxnMarker::default()
        .with_producer_id(WireProducerId(markers.producer.id.0))
        .with_producer_epoch(markers.producer.epoch.0)
        .with_transaction_result(markers.commit)
        .with_coordinator_epoch(parcel.coordinator_epoch.0)
        .with_topics(topics.collect());
    tell_transaction_version(&mut marker, markers.version.level() as i8);
    marker
}

pub(super) fn codes(answer: &WriteTxnMarkersResponse) -> Codes {
    let mut codes = Codes::new();
    for marker in &answer.markers {
        for topic in &marker.topics {
            let Ok(name) = TopicName::parse(topic.name.as_str()) else { continue };
            for partition in &topic.partitions {
                let at = TopicPartition::new(name.clone(), PartitionIndex(partition.partition_index));
                let code = ErrorCode::from_code(partition.error_code).unwrap_or(ErrorCode::UnknownServerError);
                codes.insert((ProducerId(marker.producer_id.0), at), code);
            }
        }
    }
    codes
}
