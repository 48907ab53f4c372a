//! One connection to one broker: requests out, answers in, versions agreed on.
//!
//! Picture: a writer task that takes whole frames from a bounded channel and a reader task that gives each answer to the
//! caller waiting for its correlation id ([`frames`]). Callers may give up at any time without harm to the byte stream,
//! which is why they do not write themselves. A request is either a message of the codec ([`Connection::call`]) or a body
//! in parts that nobody joins ([`Connection::send_parts`]); the latter goes out in the order of the calls, so several may
//! be under way.
//! Invariants: a frame is never larger than [`FRAME_MAX`]; what decoding an answer allocates is bounded by its bytes
//! (`protocol::shape`); a connection that broke, was closed, let one request time out or answered what cannot be read
//! answers nothing any more and is replaced by its owner.

mod frames; // the socket

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use twinstream_model::ErrorCode;
use twinstream_protocol::frame;
use twinstream_protocol::shape::{self, Shaped};

use self::frames::{FRAME_MAX, Frame, Pending};
use crate::error::ClientError;
use crate::traffic::{self, OpenConnection};

/// Requests of one connection that may wait for the socket.
const QUEUED_FRAMES: usize = 64;
/// The version in which every broker since 2.4 answers; older ones answer error 35 in version 0.
const API_VERSIONS_VERSION: i16 = 3;
/// How long an answer may take that keeps coming: the largest one over a link of 4 Mbit/s.
const SLOW_ANSWER_MAX: Duration = Duration::from_secs(300);

pub(super) struct Connection {
    address: String,
    client_id: StrBytes,
    versions: BTreeMap<i16, (i16, i16)>,
    frames: mpsc::Sender<Frame>,
    pending: Pending,
    /// Bytes of answers that have come; what still comes is not dead.
    heard: Arc<AtomicU64>,
    next_correlation: AtomicI32,
    _tasks: JoinSet<()>, // aborts both when the connection is dropped
    _counted: OpenConnection,
}

impl Connection {
    /// Connects and asks for the broker's versions, all within `within`.
    pub(super) async fn open(address: &str, client_id: &str, within: Duration) -> Result<Self, ClientError> {
        let opening = Self::open_unbounded(address, client_id, within);
        match timeout(within, opening).await {
            Ok(result) => result,
            Err(_) => Err(failed(address, format!("no connection within {} ms", within.as_millis()))),
        }
    }

    async fn open_unbounded(address: &str, client_id: &str, within: Duration) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await.map_err(|error| failed(address, error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(address, error.to_string()))?;
        let (read, write) = stream.into_split();
        let (frames, frames_out) = mpsc::channel(QUEUED_FRAMES);
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let mut tasks = JoinSet::new();
        let heard = Arc::new(AtomicU64::new(0));
        tasks.spawn(frames::write(write, frames_out, Arc::clone(&pending)));
        tasks.spawn(frames::read(read, address.to_owned(), Arc::clone(&pending), Arc::clone(&heard)));
        let mut connection = Self {
            address: address.to_owned(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            versions: BTreeMap::new(),
            frames,
            pending,
            heard,
            next_correlation: AtomicI32::new(0),
            _tasks: tasks,
            _counted: OpenConnection::new(),
        };
        connection.versions = connection.ask_versions(within).await?;
        Ok(connection)
    }

    pub(super) fn is_open(&self) -> bool {
        self.pending.lock().is_some()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The range of versions that the broker serves of an API.
    pub(super) fn broker_versions(&self, key: i16) -> Option<(i16, i16)> {
        self.versions.get(&key).copied()
    }

    /// Sends a request in the highest version that both sides know, `cap` at most.
    pub(super) async fn call<R: Request<Response: Shaped>>(
        &self,
        request: &R,
        cap: i16,
        within: Duration,
    ) -> Result<R::Response, ClientError> {
        let version = self.version_of::<R>(cap)?;
        let answer = self.exchange(request, version, within).await?;
        self.decode::<R>(answer, version)
    }

    pub(super) fn version_of<R: Request>(&self, cap: i16) -> Result<i16, ClientError> {
        let ours = (R::VERSIONS.min, R::VERSIONS.max.min(cap));
        let broker = self.versions.get(&R::KEY).copied();
        let common = broker.map(|(min, max)| (min.max(ours.0), max.min(ours.1))).filter(|(min, max)| min <= max);
        common.map(|(_, max)| max).ok_or_else(|| ClientError::UnsupportedVersion {
            address: self.address.clone(),
            api: api_name(R::KEY),
            broker: broker.map_or_else(|| "none".to_owned(), |(min, max)| format!("{min}..={max}")),
            ours: format!("{}..={}", ours.0, ours.1),
        })
    }

    /// Puts a request behind those that are under way, without waiting. Its body comes in parts that are written one behind
    /// the other and never joined; the header is added here.
    pub(super) fn send_parts(
        &self,
        api_key: i16,
        version: i16,
        body: impl IntoIterator<Item = Bytes>,
    ) -> Result<Answer, ClientError> {
        let correlation = self.next_correlation();
        let header_version = ApiKey::try_from(api_key).map_or(2, |key| key.request_header_version(version));
        let head = self.encode_header(api_key, version, header_version, correlation)?;
        let mut parts = vec![Bytes::new()];
        parts.extend(body);
        let length = head.len() - 4 + parts.iter().map(Bytes::len).sum::<usize>();
        parts[0] = self.with_length(api_key, head, length)?;
        let answer = self.expect_answer(api_key, version, correlation)?;
        traffic::asked(api_key, length);
        let queued = self.frames.try_send(Frame::new(parts));
        queued.map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => failed(&self.address, "closed by the broker".to_owned()),
            mpsc::error::TrySendError::Full(_) => {
                failed(&self.address, format!("{QUEUED_FRAMES} requests wait for the socket already"))
            }
        })?;
        Ok(answer)
    }

