//! Committed offsets: as somebody sees them who asks all the time, and as the log of `__consumer_offsets` has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinstream_client::RawClient;
use twinstream_client::protocol::batch::batches;
use twinstream_client::raw::{FetchFrom, FetchOptions};
use twinstream_model::{GroupId, LeaderEpoch, Offset, PartitionIndex, TopicPartition};

use crate::faults::Subject;
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::records::topic_name;
use crate::wait::wait_until_some;

const OFFSETS: &str = "__consumer_offsets";
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Keys of committed offsets; other versions are of groups.
const OFFSET_KEYS: std::ops::RangeInclusive<i16> = 0..=1;
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Asks all the time, until its run ends or panics.
pub(super) struct Watcher {
    running: watch::Sender<bool>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    committed: BTreeMap<i32, i64>,
    faults: Vec<String>,
}

impl Watcher {
    pub(super) fn start(client: RawClient, group: GroupId) -> Self {
        let (running, mut told) = watch::channel(true);
        let seen = Arc::<Mutex<Seen>>::default();
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while *told.borrow() {
                if let Ok(committed) = client.committed_offsets(&group).await {
                    let offsets = committed.into_iter().map(|(partition, at)| (partition.partition.0, at.offset.0));
                    notes.lock().note(offsets);
                }
                tokio::time::timeout(ASK_EVERY, told.changed()).await.ok();
            }
        });
        Self { running, seen, task }
    }

    pub(super) fn committed(&self) -> BTreeMap<i32, i64> {
        self.seen.lock().committed.clone()
    }

    /// Where an offset went back.
    pub(super) async fn stop(&mut self) -> Vec<String> {
        self.running.send_replace(false);
        (&mut self.task).await.expect("a watcher that ends well");
        std::mem::take(&mut self.seen.lock().faults)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn note(&mut self, committed: impl Iterator<Item = (i32, i64)>) {
        for (partition, offset) in committed {
            let before = self.committed.insert(partition, offset).unwrap_or(0);
            if offset < before {
                self.faults
                    .push(format!("the committed offset of partition {partition} went from {before} to {offset}"));
            }
        }
    }
}

/// Reads every commit of a group in the order of the log: none goes back, and the last one of each partition is at least
/// what any member was told that it had committed. How many there are, and what is wrong.
pub(super) async fn judge_log(
    client: &RawClient,
    subject: &Subject,
    group: &str,
    topic: &str,
    acknowledged: impl Iterator<Item = BTreeMap<i32, i64>>,
) -> (usize, Vec<String>) {
    let operator = Operator::connect(&subject.bootstrap(), subject.size()).await;
    let (mut last, mut count, mut faults) = (BTreeMap::<i32, i64>::new(), 0, Vec::new());
    for (index, _) in operator.partitions(OFFSETS).await {
        let partition = TopicPartition::new(topic_name(OFFSETS), PartitionIndex(index));
        let what = format!("{partition} can be read");
        let commits = wait_until_some(&what, SETTLES_WITHIN, || async { commits(client, &partition).await }).await;
        for commit in commits.into_iter().filter(|commit| commit.group == group && commit.topic == topic) {
            count += 1;
            let before = last.insert(commit.partition, commit.offset).unwrap_or(0);
            if commit.offset < before {
                let (to, of) = (commit.offset, commit.partition);
                faults.push(format!("in the log the committed offset of partition {of} goes from {before} to {to}"));
            }
        }
    }
    for (partition, offset) in acknowledged.flatten() {
        let stored = last.get(&partition).copied().unwrap_or(0);
        if stored < offset {
            faults.push(format!("commit of {offset} for partition {partition} was acknowledged, {stored} is stored"));
        }
    }
    (count, faults)
}

struct Commit {
    group: String,
    topic: String,
    partition: i32,
    offset: i64,
}

/// `None` while the partition cannot be read.
async fn commits(client: &RawClient, partition: &TopicPartition) -> Option<Vec<Commit>> {
    let leader = client.leader(partition).await.ok()?;
    let mut from = FetchFrom::new(partition.clone(), Offset(0));
    let options = FetchOptions { wait_max: Duration::ZERO, bytes_min: 0, ..FetchOptions::default() };
    let mut found = Vec::new();
    loop {
        let fetched = client.fetch_batches(leader, std::slice::from_ref(&from), &options).await.ok()?.pop()?;
        if fetched.error.is_error() {
            client.forget_leader(partition);
            return None;
        }
        for batch in batches(&fetched.batches).map_while(Result::ok) {
            from.offset = from.offset.max(batch.header().next_offset());
            from.last_epoch = LeaderEpoch::NONE;
            if batch.header().attributes.is_control() {
                continue;
            }
            for record in batch.records(BATCH_BYTES_MAX).ok()?.iter() {
                let record = record.ok()?;
                found.extend(record.key.zip(record.value).and_then(|(key, value)| commit(key, value)));
            }
        }
        if from.offset >= fetched.high_watermark {
            return Some(found);
        }
    }
}

/// Kafka's layout: key (version, group, topic, partition), value (version, offset, ...). `None` of records of groups.
fn commit(mut key: &[u8], mut value: &[u8]) -> Option<Commit> {
    let version = key.try_get_i16().ok()?;
    if !OFFSET_KEYS.contains(&version) {
        return None;
    }
    let (group, topic) = (text(&mut key)?, text(&mut key)?);
    let partition = key.try_get_i32().ok()?;
    value.try_get_i16().ok()?;
    Some(Commit { group, topic, partition, offset: value.try_get_i64().ok()? })
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}
