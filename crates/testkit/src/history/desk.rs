//! A history to which workers in other processes contribute.
//!
//! Picture: who owns the [`Recorder`] opens a [`Desk`] for one such process, a socket with a path. The process holds a
//! [`Pen`]: it asks for its worker's name, hands in one note after the other, and goes on only when the desk says that the
//! note is taken. So the order of events is that of what happened in all processes, as [`super`] promises. A desk can also
//! keep its process waiting: whoever wants to freeze or kill it before it does what it has noted last tells a [`Moment`].
//!
//! Invariants: a process that is gone tells nothing more, so the desk ends for it what it had begun: what was not answered
//! is unknown, and so is a transaction whose commit was asked for; any other transaction is aborted. What comes over the
//! socket is refused when it is too long or no note; then the connection ends, and the process with it.
//!
//! Not here: more than one process or worker a desk.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Outcome, Recorder, Value, What, Worker};

/// Of one note. A batch of a hundred values has a thousand.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// Where a worker notes what it does: in the history itself, or at the desk of the process that keeps it.
#[derive(Clone, Debug)]
pub enum Pen {
    Here(Recorder),
    There(Arc<Mutex<BufReader<UnixStream>>>),
}

impl From<&Recorder> for Pen {
    fn from(recorder: &Recorder) -> Self {
        Self::Here(recorder.clone())
    }
}

/// What a process hands in.
#[derive(Serialize, Deserialize)]
enum Letter {
    Name,
    Note(What),
}

impl Pen {
    /// A pen for the desk with this path.
    pub fn at(desk: &Path) -> io::Result<Self> {
        Ok(Self::There(Arc::new(Mutex::new(BufReader::new(UnixStream::connect(desk)?)))))
    }

    /// The name of a worker, which has this pen for itself.
    pub fn worker(&self) -> Worker {
        match self {
            Self::Here(recorder) => recorder.worker(),
            Self::There(desk) => hand_in(desk, &Letter::Name),
        }
    }

    /// The note is part of the history when this returns. Panics when nobody keeps it any more, as for a file that cannot be
    /// written.
    pub fn note(&self, worker: Worker, what: What) {
        match self {
            Self::Here(recorder) => recorder.note(worker, what),
            Self::There(desk) => _ = hand_in(desk, &Letter::Note(what)),
        }
    }
}

fn hand_in(desk: &Mutex<BufReader<UnixStream>>, letter: &Letter) -> Worker {
    let mut desk = desk.lock();
    let answer = exchange(&mut desk, letter).unwrap_or_else(|error| panic!("hand in a note: {error}"));
    Worker(answer.trim().parse().unwrap_or_else(|_| panic!("`{answer}` is no worker")))
}

fn exchange(desk: &mut BufReader<UnixStream>, letter: &Letter) -> io::Result<String> {
    let mut line = serde_json::to_vec(letter)?;
    line.push(b'\n');
    desk.get_mut().write_all(&line)?;
    let mut answer = String::new();
    desk.read_line(&mut answer)?;
    Ok(answer)
}

/// A step of a transaction, just noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Begun,
    /// A batch is about to be sent.
    Writing,
    /// It was acknowledged.
    Written,
    Committing,
}

impl Moment {
    pub const ALL: [Self; 4] = [Self::Begun, Self::Writing, Self::Written, Self::Committing];

    fn is(self, what: &What) -> bool {
        match self {
            Self::Begun => matches!(what, What::Begin),
            Self::Writing => matches!(what, What::Send { .. }),
            Self::Written => matches!(what, What::Sent { .. }),
            Self::Committing => matches!(what, What::Ending { commit: true }),
        }
    }
}

/// Takes the notes of one process.
#[derive(Debug)]
pub struct Desk {
    said: watch::Receiver<Vec<What>>,
    waits: watch::Receiver<bool>,
    stop_at: watch::Sender<Option<Moment>>,
    server: JoinHandle<()>,
}

