//! The topic `_schemas` as the registry's only memory: one writer, one reader, and the rule that joins them.
//!
//! Picture: a task reads the topic from its beginning and replays every record into the [`State`]. A change is decided on
//! the state, written, and answered only after its own record has come back through that reader. So what a client was
//! told is what every later start will read.
//! Invariants: nothing is served before the state has caught up with the topic once, nor while a topic that was cut is read anew;
//! one change is decided at a time.
//! A topic that a link writes is only read, up to its end as it is found; changes are refused until the mirror is
//! promoted. Our brokers say by themselves which topic that is, at the first write; with others a setting does.
//! Two registries on one topic: before deciding, the state catches up with the topic's end; if another registry still
//! wrote first, the replay rejects the later record, and its writer mends the topic and decides again. Ids stay unique
//! that way, but each write races: a leader among registries comes with a later release.

mod reader;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};
use tracing::{debug, info, warn};
use twinstream_client::raw::OffsetAt;
use twinstream_client::{Admin, ClientError, Producer, ProducerRecord};
use twinstream_model::{ErrorCode, PartitionIndex, TopicName, TopicPartition};

use crate::error::ApiError;
use crate::rules::Change;
use crate::settings::Settings;
use crate::state::{Key, State};

pub(crate) use topic::TopicError;

/// How often a registry of a mirrored topic asks whether it may write by now.
const PROMOTION_PROBE_PAUSE: Duration = Duration::from_secs(5);

/// How far the reader is, and whether it still runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The next offset to read, and whether an end of the topic was reached once.
    At { position: i64, ended: bool },
    /// What was read is not in the topic any more, the text says how that was noticed; it is read from its beginning.
    Again(String),
    /// Reading ended for good; the text says why.
    Failed(String),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("schemas topic: {0}")]
    Client(#[from] ClientError),
    #[error("the schemas topic could not be read to its end within {} ms (`kafkastore.init.timeout.ms`)", .0.as_millis())]
    Slow(Duration),
    #[error("the schemas topic cannot be read: {0}")]
    Reader(String),
}

pub(crate) struct Store {
    state: Arc<RwLock<State>>,
    progress: watch::Receiver<Progress>,
    /// Held while one change is decided, written and read back.
    writer: Mutex<Producer>,
    admin: Admin,
    topic: TopicName,
    timeout: Duration,
    attempts: u32,
    writable: bool,
    /// What the settings say; `None` leaves it to the brokers.
    mirrored: Option<bool>,
    /// Whether the brokers refused the last write because the topic is a mirror.
    refused: AtomicBool,
}

impl Store {
    /// Connects, sees to the topic, and reads it to its end.
    pub(crate) async fn open(settings: &Settings, shutdown: watch::Receiver<bool>) -> Result<Self, StoreError> {
        let admin = Admin::connect(&settings.client).await?;
        topic::ensure(&admin, settings).await?;
        let producer = Producer::connect(&settings.producer().map_err(ClientError::from)?).await?;
        let state = Arc::new(RwLock::new(State::default()));
        let partition = TopicPartition::new(settings.topic.clone(), 0);
        let progress =
            reader::start(&settings.consumer().map_err(ClientError::from)?, partition, Arc::clone(&state), shutdown)
                .await?;
        let store = Self {
            state,
            progress,
            writer: Mutex::new(producer),
            admin,
            topic: settings.topic.clone(),
            timeout: settings.store_timeout,
            attempts: settings.write_attempts,
            writable: settings.writable,
            mirrored: settings.mirrored,
            refused: AtomicBool::new(false),
        };
        store.catch_up_once(settings.init_timeout).await?;
        if store.is_mirror() {
            info!(topic = %store.topic, "the schemas topic is a mirror: schemas are served, changes are refused");
        }
        Ok(store)
    }

