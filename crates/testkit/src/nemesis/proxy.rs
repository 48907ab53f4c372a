//! A proxy before a broker that knows where requests and answers begin and end, and delays or cuts some of them.
//!
//! Picture: a broker advertises the address of its proxy, so every client goes through it. For each request a rule says
//! what is to become of it: it passes; it is held, as by a network that stores packets, and reaches the broker later though
//! its client has long given up the connection; or its answer is cut after some bytes and the connection is reset.
//!
//! Invariants: a connection of a client is one connection to the broker, opened when the client opened its own, so their
//! order is the same on both sides; requests of one connection stay in order; a client that goes away takes nothing with
//! it that it has sent; frames are bounded by [`FRAME_MAX`], held time by the rule.
//!
//! Not here: what packets do below TCP ([`super::Network`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ports::free_port;
use crate::wait::wait_until;

/// Larger than what any client of a test sends or gets.
const FRAME_MAX: usize = 128 * 1024 * 1024;
/// Key, version, correlation id.
const HEAD_BYTES: usize = 8;
/// Held requests arrive within this time after the last rule that holds, or something hangs.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);

/// How long the broker's side outlives a client whose requests were held.
const LINGERS: Duration = Duration::from_millis(500);

/// What a rule is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Kafka's number of the request's kind.
    pub key: i16,
    pub version: i16,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Pass,
    /// It reaches the broker so much later; what follows on the connection waits behind it.
    Hold(Duration),
    /// Of its answer so many bytes reach the client, then its connection is reset.
    CutAnswer(usize),
}

type Decide = Box<dyn FnMut(Asked) -> Act + Send>;

/// What all connections share.
struct Shared {
    broker: String,
    decide: Mutex<Decide>,
    held: AtomicUsize,
    acts: AtomicUsize,
}

/// A running proxy; it ends, with all its connections, when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({} before {})", self.address(), self.shared.broker)
    }
}

impl Proxy {
    /// Listens on a port of its own before the broker at this address, which need not be there yet.
    pub async fn before(broker: &str) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.unwrap_or_else(|error| panic!("listen on {port}: {error}"));
        let shared = Arc::new(Shared {
            broker: broker.to_owned(),
            decide: Mutex::new(Box::new(|_| Act::Pass)),
            held: AtomicUsize::new(0),
            acts: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, _accepting: accepting }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on this says what becomes of requests.
    pub fn rule(&self, decide: impl FnMut(Asked) -> Act + Send + 'static) {
        *self.shared.decide.lock() = Box::new(decide);
    }

    /// Everything passes again, and what is held has reached the broker when this returns.
    pub async fn calm(&self) {
        self.rule(|_| Act::Pass);
        let delivered = || async { self.shared.held.load(Ordering::Acquire) == 0 };
        wait_until("held requests have reached the broker", DELIVERED_WITHIN, delivered).await;
    }

    /// How many requests did not simply pass.
    pub fn acts(&self) -> usize {
        self.shared.acts.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        // A broker that is down refuses; so does its proxy, by closing.
        let Ok(broker) = TcpStream::connect(&shared.broker).await else { continue };
        if client.set_nodelay(true).and_then(|()| broker.set_nodelay(true)).is_err() {
            continue;
        }
        let cuts = Cuts::default();
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let requests = requests(from_client, to_broker, Arc::clone(&shared), cuts.clone());
        connections.spawn(async move {
            // Answers end with the broker's side; then nothing is left to say to it either.
            tokio::select! {
                () = answers(from_broker, to_client, cuts) => {}
                () = requests => {}
            }
        });
    }
}

/// Answers of one connection that are to be cut: correlation id to bytes.
type Cuts = Arc<Mutex<HashMap<i32, usize>>>;

/// Reads what the client sends, as long as it does, and hands it to the broker when its time has come.
async fn requests(mut client: OwnedReadHalf, mut broker: OwnedWriteHalf, shared: Arc<Shared>, cuts: Cuts) {
    let mut waiting = Waiting { frames: VecDeque::new(), shared: Arc::clone(&shared) };
    let mut ready_at = Instant::now();
    let mut reading = Some(Frames::default());
    let mut delivered_alone = false;
    loop {
        tokio::select! {
            frame = async { reading.as_mut().expect("guarded").next(&mut client).await }, if reading.is_some() => {
                let Some(frame) = frame else {
                    reading = None;
                    continue;
                };
                ready_at = ready_at.max(Instant::now() + judge(&frame, &shared, &cuts));
                waiting.push(ready_at, frame);
            }
            () = tokio::time::sleep_until(waiting.next_at().unwrap_or(ready_at)), if waiting.next_at().is_some() => {
                let frame = waiting.frames.front().map(|(_, frame)| frame.clone()).expect("guarded");
                if broker.write_all(&frame).await.is_err() {
                    return;
                }
                waiting.pop();
                delivered_alone |= reading.is_none();
            }
            else => break, // the client is gone and everything of it has been delivered
        }
    }
    if delivered_alone {
        // A broker may drop what it has not begun to do when a connection ends.
        tokio::time::sleep(LINGERS).await;
    }
    broker.shutdown().await.ok();
    std::future::pending::<()>().await; // the broker ends the connection when it has answered
}

/// Requests on their way.
struct Waiting {
    frames: VecDeque<(Instant, Bytes)>,
    shared: Arc<Shared>,
}

impl Waiting {
    fn next_at(&self) -> Option<Instant> {
        self.frames.front().map(|(at, _)| *at)
    }

