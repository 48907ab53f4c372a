//! Everything that one replica of a partition serves, as a reader of committed records sees it, or of all records.
//!
//! Over the raw client, because it tells offsets of records that compaction left, and can ask any replica. The list of
//! aborted transactions is the broker's, applied as Kafka's consumers apply it.

use std::collections::BTreeMap;

use twinstream_client::protocol::batch::{BatchView, batches};
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use twinstream_client::raw::kafka_protocol::messages::fetch_response::PartitionData;
use twinstream_client::raw::kafka_protocol::messages::{BrokerId, FetchRequest};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{ErrorCode, NodeId, TopicPartition};

/// The last version that names topics by name.
const FETCH_VERSION: i16 = 12;
const FETCH_BYTES: i32 = 1024 * 1024;
/// More than any batch of a test holds.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which records a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    All,
    Committed,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub key: Option<String>,
    /// `None` is a tombstone.
    pub value: Option<String>,
}

/// What a partition held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// By offset.
    pub records: BTreeMap<i64, Found>,
    pub high_watermark: i64,
    pub last_stable: i64,
}

/// Reads from one replica up to the end that it told first.
pub async fn read_partition(
    client: &RawClient,
    replica: NodeId,
    partition: &TopicPartition,
    isolation: Isolation,
) -> Result<Reading, ClientError> {
    let mut reading = Reading::default();
    let mut sieve = Sieve::default();
    let (mut next, mut end) = (0, None);
    while end.is_none_or(|end| next < end) {
        let data = fetch(client, replica, partition, isolation, next).await?;
        let served = if isolation == Isolation::Committed { data.last_stable_offset } else { data.high_watermark };
        end = end.or_else(|| {
            (reading.high_watermark, reading.last_stable) = (data.high_watermark, data.last_stable_offset);
            Some(served)
        });
        let begun_at = next;
        sieve.note_aborted(&data);
        for batch in batches(&data.records.unwrap_or_default()) {
            let Ok(batch) = batch else { break }; // the last one may be cut short by the broker
            batch.check_crc().unwrap_or_else(|error| panic!("{partition} is damaged: {error}"));
            next = next.max(batch.header().next_offset().0);
            if sieve.lets_pass(&batch) {
                take(&batch, partition, &mut reading);
            }
        }
        if next == begun_at {
            break; // nothing but removed records up to the end
        }
    }
    Ok(reading)
}

async fn fetch(
    client: &RawClient,
    replica: NodeId,
    partition: &TopicPartition,
    isolation: Isolation,
    offset: i64,
) -> Result<PartitionData, ClientError> {
    let wanted = FetchPartition::default()
        .with_partition(partition.partition.0)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(FETCH_BYTES);
    let topic = StrBytes::from_string(partition.topic.as_str().to_owned());
    let topic = FetchTopic::default().with_topic(topic.into()).with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(FETCH_BYTES)
        .with_isolation_level(i8::from(isolation == Isolation::Committed))
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let what = || format!("fetch {partition} from broker {replica}");
    let mut answer = client.request_capped(Node::Id(replica), &request, FETCH_VERSION).await?;
    let data = answer.responses.pop().and_then(|mut topic| topic.partitions.pop());
    let code = data.as_ref().map_or(answer.error_code, |data| data.error_code);
    match data {
        Some(data) if code == 0 => Ok(data),
        _ => Err(ClientError::broker(what(), ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError))),
    }
}

fn take(batch: &BatchView<'_>, partition: &TopicPartition, reading: &mut Reading) {
    let records = batch.records(BATCH_BYTES_MAX);
    let records = records.unwrap_or_else(|error| panic!("{partition} is damaged: {error}"));
    for record in records.iter() {
        let record = record.unwrap_or_else(|error| panic!("{partition} is damaged: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = Found { key: record.key.map(text), value: record.value.map(text) };
        reading.records.insert(record.offset.0, found);
    }
}

/// Leaves out what was aborted, as the broker's lists say, and markers.
#[derive(Default)]
struct Sieve {
    /// First offset and producer of aborted transactions that have not begun yet.
    ahead: Vec<(i64, i64)>,
    /// Producers whose records are left out until their marker.
    aborting: Vec<i64>,
}

impl Sieve {
    fn note_aborted(&mut self, data: &PartitionData) {
        let aborted = data.aborted_transactions.iter().flatten();
        self.ahead.extend(aborted.map(|aborted| (aborted.first_offset, aborted.producer_id.0)));
        self.ahead.sort_unstable();
        self.ahead.dedup();
    }

    fn lets_pass(&mut self, batch: &BatchView<'_>) -> bool {
        let header = batch.header();
        while let Some((first, producer)) = self.ahead.first().copied()
            && first <= header.last_offset().0
        {
            self.ahead.remove(0);
            self.aborting.push(producer);
        }
        if header.attributes.is_control() {
            self.aborting.retain(|producer| *producer != header.producer_id.0);
            return false;
        }
        !(header.attributes.is_transactional() && self.aborting.contains(&header.producer_id.0))
    }
}
