//! Clients that mean harm or are broken: what they may cost others, and the broker.
//!
//! Each test has a bystander, an honest client whose requests go on being answered. Tests of memory run the broker as a
//! process of its own, whose size the system tells.

mod support;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DescribeGroupsRequest, FetchRequest, FindCoordinatorRequest, GroupId, JoinGroupRequest,
    MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use support::process::BrokerProcess;
use support::records::{create_topic, fetch_request, list_offset, produce, produce_request, records_of, values};
use support::{Client, TestBroker, free_port, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use twinstream_protocol::batch::BatchBuilder;
use twinstream_protocol::compression::Compression;

const OK: i16 = 0;
const CORRUPT_MESSAGE: i16 = 2;

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("test"))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

async fn is_served(client: &mut Client) -> bool {
    client.try_call(api_versions(), 3).await.is_ok_and(|answer| answer.error_code == OK)
}

/// A connection that announces a frame and sends `sent` bytes of it.
async fn announce(port: u16, length: i32, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(std::iter::repeat_n(0, sent));
    stream.write_all(&bytes).await.unwrap();
    stream
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_millis(1), stream.read_u8());
    matches!(read.await, Ok(Err(_)))
}

/// A number of `/proc/<pid>/status`, in KiB.
fn memory_kib(broker: &BrokerProcess, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn process(dir: &std::path::Path, more: &[(&str, &str)]) -> BrokerProcess {
    let port = free_port();
    BrokerProcess::start(dir, 1, port, port, more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_announced_and_never_come_hold_up_no_small_request() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("queued.max.request.bytes", "1000000")]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 1, &[]).await;
    let mut hostile = Vec::new();
    for _ in 0..20 {
        hostile.push(announce(broker.port, 900_000, 10).await);
    }
    for number in 0..50 {
        assert!(is_served(&mut bystander).await);
        let record = values(&[&format!("{number}")]);
        assert_eq!(produce(&mut bystander, "t", 0, record).await.error_code, OK);
    }
    drop(hostile);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_much_and_sends_little_makes_room_for_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("queued.max.request.bytes", "1000000")]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 1, &[]).await;
    let mut hostile = vec![announce(broker.port, 900_000, 10).await, announce(broker.port, 900_000, 10).await];
    assert!(is_served(&mut bystander).await, "the hostile connections were there first");
    let large = values(&[&"x".repeat(500_000)]);
    assert_eq!(produce(&mut bystander, "t", 0, large).await.error_code, OK);
    let closed = async || {
        let mut closed = 0;
        for stream in &mut hostile {
            closed += usize::from(is_closed(stream).await);
        }
        closed > 0
    };
    wait_until("a slow connection was closed", closed).await;
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_frames_take_no_memory_before_their_bytes_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = process(dir.path(), &[("queued.max.request.bytes", "-1")]).await;
    let mut bystander = broker.client().await;
    assert!(is_served(&mut bystander).await);
    let before = memory_kib(&broker, "VmRSS");
    let mut hostile = Vec::new();
    for _ in 0..100 {
        hostile.push(announce(broker.port, 100_000_000, 1_000).await);
    }
    assert!(is_served(&mut bystander).await);
    let grown = memory_kib(&broker, "VmHWM").saturating_sub(before);
    assert!(grown < 64 * 1024, "10 GB were announced and the broker grew by {grown} KiB");
    drop(hostile);
    assert_eq!(broker.terminate(), Some(0), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_comes_byte_by_byte_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    let body = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    for byte in body {
        client.send_raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let answer = client.next_frame().await.unwrap();
    assert_eq!(&answer[..6], &[0, 0, 0, 7, 0, 0], "correlation id and no error");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_lie_append_nothing_and_cost_one_connection_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 1, &[]).await;
    let good = values(&["a", "b"]);
    let changed = |at: usize, bytes: &[u8]| {
        let mut batch = good.to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        Bytes::from(batch)
    };
    let lies = [
        changed(8, &i32::MAX.to_be_bytes()),     // batch length beyond the records
        changed(8, &(-1i32).to_be_bytes()),      // negative
        changed(8, &1i32.to_be_bytes()),         // shorter than a header
        changed(17, &[0xde, 0xad]),              // checksum
        changed(57, &i32::MAX.to_be_bytes()),    // number of records, which the checksum covers
        good.slice(..good.len() - 1),            // cut off
        good.slice(..20),                        // less than a header
        Bytes::from([&good[..], b"x"].concat()), // something behind it
        Bytes::new(),
    ];
    for (index, lie) in lies.into_iter().enumerate() {
        let code = produce(&mut bystander, "t", 0, lie).await.error_code;
        assert_ne!(code, OK, "lie {index}");
    }
    assert_eq!(produce(&mut bystander, "t", 0, changed(17, &[0xde, 0xad])).await.error_code, CORRUPT_MESSAGE);
    // The length of the records field itself, in both encodings: the request cannot be decoded.
    for (version, length) in [(8, &i32::MAX.to_be_bytes()[..]), (9, &[0xff, 0xff, 0xff, 0xff, 0x07][..])] {
        let mut client = broker.client().await;
        let mut body = match version {
            8 => [&[0xff, 0xff, 0xff, 0xff, 0, 0, 3, 0xe8, 0, 0, 0, 1, 0, 1][..], b"t", &[0, 0, 0, 1, 0, 0, 0, 0]]
                .concat(),
            _ => [&[0, 0xff, 0xff, 0, 0, 3, 0xe8, 2, 2][..], b"t", &[2, 0, 0, 0, 0]].concat(),
        };
        body.extend_from_slice(length);
        body.extend_from_slice(&good);
        client.send_body(ApiKey::Produce as i16, version, &body).await;
        assert!(client.is_closed().await, "v{version}");
    }
    assert_eq!(list_offset(&mut bystander, "t", 0, -1).await.offset, 0, "nothing was appended");
    assert_eq!(produce(&mut bystander, "t", 0, good.clone()).await.base_offset, 0);
    broker.stop().await.unwrap();
}