    fn push(&mut self, at: Instant, frame: Bytes) {
        self.shared.held.fetch_add(1, Ordering::AcqRel);
        self.frames.push_back((at, frame));
    }

    fn pop(&mut self) {
        self.frames.pop_front().expect("a frame on its way");
        self.shared.held.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.frames.len(), Ordering::AcqRel);
    }
}

/// How long this frame is held.
fn judge(frame: &Bytes, shared: &Shared, cuts: &Cuts) -> Duration {
    let mut head = frame.slice(4..);
    if head.len() < HEAD_BYTES {
        return Duration::ZERO;
    }
    let asked = Asked { key: head.get_i16(), version: head.get_i16() };
    let correlation = head.get_i32();
    let act = (shared.decide.lock())(asked);
    if act != Act::Pass {
        shared.acts.fetch_add(1, Ordering::Relaxed);
    }
    match act {
        Act::Pass => Duration::ZERO,
        Act::Hold(time) => time,
        Act::CutAnswer(bytes) => {
            cuts.lock().insert(correlation, bytes);
            Duration::ZERO
        }
    }
}

/// Carries answers until the broker ends the connection, or one is cut.
async fn answers(mut broker: OwnedReadHalf, mut client: OwnedWriteHalf, cuts: Cuts) {
    let mut frames = Frames::default();
    let mut listening = true;
    while let Some(frame) = frames.next(&mut broker).await {
        let correlation = frame.get(4..8).map(|mut bytes| bytes.get_i32());
        let cut = correlation.and_then(|correlation| cuts.lock().remove(&correlation));
        let bytes = cut.map_or(frame.len(), |bytes| bytes.min(frame.len()));
        if listening {
            listening = client.write_all(&frame[..bytes]).await.is_ok();
        }
        if cut.is_some() {
            reset(client);
            return;
        }
    }
    client.shutdown().await.ok();
}

/// Without lingering the kernel answers whatever comes next with a reset.
fn reset(client: OwnedWriteHalf) {
    rustix::net::sockopt::set_socket_linger(client.as_ref(), Some(Duration::ZERO)).ok();
    client.forget(); // to drop it would end the connection in good order
}

/// Whole frames, with their length before them; a read that is given up loses nothing.
#[derive(Default)]
struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// `None` when the other side is gone, or sends what is no frame.
    async fn next(&mut self, from: &mut OwnedReadHalf) -> Option<Bytes> {
        loop {
            if let Some(mut length) = self.buffer.get(..4) {
                let whole = usize::try_from(length.get_i32()).ok().filter(|length| *length <= FRAME_MAX)? + 4;
                if self.buffer.len() >= whole {
                    return Some(self.buffer.split_to(whole).freeze());
                }
                self.buffer.reserve(whole - self.buffer.len());
            }
            let read = from.read_buf(&mut self.buffer).await.ok()?;
            if read == 0 {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
