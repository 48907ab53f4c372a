//! One connection to one broker: frames out, frames in, versions agreed on.
//!
//! Picture: a writer task that takes whole frames from a bounded channel and a reader task that gives each answer to the
//! caller waiting for its correlation id. Callers may give up at any time without harm to the byte stream, which is why
//! they do not write themselves.
//! Invariants: a frame is never larger than [`FRAME_MAX`]; what decoding an answer allocates is bounded by its bytes
//! (`protocol::shape`); a connection that broke, was closed, let one request time out or answered what cannot be read
//! answers nothing any more and is replaced by its owner.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::debug;
use twinstream_model::ErrorCode;
use twinstream_protocol::frame;
use twinstream_protocol::shape::{self, Shaped};

use crate::error::ClientError;

/// Largest answer that is accepted; above Kafka's default `fetch.max.bytes` plus one batch of the largest legal size.
pub(super) const FRAME_MAX: usize = 128 * 1024 * 1024;
/// Requests of one connection that may wait for the socket.
const QUEUED_FRAMES: usize = 64;
/// What a reader allocates before it has seen the bytes that the length promises.
const READ_STEP: usize = 256 * 1024;
/// The version in which every broker since 2.4 answers; older ones answer error 35 in version 0.
const API_VERSIONS_VERSION: i16 = 3;

type Pending = Arc<Mutex<Option<HashMap<i32, oneshot::Sender<Bytes>>>>>;

pub(super) struct Connection {
    address: String,
    client_id: StrBytes,
    versions: BTreeMap<i16, (i16, i16)>,
    frames: mpsc::Sender<Bytes>,
    /// `None` once the connection is dead.
    pending: Pending,
    next_correlation: AtomicI32,
    _tasks: JoinSet<()>, // aborts both when the connection is dropped
}

impl Connection {
    /// Connects and asks for the broker's versions, all within `within`.
    pub(super) async fn open(address: &str, client_id: &str, within: Duration) -> Result<Self, ClientError> {
        let opening = Self::open_unbounded(address, client_id, within);
        match tokio::time::timeout(within, opening).await {
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
        tasks.spawn(write_frames(write, frames_out, Arc::clone(&pending)));
        tasks.spawn(read_frames(read, address.to_owned(), Arc::clone(&pending)));
        let mut connection = Self {
            address: address.to_owned(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            versions: BTreeMap::new(),
            frames,
            pending,
            next_correlation: AtomicI32::new(0),
            _tasks: tasks,
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

    async fn exchange<R: Request>(&self, request: &R, version: i16, within: Duration) -> Result<Bytes, ClientError> {
        let correlation = self.next_correlation.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let frame = self.encode(request, version, correlation)?;
        let (give, answer) = oneshot::channel();
        match self.pending.lock().as_mut() {
            Some(pending) => _ = pending.insert(correlation, give),
            None => return Err(failed(&self.address, "closed by the broker".to_owned())),
        }
        let sent_and_answered = async {
            self.frames.send(frame).await.map_err(|_| ())?;
            answer.await.map_err(|_| ())
        };
        match tokio::time::timeout(within, sent_and_answered).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(())) => {
                let reason = format!("closed by the broker while {} was waiting", api_name(R::KEY));
                Err(failed(&self.address, reason))
            }
            Err(_) => {
                // Answers come in order: behind this one everything else would wait as well.
                self.pending.lock().take();
                Err(ClientError::Timeout { what: format!("{} to {}", api_name(R::KEY), self.address), after: within })
            }
        }
    }

    fn encode<R: Request>(&self, request: &R, version: i16, correlation: i32) -> Result<Bytes, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(self.client_id.clone()));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| self.malformed(R::KEY, format!("request cannot be written: {error}")))?;
        let length = frame.len() - 4;
        if length > FRAME_MAX {
            let reason = format!("{} request of {length} bytes, the bound is {FRAME_MAX}", api_name(R::KEY));
            return Err(ClientError::TooLarge { reason });
        }
        frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(frame.freeze())
    }

    fn decode<R: Request<Response: Shaped>>(&self, mut bytes: Bytes, version: i16) -> Result<R::Response, ClientError> {
        let is_flexible = R::Response::header_version(version) >= 1;
        let decoded = match frame::decode_response_header(&mut bytes, is_flexible) {
            Ok(_correlation) => shape::decode(bytes, version).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        decoded.map_err(|reason| {
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

fn failed(address: &str, reason: String) -> ClientError {
    ClientError::Connection { address: address.to_owned(), reason }
}

pub(super) fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("api {key}"), |key| format!("{key:?}"))
}

async fn write_frames(mut socket: OwnedWriteHalf, mut frames: mpsc::Receiver<Bytes>, pending: Pending) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = socket.write_all(&frame).await {
            debug!(%error, "write to broker failed");
            pending.lock().take();
            return;
        }
    }
}

async fn read_frames(mut socket: OwnedReadHalf, address: String, pending: Pending) {
    loop {
        match read_frame(&mut socket).await {
            Ok(frame) => {
                let Some(correlation) = frame.get(..4).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes) else {
                    debug!(address, "answer without a correlation id");
                    break;
                };
                let caller = pending.lock().as_mut().and_then(|pending| pending.remove(&correlation));
                let Some(caller) = caller else {
                    debug!(address, correlation, "answer to a question nobody asked");
                    break;
                };
                if caller.send(frame).is_err() {
                    debug!(address, correlation, "answer came after its caller had left");
                }
            }
            Err(error) => {
                debug!(address, %error, "connection ended");
                break;
            }
        }
    }
    pending.lock().take(); // wakes all callers with an error
}

async fn read_frame(socket: &mut OwnedReadHalf) -> std::io::Result<Bytes> {
    let length = socket.read_i32().await?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= FRAME_MAX)
        .ok_or_else(|| std::io::Error::other(format!("answer of {length} bytes, the bound is {FRAME_MAX}")))?;
    let mut frame = BytesMut::with_capacity(length.min(READ_STEP));
    while frame.len() < length {
        let mut rest = (&mut *socket).take((length - frame.len()) as u64);
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}
