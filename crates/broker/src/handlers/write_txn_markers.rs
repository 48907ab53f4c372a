//! WriteTxnMarkers (key 27), version 1.
//!
//! The end of transactions in the partitions that this broker leads, from their coordinators, or from an operator who ends
//! one that hangs (`kafka-transactions --abort`). v1 flexible. Version 2 tells the transaction version (KIP-1228); brokers
//! of ours tell it in a tagged field of version 1 (`protocol::marker`).
//!
//! A marker is appended with acks=all: NONE says that it is committed, and where `twinstream.flush` is `ack` that it is on
//! the disk. A marker of an older coordinator than the log has seen is TRANSACTION_COORDINATOR_FENCED, one with an epoch
//! that its transaction may not have INVALID_PRODUCER_EPOCH; the coordinator takes any other error for one that passes.
//!
//! A partition of `__consumer_offsets` belongs to the shard of the group coordinator, which writes the marker itself and
//! so knows which offsets are committed by it.
//!
//! Deviations: version 2 is not served yet, because the codec does not know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{
    ProducerId as WireProducerId, TopicName as WireTopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use twinstream_coordinator::group::EndTransaction;
use twinstream_coordinator::transaction::{Producer, TransactionVersion};
use twinstream_log::{MarkerEpoch, Origin};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, LeaderEpoch, PartitionIndex, ProducerEpoch, ProducerId, TopicName};
use twinstream_protocol::marker::{self, EndMarker};

use super::log_wire::partition_here;
use super::produce::commit::{self, Pending};
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::groups::OFFSETS_TOPIC;
use crate::partitions::{Led, append_code, now_ms};

/// Transactions of this version on end with an epoch of their own.
const NEWER_EPOCHS_SINCE: i8 = 2;

/// A partition of the answer: its topic by name, because not every name that is asked for is a topic's.
type Place = (String, i32);

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let may_alter = broker.authorize(ctx, Operation::Alter, Resource::Cluster);
    if !may_alter && !broker.authorize(ctx, Operation::ClusterAction, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let image = broker.image.load_full();
    let mut answer = Answer::default();
    let mut under_way = UnderWay::default();
    for marker in &request.markers {
        write(broker, &image, marker, &mut answer, &mut under_way);
    }
    let UnderWay { mut waiting, in_groups } = under_way;
    let deadline = Instant::now() + broker.settings.node.request_timeout;
    // One after the other would make a transaction wait for the replicas as often as there are others in the request.
    let in_groups = join_all(in_groups.into_iter().map(async |ending: InGroup| {
        let ended = broker.groups.end_transaction(&image, ending.partition, ending.end).await;
        (ending, ended)
    }));
    let mut pending: Vec<&mut Pending> = waiting.iter_mut().map(|waiting| &mut waiting.pending).collect();
    let (in_groups, ()) = tokio::join!(in_groups, commit::settle(broker, &mut pending, deadline));
    for (InGroup { producer_id, place, .. }, ended) in in_groups {
        answer.put(producer_id, place, ended.err().unwrap_or(ErrorCode::None));
    }
    for Waiting { producer_id, place, pending } in waiting {
        answer.put(producer_id, place, pending.outcome.unwrap_or(ErrorCode::RequestTimedOut));
    }
    answer.into_response(ctx)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    request: WriteTxnMarkersRequest,
    code: ErrorCode,
) -> WriteTxnMarkersResponse {
    let mut answer = Answer::default();
    for marker in &request.markers {
        for place in places(marker) {
            answer.put(marker.producer_id, place, code);
        }
    }
    answer.into_response(ctx)
}

/// What a request waits for.
#[derive(Default)]
struct UnderWay {
    waiting: Vec<Waiting>,
    in_groups: Vec<InGroup>,
}

/// A marker that the shard of a group coordinator writes.
struct InGroup {
    producer_id: WireProducerId,
    place: Place,
    partition: PartitionIndex,
    end: EndTransaction,
}

/// A marker on its way to being committed.
struct Waiting {
    producer_id: WireProducerId,
    place: Place,
    pending: Pending,
}

fn places(marker: &WritableTxnMarker) -> impl Iterator<Item = Place> {
    let of_topic = |topic: &kafka_protocol::messages::write_txn_markers_request::WritableTxnMarkerTopic| {
        let name = topic.name.to_string();
        topic.partition_indexes.iter().map(move |index| (name.clone(), *index)).collect::<Vec<_>>()
    };
    marker.topics.iter().flat_map(of_topic)
}

