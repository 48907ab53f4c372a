//! Producers of transactions: batches in several partitions, committed, aborted, or left behind.
//!
//! Each producer is one worker with one transactional id, and stays that worker when it takes its name again: its order
//! holds across that, because whatever it left open is ended first. What a transaction does is thrown by dice whose seed is
//! the producer's number; each has a codec of its own. Some also poll what others have committed, which must never be what they wrote themselves.
//!
//! Who loses track of a batch, or is refused, does not abort: it takes its name again, with a new epoch, so that nothing that
//! is still under way can become part of what comes next.

use tokio::sync::watch;
use twinstream_client::RawClient;
use twinstream_client::protocol::compression::Compression;

use super::author::Author;
use super::raw::connect;
use super::reader::Reader;
use super::transactor::{Protocol, Transactor};
use super::{Place, TransactionLoad, goes_on};
use crate::faults::Dice;
use crate::history::{Recorder, What};

/// Of one batch.
const RECORDS_MAX: u64 = 4;
/// Of one transaction and partition.
const BATCHES_MAX: u64 = 2;
/// One of so many transactions is aborted, ...
const ABORTS: u64 = 5;
/// ... one is left behind, ...
const LEAVES: u64 = 12;
/// ... and one polls.
const POLLS: u64 = 3;

/// How a transaction is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Commit,
    Abort,
    /// Its producer takes its name again, which ends it.
    Leave,
}

/// Runs one transaction after the other.
pub(super) async fn produce(
    place: Place,
    load: TransactionLoad,
    number: usize,
    protocol: Protocol,
    recorder: Recorder,
    running: watch::Receiver<bool>,
) {
    let name = format!("{}-{number}", place.options.topic);
    let codec = Compression::ALL[number % Compression::ALL.len()];
    let transactor = Transactor::new(&place.bootstrap, &name, protocol, load.timeout).with_codec(codec);
    let author = Author::new(transactor, &recorder);
    let worker = author.worker();
    let readers = place.partitions().into_iter().map(|partition| Reader::of(worker, partition)).collect();
    recorder
        .note(worker, What::Assigned { partitions: (0..place.options.partitions).map(|index| (index, 0)).collect() });
    // A rival with the same name throws something else.
    let dice = Dice::new(u64::from(worker.0) << 32 | number as u64);
    let mut producer = Producer { place, author, readers, client: None, dice, recorder };
    let mut has_name = false;
    while goes_on(&running) {
        if !has_name && producer.author.transactor.init().await.is_err() {
            continue;
        }
        has_name = producer.transaction().await;
    }
    if !has_name {
        // Nothing is left open behind it; what cannot be ended now is ended by its timeout.
        producer.author.transactor.init().await.ok();
    }
}

struct Producer {
    place: Place,
    author: Author,
    readers: Vec<Reader>,
    /// For polls.
    client: Option<RawClient>,
    dice: Dice,
    recorder: Recorder,
}

impl Producer {
    /// `false` when the producer has to take its name again.
    async fn transaction(&mut self) -> bool {
        self.author.begin();
        let all = self.place.partitions();
        let count = usize::try_from(self.dice.between(1, all.len() as u64)).expect("few partitions");
        let (polls, end) = (self.dice.between(1, POLLS) == 1, self.how_to_end());
        let mut knows_all = true;
        for partition in self.dice.shuffled(&all).into_iter().take(count) {
            for _ in 0..self.dice.between(1, BATCHES_MAX) {
                let count = self.dice.between(1, RECORDS_MAX);
                knows_all = knows_all && self.author.send(&partition, count).await.is_ok();
            }
        }
        if polls && knows_all {
            self.poll().await;
        }
        if !knows_all || end == End::Leave {
            self.author.leave();
            return false;
        }
        self.author.end(end == End::Commit).await.is_ok()
    }

    fn how_to_end(&mut self) -> End {
        if self.dice.between(1, LEAVES) == 1 {
            return End::Leave;
        }
        if self.dice.between(1, ABORTS) == 1 { End::Abort } else { End::Commit }
    }

    async fn poll(&mut self) {
        if self.client.is_none() {
            self.client = connect(&self.place).await;
        }
        let (Some(client), Some(reader)) = (&self.client, pick(&mut self.dice, &mut self.readers)) else { return };
        // What cannot be read now is read later; a connection that says nothing is not asked again.
        if reader.poll(client, &self.recorder).await.is_err_and(|error| error.code().is_none()) {
            self.client = None;
        }
    }
}

fn pick<'a>(dice: &mut Dice, readers: &'a mut [Reader]) -> Option<&'a mut Reader> {
    let last = (readers.len() as u64).checked_sub(1)?;
    let index = usize::try_from(dice.between(0, last)).ok()?;
    readers.get_mut(index)
}
