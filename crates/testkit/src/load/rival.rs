//! A producer of transactions as a process of its own, so that it can hang or die like one, and wake as a zombie.
//!
//! Picture: it takes its name once and runs one transaction after the other until somebody else takes the name; then it says
//! so by its exit code. It never takes the name again, so whoever had it last keeps it. SIGTERM lets it end what it has
//! begun. Its notes go to the desk of the process that started it ([`Desk`]).

use std::io;
use std::path::Path;
use std::process::{ExitStatus, exit};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use twinstream_model::{PartitionIndex, TopicPartition};

use super::author::Author;
use super::transactor::{Fence, Protocol, Refusal, Transactor};
use crate::history::{Desk, Pen, Recorder};
use crate::process::Process;
use crate::program::Program;
use crate::records::topic_name;

/// Says to a program that can be a rival that it is one now; its value says which.
const VARIABLE: &str = "TWINSTREAM_RIVAL";
/// Of a rival whose name another one took with the next epoch, and of one that was refused for another reason.
const FENCED: i32 = 3;
const REFUSED: i32 = 4;
/// Of one batch.
const VALUES: u64 = 2;
/// One of so many transactions is aborted.
const ABORTS: usize = 4;

/// What a rival is told.
#[derive(Clone, Debug)]
pub struct Rivalry {
    pub bootstrap: String,
    pub topic: String,
    pub partitions: i32,
    pub transactional_id: String,
    /// After which its coordinator ends a transaction.
    pub timeout: Duration,
}

/// A running rival.
#[derive(Debug)]
pub struct Rival {
    pub process: Process,
    pub desk: Desk,
}

/// How a rival ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RivalEnd {
    /// It was told to end.
    Done,
    Fenced,
    Refused,
    Died,
}

impl From<ExitStatus> for RivalEnd {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(0) => Self::Done,
            Some(FENCED) => Self::Fenced,
            Some(REFUSED) => Self::Refused,
            _ => Self::Died,
        }
    }
}

impl Rivalry {
    /// One more producer with this name, with its log and its desk in this folder.
    pub fn start(
        &self,
        program: &Program,
        name: &str,
        protocol: Protocol,
        folder: &Path,
        recorder: &Recorder,
    ) -> io::Result<Rival> {
        let socket = folder.join(format!("{name}.desk"));
        let desk = Desk::open(&socket, recorder)?;
        let (partitions, timeout) = (self.partitions.to_string(), self.timeout.as_millis().to_string());
        let (id, socket) = (&self.transactional_id, socket.display().to_string());
        let words = [&self.bootstrap, &self.topic, &partitions, id, protocol.name(), &timeout, &socket].join("\n");
        let process = program.start(name, (VARIABLE, &words), &folder.join(format!("{name}.log")));
        Ok(Rival { process, desk })
    }
}

trait Words: Iterator<Item = String> {
    /// Panics with what is missing.
    fn word(&mut self, what: &str) -> String {
        self.next().unwrap_or_else(|| panic!("{VARIABLE} has no {what}"))
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> T {
        let word = self.word(what);
        word.parse().unwrap_or_else(|_| panic!("{VARIABLE}: `{word}` is no {what}"))
    }
}

impl<T: Iterator<Item = String>> Words for T {}

/// Lives and ends as a rival if [`VARIABLE`] says so; returns only if it does not.
pub async fn be_rival_if_told() {
    let Ok(words) = std::env::var(VARIABLE) else { return };
    let mut words = words.split('\n').map(str::to_owned);
    let (bootstrap, topic) = (words.word("bootstrap"), words.word("topic"));
    let partitions: i32 = words.number("number of partitions");
    let (id, protocol) = (words.word("transactional id"), words.word("protocol"));
    let protocol = Protocol::ALL.into_iter().find(|known| known.name() == protocol).expect("a protocol");
    let timeout = Duration::from_millis(words.number("timeout"));
    let desk = words.word("desk");
    let pen = Pen::at(Path::new(&desk)).unwrap_or_else(|error| panic!("desk {desk}: {error}"));
    let mut author = Author::new(Transactor::new(&bootstrap, &id, protocol, timeout), pen);
    let partitions: Vec<TopicPartition> =
        (0..partitions).map(|index| TopicPartition::new(topic_name(&topic), PartitionIndex(index))).collect();
    let leave = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    leave_with(match live(&mut author, &partitions, leave).await {
        Ok(()) => 0,
        Err(refusal) => {
            eprintln!("{refusal}");
            if refusal.fence() == Some(Fence::Epoch) { FENCED } else { REFUSED }
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "a program of tests would end with a code of its own")]
fn leave_with(code: i32) -> ! {
    exit(code)
}

/// One transaction after the other, in all partitions.
async fn live(author: &mut Author, partitions: &[TopicPartition], mut leave: Signal) -> Result<(), Refusal> {
    author.transactor.init().await?;
    for number in 1.. {
        author.begin();
        for partition in partitions {
            if let Err(refusal) = author.send(partition, VALUES).await {
                author.leave();
                return Err(refusal);
            }
        }
        author.end(number % ABORTS != 0).await?;
        tokio::select! {
            biased;
            _ = leave.recv() => return Ok(()),
            () = std::future::ready(()) => {}
        }
    }
    Ok(())
}