/// A batch of 30 KB whose records take 32 MB unpacked.
fn bomb(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().with_compression(codec);
    let zeros = vec![0; 1 << 20];
    for _ in 0..32 {
        builder.append(1_700_000_000_000, Some(b"k"), Some(&zeros), []);
    }
    builder.build().unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn zip_bombs_are_refused_in_bounded_memory_and_time_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let limit = [("max.decompressed.message.bytes", "1000000")];
    let mut broker = process(dir.path(), &limit).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 1, &[("cleanup.policy", "compact")]).await;
    let before = memory_kib(&broker, "VmRSS");
    let mut bombers = Vec::new();
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let bomb = bomb(codec);
        assert!(bomb.len() < 1_900_000, "{codec}: {}", bomb.len());
        for _ in 0..4 {
            let (mut client, bomb) = (broker.client().await, bomb.clone());
            bombers.push(tokio::spawn(async move {
                let mut codes = Vec::new();
                for _ in 0..5 {
                    codes.push(produce(&mut client, "t", 0, bomb.clone()).await.error_code);
                }
                codes
            }));
        }
    }
    for _ in 0..50 {
        assert!(is_served(&mut bystander).await);
    }
    for bomber in bombers {
        for code in bomber.await.unwrap() {
            assert_ne!(code, OK);
        }
    }
    let grown = memory_kib(&broker, "VmHWM").saturating_sub(before);
    assert!(grown < 100 * 1024, "80 bombs of 32 MB made the broker grow by {grown} KiB");
    assert_eq!(list_offset(&mut bystander, "t", 0, -1).await.offset, 0);
    assert_eq!(broker.terminate(), Some(0), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_answers_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = process(dir.path(), &[]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 500, &[]).await;
    let before = memory_kib(&broker, "VmRSS");
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let mut client = broker.client().await;
        // Each answer names 500 partitions; those that the sockets do not hold wait as requests, not as answers.
        for _ in 0..200 {
            client.send(&MetadataRequest::default().with_topics(None), 12).await;
        }
        deaf.push(client);
    }
    for _ in 0..50 {
        assert!(is_served(&mut bystander).await);
        assert_eq!(produce(&mut bystander, "t", 0, values(&["v"])).await.error_code, OK);
    }
    let grown = memory_kib(&broker, "VmHWM").saturating_sub(before);
    assert!(grown < 64 * 1024, "10,000 answers that nobody reads made the broker grow by {grown} KiB");
    drop(deaf);
    assert_eq!(broker.terminate(), Some(0), "{}", broker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_connections_cost_less_than_20_kb_each() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = 5_000;
    let possible = raise_file_limit(wanted as u64 + 200).saturating_sub(200) as usize;
    let count = wanted.min(possible);
    if count < wanted {
        eprintln!("NOT RUN in full: the system allows {count} of {wanted} connections");
    }
    let mut broker = process(dir.path(), &[]).await;
    let mut bystander = broker.client().await;
    assert!(is_served(&mut bystander).await);
    let before = memory_kib(&broker, "VmRSS");
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = broker.client().await;
        assert!(is_served(&mut client).await);
        idle.push(client);
    }
    let each = memory_kib(&broker, "VmRSS").saturating_sub(before) as f64 / count as f64;
    assert!(each < 20.0, "an idle connection costs {each:.1} KiB");
    assert!(is_served(&mut bystander).await);
    drop(idle);
    assert_eq!(broker.terminate(), Some(0), "{}", broker.log());
}

