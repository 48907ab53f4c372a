//! The one writer of an index: a thread that takes bulks, applies them in order and commits.
//!
//! Picture: requests wait in a short queue. The writer takes the first and all others that are already there, applies
//! every operation to tantivy's buffer, commits once, makes the commit searchable, and only then answers them all (a
//! group commit).
//! Why no write-ahead log of our own: a tantivy commit is itself durable (files synced, then `meta.json` replaced by
//! rename), and the typical writer, the sink, sends bulks of hundreds of documents, so one commit per group costs
//! little. A second log would be a second format to recover.
//! Invariants: W1 what was answered is on disk and visible. W2 operations on one id happen in the order of arrival. W3
//! after a failed commit the index takes no more writes, because tantivy's buffer and the disk may disagree.
//! Not here: which index a line of a bulk belongs to (`rest::bulk`), what a search sees (`search`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tantivy::{IndexReader, IndexWriter};
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::document::extract;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::index::{Shared, read_current};
use crate::meta::Meta;
use crate::version::{Current, VersionRule, already_exists};

/// Requests that may wait for the writer; more are told to come back (429).
const QUEUE_JOBS_MAX: usize = 64;
/// Operations in one commit: bounds the time the first of a group waits.
const GROUP_OPS_MAX: usize = 20_000;
/// How long, and for how many ids, a deletion is remembered for version checks: Elasticsearch's `index.gc_deletes`.
const TOMBSTONE_AGE_MAX: Duration = Duration::from_secs(60);
const TOMBSTONES_MAX: usize = 100_000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Index { source: String, create: bool },
    Update(Update),
    Delete,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Update {
    pub doc: Map<String, Value>,
    pub doc_as_upsert: bool,
    pub upsert: Option<Map<String, Value>>,
    pub detect_noop: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Op {
    pub id: String,
    pub action: Action,
    pub version: VersionRule,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Done {
    pub version: i64,
    pub seq_no: i64,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Updated,
    Deleted,
    NotFound,
    Noop,
}

pub(crate) type OpResult = Result<Done, ApiError>;

enum Job {
    Ops(Vec<Op>, oneshot::Sender<Result<Vec<OpResult>, ApiError>>),
    Mapping(Value, oneshot::Sender<Result<(), ApiError>>),
}

/// Tells one waiting request what the commit came to.
type AfterCommit = Box<dyn FnOnce(Result<(), ApiError>)>;

/// The way to the writer; when the last handle goes, the thread ends.
pub(crate) struct WriterHandle {
    jobs: Option<SyncSender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WriterHandle {
    pub(crate) fn spawn(name: &str, writer: IndexWriter, shared: Arc<Shared>) -> std::io::Result<WriterHandle> {
        let (jobs, queue) = sync_channel(QUEUE_JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name(format!("index-{name}"))
            .spawn(move || Writer::new(writer, shared).run(&queue))?;
        Ok(WriterHandle { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) async fn write(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Ops(ops, reply))?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(crate) async fn put_mapping(&self, body: Value) -> Result<(), ApiError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Mapping(body, reply))?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, job: Job) -> Result<(), ApiError> {
        match self.jobs.as_ref().ok_or_else(gone)?.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(ApiError::rejected(format!(
                "{QUEUE_JOBS_MAX} requests are waiting to be indexed already; send it again later"
            ))),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

impl Drop for WriterHandle {
    /// Blocks until the queue is done and the files are let go, so that a directory may be removed afterwards.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("index writer panicked");
        }
    }
}

fn gone() -> ApiError {
    ApiError::unavailable("the index is closed or was deleted")
}

/// Ids as they are after the operations of this group, which the searcher cannot see yet.
struct Pending {
    current: Current,
    source: Option<Arc<str>>,
}

struct Writer {
    tantivy: IndexWriter,
    shared: Arc<Shared>,
    fields: Fields,
    reader: IndexReader,
    meta: Meta,
    pending: HashMap<String, Pending>,
    tombstones: Tombstones,
    poisoned: Option<String>,
}

impl Writer {
    fn new(tantivy: IndexWriter, shared: Arc<Shared>) -> Writer {
        let meta = shared.meta();
        Writer {
            fields: shared.fields,
            reader: shared.reader.clone(),
            tantivy,
            meta: (*meta).clone(),
            shared,
            pending: HashMap::new(),
            tombstones: Tombstones::default(),
            poisoned: None,
        }
    }

    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            let mut n_ops = ops_of(&group[0]);
            while n_ops < GROUP_OPS_MAX
                && let Ok(job) = queue.try_recv()
            {
                n_ops += ops_of(&job);
                group.push(job);
            }
            self.handle_group(group);
        }
    }

    fn handle_group(&mut self, group: Vec<Job>) {
        let mut replies: Vec<AfterCommit> = Vec::with_capacity(group.len());
        for job in group {
            match job {
                Job::Ops(ops, reply) => {
                    let results: Vec<OpResult> = ops.into_iter().map(|op| self.apply(op)).collect();
                    replies.push(Box::new(move |committed| answer(reply, committed.map(|()| results))));
                }
                Job::Mapping(body, reply) => {
                    let merged = self.check_alive().and_then(|()| self.meta.mapping.merge_json(&body));
                    replies.push(Box::new(move |committed| answer(reply, committed.and(merged))));
                }
            }
        }
        let committed = self.commit();
        for reply in replies {
            reply(committed.clone());
        }
    }

    fn check_alive(&self) -> Result<(), ApiError> {
        match &self.poisoned {
            Some(cause) => Err(ApiError::unavailable(format!(
                "the index stopped writing after a failed commit ({cause}); free the disk and restart"
            ))),
            None => Ok(()),
        }
    }

    fn commit(&mut self) -> Result<(), ApiError> {
        self.check_alive()?;
        let payload = self.meta.encode();
        let committed = self.tantivy.prepare_commit().and_then(|mut prepared| {
            prepared.set_payload(&payload);
            prepared.commit()
        });
        if let Err(cause) = committed.and_then(|_| self.reader.reload()) {
            error!(index = %self.shared.name, %cause, "commit failed, the index takes no more writes until a restart");
            self.poisoned = Some(cause.to_string());
            return self.check_alive();
        }
        self.pending.clear();
        self.shared.publish(self.meta.clone());
        Ok(())
    }

    fn apply(&mut self, op: Op) -> OpResult {
        self.check_alive()?;
        let (known, source) = self.look_up(&op.id)?;
        let live = known.filter(|current| !current.deleted);
        match op.action {
            Action::Index { create: true, .. } if live.is_some_and(|_| op.version == VersionRule::Internal) => {
                Err(live.map_or_else(|| ApiError::internal("no version"), |current| already_exists(&op.id, current)))
            }
            Action::Index { source, .. } => {
                let version = op.version.next(&op.id, known)?;
                let body = parse_source(&op.id, &source)?;
                self.put(op.id, version, source, &body, live.is_some())
            }
            Action::Update(update) => self.update(op.id, update, known, source),
            Action::Delete => {
                let version = op.version.next(&op.id, known)?;
                Ok(self.delete(op.id, version, live.is_some()))
            }
        }
    }

    fn update(&mut self, id: String, update: Update, known: Option<Current>, source: Option<Arc<str>>) -> OpResult {
        let version = VersionRule::Internal.next(&id, known)?;
        let Some(source) = source else {
            let body = match (update.upsert, update.doc_as_upsert) {
                (Some(upsert), _) => upsert,
                (None, true) => update.doc,
                (None, false) => {
                    return Err(ApiError::new(404, "document_missing_exception", format!("[{id}]: document missing")));
                }
            };
            return self.put(id, version, Value::Object(body.clone()).to_string(), &body, false);
        };
        let before = parse_source(&id, &source)?;
        let mut after = before.clone();
        merge(&mut after, update.doc);
        if update.detect_noop && before == after {
            let seq_no = self.meta.next_seq_no.saturating_sub(1);
            return Ok(Done { version: version.saturating_sub(1), seq_no, outcome: Outcome::Noop });
        }
        self.put(id, version, Value::Object(after.clone()).to_string(), &after, true)
    }

    fn put(&mut self, id: String, version: i64, source: String, body: &Map<String, Value>, existed: bool) -> OpResult {
        let mut extracted = extract(&self.meta.mapping, &id, body)?;
        let additions = std::mem::take(&mut extracted.additions);
        if !additions.is_empty() {
            let mut grown = self.meta.mapping.clone();
            for (path, field) in additions {
                grown.insert(&path, field)?;
            }
            grown.check_size()?;
            self.meta.mapping = grown;
        }
        let seq_no = self.take_seq_no();
        self.tantivy.delete_term(self.fields.id_term(&id));
        self.tantivy.add_document(self.fields.document(&id, &source, version, seq_no, extracted)).inspect_err(
            |cause| {
                // The old document is already marked; only a restart from the last commit brings it back.
                self.poisoned = Some(cause.to_string());
            },
        )?;
        self.tombstones.forget(&id);
        self.pending
            .insert(id, Pending { current: Current { version, deleted: false }, source: Some(Arc::from(source)) });
        Ok(Done { version, seq_no, outcome: if existed { Outcome::Updated } else { Outcome::Created } })
    }

    fn delete(&mut self, id: String, version: i64, existed: bool) -> Done {
        let seq_no = self.take_seq_no();
        if existed {
            self.tantivy.delete_term(self.fields.id_term(&id));
        }
        self.tombstones.remember(&id, version, Instant::now());
        self.pending.insert(id, Pending { current: Current { version, deleted: true }, source: None });
        Done { version, seq_no, outcome: if existed { Outcome::Deleted } else { Outcome::NotFound } }
    }

    fn take_seq_no(&mut self) -> i64 {
        self.meta.next_seq_no += 1;
        self.meta.next_seq_no - 1
    }

    fn look_up(&mut self, id: &str) -> Result<(Option<Current>, Option<Arc<str>>), ApiError> {
        if let Some(pending) = self.pending.get(id) {
            return Ok((Some(pending.current), pending.source.clone()));
        }
        if let Some(version) = self.tombstones.version(id, Instant::now()) {
            return Ok((Some(Current { version, deleted: true }), None));
        }
        match read_current(&self.reader.searcher(), &self.fields, id)? {
            None => Ok((None, None)),
            Some(found) => {
                let source = String::from_utf8(found.source)
                    .map_err(|_| ApiError::internal(format!("stored source of [{id}] is damaged")))?;
                Ok((Some(Current { version: found.version, deleted: false }), Some(Arc::from(source))))
            }
        }
    }
}

fn ops_of(job: &Job) -> usize {
    match job {
        Job::Ops(ops, _) => ops.len(),
        Job::Mapping(..) => 1,
    }
}

fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        warn!("client left before its write was answered");
    }
}

