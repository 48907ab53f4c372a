//! Where each corpus begins: sound examples, made by our own encoders or written down as Kafka's and Confluent's bytes.
//!
//! `corpus seed` adds them to the files. A decoder that learns a new version gets an example here.

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterClientQuotasRequest, AlterUserScramCredentialsRequest,
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeTransactionsRequest, DescribeUserScramCredentialsRequest, EndTxnRequest, ListConfigResourcesRequest,
    ListTransactionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest, UpdateFeaturesRequest,
};
use kafka_protocol::messages::{
    AddRaftVoterRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeTopicPartitionsRequest, ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, RemoveRaftVoterRequest,
    SyncGroupRequest, TxnOffsetCommitRequest, UnregisterBrokerRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FetchResponse, MetadataResponse, ResponseKind, api_versions_response,
    create_topics_request, fetch_response, metadata_response, produce_request, produce_response,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use twinstream_log::LogConfig;
use twinstream_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicName};
use twinstream_protocol::batch::{BatchBuilder, ProducerStamp};
use twinstream_protocol::compression::{Compression, CompressionSpec};
use twinstream_protocol::frame::{INTERNAL_API_KEY_MIN, RequestHeader, encode_request_header, encode_response_header};
use twinstream_protocol::{mirror, shape};
use uuid::Uuid;

use crate::{corpus, files};

/// The time of all examples.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// A schema with a field of each kind of type.
pub(crate) const AVRO: &str = r#"{"type":"record","name":"All","fields":[
    {"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":"long"},{"name":"f","type":"float"},
    {"name":"d","type":"double"},{"name":"y","type":"bytes"},{"name":"s","type":"string"},
    {"name":"u","type":["null","string","long"]},{"name":"a","type":{"type":"array","items":"long"}},
    {"name":"m","type":{"type":"map","values":"string"}},
    {"name":"e","type":{"type":"enum","name":"Side","symbols":["LEFT","RIGHT"]}},
    {"name":"x","type":{"type":"fixed","name":"Pair","size":2}},
    {"name":"n","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"w","type":{"type":"int","logicalType":"date"}},
    {"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"next","type":["null","All"]}]}"#;

/// Segments of a few batches, so that a log of twelve has several.
pub(crate) fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() }
}

/// A batch for offset `at * records`; `sequence` makes it one of an idempotent producer's.
pub(crate) fn batch(at: i64, records: i32, sequence: Option<i64>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    if let Some(sequence) = sequence {
        let base_sequence = sequence as i32 * records;
        builder = builder.with_producer(ProducerStamp { id: ProducerId(5), epoch: ProducerEpoch(0), base_sequence });
    }
    for i in 0..records {
        let key = format!("k{i}");
        builder.append(NOW + at, Some(key.as_bytes()), Some(b"value of a record"), [(&b"h"[..], None)]);
    }
    builder.build().expect("a small batch")
}

