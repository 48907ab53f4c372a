//! A lane: one ordered stream of bulk requests, and what all lanes of a task share.
//!
//! Picture: entries wait in the lane's queue. The lane takes as many as one request may hold, sends them, and repeats
//! what must be repeated until every one is finished; only then it takes the next. So two writes to one document (which
//! are always in one lane) never overtake each other.
//! Bounds: the entries of all lanes together are held under `max.buffered.records` and [`BUFFERED_BYTES_MAX`] by
//! pausing partitions; a `put` that comes nevertheless is refused until there is room, so the excess is one `put` at
//! most.
//! Lock order: `queue`, `offsets`, `writing`; each is held for a few lines and never across an await.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};
use twinstream_connect_api::{SinkRecord, SinkTaskContext, TaskError};
use twinstream_model::TopicPartition;

use crate::client::Client;
use crate::config::{OnMalformed, Settings};
use crate::mapping::mapping_of;
use crate::metrics::METRICS;
use crate::offsets::{Offsets, Ticket};
use crate::request::Operation;
use crate::retry::{ItemKind, Refusal, RequestError, Verdict, backoff, judge_item};

/// Bytes of documents that a task holds before it pauses, whatever their number.
const BUFFERED_BYTES_MAX: usize = 64 << 20;
/// A server under pressure is named in the log at most this often.
const PRESSURE_LOG_INTERVAL: Duration = Duration::from_secs(30);

pub(crate) struct Entry {
    pub ticket: Ticket,
    pub record: Arc<SinkRecord>,
    pub operation: Operation,
}

/// What the lanes of one task share with the task.
pub(crate) struct Shared {
    pub settings: Settings,
    pub client: Client,
    pub context: Arc<dyn SinkTaskContext>,
    pub offsets: Mutex<Offsets>,
    failure: Mutex<Option<TaskError>>,
    failed: AtomicBool,
    buffered: AtomicUsize,
    buffered_bytes: AtomicUsize,
    paused: AtomicBool,
    /// Entries inside a request that is being answered, by partition.
    writing: Mutex<HashMap<TopicPartition, usize>>,
    ready: tokio::sync::Mutex<HashSet<String>>,
    /// Something finished, failed or was closed.
    changed: Notify,
}