    async fn exchange<R: Request>(&self, request: &R, version: i16, within: Duration) -> Result<Bytes, ClientError> {
        let correlation = self.next_correlation();
        let frame = self.encode(request, version, correlation)?;
        let answer = self.expect_answer(R::KEY, version, correlation)?;
        traffic::asked(R::KEY, frame.len());
        match timeout(within, self.frames.send(Frame::new([frame]))).await {
            Ok(Ok(())) => answer.whole(within).await,
            Ok(Err(_)) => Err(answer.closed()),
            Err(_) => Err(answer.late(within)),
        }
    }

    fn next_correlation(&self) -> i32 {
        self.next_correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    fn expect_answer(&self, api_key: i16, version: i16, correlation: i32) -> Result<Answer, ClientError> {
        let (give, bytes) = oneshot::channel();
        match self.pending.lock().as_mut() {
            Some(pending) => _ = pending.insert(correlation, give),
            None => return Err(failed(&self.address, "closed by the broker".to_owned())),
        }
        let (pending, heard) = (Arc::clone(&self.pending), Arc::clone(&self.heard));
        Ok(Answer { api_key, version, address: self.address.clone(), bytes, pending, heard })
    }

    fn encode<R: Request>(&self, request: &R, version: i16, correlation: i32) -> Result<Bytes, ClientError> {
        let mut frame = self.encode_header(R::KEY, version, R::header_version(version), correlation)?;
        request.encode(&mut frame, version).map_err(|error| self.unwritable(R::KEY, &error))?;
        let length = frame.len() - 4;
        self.with_length(R::KEY, frame, length)
    }

    /// Room for the length, and the header.
    fn encode_header(
        &self,
        api_key: i16,
        version: i16,
        header_version: i16,
        correlation: i32,
    ) -> Result<BytesMut, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, header_version).map_err(|error| self.unwritable(api_key, &error))?;
        Ok(frame)
    }

    fn with_length(&self, api_key: i16, mut frame: BytesMut, length: usize) -> Result<Bytes, ClientError> {
        if length > FRAME_MAX {
            let reason = format!("{} request of {length} bytes, the bound is {FRAME_MAX}", api_name(api_key));
            return Err(ClientError::TooLarge { reason });
        }
        frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(frame.freeze())
    }

    fn unwritable(&self, api_key: i16, error: &dyn std::fmt::Display) -> ClientError {
        self.malformed(api_key, format!("request cannot be written: {error}"))
    }

    fn decode<R: Request<Response: Shaped>>(&self, bytes: Bytes, version: i16) -> Result<R::Response, ClientError> {
        decode(bytes, version).map_err(|reason| {
            self.pending.lock().take(); // who answers nonsense once is not asked again
            self.malformed(R::KEY, reason)
        })
    }

    fn malformed(&self, key: i16, reason: String) -> ClientError {
        ClientError::Malformed { address: self.address.clone(), api: api_name(key), reason }
    }

    async fn ask_versions(&self, within: Duration) -> Result<BTreeMap<i16, (i16, i16)>, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("twinstream"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut version = API_VERSIONS_VERSION;
        let mut bytes = self.exchange(&request, version, within).await?;
        if self.peek_error(&bytes) == Some(ErrorCode::UnsupportedVersion) {
            version = 0;
            bytes = self.exchange(&request, version, within).await?;
        }
        let answer: ApiVersionsResponse = self.decode::<ApiVersionsRequest>(bytes, version)?;
        ClientError::check(|| format!("ask {} for its versions", self.address), answer.error_code, None)?;
        Ok(answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    /// The error code of an ApiVersions answer; it stands at the same place in every version.
    fn peek_error(&self, bytes: &Bytes) -> Option<ErrorCode> {
        let code = bytes.get(4..6)?;
        ErrorCode::from_code(i16::from_be_bytes([code[0], code[1]]))
    }
}

/// The answer to a request that was sent, whenever it comes. Dropping it harms nobody.
pub(super) struct Answer {
    api_key: i16,
    version: i16,
    address: String,
    bytes: oneshot::Receiver<Bytes>,
    pending: Pending,
    heard: Arc<AtomicU64>,
}

impl Answer {
    /// Waits for the answer and decodes it. `within` is the time in which something must come: an answer that is still on
    /// its way then, over a slow link, may take up to [`SLOW_ANSWER_MAX`].
    pub(super) async fn decoded<T: Shaped + HeaderVersion>(self, within: Duration) -> Result<T, ClientError> {
        let (api_key, version) = (self.api_key, self.version);
        let (address, pending) = (self.address.clone(), Arc::clone(&self.pending));
        let bytes = self.whole(within).await?;
        decode(bytes, version).map_err(|reason| {
            pending.lock().take(); // who answers nonsense once is not asked again
            ClientError::Malformed { address, api: api_name(api_key), reason }
        })
    }

    /// The bytes of the answer, header included.
    async fn whole(mut self, within: Duration) -> Result<Bytes, ClientError> {
        let started = Instant::now();
        let mut waited = within;
        let mut heard = self.heard.load(Ordering::Relaxed);
        loop {
            match timeout(within, &mut self.bytes).await {
                Ok(Ok(bytes)) => {
                    traffic::answered(self.api_key, bytes.len());
                    return Ok(bytes);
                }
                Ok(Err(_)) => return Err(self.closed()),
                Err(_) => {
                    let now = self.heard.load(Ordering::Relaxed);
                    if now == heard || waited >= SLOW_ANSWER_MAX {
                        return Err(self.late(waited));
                    }
                    (heard, waited) = (now, started.elapsed());
                }
            }
        }
    }

    fn closed(&self) -> ClientError {
        failed(&self.address, format!("closed by the broker while {} was waiting", api_name(self.api_key)))
    }

    /// Answers come in order: behind a late one everything else would wait as well, so it ends the connection.
    fn late(&self, after: Duration) -> ClientError {
        self.pending.lock().take();
        ClientError::Timeout { what: format!("{} to {}", api_name(self.api_key), self.address), after }
    }
}

fn decode<T: Shaped + HeaderVersion>(mut bytes: Bytes, version: i16) -> Result<T, String> {
    let is_flexible = T::header_version(version) >= 1;
    frame::decode_response_header(&mut bytes, is_flexible).map_err(|error| error.to_string())?;
    shape::decode(bytes, version).map_err(|error| error.to_string())
}

fn failed(address: &str, reason: String) -> ClientError {
    ClientError::Connection { address: address.to_owned(), reason }
}

pub(super) fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("api {key}"), |key| format!("{key:?}"))
}