/// What the corpus of a target should begin with.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "request" => requests(),
        "answer" => answers(),
        "peer-request" => peer_requests(),
        "peer-answer" => peer_answers(),
        "raft-message" => vec![raft_message()],
        "mirror-tags" => mirror_tags(),
        "batches" => batches(),
        "records" => vec![[&[3][..], &batch(0, 3, None)[61..]].concat(), vec![0]],
        "gzip" => packed(Compression::Gzip),
        "snappy" => packed(Compression::Snappy).into_iter().chain([b"\x09\x20raw block".to_vec()]).collect(),
        "lz4" => packed(Compression::Lz4),
        "zstd" => packed(Compression::Zstd),
        "group-member" => vec![
            b"\0\x03\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff".to_vec(),
            b"\0\0\0\0\0\x02\0\x01a\0\x01b\xff\xff\xff\xff".to_vec(),
            b"\0\0\0\x0ehttp://a:8083/\0\0\0\0\0\0\0\x07".to_vec(),
        ],
        "topic-pattern" => [r"(?i:orders)\.(eu|us)+", r"[^\d[:alpha:]\pL-z]{2,3}?", r"\Qa.b\E|\x{41}\101(?P<n>.)$"]
            .map(|text| text.as_bytes().to_vec())
            .into(),
        "avro-record" => vec![avro_record()],
        "avro-schema" => vec![AVRO.as_bytes().to_vec(), b"\"string\"".to_vec(), br#"{"type":"int"}"#.to_vec()],
        "converter" => converter_values(),
        "segment" => sealed([last_of(".log"), [first_of(".log"), last_of(".log")].concat()]),
        "offset-index" => vec![first_of(".index"), Vec::new()],
        "time-index" => vec![first_of(".timeindex"), Vec::new()],
        "transaction-index" => vec![aborted_transaction(), Vec::new()],
        "producer-snapshot" => sealed([last_of(".snapshot")]),
        "leader-epochs" => vec![last_of("leader-epoch-checkpoint"), b"0\n0\n".to_vec()],
        "partition-metadata" => vec![last_of("partition.metadata")],
        "left-metadata" => vec![LEFT.to_vec(), b"version: 0\n".to_vec()],
        "checkpoints" => vec![b"0\n2\ntopic 0 5\nother.topic 12 900\n".to_vec(), b"0\n0\n".to_vec()],
        "directory-identity" => vec![
            b"#\ncluster.id=q1Sh-9_ISia_zwGINzRvyQ\ndirectory.id=8aaQ1Sh-9_ISia_zwGINzQ\nnode.id=1\nversion=1\n"
                .to_vec(),
            b"version: 0\nboot: 40445abc-dd09-499e-a0a2-31f5de48f3a0\nmount: 4294967323\n".to_vec(),
        ],
        "quorum-log" => {
            sealed(quorum_folder().into_iter().filter(|(name, _)| name.starts_with("log-")).map(|(_, b)| b))
        }
        "quorum-snapshot" => {
            sealed(quorum_folder().into_iter().filter(|(name, _)| name.starts_with("snapshot-")).map(|(_, b)| b))
        }
        "metadata-records" => golden_lines(&[METADATA_V1, METADATA_V2, METADATA_V4]),
        "metadata-snapshot" => metadata_snapshots(),
        "group-records" => group_records(),
        "transaction-records" => transaction_records(),
        "registry-records" => vec![REGISTRY.as_bytes().to_vec()],
        "connect-records" => vec![CONNECT.as_bytes().to_vec()],
        "mirror-records" => vec![
            // Two runs of orders-3 from offset 5 on; the chunk is gone; an offset-sync; a checkpoint.
            b"\0\x16\0\0\0\x06orders\0\0\0\x03\0\0\0\0\0\0\0\x05\x01\0\0\0\0\0\0\0\0\0\x07\xe8\x07\x01\0\x02".to_vec(),
            b"\0\x16\0\0\0\x06orders\0\0\0\x03\0\0\0\0\0\0\0\x05\0".to_vec(),
            b"\x01\x0c\0\x06orders\0\0\0\x03\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0b".to_vec(),
            b"\x02\x0f\0\x01g\0\x06orders\0\0\0\x03\x01\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0b\0\x01m".to_vec(),
        ],
        "mirror-file" => vec![MIRROR_FILE.as_bytes().to_vec(), b"clusters=A\n".to_vec()],
        _ => Vec::new(),
    }
}

const LEFT: &[u8] = b"version: 0\ndirectory_id: 8aaQ1Sh-9_ISia_zwGINzQ\ncopy: t-0.0123456789abcdef-future\n";
const METADATA_V1: &str = include_str!("../../metadata/src/record/golden_v1.txt");
const METADATA_V2: &str = include_str!("../../metadata/src/record/golden_v2.txt");
const METADATA_V4: &str = include_str!("../../metadata/src/record/golden_v4.txt");
const QUORUM_LOG: &str = include_str!("../../quorum/src/storage/golden_log_v2.txt");
const QUORUM_SNAPSHOT: &str = include_str!("../../quorum/src/storage/golden_snapshot_v2.txt");

/// Two clusters, one flow with settings of its own, and a name that nothing knows.
const MIRROR_FILE: &str = "clusters=A, B\nA.bootstrap.servers=a:9092\nB.bootstrap.servers=b:9092\nA->B.enabled=true\n\
    A->B.topics=orders.*\nA->B.offset.flush.interval.ms=1000\nreplication.factor=1\nB->A.nothing=1\n";