pub(crate) fn parse_source(id: &str, source: &str) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_str(source) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ApiError::mapper(format!("failed to parse document with id '{id}': it is not an object"))),
        Err(cause) => Err(ApiError::mapper(format!("failed to parse document with id '{id}': {cause}"))),
    }
}

/// A partial document over a whole one: objects merge, everything else replaces.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (Some(slot), value) => *slot = value,
            (None, value) => drop(into.insert(key, value)),
        }
    }
}

/// Versions of what was deleted lately. They are not stored: after a restart a deletion is forgotten, as it is a minute
/// later anyway.
#[derive(Default)]
pub(crate) struct Tombstones {
    versions: HashMap<String, (i64, Instant)>,
    order: VecDeque<(Instant, String)>,
}

impl Tombstones {
    pub(crate) fn remember(&mut self, id: &str, version: i64, now: Instant) {
        self.expire(now);
        self.versions.insert(id.to_owned(), (version, now));
        self.order.push_back((now, id.to_owned()));
    }

    pub(crate) fn forget(&mut self, id: &str) {
        self.versions.remove(id); // its entry in `order` goes when it expires
    }

    pub(crate) fn version(&mut self, id: &str, now: Instant) -> Option<i64> {
        self.expire(now);
        self.versions.get(id).map(|(version, _)| *version)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.order.front()
            && (self.order.len() > TOMBSTONES_MAX || now.duration_since(*at) > TOMBSTONE_AGE_MAX)
        {
            let Some((at, id)) = self.order.pop_front() else { return };
            if self.versions.get(&id).is_some_and(|(_, latest)| *latest == at) {
                self.versions.remove(&id);
            }
        }
    }
}

pub(crate) fn result_json(outcome: Outcome) -> Value {
    json!(match outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Deleted => "deleted",
        Outcome::NotFound => "not_found",
        Outcome::Noop => "noop",
    })
}
