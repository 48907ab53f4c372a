//! Records of another replica, for a repair.
//!
//! Picture: asked as any consumer would, from a follower if need be (KIP-392), so what comes is committed and was checked
//! by who sends it. One request at a time, on a connection that lives for one repair.
//!
//! Invariants: no more is taken than the caller has room for.

use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use twinstream_metadata::Image;
use twinstream_model::{ErrorCode, NodeId, Offset, PartitionIndex, TopicId};
use twinstream_protocol::batch::{batches, whole_batches};
use twinstream_protocol::fetch::VERSION_MAX;

use super::connection::{Connection, FetchError, Limits};
use crate::settings::Settings;

/// A replica that is slower than this is asked again later.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Answers that bring one stretch.
const ROUNDS_MAX: usize = 10_000;
/// Bytes that are asked for at once.
const FETCH_BYTES: i32 = 4 << 20;
/// What an answer may have beside its records, and a batch that is larger than was asked for.
const ANSWER_BYTES_MAX: usize = 128 << 20;
const NO_REPLICA: i32 = -1;
const NO_SESSION_EPOCH: i32 = -1;
const NO_EPOCH: i32 = -1;

/// Why a replica did not give its records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it answers with {}", .0.name())]
    Refused(ErrorCode),
    #[error("it does not have the records from offset {0} on, or may not show them yet")]
    Nothing(Offset),
}

/// A stretch of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) offsets: std::ops::Range<Offset>,
    /// Bytes that it should have.
    pub(crate) bytes: u64,
}

/// The batches of a stretch as `peer` has them. At most a batch more than was asked for.
pub(crate) async fn fetch(
    settings: &Settings,
    image: &Image,
    peer: NodeId,
    stretch: &Stretch,
) -> Result<Vec<u8>, PeerError> {
    let address = address(settings, image, peer).ok_or(FetchError::NoAddress)?;
    let limits = Limits { silence_max: SILENCE_MAX, answer_bytes_max: ANSWER_BYTES_MAX };
    let client = format!("broker-{}-repair", settings.node.id);
    let mut connection = Connection::open(&address, client, limits).await?;
    let mut records = Vec::new();
    let mut next = stretch.offsets.start;
    for _ in 0..ROUNDS_MAX {
        let answer = connection.ask(&request(stretch, next), VERSION_MAX).await?;
        let code = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
        if code.is_error() {
            return Err(PeerError::Refused(code));
        }
        let found = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let Some(found) = found else { return Err(PeerError::Nothing(next)) };
        let code = ErrorCode::from_code(found.error_code).unwrap_or(ErrorCode::UnknownServerError);
        if code.is_error() {
            return Err(PeerError::Refused(code));
        }
        let bytes = found.records.unwrap_or_default();
        let whole = whole_batches(&bytes).map_err(|_| PeerError::Nothing(next))?;
        let before = next;
        for batch in batches(whole).map_while(Result::ok) {
            if batch.base_offset() < stretch.offsets.end {
                records.extend_from_slice(batch.bytes());
            }
            next = next.max(batch.header().next_offset());
        }
        if next >= stretch.offsets.end || records.len() as u64 > stretch.bytes {
            return Ok(records);
        }
        if next == before {
            return Err(PeerError::Nothing(next));
        }
    }
    Err(PeerError::Nothing(next))
}

fn request(stretch: &Stretch, from: Offset) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(stretch.partition.0)
        .with_current_leader_epoch(NO_EPOCH)
        .with_last_fetched_epoch(NO_EPOCH)
        .with_fetch_offset(from.0)
        .with_log_start_offset(Offset::NONE.0)
        .with_partition_max_bytes(FETCH_BYTES);
    FetchRequest::default()
        .with_replica_id(BrokerId(NO_REPLICA))
        .with_session_epoch(NO_SESSION_EPOCH)
        .with_max_bytes(FETCH_BYTES)
        .with_topics(vec![FetchTopic::default().with_topic_id(stretch.topic.0).with_partitions(vec![partition])])
}

/// Where a broker listens for the other brokers, if the metadata knows it.
pub(crate) fn address(settings: &Settings, image: &Image, node: NodeId) -> Option<String> {
    let endpoint = image.broker(node)?.endpoint(&settings.network.inter_broker_listener)?;
    let host = &endpoint.host;
    Some(match host.contains(':') {
        true => format!("[{host}]:{}", endpoint.port),
        false => format!("{host}:{}", endpoint.port),
    })
}