const REGISTRY: &str = concat!(
    r#"{"keytype":"NOOP","magic":0}"#,
    "\n",
    r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#,
    "\t",
    r#"{"subject":"s","version":1,"id":1,"schema":"\"string\"","deleted":false}"#,
    "\n",
    r#"{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}"#,
    "\t",
    r#"{"subject":"s","version":2,"id":2,"references":[{"name":"r","subject":"s","version":1}],"schema":"\"int\""}"#,
    "\n",
    r#"{"keytype":"CONFIG","subject":null,"magic":0}"#,
    "\t",
    r#"{"compatibilityLevel":"FULL","normalize":true}"#,
    "\n",
    r#"{"keytype":"MODE","subject":"s","magic":0}"#,
    "\t",
    r#"{"mode":"READONLY"}"#,
    "\n",
    r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#,
    "\t",
    r#"{"subject":"s","version":2}"#,
    "\n",
    r#"{"keytype":"CLEAR_SUBJECT","subject":"s","magic":0}"#,
    "\t",
    r#"{"subject":"s"}"#,
);

/// The topic's number (as a digit: 0 modulo 3 configs, 1 offsets, 2 statuses) in front of each key.
const CONNECT: &str = concat!(
    "0connector-sink\t",
    r#"{"properties":{"connector.class":"X","tasks.max":"1"}}"#,
    "\n0task-sink-0\t",
    r#"{"properties":{"task.class":"Y"}}"#,
    "\n0commit-sink\t",
    r#"{"tasks":1}"#,
    "\n0target-state-sink\t",
    r#"{"state":"PAUSED","state.v2":"STOPPED"}"#,
    "\n",
    r#"1["source",{"partition":3}]"#,
    "\t",
    r#"{"offset":42}"#,
    "\n2status-connector-sink\t",
    r#"{"state":"RUNNING","trace":null,"worker_id":"a:8083","generation":2}"#,
    "\n2status-task-sink-0\t",
    r#"{"state":"FAILED","trace":"why","worker_id":"a:8083","generation":2}"#,
    "\n2status-topic-t:connector-sink\t",
    r#"{"topic":{"name":"t","connector":"sink","task":0,"discoverTimestamp":1}}"#,
);

/// A log and the snapshot that goes with it.
pub(crate) fn quorum_folder() -> [(String, Vec<u8>); 2] {
    [
        ("log-00000000000000000001".to_owned(), hex(QUORUM_LOG)),
        ("snapshot-00000000000000000007".to_owned(), hex(QUORUM_SNAPSHOT)),
    ]
}

fn requests() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    macro_rules! each {
        ($($request:ident)*) => { $( every_version::<$request>(&mut all); )* };
    }
    each! {
        ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest OffsetFetchRequest
        FindCoordinatorRequest JoinGroupRequest HeartbeatRequest LeaveGroupRequest SyncGroupRequest
        DescribeGroupsRequest ListGroupsRequest ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest
        DeleteRecordsRequest InitProducerIdRequest OffsetForLeaderEpochRequest DescribeConfigsRequest
        AlterConfigsRequest AlterReplicaLogDirsRequest DescribeLogDirsRequest CreatePartitionsRequest DeleteGroupsRequest ElectLeadersRequest
        IncrementalAlterConfigsRequest AlterPartitionReassignmentsRequest ListPartitionReassignmentsRequest
        OffsetDeleteRequest DescribeQuorumRequest DescribeClusterRequest UnregisterBrokerRequest
        DescribeTopicPartitionsRequest AddRaftVoterRequest RemoveRaftVoterRequest WriteTxnMarkersRequest
        DescribeProducersRequest TxnOffsetCommitRequest AddPartitionsToTxnRequest AddOffsetsToTxnRequest EndTxnRequest
        DescribeTransactionsRequest ListTransactionsRequest ConsumerGroupHeartbeatRequest ConsumerGroupDescribeRequest
        AlterClientQuotasRequest AlterUserScramCredentialsRequest CreateAclsRequest DeleteAclsRequest DescribeAclsRequest
        DescribeClientQuotasRequest DescribeUserScramCredentialsRequest ListConfigResourcesRequest SaslAuthenticateRequest
        SaslHandshakeRequest UpdateFeaturesRequest
    }
    let produce = b"\0\0\0\x09\0\0\0\x01\0\x01c\0\0\xff\xff\0\0\x05\xdc\x02\x02t\x02\0\0\0\0\x05abcd\0\0\0";
    all.push(produce.to_vec());
    // A Fetch whose directory id says to be longer than it is, so that the codec reads its last lists elsewhere.
    let partition = [&[0; 32][..], &[1, 0, 22], &[0; 17], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let topics = [&[2][..], &[0; 16], &[2], &partition, &[0, 0, 1, 1, 0]].concat();
    all.push([&b"\0\x01\0\x11\0\0\0\x01\0\x01c\0"[..], &[0; 21], &topics].concat());
    all.extend(peer_requests().into_iter().map(|body| [&peer_header()[..], &body].concat()));
    all
}