/// Writes a marker into its partitions, or says why not. Those of groups are left to their shards.
fn write(
    broker: &Arc<Broker>,
    image: &Image,
    marker: &WritableTxnMarker,
    answer: &mut Answer,
    under_way: &mut UnderWay,
) {
    let producer_id = marker.producer_id;
    let end = EndMarker {
        producer_id: ProducerId(producer_id.0),
        producer_epoch: ProducerEpoch(marker.producer_epoch),
        commit: marker.transaction_result,
        coordinator_epoch: marker.coordinator_epoch,
    };
    let epoch = match marker::transaction_version(marker) >= NEWER_EPOCHS_SINCE {
        true => MarkerEpoch::Newer,
        false => MarkerEpoch::NotOlder,
    };
    for place in places(marker) {
        let partition = PartitionIndex(place.1);
        let appended = match TopicName::parse(&place.0) {
            Err(_) => Err(ErrorCode::UnknownTopicOrPartition),
            Ok(topic) if topic.as_str() == OFFSETS_TOPIC => {
                let end = in_group(end, epoch);
                under_way.in_groups.push(InGroup { producer_id, place, partition, end });
                continue;
            }
            Ok(topic) => append(broker, image, &topic, partition, end, epoch),
        };
        match appended {
            Ok(pending) => under_way.waiting.push(Waiting { producer_id, place, pending }),
            Err(code) => answer.put(producer_id, place, code),
        }
    }
}

fn append(
    broker: &Broker,
    image: &Image,
    topic: &TopicName,
    index: PartitionIndex,
    end: EndMarker,
    epoch: MarkerEpoch,
) -> Result<Pending, ErrorCode> {
    let partition = partition_here(broker, image, topic, index).map_err(|code| match code {
        // The coordinator knows this one, and tries again with the leader of then.
        ErrorCode::LeaderNotAvailable => ErrorCode::NotLeaderOrFollower,
        code => code,
    })?;
    let now = now_ms();
    let batch = end.to_batch(now).map_err(|error| {
        tracing::error!(%error, "marker of a transaction does not make a batch");
        ErrorCode::UnknownServerError
    })?;
    let written = partition.append(&batch, Origin::Marker(epoch), LeaderEpoch::NONE, true, now);
    let Led { appended, epoch } = written.map_err(|refused| {
        let code = append_code(&refused);
        tracing::debug!(partition = %partition.id(), producer = end.producer_id.0, error = %refused, "marker refused");
        code
    })?;
    Ok(Pending::new(partition, epoch, appended.last_offset))
}

/// The marker as a group coordinator's shard is asked for it.
fn in_group(end: EndMarker, epoch: MarkerEpoch) -> EndTransaction {
    EndTransaction {
        producer: Producer { id: end.producer_id, epoch: end.producer_epoch },
        commit: end.commit,
        coordinator_epoch: end.coordinator_epoch,
        version: match epoch {
            MarkerEpoch::Newer => TransactionVersion::V2,
            MarkerEpoch::NotOlder => TransactionVersion::V0,
        },
    }
}

/// What became of each marker, by producer and partition. Two markers of one producer share an entry, as in Kafka.
#[derive(Default)]
struct Answer(BTreeMap<i64, BTreeMap<Place, ErrorCode>>);

impl Answer {
    fn put(&mut self, producer_id: WireProducerId, place: Place, code: ErrorCode) {
        self.0.entry(producer_id.0).or_default().insert(place, code);
    }

    fn into_response(self, ctx: &RequestContext) -> WriteTxnMarkersResponse {
        let markers = self.0.into_iter().map(|(producer_id, partitions)| {
            WritableTxnMarkerResult::default()
                .with_producer_id(WireProducerId(producer_id))
                .with_topics(topics(ctx, partitions))
        });
        WriteTxnMarkersResponse::default().with_markers(markers.collect())
    }
}

fn topics(ctx: &RequestContext, partitions: BTreeMap<Place, ErrorCode>) -> Vec<WritableTxnMarkerTopicResult> {
    let mut topics: Vec<WritableTxnMarkerTopicResult> = Vec::new();
    for ((name, index), code) in partitions {
        ctx.count_error(code);
        if topics.last().is_none_or(|topic| topic.name.as_str() != name) {
            let name = WireTopicName(StrBytes::from_string(name));
            topics.push(WritableTxnMarkerTopicResult::default().with_name(name));
        }
        let result =
            WritableTxnMarkerPartitionResult::default().with_partition_index(index).with_error_code(code.code());
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(result);
        }
    }
    topics
}
