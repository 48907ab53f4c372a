//! A broker inside the test's process, and a client that speaks frames to it.
//!
//! The client is deliberately dumb: one request, one answer, versions chosen by the test. That way a test sees exactly
//! what is on the wire, including what no well-behaved client would send.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod mirrors;
pub mod process;
pub mod records;
pub mod replicas;
pub mod transactions;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_broker::{BrokerError, BrokerOptions};

/// How long a test waits for anything before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub use twinstream_testkit::free_port;

/// One running broker.
pub struct TestBroker {
    pub node: i32,
    pub port: u16,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), BrokerError>>,
}

/// The settings of a cluster whose voter is node 1.
pub fn options(dir: &Path, node: i32, port: u16, voter_port: u16, more: &[(&str, &str)]) -> BrokerOptions {
    let mut overrides = vec![
        ("node.id".to_owned(), node.to_string()),
        ("listeners".to_owned(), format!("PLAINTEXT://127.0.0.1:{port}")),
        ("controller.quorum.voters".to_owned(), format!("1@127.0.0.1:{voter_port}")),
        ("log.dirs".to_owned(), dir.join(node.to_string()).display().to_string()),
        ("offsets.topic.num.partitions".to_owned(), "4".to_owned()),
        ("offsets.topic.replication.factor".to_owned(), "1".to_owned()),
        ("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned()),
    ];
    overrides.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    BrokerOptions { config: None, overrides }
}

impl TestBroker {
    /// Starts a broker that is its own voter and waits until it serves.
    pub async fn start(dir: &Path, more: &[(&str, &str)]) -> Self {
        let port = free_port();
        Self::start_node(dir, 1, port, port, more).await
    }

    pub async fn start_node(dir: &Path, node: i32, port: u16, voter_port: u16, more: &[(&str, &str)]) -> Self {
        let broker = Self::launch(dir, node, port, voter_port, more);
        broker.wait_until_it_serves().await;
        broker
    }

    /// Starts a broker and does not wait.
    pub fn launch(dir: &Path, node: i32, port: u16, voter_port: u16, more: &[(&str, &str)]) -> Self {
        let (shutdown, told) = watch::channel(false);
        let task = tokio::spawn(twinstream_broker::run(options(dir, node, port, voter_port, more), told));
        Self { node, port, shutdown, task }
    }

    async fn wait_until_it_serves(&self) {
        let serves = comes_true(PATIENCE, async || {
            assert!(!self.task.is_finished(), "node {} ended at its start", self.node);
            serves(self.port).await
        });
        assert!(serves.await, "node {} does not serve after {PATIENCE:?}", self.node);
    }

    pub async fn client(&self) -> Client {
        Client::try_connect(self.port).await.unwrap()
    }

    /// Stops it as SIGTERM would, and returns what `run` returned.
    pub async fn stop(self) -> Result<(), BrokerError> {
        self.shutdown.send(true).ok();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the broker stops in time").unwrap()
    }

    /// What `run` returned, for a broker that is expected to end by itself.
    pub async fn outcome(self) -> Result<(), BrokerError> {
        let _kept = self.shutdown;
        tokio::time::timeout(PATIENCE, self.task).await.expect("the broker ends in time").unwrap()
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

/// The connection was closed instead of an answer.
#[derive(Debug)]
pub struct Closed;

impl Client {
    pub async fn try_connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and decodes its answer.
    pub async fn call<R: Request>(&mut self, request: R, version: i16) -> R::Response {
        self.try_call(request, version).await.expect("the broker answers")
    }

    pub async fn try_call<R: Request>(&mut self, request: R, version: i16) -> Result<R::Response, Closed> {
        self.send(&request, version).await;
        let mut body = self.answer_body(<R::Response as HeaderVersion>::header_version(version)).await?;
        let response = R::Response::decode(&mut body, version).expect("the answer decodes");
        assert!(body.is_empty(), "{} bytes left behind the answer", body.len());
        Ok(response)
    }

    /// Sends a request and does not read an answer.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).expect("the request encodes");
        self.send_body(R::KEY, version, &body).await;
    }

    pub async fn send_body(&mut self, api_key: i16, version: i16, body: &[u8]) {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let header_version = ApiKey::try_from(api_key).map_or(1, |api| api.request_header_version(version));
        let mut head = BytesMut::new();
        header.encode(&mut head, header_version).unwrap();
        let mut frame = BytesMut::new();
        frame.put_i32((head.len() + body.len()) as i32);
        frame.put_slice(&head);
        frame.put_slice(body);
        self.stream.write_all(&frame).await.expect("the frame is sent");
    }

    /// Sends bytes that need not be a frame.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the bytes are sent");
    }

    /// The body of the next answer, whose correlation id must be the last one sent.
    pub async fn answer_body(&mut self, header_version: i16) -> Result<Bytes, Closed> {
        let mut frame = self.next_frame().await?;
        assert_eq!(frame.get_i32(), self.correlation_id, "answers come in order");
        if header_version >= 1 {
            assert_eq!(frame.get_u8(), 0, "no tagged fields in the header");
        }
        Ok(frame)
    }

    pub async fn next_frame(&mut self) -> Result<Bytes, Closed> {
        let read = async {
            let length = self.stream.read_u32().await?;
            let mut frame = vec![0; length as usize];
            self.stream.read_exact(&mut frame).await?;
            std::io::Result::Ok(Bytes::from(frame))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the broker answers in time").map_err(|_| Closed)
    }

    /// Waits until an answer has begun to come, and takes none of it.
    pub async fn answer_begins(&self) {
        let looked = tokio::time::timeout(PATIENCE, self.stream.peek(&mut [0])).await;
        assert_eq!(looked.expect("the broker answers in time").unwrap(), 1, "the connection was closed");
    }

    /// Whether the broker has closed the connection.
    pub async fn is_closed(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.stream.read_u8()).await, Ok(Err(_)))
    }
}

/// Whether a broker takes requests of clients: any of them waits until it does.
async fn serves(port: u16) -> bool {
    let Ok(mut client) = Client::try_connect(port).await else { return false };
    let request = kafka_protocol::messages::DescribeClusterRequest::default().with_endpoint_type(1);
    client.try_call(request, 1).await.is_ok()
}

/// Looks again until the condition holds, which it may take so long to do. Whether it came to hold.
pub async fn comes_true(patience: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if condition().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// Asks again until the answer is as wanted.
pub async fn wait_until(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(comes_true(PATIENCE, condition).await, "not within {PATIENCE:?}: {what}");
}

/// Looks again and again for so long; whether the condition held every time. For what must not happen.
pub async fn holds_for(time: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    !comes_true(time, async || !condition().await).await
}