/// The first and the newest version; those between are a mutated byte away.
fn every_version<R: Request + Default + Encodable>(all: &mut Vec<Vec<u8>>) {
    for version in [R::VERSIONS.min, R::VERSIONS.max] {
        let header =
            RequestHeader { api_key: R::KEY, api_version: version, correlation_id: 1, client_id: Some("c".to_owned()) };
        let mut frame = Vec::new();
        encode_request_header(&mut frame, &header).expect("a header");
        let mut body = bytes::BytesMut::new();
        if R::default().encode(&mut body, version).is_ok() {
            frame.extend_from_slice(&body);
            all.push(frame);
        }
    }
}

/// Key, version, correlation id, and then every answer that we decode, empty; those with tags and lists also full.
fn answers() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for shape in shape::ANSWERS {
        let Ok(api) = ApiKey::try_from(shape.api_key()) else { continue };
        for version in [*shape.versions().start(), *shape.versions().end()] {
            // A body of zeros is empty lists and no tags in each version; the walk says where it ends.
            let zeros = [0; 64];
            let behind = shape.check(version, &zeros).expect("zeros are an empty answer");
            all.push([&answer_head(api, version)[..], &zeros[..zeros.len() - behind]].concat());
        }
    }
    let node = |id| {
        fetch_response::NodeEndpoint::default()
            .with_node_id(id)
            .with_host(StrBytes::from_static_str("h"))
            .with_port(9092)
    };
    let partition = fetch_response::PartitionData::default()
        .with_diverging_epoch(fetch_response::EpochEndOffset::default().with_epoch(3).with_end_offset(9))
        .with_current_leader(fetch_response::LeaderIdAndEpoch::default().with_leader_epoch(4))
        .with_aborted_transactions(Some(vec![fetch_response::AbortedTransaction::default()]))
        .with_records(Some(bytes::Bytes::from(batch(0, 1, None))));
    let topic = fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition]);
    let fetched = FetchResponse::default().with_responses(vec![topic]).with_node_endpoints(vec![node(BrokerId(1))]);
    let partition = metadata_response::MetadataResponsePartition::default().with_replica_nodes(vec![BrokerId(1)]);
    let topic = metadata_response::MetadataResponseTopic::default().with_partitions(vec![partition]);
    let broker = metadata_response::MetadataResponseBroker::default().with_host(StrBytes::from_static_str("h"));
    let metadata = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
    let feature = api_versions_response::SupportedFeatureKey::default().with_max_version(2);
    let versions = ApiVersionsResponse::default()
        .with_api_keys(vec![api_versions_response::ApiVersion::default()])
        .with_supported_features(vec![feature]);
    let kinds = [
        (ResponseKind::Fetch(fetched), 18),
        (ResponseKind::Metadata(metadata), 12),
        (ResponseKind::ApiVersions(versions), 4),
    ];
    for ((kind, version), api) in kinds.into_iter().zip([ApiKey::Fetch, ApiKey::Metadata, ApiKey::ApiVersions]) {
        let mut body = bytes::BytesMut::new();
        kind.encode(&mut body, version).expect("a small answer");
        all.push([&answer_head(api, version)[..], &body].concat());
    }
    all
}

