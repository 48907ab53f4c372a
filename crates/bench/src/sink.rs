//! A broker that does nothing: it reads what producers send, forgets it and acknowledges.
//!
//! Picture: what a client reaches against it is what this client can reach against anybody on this machine, because all
//! that is left of a broker is to receive the bytes. A rate close to that cannot be raised by a better broker.
//!
//! Only as much of the protocol as librdkafka's producer and our own clients need. Any topic exists, with the same number
//! of partitions, and ends where its acknowledged records end. A transaction may do anything at any time, since nobody looks.
//! Not here: reading, groups, more than one broker.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use twinstream_client::protocol::batch::batches;
use twinstream_client::protocol::frame::{decode_request_header, encode_response_header, frame_len};
use twinstream_client::protocol::kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use twinstream_client::protocol::kafka_protocol::messages::api_versions_response::ApiVersion;
use twinstream_client::protocol::kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use twinstream_client::protocol::kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use twinstream_client::protocol::kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use twinstream_client::protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use twinstream_client::protocol::kafka_protocol::messages::produce_response::{
    PartitionProduceResponse, TopicProduceResponse,
};
use twinstream_client::protocol::kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, ApiVersionsResponse, BrokerId, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, EndTxnResponse, FindCoordinatorResponse,
    InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, ProducerId,
};
use twinstream_client::protocol::kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

const FRAME_BYTES_MAX: usize = 128 << 20;
const NODE: BrokerId = BrokerId(1);
const HOST: &str = "127.0.0.1";

/// What is announced. Fetch is not served: librdkafka takes it as a sign that a broker knows batches.
const VERSIONS: [(ApiKey, i16, i16); 11] = [
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 11),
    (ApiKey::ListOffsets, 1, 6),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::FindCoordinator, 0, 2),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 5),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
];

/// Serves until it is dropped.
pub struct Sink {
    port: u16,
    state: Arc<State>,
}