impl Shared {
    pub(crate) fn new(settings: Settings, client: Client, context: Arc<dyn SinkTaskContext>) -> Shared {
        Shared {
            settings,
            client,
            context,
            offsets: Mutex::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            buffered: AtomicUsize::new(0),
            buffered_bytes: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            writing: Mutex::default(),
            ready: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The error that ended a lane. The first call gets it with its causes; later ones a reminder.
    pub(crate) fn check_failure(&self) -> Result<(), TaskError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(held(&self.failure)
            .take()
            .unwrap_or_else(|| TaskError::fatal("the task stopped writing after an earlier error; restart it")))
    }

    fn fail(&self, error: TaskError) {
        held(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffered() >= self.settings.buffered_max
            || self.buffered_bytes.load(Ordering::Acquire) >= BUFFERED_BYTES_MAX
    }

    fn has_room(&self) -> bool {
        self.buffered() <= self.settings.buffered_max / 2
            && self.buffered_bytes.load(Ordering::Acquire) <= BUFFERED_BYTES_MAX / 2
    }

    /// Stops or restarts delivery by how full the buffer is. The task calls it at least once a second, so a lost race
    /// heals.
    pub(crate) fn regulate(&self) {
        if self.is_full() && !self.paused.swap(true, Ordering::AcqRel) {
            debug!(connector = self.context.connector(), "buffer full, partitions paused");
            self.context.pause(&self.context.assignment());
        } else if self.has_room() && self.paused.swap(false, Ordering::AcqRel) {
            debug!(connector = self.context.connector(), "room in the buffer, partitions resumed");
            self.context.resume(&self.context.assignment());
        }
    }

    pub(crate) fn forget_pause(&self) {
        self.paused.store(false, Ordering::Release);
    }

    /// Waits until nothing is buffered, or something failed, or the time is over.
    pub(crate) async fn drained(&self, deadline: Instant) {
        self.wait(deadline, || self.buffered() == 0).await;
    }

    /// Ends the writing of these partitions: what waits is dropped, what is under way is waited for.
    pub(crate) async fn close(&self, partitions: &[TopicPartition], deadline: Instant) -> bool {
        {
            let mut offsets = held(&self.offsets);
            partitions.iter().for_each(|partition| offsets.close(partition));
        }
        self.changed.notify_waiters();
        let idle = || {
            let writing = held(&self.writing);
            partitions.iter().all(|partition| !writing.contains_key(partition))
        };
        self.wait(deadline, idle).await;
        idle()
    }

    async fn wait(&self, deadline: Instant, done: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done() || self.failed.load(Ordering::Acquire) || timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn admit(&self, entry: &Entry) {
        self.buffered.fetch_add(1, Ordering::AcqRel);
        self.buffered_bytes.fetch_add(entry.operation.lines.len(), Ordering::AcqRel);
        self.show_buffered();
    }

    fn finish(&self, entry: &Entry, outcome: &str) {
        held(&self.offsets).finish(&entry.ticket);
        METRICS.records.with_label_values(&[self.context.connector(), outcome]).inc();
        self.let_go(entry);
    }

    fn let_go(&self, entry: &Entry) {
        self.buffered.fetch_sub(1, Ordering::AcqRel);
        self.buffered_bytes.fetch_sub(entry.operation.lines.len(), Ordering::AcqRel);
        self.show_buffered();
    }

    fn show_buffered(&self) {
        let task = self.context.task_id().to_string();
        METRICS
            .buffered
            .with_label_values(&[self.context.connector(), &task])
            .set(i64::try_from(self.buffered()).unwrap_or(i64::MAX));
    }

    /// Drops what belongs to closed partitions and marks the rest as under way, in one step, so that `close` cannot
    /// slip between.
    fn enter(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let (offsets, mut writing) = (held(&self.offsets), held(&self.writing));
        let (current, closed): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| offsets.is_current(&entry.ticket));
        for entry in &current {
            *writing.entry(entry.ticket.partition.clone()).or_default() += 1;
        }
        drop((offsets, writing));
        closed.iter().for_each(|entry| self.let_go(entry));
        current
    }

    fn leave(&self, entered: &[TopicPartition]) {
        let mut writing = held(&self.writing);
        for partition in entered {
            if let Some(n) = writing.get_mut(partition) {
                *n -= 1;
                if *n == 0 {
                    writing.remove(partition);
                }
            }
        }
        drop(writing);
        self.changed.notify_waiters();
    }
}

/// A poisoned lock means that a thread panicked between two lines of bookkeeping; the data is still whole.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(crate) struct Queue {
    entries: Mutex<VecDeque<Entry>>,
    filled: Notify,
}

impl Queue {
    pub(crate) fn push(&self, entry: Entry) {
        held(&self.entries).push_back(entry);
        self.filled.notify_one();
    }
}

pub(crate) struct Lane {
    pub shared: Arc<Shared>,
    pub queue: Arc<Queue>,
}

/// How often the present entries were sent in vain.
#[derive(Default)]
struct Attempts {
    busy: u32,
    broken: u32,
    logged: Option<Instant>,
}

impl Lane {
    /// Runs until the task is dropped or an error ends it.
    pub(crate) async fn run(self) {
        loop {
            let entries = self.collect().await;
            if let Err(error) = self.write(entries).await {
                self.shared.fail(error);
                return;
            }
            self.shared.regulate();
        }
    }

    /// The next request's entries: at least one, waiting `linger.ms` for more.
    async fn collect(&self) -> Vec<Entry> {
        let settings = &self.shared.settings;
        loop {
            let waiting = held(&self.queue.entries).len();
            if waiting == 0 {
                self.queue.filled.notified().await;
                continue;
            }
            if waiting < settings.batch_size && !settings.linger.is_zero() {
                sleep(settings.linger).await;
            }
            break;
        }
        let mut queue = held(&self.queue.entries);
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = queue.front() {
            bytes = bytes.saturating_add(next.operation.lines.len());
            if taken.len() >= settings.batch_size || (bytes > settings.bulk_bytes && !taken.is_empty()) {
                break;
            }
            taken.extend(queue.pop_front());
        }
        taken
    }