fn answer_head(api: ApiKey, version: i16) -> Vec<u8> {
    let mut head = [(api as i16).to_be_bytes(), version.to_be_bytes()].concat();
    encode_response_header(&mut head, api as i16, version, 1);
    head
}

fn peer_header() -> Vec<u8> {
    let header = RequestHeader { api_key: INTERNAL_API_KEY_MIN, api_version: 1, correlation_id: 1, client_id: None };
    let mut out = Vec::new();
    encode_request_header(&mut out, &header).expect("a header");
    out
}

/// Cluster, sender and receiver, and then the fields of one request.
fn peer_requests() -> Vec<Vec<u8>> {
    let envelope = [&b"\x01\0\0\0\x02c1\0\0\0\x01\0\0\0\x02"[..], &b"\0\0\0\0\x01\0\0\0\x02"[..]];
    let raft = [&b"\0\0\0\x01\0\0\0\x29"[..], &raft_message()].concat();
    let heartbeat = b"\0\0\0\x01\0\0\0\0\0\0\0\x07\x01\0".to_vec();
    let hello = [&[7; 16][..], b"\0\0\0\x01\0\0\0\x02"].concat();
    let isr = [&b"\0\0\0\0\0\0\0\x09\0\0\0\x01"[..], &[3; 16], &[0; 40]].concat();
    let forwarded = b"\0\x13\0\x07\0\0\0\0\x04User\0\0\0\x01u\0\0\0\x01lbody".to_vec();
    let bodies = [raft, heartbeat, hello, isr, forwarded];
    envelope.iter().flat_map(|head| bodies.iter().map(move |body| [head, &body[..]].concat())).collect()
}

fn peer_answers() -> Vec<Vec<u8>> {
    let ok = |payload: &[u8]| [b"\0\0", payload].concat();
    vec![
        ok(b"\x01\0"),
        ok(b"\0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\x03\xe8"),
        ok(b"\0\0\0\x02c1\0\0\0\0\0\0\0\x05"),
        ok(&[&[7; 16][..], b"\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x05"].concat()),
        b"\0\x29\0\0\0\x03why".to_vec(),
    ]
}

/// A heartbeat of node 2 to node 1, with the directories in front.
fn raft_message() -> Vec<u8> {
    [&[1][..], &[9; 16], &[7; 16], b"\x08\x08\x10\x02\x18\x03\x20\x01"].concat()
}

fn batches() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for codec in Compression::ALL {
        let mut builder = BatchBuilder::new().with_compression(codec).with_leader_epoch(LeaderEpoch(2));
        builder.append(NOW, Some(b"k"), None, []).append(NOW + 1, None, Some(b"v"), [(&b"h"[..], Some(&b"x"[..]))]);
        all.push(builder.build().expect("a small batch"));
    }
    let stamp = ProducerStamp { id: ProducerId(5), epoch: ProducerEpoch(1), base_sequence: -1 };
    let mut marker =
        BatchBuilder::new().with_base_offset(Offset(9)).with_producer(stamp).with_transactional().with_control();
    marker.append(NOW, Some(b"\0\0\0\0"), Some(b"\0\0\0\0\0\x03"), []);
    all.push(marker.build().expect("a small batch"));
    all.push([batch(0, 1, Some(0)), batch(1, 1, Some(1))].concat());
    sealed(all)
}

fn packed(codec: Compression) -> Vec<Vec<u8>> {
    let texts = [&b""[..], b"a", &b"abcdefgh".repeat(40)];
    texts.iter().map(|text| CompressionSpec::from(codec).compress(text).expect("packed")).collect()
}

fn avro_record() -> Vec<u8> {
    let mut out = b"\x01\x02\x04\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(); // b, i, l, f, d
    out.extend_from_slice(b"\x04yy\x02s\x02\x02u\x02\x06\0\x02\x02k\x02v\0\x02xx\x02\x64\x02\x02\0");
    out
}