struct State {
    port: u16,
    partitions: i32,
    closed: AtomicBool,
    /// Records by topic and partition.
    ends: Mutex<HashMap<(String, i32), i64>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl Sink {
    pub fn start(partitions: i32) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a broker that does nothing")?;
        let port = listener.local_addr()?.port();
        let (closed, ends, streams) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        let state = Arc::new(State { port, partitions, closed, ends, streams });
        let accepting = Arc::clone(&state);
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || accepting.accept(&listener))?;
        Ok(Self { port, state })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        for stream in lock(&self.state.streams).drain(..) {
            stream.shutdown(Shutdown::Both).ok(); // the client may have closed it already
        }
        // Wakes the thread that accepts, which then sees that it is over.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl State {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            let Ok(copy) = stream.try_clone() else { continue };
            lock(&self.streams).push(copy);
            let state = Arc::clone(&self);
            // A connection ends with its client, or with a request that is not served; the client tells what that means.
            let serve = move || drop(state.serve(stream));
            if std::thread::Builder::new().name("sink".to_owned()).spawn(serve).is_err() {
                return;
            }
        }
    }

    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::new();
        loop {
            let mut prefix = [0; 4];
            stream.read_exact(&mut prefix)?;
            let length = frame_len(prefix, FRAME_BYTES_MAX)?;
            buffer.resize(length, 0);
            stream.read_exact(&mut buffer)?;
            let mut frame = buffer.split().freeze();
            let header = decode_request_header(&mut frame)?;
            let mut body = BytesMut::new();
            let version = header.api_version;
            let answers = self.answer(header.api_key, version, frame, &mut body)?;
            if !answers {
                continue;
            }
            let mut head = vec![0; 4];
            encode_response_header(&mut head, header.api_key, version, header.correlation_id);
            let length = i32::try_from(head.len() - 4 + body.len()).context("an answer is smaller than 2 GiB")?;
            head[..4].copy_from_slice(&length.to_be_bytes());
            head.extend_from_slice(&body);
            stream.write_all(&head)?;
        }
    }

    /// Whether there is an answer at all.
    fn answer(&self, key: i16, version: i16, mut body: Bytes, out: &mut BytesMut) -> Result<bool> {
        match ApiKey::try_from(key) {
            Ok(ApiKey::Produce) => {
                let request = ProduceRequest::decode(&mut body, version)?;
                self.produce(&request)?.encode(out, version)?;
                return Ok(request.acks != 0);
            }
            Ok(ApiKey::ApiVersions) => versions().encode(out, version)?,
            Ok(ApiKey::Metadata) => {
                self.metadata(&MetadataRequest::decode(&mut body, version)?).encode(out, version)?;
            }
            Ok(ApiKey::ListOffsets) => {
                self.list_offsets(&ListOffsetsRequest::decode(&mut body, version)?).encode(out, version)?;
            }
            Ok(ApiKey::InitProducerId) => {
                InitProducerIdResponse::default().with_producer_id(ProducerId(1)).encode(out, version)?;
            }
            Ok(ApiKey::FindCoordinator) => {
                let (host, port) = (StrBytes::from_static_str(HOST), i32::from(self.port));
                let found = FindCoordinatorResponse::default().with_node_id(NODE).with_host(host).with_port(port);
                found.encode(out, version)?;
            }
            Ok(ApiKey::AddPartitionsToTxn) => {
                added(&AddPartitionsToTxnRequest::decode(&mut body, version)?).encode(out, version)?;
            }
            Ok(ApiKey::EndTxn) => EndTxnResponse::default().encode(out, version)?,
            Ok(ApiKey::CreateTopics) => {
                let request = CreateTopicsRequest::decode(&mut body, version)?;
                let made = request.topics.iter().map(|topic| {
                    CreatableTopicResult::default().with_name(topic.name.clone()).with_num_partitions(self.partitions)
                });
                CreateTopicsResponse::default().with_topics(made.collect()).encode(out, version)?;
            }
            Ok(ApiKey::DeleteTopics) => {
                let request = DeleteTopicsRequest::decode(&mut body, version)?;
                let gone = request.topic_names.iter();
                let gone = gone.map(|name| DeletableTopicResult::default().with_name(Some(name.clone())));
                DeleteTopicsResponse::default().with_responses(gone.collect()).encode(out, version)?;
            }
            _ => bail!("api key {key} is not served"),
        }
        Ok(true)
    }

    fn produce(&self, request: &ProduceRequest) -> Result<ProduceResponse> {
        let mut ends = lock(&self.ends);
        let mut topics = Vec::new();
        for topic in &request.topic_data {
            let mut partitions = Vec::new();
            for partition in &topic.partition_data {
                let end = ends.entry((topic.name.to_string(), partition.index)).or_default();
                let base = *end;
                for batch in batches(partition.records.as_deref().unwrap_or_default()) {
                    *end += i64::from(batch?.record_count());
                }
                partitions.push(PartitionProduceResponse::default().with_index(partition.index).with_base_offset(base));
            }
            topics.push(
                TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions),
            );
        }
        Ok(ProduceResponse::default().with_responses(topics))
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(NODE)
            .with_host(StrBytes::from_static_str(HOST))
            .with_port(i32::from(self.port));
        let partition = |index: i32| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(NODE)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE])
        };
        let topics = request.topics.iter().flatten().map(|topic| {
            MetadataResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions((0..self.partitions).map(partition).collect())
        });
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(NODE)
            .with_cluster_id(Some(StrBytes::from_static_str("nothing")))
            .with_topics(topics.collect())
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let ends = lock(&self.ends);
        let topics = request.topics.iter().map(|topic| {
            let end = |index: i32| ends.get(&(topic.name.to_string(), index)).copied().unwrap_or(0);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                ListOffsetsPartitionResponse::default().with_partition_index(index).with_offset(end(index))
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}

fn added(request: &AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics.iter().map(|topic| {
        let partition = |index: &i32| AddPartitionsToTxnPartitionResult::default().with_partition_index(*index);
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(topic.partitions.iter().map(partition).collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

fn versions() -> ApiVersionsResponse {
    let version = |(key, min, max): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(VERSIONS.map(version).into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