    /// Sends the entries until each is finished.
    async fn write(&self, mut entries: Vec<Entry>) -> Result<(), TaskError> {
        let mut attempts = Attempts::default();
        let mut largest = usize::MAX; // entries per request, halved when the server finds it too large
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(largest));
            let entered = self.shared.enter(entries);
            let partitions: Vec<TopicPartition> = entered.iter().map(|entry| entry.ticket.partition.clone()).collect();
            let outcome = self.attempt(entered, &mut attempts, &mut largest).await;
            self.shared.leave(&partitions);
            let (mut again, pause) = outcome?;
            again.extend(rest);
            entries = again;
            if let Some(pause) = pause {
                sleep(pause).await;
            }
        }
        Ok(())
    }

    /// One request. Returns what must be sent again, in order, and the pause before it.
    async fn attempt(
        &self,
        entries: Vec<Entry>,
        attempts: &mut Attempts,
        largest: &mut usize,
    ) -> Result<(Vec<Entry>, Option<Duration>), TaskError> {
        if entries.is_empty() {
            return Ok((entries, None));
        }
        let sent = match self.make_indices(&entries).await {
            Ok(()) => self.send(&entries).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(items) if items.len() == entries.len() => self.settle(entries, &items, attempts).await,
            Ok(items) => {
                let reason = format!("{} operations were answered with {} results", entries.len(), items.len());
                let pause = self.broken(attempts, &reason)?;
                Ok((entries, Some(pause)))
            }
            Err(RequestError::TooLarge { url, reason }) if entries.len() == 1 => {
                let refusal = Refusal {
                    status: 413,
                    kind: "content_too_long_exception".to_owned(),
                    reason: format!("{url}: {reason}"),
                    malformed: true,
                };
                self.refuse(&entries[0], refusal).await?;
                Ok((Vec::new(), None))
            }
            Err(RequestError::TooLarge { .. }) => {
                *largest = (entries.len() / 2).max(1);
                Ok((entries, None))
            }
            Err(error @ RequestError::Pressure { .. }) => {
                let wish = if let RequestError::Pressure { retry_after, .. } = &error { *retry_after } else { None };
                let pause = self.busy(attempts, &error.to_string(), entries.len());
                Ok((entries, Some(wish.unwrap_or(pause))))
            }
            Err(error @ RequestError::Broken { .. }) => {
                let pause = self.broken(attempts, &error.to_string())?;
                Ok((entries, Some(pause)))
            }
            Err(error @ RequestError::Refused { .. }) => {
                Err(TaskError::fatal(format!("write to the search cluster: {error}")))
            }
        }
    }

    /// Makes the indices that these entries need and that were not seen before.
    async fn make_indices(&self, entries: &[Entry]) -> Result<(), RequestError> {
        let mut ready = self.shared.ready.lock().await;
        for entry in entries.iter().filter(|entry| entry.operation.kind != ItemKind::Delete) {
            let Operation { index, schema, .. } = &entry.operation;
            if ready.contains(index) {
                continue;
            }
            let mapping = schema.as_ref().and_then(|schema| mapping_of(schema, self.shared.settings.compact_maps));
            if self.shared.client.create_index(index, mapping.as_ref()).await? {
                debug!(%index, mapped = mapping.is_some(), "index created");
            }
            ready.insert(index.clone());
        }
        Ok(())
    }

    async fn send(&self, entries: &[Entry]) -> Result<Vec<serde_json::Value>, RequestError> {
        let mut body = BytesMut::with_capacity(entries.iter().map(|entry| entry.operation.lines.len()).sum());
        entries.iter().for_each(|entry| body.extend_from_slice(&entry.operation.lines));
        let body: Bytes = body.freeze();
        let connector = self.shared.context.connector();
        METRICS.request_bytes.with_label_values(&[connector]).inc_by(body.len() as u64);
        let sent = self.shared.client.bulk(body).await;
        let result = match &sent {
            Ok(_) => "ok",
            Err(RequestError::Pressure { .. }) => "busy",
            Err(_) => "failed",
        };
        METRICS.requests.with_label_values(&[connector, result]).inc();
        sent
    }

    async fn settle(
        &self,
        entries: Vec<Entry>,
        items: &[serde_json::Value],
        attempts: &mut Attempts,
    ) -> Result<(Vec<Entry>, Option<Duration>), TaskError> {
        let (mut again, mut behind) = (Vec::new(), HashSet::new());
        let (mut busy, mut broken) = (None, None);
        for (entry, item) in entries.into_iter().zip(items) {
            let document = (entry.operation.index.clone(), entry.operation.id.clone());
            let verdict = judge_item(entry.operation.kind, item);
            // A later write that went through while an earlier one to the same document did not must follow it once
            // more.
            let overtook = entry.operation.kind != ItemKind::Versioned
                && entry.operation.id.is_some()
                && behind.contains(&document);
            match verdict {
                Verdict::Done | Verdict::Superseded if overtook => again.push(entry),
                Verdict::Done => self.shared.finish(&entry, "written"),
                Verdict::Superseded => self.shared.finish(&entry, "superseded"),
                Verdict::Pressure(reason) => {
                    busy.get_or_insert(reason);
                    behind.insert(document);
                    again.push(entry);
                }
                Verdict::Broken(reason) => {
                    broken.get_or_insert(reason);
                    behind.insert(document);
                    again.push(entry);
                }
                Verdict::Refused(refusal) if refusal.kind == "index_not_found_exception" => {
                    self.shared.ready.lock().await.remove(&entry.operation.index); // deleted meanwhile; it is made again
                    broken.get_or_insert(refusal.to_string());
                    behind.insert(document);
                    again.push(entry);
                }
                Verdict::Refused(refusal) => self.refuse(&entry, refusal).await?,
            }
        }
        let pause = match (broken, busy) {
            (Some(reason), _) => Some(self.broken(attempts, &reason)?),
            (None, Some(reason)) => Some(self.busy(attempts, &reason, again.len())),
            (None, None) => None,
        };
        Ok((again, pause))
    }

    /// A document that will never be taken.
    async fn refuse(&self, entry: &Entry, refusal: Refusal) -> Result<(), TaskError> {
        let Operation { index, id, .. } = &entry.operation;
        let Ticket { partition, offset, .. } = &entry.ticket;
        let id = id.as_deref().unwrap_or("generated");
        let message = format!("index '{index}' refuses document '{id}' of {partition} offset {offset}: {refusal}");
        if !refusal.malformed {
            return Err(TaskError::fatal(message).caused_by(refusal));
        }
        let reported =
            self.shared.context.report(&entry.record, TaskError::fatal(message.clone()).caused_by(refusal)).await;
        match (self.shared.settings.on_malformed, reported) {
            (OnMalformed::Fail, Err(error)) => return Err(error),
            (OnMalformed::Warn, _) => warn!(connector = self.shared.context.connector(), "{message}"),
            _ => debug!(connector = self.shared.context.connector(), "{message}"),
        }
        self.shared.finish(entry, "refused");
        Ok(())
    }

    /// Pressure is waited out, however long.
    fn busy(&self, attempts: &mut Attempts, reason: &str, n_entries: usize) -> Duration {
        let connector = self.shared.context.connector();
        METRICS.retries.with_label_values(&[connector, "busy"]).inc_by(n_entries as u64);
        let now = Instant::now();
        if attempts.logged.is_none_or(|logged| now.duration_since(logged) >= PRESSURE_LOG_INTERVAL) {
            warn!(connector, attempts = attempts.busy, reason, "the search cluster is busy, writing waits");
            attempts.logged = Some(now);
        }
        attempts.busy += 1;
        backoff(self.shared.settings.backoff, attempts.busy - 1, rand::random())
    }

    fn broken(&self, attempts: &mut Attempts, reason: &str) -> Result<Duration, TaskError> {
        let connector = self.shared.context.connector();
        if attempts.broken >= self.shared.settings.retries_max {
            let tries = attempts.broken + 1;
            return Err(TaskError::fatal(format!(
                "write to the search cluster failed {tries} times: {reason}; restart the task when it works again, or raise max.retries"
            )));
        }
        METRICS.retries.with_label_values(&[connector, "failed"]).inc();
        warn!(connector, attempt = attempts.broken + 1, reason, "write failed, trying again");
        attempts.broken += 1;
        Ok(backoff(self.shared.settings.backoff, attempts.broken - 1, rand::random()))
    }
}