impl Desk {
    /// A desk at this path, where nothing is yet.
    pub fn open(path: &Path, recorder: &Recorder) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let (stop_at, stops) = watch::channel(None);
        let (is_waiting, waits) = watch::channel(false);
        let (saying, said) = watch::channel(Vec::new());
        let mut clerk = Clerk { recorder: recorder.clone(), worker: None, saying, is_waiting, stops };
        let server = tokio::spawn(async move {
            if let Ok((stream, _)) = listener.accept().await
                && let Err(error) = clerk.serve(stream).await
            {
                tracing::debug!(%error, "a process is gone");
            }
            clerk.close();
        });
        Ok(Self { said, waits, stop_at, server })
    }

    /// All that the process has said until now.
    pub fn said(&self) -> Vec<What> {
        self.said.borrow().clone()
    }

    /// Returns when the process has said something for which this holds, and whether it ever came to that.
    pub async fn until(&self, mut holds: impl FnMut(&[What]) -> bool) -> bool {
        self.said.clone().wait_for(|said| holds(said)).await.is_ok()
    }

    /// Keeps the process waiting at its next note of this moment; returns when it waits, and whether it came to that.
    pub async fn stop_at(&self, moment: Moment) -> bool {
        self.stop_at.send_replace(Some(moment));
        self.waits.clone().wait_for(|waits| *waits).await.is_ok()
    }

    /// It waits no longer.
    pub fn go_on(&self) {
        self.stop_at.send_replace(None);
    }

    /// When the process is gone, and what it left is noted.
    pub async fn closed(mut self) -> Vec<What> {
        // A desk that was left alone by its server's end is closed as well.
        (&mut self.server).await.ok();
        self.said()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Who sits at the desk.
struct Clerk {
    recorder: Recorder,
    worker: Option<Worker>,
    saying: watch::Sender<Vec<What>>,
    is_waiting: watch::Sender<bool>,
    stops: watch::Receiver<Option<Moment>>,
}

impl Clerk {
    async fn serve(&mut self, stream: tokio::net::UnixStream) -> io::Result<()> {
        let (input, mut output) = stream.into_split();
        let mut input = tokio::io::BufReader::new(input);
        loop {
            let mut line = String::new();
            (&mut input).take(NOTE_BYTES_MAX).read_line(&mut line).await?;
            if line.is_empty() {
                return Ok(());
            }
            let worker = match serde_json::from_str(&line)? {
                Letter::Name => *self.worker.get_or_insert_with(|| self.recorder.worker()),
                Letter::Note(what) => self.take(what).await?,
            };
            output.write_all(format!("{}\n", worker.0).as_bytes()).await?;
        }
    }

    async fn take(&mut self, what: What) -> io::Result<Worker> {
        let worker = self.worker.ok_or_else(|| io::Error::other("a note of nobody"))?;
        let stops = self.stops.borrow().is_some_and(|moment| moment.is(&what));
        self.note(worker, what);
        if stops {
            self.is_waiting.send_replace(true);
            self.stops.wait_for(Option::is_none).await.map_err(io::Error::other)?;
            self.is_waiting.send_replace(false);
        }
        Ok(worker)
    }

    fn note(&self, worker: Worker, what: What) {
        self.recorder.note(worker, what.clone());
        self.saying.send_modify(|said| said.push(what));
    }

    /// Ends what the process had begun.
    fn close(&self) {
        let Some(worker) = self.worker else { return };
        let said = self.saying.borrow().clone();
        let values = unanswered(&said);
        if !values.is_empty() {
            self.note(worker, What::Unknown { values, reason: "the process is gone".to_owned() });
        }
        let begun = said.iter().rposition(|what| matches!(what, What::Begin));
        let last = begun.map_or(&[][..], |at| &said[at..]);
        if last.is_empty() || last.iter().any(|what| matches!(what, What::Ended { .. })) {
            return;
        }
        let asked = last.contains(&What::Ending { commit: true });
        let outcome = if asked { Outcome::Unknown } else { Outcome::Aborted };
        self.note(worker, What::Ended { outcome });
    }
}

/// Sent, and nothing was heard of them.
fn unanswered(said: &[What]) -> Vec<Value> {
    let mut open = Vec::new();
    for what in said {
        match what {
            What::Send { values, .. } => open.extend(values),
            What::Sent { values, .. } | What::Failed { values, .. } | What::Unknown { values, .. } => {
                open.retain(|value| !values.contains(value));
            }
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests;