    /// A record of our own marks the end: records near it may have been compacted away, so the log's end offset alone
    /// may never be reached. Who must not write goes by what the consumer tells of the end.
    async fn catch_up_once(&self, within: Duration) -> Result<(), StoreError> {
        let caught_up = async {
            if self.writable && self.mirrored != Some(true) {
                let producer = self.writer.lock().await;
                match self.write(&producer, &mark()).await {
                    Ok(offset) => return Ok(self.reached(offset + 1).await),
                    Err(error) if self.is_refusal(&error) => {}
                    Err(error) => return Err(StoreError::from(error)),
                }
            }
            Ok(self.wait_until(|_, ended| ended).await)
        };
        match tokio::time::timeout(within, caught_up).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => Err(StoreError::Reader(reason)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StoreError::Slow(within)),
        }
    }

    /// Whether somebody else, a link, writes the topic.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mirrored.unwrap_or_else(|| self.refused.load(Ordering::Relaxed))
    }

    /// Whether the brokers refused a write because the topic is a mirror; takes note of it.
    fn is_refusal(&self, error: &ClientError) -> bool {
        let refused = error.code() == Some(ErrorCode::PolicyViolation) && self.mirrored.is_none();
        if refused {
            self.refused.store(true, Ordering::Relaxed);
        }
        refused
    }

    fn mirror_refusal(&self) -> ApiError {
        let topic = &self.topic;
        ApiError::NotPermitted(format!(
            "Topic {topic} is a mirror, the registry is in read-only mode: change schemas at its source, or promote the mirror first"
        ))
    }

    /// Lets changes through if the topic is no mirror, or none any more.
    async fn check_mirror(&self, producer: &Producer) -> Result<(), ApiError> {
        if self.mirrored == Some(true) {
            return Err(self.mirror_refusal());
        }
        if !self.is_mirror() {
            return Ok(());
        }
        let offset = self.write(producer, &mark()).await.map_err(|error| self.write_error(error))?;
        self.reached_in_time(offset + 1).await?;
        self.refused.store(false, Ordering::Relaxed);
        info!(topic = %self.topic, "the schemas topic is a mirror no more: changes are taken");
        Ok(())
    }

    /// Notices a promotion while nobody changes anything, so that clients are told the mode that they would meet. A topic that was cut is
    /// taken for a link's until it takes a record.
    pub(crate) async fn watch_promotion(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        if self.mirrored.is_some() || !self.writable {
            return;
        }
        let mut progress = self.progress.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(PROMOTION_PROBE_PAUSE) => {}
                Ok(_) = progress.wait_for(|progress| matches!(progress, Progress::Again(_))), if !self.is_mirror() => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            if self.is_mirror() {
                let producer = self.writer.lock().await;
                if let Err(error) = self.check_mirror(&producer).await {
                    debug!(%error, "the schemas topic is still a mirror");
                }
            }
        }
    }

    /// Looks at the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, ApiError> {
        // Held while the state is looked at, so that it is not emptied in between.
        match &*self.progress.borrow() {
            Progress::Failed(reason) => Err(ApiError::Store(format!("the schemas topic cannot be read: {reason}"))),
            Progress::Again(reason) => Err(ApiError::Store(being_read_again(reason))),
            Progress::At { .. } => Ok(look(&self.state.read())),
        }
    }

    pub(crate) fn cluster_id(&self) -> Option<String> {
        self.admin.cluster_id()
    }

    /// Decides a change, writes it, and answers once it has been read back. `decide` runs again if another registry
    /// wrote at the same time.
    pub(crate) async fn change<T>(
        &self,
        decide: impl Fn(&State) -> Result<(Vec<Change>, T), ApiError>,
    ) -> Result<T, ApiError> {
        if !self.writable {
            return Err(ApiError::NoLeader);
        }
        let producer = self.writer.lock().await;
        self.check_mirror(&producer).await?;
        for _ in 0..self.attempts {
            self.catch_up().await?;
            let (changes, answer) = self.read(&decide)??;
            if changes.is_empty() || self.apply(&producer, &changes).await? {
                return Ok(answer);
            }
            warn!("another registry wrote to the schemas topic at the same time, deciding again");
        }
        Err(ApiError::Store("other registries keep writing to the schemas topic at the same time".to_owned()))
    }

    /// Reads up to the topic's present end.
    async fn catch_up(&self) -> Result<(), ApiError> {
        let partition = TopicPartition::new(self.topic.clone(), 0);
        // Before the end is asked for: what another registry writes meanwhile is read beyond that.
        let position = self.state.read().position();
        let ends = self.admin.raw().list_offsets(std::slice::from_ref(&partition), OffsetAt::Latest).await;
        let end = ends.map_err(store_error)?.remove(&partition);
        let end = end.ok_or_else(|| ApiError::Store("the schemas topic is gone".to_owned()))?.map_err(store_error)?;
        if end.0 < position {
            let reason = format!("it ends at {}, and was read up to {position}", end.0);
            return Err(ApiError::Store(being_read_again(&reason)));
        }
        self.reached_in_time(end.0).await
    }

    /// Writes changes and reads them back; `false` if one was rejected.
    async fn apply(&self, producer: &Producer, changes: &[Change]) -> Result<bool, ApiError> {
        let mut rejected = Vec::new();
        for change in changes {
            let offset = self.write(producer, change).await.map_err(|error| self.write_error(error))?;
            self.reached_in_time(offset + 1).await?;
            if self.state.read().is_rejected(offset) {
                rejected.push(change);
            }
        }
        let repairs: Vec<Change> = rejected.iter().filter_map(|change| self.repair(change)).collect();
        for repair in &repairs {
            let offset = self.write(producer, repair).await.map_err(|error| self.write_error(error))?;
            self.reached_in_time(offset + 1).await?;
        }
        Ok(rejected.is_empty())
    }

    /// A rejected record must not be the last one under its key, or compaction would make it the only one. If another
    /// version came first under that key, it is written again. If not, the key is still free: deciding again takes it,
    /// or somebody else has done so meanwhile (a tombstone here could strike that one).
    fn repair(&self, rejected: &Change) -> Option<Change> {
        let key = serde_json::from_slice::<serde_json::Value>(&rejected.key).ok()?;
        let subject = key.get("subject")?.as_str()?;
        let number = i32::try_from(key.get("version")?.as_i64()?).ok()?;
        let first = self.state.read().version(subject, number)?.value.bytes();
        Some(Change { key: rejected.key.clone(), value: Some(first) })
    }

    async fn write(&self, producer: &Producer, change: &Change) -> Result<i64, ClientError> {
        let key = Some(Bytes::from(change.key.clone()));
        let value = change.value.clone().map(Bytes::from);
        let mut record = ProducerRecord::new(self.topic.clone(), key, value);
        record.partition = Some(PartitionIndex(0));
        Ok(producer.send(&record).await?.offset.0)
    }

    async fn reached_in_time(&self, offset: i64) -> Result<(), ApiError> {
        match tokio::time::timeout(self.timeout, self.reached(offset)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(ApiError::Store(format!("the schemas topic cannot be read: {reason}"))),
            Err(_) => Err(ApiError::StoreTimeout(format!(
                "the schemas topic was not read up to offset {offset} within {} ms; the write may have taken place",
                self.timeout.as_millis()
            ))),
        }
    }

    async fn reached(&self, offset: i64) -> Result<(), String> {
        self.wait_until(|position, _| position >= offset).await
    }

    async fn wait_until(&self, there: impl Fn(i64, bool) -> bool) -> Result<(), String> {
        let mut progress = self.progress.clone();
        let there = |progress: &Progress| match progress {
            Progress::At { position, ended } => there(*position, *ended),
            Progress::Failed(_) | Progress::Again(_) => true,
        };
        match progress.wait_for(there).await.as_deref() {
            Ok(Progress::At { .. }) => Ok(()),
            Ok(Progress::Failed(reason)) => Err(reason.clone()),
            Ok(Progress::Again(reason)) => Err(being_read_again(reason)),
            Err(_) => Err("the registry is stopping".to_owned()),
        }
    }

    fn write_error(&self, error: ClientError) -> ApiError {
        if self.is_refusal(&error) { self.mirror_refusal() } else { store_error(error) }
    }
}

fn being_read_again(reason: &str) -> String {
    format!("the schemas topic was cut or made anew ({reason}) and is read from its beginning, try again in a moment")
}

/// A record that says nothing.
fn mark() -> Change {
    Change { key: Key::Noop.bytes(), value: None }
}

fn store_error(error: ClientError) -> ApiError {
    match error {
        ClientError::Timeout { .. } => ApiError::StoreTimeout(format!("write to the schemas topic: {error}")),
        error => ApiError::Store(format!("write to the schemas topic: {error}")),
    }
}
