//! One connection: requests in, in order, answers out, in the same order.
//!
//! Picture: a loop of read a frame, find the API's row, dispatch, write the answer. What goes wrong stays here: a
//! frame that cannot be decoded closes this connection with one warning that names the peer and the reason; a handler
//! that panics costs one answer (see `handlers`).
//!
//! A Produce that waits for its followers is only [promised](Response::Later): its records are in the log, so the next
//! Produce of the connection is appended meanwhile, up to [`PROMISES_MAX`]. Kafka handles one request of a connection at a
//! time, so that a producer with acks=all waits a round trip between brokers for each; ours does not. Any other request
//! waits until all promises are kept, so what it sees does not depend on how fast followers are.
//!
//! While a request waits for others (see `handlers::waits_for_others`) or for the broker to be ready, a client that closes
//! is noticed (see `departure`), so that nothing waits for nobody.
//!
//! Invariants: answers leave in the order of the requests; the request's share of memory is given back before its
//! answer is written, that of one which may wait for others before it does (see `memory`); at shutdown the requests in hand
//! are answered, then the connection closes; a client that always has another request ready lets others have their turn,
//! see [`Turn`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use twinstream_model::ErrorCode;
use twinstream_protocol::frame::decode_request_header;

use super::departure::departed;
use super::frame::{Frame, FrameError, FrameReader, HeaderStart};
use super::memory::{RequestMemory, Reservation};
use super::response::{self, IntoResponse, Promise, Response, SendError};
use crate::context::{Broker, Principal, RequestContext};
use crate::handlers::{self, DispatchError};
use crate::metrics::{Counted, RequestTimeline};

/// What a connection inherits from its listener.
#[derive(Clone)]
pub(crate) struct ConnectionSettings {
    pub(crate) listener: Arc<str>,
    pub(crate) request_bytes_max: usize,
    pub(crate) idle_limit: Duration,
    pub(crate) memory: RequestMemory,
}

/// Why a connection ended other than by the client's close or our shutdown.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("cannot decode the header of {api} v{version}: {source}")]
    Header { api: &'static str, version: i16, source: twinstream_protocol::frame::FrameError },
    #[error("api key {api_key} v{version} is not served")]
    UnknownApi { api_key: i16, version: i16 },
    #[error("{api} v{version} is not served, only v{min} to v{max}")]
    UnsupportedVersion { api: &'static str, version: i16, min: i16, max: i16 },
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    #[error("cannot send the response of {api}: {source}")]
    Send { api: &'static str, source: SendError },
    #[error("the broker stops before it was ready")]
    Stopping,
    #[error("the broker is not ready yet, and others wait for the memory of the request")]
    NotReady,
    #[error("the client closed while its request waited")]
    Departed,
    #[error("a request failed that has no answer")]
    FailedSilently,
}

impl ConnectionError {
    /// Whether this is the ordinary end of a connection, not worth a warning.
    fn is_ordinary(&self) -> bool {
        match self {
            Self::Frame(FrameError::Idle(_) | FrameError::Io(_))
            | Self::Departed
            | Self::FailedSilently
            | Self::Stopping
            | Self::NotReady => true,
            Self::Send { source, .. } => matches!(source, SendError::Io(_)),
            _ => false,
        }
    }
}

/// Answers that a connection may owe while it reads on: clients rarely have more requests in flight.
const PROMISES_MAX: usize = 16;

/// How often a request that waits for the broker to be ready looks whether others wait for its memory.
const WANTED_INTERVAL: Duration = Duration::from_millis(500);

/// Who is at the other end, and the number of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) number: u64,
}

/// Serves one connection until it ends, and logs why if somebody should know.
pub(crate) async fn serve(broker: Arc<Broker>, stream: TcpStream, client: Client, settings: ConnectionSettings) {
    let Client { peer, number } = client;
    let mut connection = Connection {
        reader: FrameReader::new(settings.request_bytes_max, settings.memory.clone(), settings.idle_limit),
        broker,
        stream,
        peer,
        number,
        principal: Principal::anonymous(),
        settings,
        promised: VecDeque::new(),
        departed: CancellationToken::new(),
    };
    match connection.run().await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(error) if error.is_ordinary() => tracing::debug!(%peer, %error, "connection closed"),
        Err(error) => connection.warn(&error),
    }
}

struct Connection {
    broker: Arc<Broker>,
    stream: TcpStream,
    peer: SocketAddr,
    number: u64,
    principal: Principal,
    settings: ConnectionSettings,
    reader: FrameReader,
    /// Answers that are owed, oldest first.
    promised: VecDeque<Promised>,
    /// Fires when the client was seen to have gone.
    departed: CancellationToken,
}

/// A request whose answer is not known yet, or must wait for those before it.
struct Promised {
    ctx: RequestContext,
    progress: Progress,
    answer: Promise<Response>,
    _counted: Counted,
}

