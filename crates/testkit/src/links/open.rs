//! Transactions that stay open for a while, some until the end: a mirror must have them open as well.
//!
//! Each has a name of its own, and a timeout that does not come in a run. A few are open at any time; the oldest is committed
//! or aborted when there are too many. What cannot be told for sure is in nobody's book.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_model::TopicPartition;

use crate::faults::Dice;
use crate::load::{Protocol, Transactor};
use crate::records::topic_name;

const OPEN_MAX: usize = 3;
const RECORDS_MAX: u64 = 4;
const TIMEOUT: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_millis(400);

/// Values by what became of their transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    pub committed: BTreeSet<String>,
    pub aborted: BTreeSet<String>,
    pub open: BTreeSet<String>,
}

pub(super) struct OpenEnds {
    running: watch::Sender<bool>,
    task: JoinHandle<Book>,
}

impl OpenEnds {
    pub(super) fn start(bootstrap: &str, topic: &str, partitions: i32, seed: u64) -> Self {
        let (running, goes_on) = watch::channel(true);
        let all: Vec<TopicPartition> =
            (0..partitions).map(|index| TopicPartition::new(topic_name(topic), index)).collect();
        let task = tokio::spawn(leave_open(bootstrap.to_owned(), all, Dice::new(seed), goes_on));
        Self { running, task }
    }

    /// Begins no more, and ends none of those that are open.
    pub(super) async fn stop(self) -> Book {
        self.running.send_replace(false);
        self.task.await.unwrap_or_else(|error| panic!("transactions that stay open: {error}"))
    }
}

async fn leave_open(
    bootstrap: String,
    all: Vec<TopicPartition>,
    mut dice: Dice,
    running: watch::Receiver<bool>,
) -> Book {
    let (mut book, mut open) = (Book::default(), VecDeque::new());
    let mut number = 0;
    while *running.borrow() {
        number += 1;
        let name = format!("{}-{number}", all[0].topic);
        let protocol = *dice.pick(&Protocol::ALL);
        let transactor = Transactor::new(&bootstrap, &name, protocol, TIMEOUT);
        if let Some(begun) = begin(transactor, &all, &name, &mut dice).await {
            open.push_back(begun);
        }
        if open.len() > OPEN_MAX {
            let (mut oldest, values) = open.pop_front().expect("some are open");
            let commit = dice.coin();
            if oldest.end(commit).await.is_ok() {
                if commit { book.committed.extend(values) } else { book.aborted.extend(values) }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    book.open.extend(open.into_iter().flat_map(|(_, values)| values));
    book
}

/// A transaction with all its records acknowledged, or none that counts.
async fn begin(
    mut transactor: Transactor,
    all: &[TopicPartition],
    name: &str,
    dice: &mut Dice,
) -> Option<(Transactor, Vec<String>)> {
    transactor.init().await.ok()?;
    let mut values = Vec::new();
    for number in 0..dice.between(1, RECORDS_MAX) {
        let value = format!("{name}.{number}");
        transactor.write(dice.pick(all), None, Some(&value)).await.ok()?;
        values.push(value);
    }
    Some((transactor, values))
}