fn converter_values() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"schema":{"type":"struct","optional":false,"name":"n","fields":[{"field":"a","type":"int32"},{"field":"d","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}},{"field":"m","type":"map","keys":{"type":"string"},"values":{"type":"array","items":{"type":"double"}}}]},"payload":{"a":1,"d":"ZA==","m":{"k":[1.5]}}}"#,
        r#"{"schema":null,"payload":{"a":[1,2.5,null,"x"]}}"#,
        r#"{"schema":{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp","version":1,"default":0,"optional":true},"payload":1700000000000}"#,
        r#"["json",1.0]"#,
        "true",
        "12.50",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain([42i64.to_be_bytes().to_vec()]).collect()
}

/// Kafka's entry: version, producer id, first offset, last offset, last stable offset.
fn aborted_transaction() -> Vec<u8> {
    let numbers = [5i64, 3, 8, 3].map(i64::to_be_bytes).concat();
    [&0i16.to_be_bytes()[..], &numbers].concat()
}

fn metadata_snapshots() -> Vec<Vec<u8>> {
    let records = golden_lines(&[METADATA_V2]);
    let head = |count: u32| [&[1][..], &7i64.to_be_bytes(), &1000i64.to_be_bytes(), &count.to_be_bytes()].concat();
    let mut all = vec![head(0)];
    for record in &records {
        all.push([head(1), (record.len() as u32).to_be_bytes().to_vec(), record.clone()].concat());
    }
    all
}

fn group_records() -> Vec<Vec<u8>> {
    let commit = b"\x00\x01\x00\x02g1\x00\x06orders\x00\x00\x00\x07";
    let group = b"\x00\x02\x00\x02g1";
    let marker = b"\x00\x00\x00\x00\x00\x09";
    let values: [(&[u8], &[u8]); 7] = [
        (b"\x00\x00\x00\x00", marker),
        (b"\x00\x00\x00\x01", marker),
        (
            commit,
            b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03\x05note\x00\x00\x00\x00\x00\x00\x03\xe8\x00",
        ),
        (
            commit,
            b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x03\x00\x04note\x00\x00\x00\x00\x00\x00\x03\xe8",
        ),
        (commit, b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x04note\x00\x00\x00\x00\x00\x00\x03\xe8"),
        (
            group,
            b"\x00\x03\x00\x08consumer\x00\x00\x00\x05\x00\x05range\x00\x03m-1\x00\x00\x00\x00\x00\x00\x07\xd0\
            \x00\x00\x00\x01\x00\x03m-1\x00\x03one\x00\x03app\x00\x0a/127.0.0.1\x00\x04\x93\xe0\x00\x00\xaf\xc8\
            \x00\x00\x00\x03sub\x00\x00\x00\x03asg",
        ),
        (
            group,
            b"\x00\x04\x09consumer\x00\x00\x00\x05\x06range\x04m-1\x00\x00\x00\x00\x00\x00\x07\xd0\x02\
            \x04m-1\x04one\x04app\x0b/127.0.0.1\x00\x04\x93\xe0\x00\x00\xaf\xc8\x04sub\x04asg\x00\x00",
        ),
    ];
    let record = |(key, value): &(&[u8], &[u8])| [&[key.len() as u8][..], key, &[1], value].concat();
    let classic = values.iter().map(record).chain([[&[group.len() as u8][..], group, &[0]].concat()]);
    classic.chain(CONSUMER_GROUPS.lines().map(consumer_group_record)).collect()
}

const CONSUMER_GROUPS: &str = include_str!("../../coordinator/testdata/kafka/consumer-records.txt");

/// A line of a name, the key and the value, which is a dash in a tombstone.
fn consumer_group_record(line: &str) -> Vec<u8> {
    let fields: Vec<&str> = line.split(' ').collect();
    let bytes = |at: usize| corpus::parse(fields[at]).expect("hexadecimal");
    let (key, value, there) = (bytes(1), bytes(2), u8::from(fields[2] != "-"));
    [&[key.len() as u8][..], &key, &[there], &value].concat()
}

fn transaction_records() -> Vec<Vec<u8>> {
    let key = b"\x00\x00\x00\x08payments";
    let values: [&[u8]; 3] = [
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x07\x00\x00\xea\x60\x01\
        \x00\x00\x00\x02\x00\x06orders\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05\
        \x00\x06prices\x00\x00\x00\x01\x00\x00\x00\x02\
        \x00\x00\x00\x00\x00\x00\x07\xd0\x00\x00\x00\x00\x00\x00\x03\xe8",
        b"\x00\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x7f\xff\x00\x00\xea\x60\x02\
        \x02\x07orders\x02\x00\x00\x00\x05\x00\
        \x00\x00\x00\x00\x00\x00\x07\xd0\x00\x00\x00\x00\x00\x00\x03\xe8\
        \x03\x00\x08\x00\x00\x00\x00\x00\x00\x03\xe8\x01\x08\x00\x00\x00\x00\x00\x00\x03\xe9\x02\x02\x00\x02",
        b"\x00\x01\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x00\x00\xea\x60\x00\x00\
        \x00\x00\x00\x00\x00\x00\x07\xd0\xff\xff\xff\xff\xff\xff\xff\xff\x00",
    ];
    let head = [&[key.len() as u8][..], key].concat();
    let stored = values.iter().map(|value| [&head[..], &[1], value].concat());
    stored.chain([[&head[..], &[0]].concat()]).collect()
}

/// With the byte in front that asks for good checksums, and with the one that does not.
fn sealed(inputs: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let with = |how: u8, input: &[u8]| [&[how], input].concat();
    inputs.into_iter().flat_map(|input| [with(0, &input), with(1, &input)]).collect()
}

fn first_of(ending: &str) -> Vec<u8> {
    let mut found = files::template().iter().filter(|(name, _)| name.ends_with(ending));
    found.next().map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

fn last_of(ending: &str) -> Vec<u8> {
    let found = files::template().iter().rfind(|(name, _)| name.ends_with(ending));
    found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

fn golden_lines(texts: &[&str]) -> Vec<Vec<u8>> {
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once(' '))
        .map(|(_, text)| hex(text))
        .collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Each tagged field of a link as our own encoder writes it.
fn mirror_tags() -> Vec<Vec<u8>> {
    let range = mirror::SourceRange {
        from: Offset(5),
        log_start: Offset(1),
        high_watermark: Offset(9),
        leader_epoch: LeaderEpoch(3),
        last_epoch: LeaderEpoch(2),
        cut: false,
    };
    let mut data = produce_request::PartitionProduceData::default();
    mirror::tell_range(&mut data, &range);
    let mut answer = produce_response::PartitionProduceResponse::default();
    mirror::tell_log_end(&mut answer, Offset(6));
    let source = mirror::MirrorSource {
        link: Uuid::from_u128(7),
        cluster: "west".to_owned(),
        topic: TopicName::parse("orders").expect("a name"),
        topic_id: TopicId(Uuid::from_u128(8)),
    };
    let mut topic = create_topics_request::CreatableTopic::default();
    mirror::tell_source(&mut topic, &source);
    let told = [&data.unknown_tagged_fields, &answer.unknown_tagged_fields, &topic.unknown_tagged_fields];
    let fields = told.map(|fields| fields.get(&mirror::TAG).expect("a field").to_vec());
    let all = [vec![mirror::link_field(Uuid::from_u128(7)).to_vec()], fields.into()].concat();
    (0..).zip(all).map(|(place, field)| [vec![place], field].concat()).collect()
}

/// The rows of the request table and the examples should not part; a new row without an example shows here.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_that_is_served_has_an_example() {
        let keys: std::collections::BTreeSet<i16> =
            requests().iter().map(|frame| i16::from_be_bytes([frame[0], frame[1]])).collect();
        for key in 0..200 {
            let served = twinstream_broker::fuzzing::serves(key);
            assert!(!served || keys.contains(&key), "{key} is served; add its request to `seeds::requests`");
        }
    }

    #[test]
    fn every_target_has_a_seed() {
        for target in crate::TARGETS {
            assert!(!of(target.name).is_empty(), "{}", target.name);
        }
    }
}