/// How far a request has got whose answer is not sent yet.
#[derive(Clone, Copy)]
struct Progress {
    read: Instant,
    begun: Instant,
    handled: Instant,
    promised: bool,
}

/// How much of the runtime a connection had since it last gave way.
#[derive(Debug, Default)]
struct Turn {
    requests: usize,
    bytes: usize,
}

impl Turn {
    /// About half a millisecond of work.
    const REQUESTS_MAX: usize = 32;
    const BYTES_MAX: usize = 1024 * 1024;

    /// Counts a request; true if it is time to give way.
    fn is_over_with(&mut self, request_bytes: usize) -> bool {
        self.requests += 1;
        self.bytes += request_bytes;
        let is_over = self.requests >= Self::REQUESTS_MAX || self.bytes >= Self::BYTES_MAX;
        if is_over {
            *self = Self::default();
        }
        is_over
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), ConnectionError> {
        let ended = self.serve_frames().await;
        // What was appended before a request that cannot be served is answered nevertheless.
        if !ended.as_ref().is_err_and(ConnectionError::is_ordinary) {
            self.keep_promises().await?;
        }
        ended
    }

    async fn serve_frames(&mut self) -> Result<(), ConnectionError> {
        let shutdown = self.broker.shutdown.clone();
        let mut stopped = pin!(shutdown.cancelled());
        let mut turn = Turn::default();
        loop {
            let may_read = self.promised.len() < PROMISES_MAX;
            let frame = tokio::select! {
                biased;
                () = &mut stopped => return Ok(()),
                kept = first_kept(&mut self.promised) => {
                    self.keep(kept).await?;
                    continue;
                }
                frame = self.reader.next(&mut self.stream), if may_read => frame?,
            };
            let Some(frame) = frame else { return Ok(()) };
            let request_bytes = frame.bytes.len();
            self.serve_frame(frame).await?;
            if turn.is_over_with(request_bytes) {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn serve_frame(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let read = Instant::now();
        let Frame { mut bytes, memory } = frame;
        let start = HeaderStart::peek(&bytes);
        let is_produce = start.api_key == ApiKey::Produce as i16;
        let memory = Some(memory).filter(|memory| is_produce || !memory.is_small());
        if !is_produce {
            self.keep_promises().await?;
        }
        let ctx = self.context(start, &mut bytes)?;
        let mut begun = Instant::now();
        let response = if is_unknown_api_versions(&ctx) {
            ctx.count_error(ErrorCode::UnsupportedVersion);
            self.api_versions_fallback(&ctx)?
        } else if handlers::is_internal(ctx.api_key) {
            let response = handlers::dispatch_internal(&self.broker, &ctx, bytes).await;
            drop(memory);
            response
        } else {
            if self.until_serving(&ctx, memory.as_ref()).await? {
                begun = Instant::now();
            }
            let handling = pin!(handlers::dispatch(&self.broker, &ctx, bytes, memory));
            match handlers::waits_for_others(ctx.api_key) {
                true => watched(&self.stream, &self.departed, handling).await?,
                false => handling.await?,
            }
        };
        let promised = matches!(response, Response::Later(_));
        let progress = Progress { read, begun, handled: Instant::now(), promised };
        let waiting = &self.broker.metrics.waiting;
        let (answer, counted) = match response {
            Response::Later(answer) => (answer, Counted::among(&waiting.produces)),
            ready if self.promised.is_empty() => return self.answer(&ctx, progress, ready).await,
            ready => (Promise::kept(ready), Counted::among(&waiting.answers)),
        };
        self.promised.push_back(Promised { ctx, progress, answer, _counted: counted });
        Ok(())
    }

    /// Sends the answer to the oldest request that waited for it.
    async fn keep(&mut self, kept: Result<Response, String>) -> Result<(), ConnectionError> {
        let Some(Promised { ctx, progress, .. }) = self.promised.pop_front() else { return Ok(()) };
        let unencodable = |reason| DispatchError::Unencodable { api: ctx.api_name, version: ctx.api_version, reason };
        self.answer(&ctx, progress, kept.map_err(unencodable)?).await
    }

    async fn keep_promises(&mut self) -> Result<(), ConnectionError> {
        while !self.promised.is_empty() {
            let kept = first_kept(&mut self.promised).await;
            self.keep(kept).await?;
        }
        Ok(())
    }

    /// Lets requests of clients wait until the broker can answer them: it is better than telling them that their topics
    /// do not exist. ApiVersions and requests of other nodes go on, since they are part of the start. They must not wait for
    /// memory either: a batch that holds what others wait for makes room, and its client comes again. True after a wait.
    async fn until_serving(
        &mut self,
        ctx: &RequestContext,
        memory: Option<&Reservation>,
    ) -> Result<bool, ConnectionError> {
        if ctx.api_key == ApiKey::ApiVersions as i16 || self.broker.serving.is_cancelled() {
            return Ok(false);
        }
        loop {
            tokio::select! {
                () = self.broker.serving.cancelled() => return Ok(true),
                () = self.broker.shutdown.cancelled() => return Err(ConnectionError::Stopping),
                () = departed(&self.stream) => return Err(ConnectionError::Departed),
                () = tokio::time::sleep(WANTED_INTERVAL) => {}
            }
            if memory.is_some_and(Reservation::is_wanted) {
                return Err(ConnectionError::NotReady);
            }
        }
    }

    /// Says why the connection ends, unless that was said too often just now.
    fn warn(&self, error: &ConnectionError) {
        let (peer, listener) = (self.peer, &self.settings.listener);
        match self.broker.warnings.closed.admit(Instant::now()) {
            Some(left_out) => tracing::warn!(%peer, %listener, %error, left_out, "connection closed"),
            None => tracing::debug!(%peer, %listener, %error, "connection closed"),
        }
    }

    /// Finds the API's row, checks the version and decodes the header.
    fn context(&self, start: HeaderStart, frame: &mut Bytes) -> Result<RequestContext, ConnectionError> {
        let HeaderStart { api_key, api_version: version, .. } = start;
        let Some(row) = handlers::served(api_key) else {
            return Err(ConnectionError::UnknownApi { api_key, version });
        };
        let in_range = (row.min..=row.max).contains(&version);
        if !in_range && row.key != ApiKey::ApiVersions as i16 {
            return Err(ConnectionError::UnsupportedVersion { api: row.name, version, min: row.min, max: row.max });
        }
        // The header of an ApiVersions version that we do not know is not decoded: its answer needs none of it.
        let client_id = if in_range {
            let header = decode_request_header(frame);
            header.map_err(|source| ConnectionError::Header { api: row.name, version, source })?.client_id
        } else {
            None
        };
        Ok(self.request_context(row.name, start, client_id))
    }

    fn request_context(&self, api_name: &'static str, start: HeaderStart, client_id: Option<String>) -> RequestContext {
        RequestContext {
            api_key: start.api_key,
            api_name,
            api_version: start.api_version,
            correlation_id: start.correlation_id,
            client_id,
            principal: self.principal.clone(),
            listener: Arc::clone(&self.settings.listener),
            peer: self.peer,
            connection: Some(self.number),
            metrics: Arc::clone(&self.broker.metrics),
            departed: self.departed.clone(),
        }
    }

    fn api_versions_fallback(&self, ctx: &RequestContext) -> Result<Response, ConnectionError> {
        let start = HeaderStart { api_key: ctx.api_key, api_version: 0, correlation_id: ctx.correlation_id };
        let as_v0 = self.request_context(ctx.api_name, start, None);
        let answer = handlers::api_versions::fallback().into_response(&as_v0);
        Ok(answer.map_err(|reason| DispatchError::Unencodable { api: ctx.api_name, version: 0, reason })?)
    }

    async fn answer(
        &mut self,
        ctx: &RequestContext,
        progress: Progress,
        response: Response,
    ) -> Result<(), ConnectionError> {
        let sending = Instant::now();
        let outcome = self.send(ctx, response).await;
        let Progress { read, begun, handled, promised } = progress;
        let times = RequestTimeline { read, begun, handled, promised, sending, sent: Instant::now() };
        self.broker.metrics.request_served(ctx, &times);
        outcome
    }

    async fn send(&mut self, ctx: &RequestContext, response: Response) -> Result<(), ConnectionError> {
        match response {
            Response::Body { header_version, parts } => {
                let idle_limit = self.settings.idle_limit;
                response::send(&self.stream, ctx.correlation_id, header_version, parts, idle_limit)
                    .await
                    .map(|_sent| ())
                    .map_err(|source| ConnectionError::Send { api: ctx.api_name, source })
            }
            Response::Silent => Ok(()),
            Response::Close => Err(ConnectionError::FailedSilently),
            // A promise is kept before it gets here; a promise of a promise is none of ours.
            Response::Later(_) => Err(ConnectionError::FailedSilently),
        }
    }
}

/// Resolves when the answer to the oldest request is known; never if none is owed.
async fn first_kept(promised: &mut VecDeque<Promised>) -> Result<Response, String> {
    match promised.front_mut() {
        Some(first) => handlers::kept(&first.ctx, &mut first.answer).await,
        None => std::future::pending().await,
    }
}

/// Waits for a handler, and tells it when the client has gone. It is not given up: it knows best how to end.
async fn watched<T>(
    stream: &TcpStream,
    gone: &CancellationToken,
    mut handling: Pin<&mut impl Future<Output = T>>,
) -> T {
    tokio::select! {
        biased;
        done = &mut handling => return done,
        () = departed(stream) => gone.cancel(),
    }
    handling.await
}

fn is_unknown_api_versions(ctx: &RequestContext) -> bool {
    ctx.api_key == ApiKey::ApiVersions as i16
        && handlers::served(ctx.api_key).is_some_and(|row| !(row.min..=row.max).contains(&ctx.api_version))
}