/// Raises the limit of open files of this process and of those that it starts; what it is then.
fn raise_file_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let target = now.maximum.map_or(wanted, |maximum| wanted.min(maximum)).max(now.current.unwrap_or(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum: now.maximum }).unwrap();
    target
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_client_that_always_has_more_let_others_have_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 1, &[]).await;
    let mut flooders = Vec::new();
    for _ in 0..8 {
        let mut client = broker.client().await;
        flooders.push(tokio::spawn(async move {
            let request = produce_request("t", 0, 1, values(&["v"]));
            for _ in 0..500 {
                client.send(&request, 9).await;
            }
            for _ in 0..500 {
                client.next_frame().await.unwrap();
            }
        }));
    }
    for _ in 0..20 {
        assert!(is_served(&mut bystander).await);
    }
    for flooder in flooders {
        flooder.await.unwrap();
    }
    assert_eq!(list_offset(&mut bystander, "t", 0, -1).await.offset, 4_000);
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_request_closes_its_connection_after_those_before_it_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let mut client = broker.client().await;
    create_topic(&mut client, "t", 1, &[]).await;
    client.send(&produce_request("t", 0, -1, values(&["before"])), 9).await;
    client.send_body(ApiKey::Produce as i16, 9, &[0xff; 20]).await;
    assert!(client.next_frame().await.is_ok(), "the request before the malformed one is answered");
    assert!(client.is_closed().await);
    let mut other = broker.client().await;
    assert_eq!(produce(&mut other, "t", 0, values(&["after"])).await.base_offset, 1);
    let data = support::records::fetch(&mut other, "t", 0, 0).await;
    assert_eq!(records_of(&data).into_iter().map(|(_, value)| value).collect::<Vec<_>>(), ["before", "after"]);
    broker.stop().await.unwrap();
}

/// A poll that waits for a record as long as the broker lets it.
fn long_poll(topic: &str) -> FetchRequest {
    fetch_request(topic, 0, 0).with_max_wait_ms(i32::MAX)
}

fn join(group: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_session_timeout_ms(300_000)
        .with_rebalance_timeout_ms(300_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
}

async fn members(client: &mut Client, group: &str) -> usize {
    let group = GroupId(StrBytes::from_string(group.to_owned()));
    client.call(DescribeGroupsRequest::default().with_groups(vec![group]), 4).await.groups[0].members.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_while_they_wait_give_their_connections_back() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("max.connections.per.ip", "7")]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "t", 1, &[]).await;
    let find = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
    wait_until("the group is here", async || {
        bystander.call(find.clone(), 3).await.error_code == OK && bystander.call(join("g"), 3).await.error_code == OK
    })
    .await;
    // Two wait for records, two have sent another request behind that, two wait for the member that is there.
    let mut waiting = Vec::new();
    for place in 0..6 {
        let mut client = broker.client().await;
        match place {
            0 | 1 => client.send(&long_poll("t"), 11).await,
            2 | 3 => {
                client.send(&long_poll("t"), 11).await;
                client.send(&api_versions(), 3).await;
            }
            _ => client.send(&join("g"), 3).await,
        }
        waiting.push(client);
    }
    wait_until("two more have joined", async || members(&mut bystander, "g").await == 3).await;
    drop(waiting);
    let mut others = Vec::new();
    wait_until("six others are served at the same time", async || {
        let mut other = broker.client().await;
        if is_served(&mut other).await {
            others.push(other);
        }
        others.len() == 6
    })
    .await;
    assert_eq!(members(&mut bystander, "g").await, 3, "members stay until their session ends, as in Kafka");
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_one_that_waits_are_answered_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[]).await;
    let (mut client, mut bystander) = (broker.client().await, broker.client().await);
    create_topic(&mut bystander, "t", 1, &[]).await;
    client.send(&long_poll("t"), 11).await;
    let many = 200;
    for _ in 0..many {
        client.send(&api_versions(), 3).await;
    }
    assert_eq!(produce(&mut bystander, "t", 0, values(&["v"])).await.error_code, OK);
    let fetched = client.next_frame().await.unwrap();
    assert!(fetched.windows(1).any(|byte| byte == b"v"), "the record is in the first answer");
    for number in 0..many {
        assert!(client.next_frame().await.is_ok(), "answer {number}");
    }
    broker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_that_wait_keep_no_producer_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(dir.path(), &[("queued.max.request.bytes", "16000000")]).await;
    let mut bystander = broker.client().await;
    create_topic(&mut bystander, "quiet", 1, &[]).await;
    create_topic(&mut bystander, "t", 1, &[]).await;
    let padded = long_poll("quiet").with_unknown_tagged_field(99, Bytes::from(vec![7; 6_000_000]));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = broker.client().await;
        client.send(&padded, 12).await;
        client.send(&api_versions(), 3).await;
        waiting.push(client);
    }
    for number in 0..20 {
        let record = values(&[&format!("{number}"), &"x".repeat(500_000)]);
        assert_eq!(produce(&mut bystander, "t", 0, record).await.error_code, OK);
    }
    // Each of the three is larger than the lane of large requests without records. None holds it while it waits.
    let large = MetadataRequest::default().with_topics(Some(Vec::new()));
    let large = large.with_unknown_tagged_field(99, Bytes::from(vec![7; 1_000_000]));
    assert_eq!(bystander.call(large, 12).await.topics.len(), 0);
    assert_eq!(produce(&mut bystander, "quiet", 0, values(&["v"])).await.error_code, OK);
    for client in &mut waiting {
        assert!(client.next_frame().await.is_ok() && client.next_frame().await.is_ok());
    }
    broker.stop().await.unwrap();
}
