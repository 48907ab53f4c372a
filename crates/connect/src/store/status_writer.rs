//! The status store: answers from memory, written to the topic behind the scenes.
//!
//! A status is true the moment it is set; REST answers never wait for Kafka. A background task writes what changed, the
//! newest value of each key only, so a cluster that is away delays nobody and nothing piles up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::StateLog;
use crate::state::statuses::{RunState, Status, StatusState};
use crate::state::{StateRecord, TaskId};

const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// States of connectors and tasks. Clones share everything.
#[derive(Clone)]
pub(crate) struct StatusStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<StatusState>,
    dirty: Mutex<BTreeMap<Bytes, Option<Bytes>>>,
    changed: Notify,
    worker_id: String,
    generation: Mutex<i64>,
}

impl StatusStore {
    /// Starts from what the topic held; `worker_id` stands in every status that we set.
    pub(crate) fn new(state: StatusState, worker_id: String) -> Self {
        let (dirty, changed) = (Mutex::new(BTreeMap::new()), Notify::new());
        let shared = Shared { state: Mutex::new(state), dirty, changed, worker_id, generation: Mutex::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn read(&self) -> MutexGuard<'_, StatusState> {
        self.shared.state.lock()
    }

    /// The group's generation from now on.
    pub(crate) fn set_generation(&self, generation: i64) {
        *self.shared.generation.lock() = generation;
    }

    pub(crate) fn set_connector(&self, name: &str, state: RunState, trace: Option<String>, version: Option<&str>) {
        let status = self.status(state, trace, version);
        let record = self.shared.state.lock().set_connector(name, Some(status));
        self.mark(record);
    }

    pub(crate) fn set_task(&self, id: &TaskId, state: RunState, trace: Option<String>, version: Option<&str>) {
        let status = self.status(state, trace, version);
        let record = self.shared.state.lock().set_task(id, Some(status));
        self.mark(record);
    }

    pub(crate) fn forget_connector(&self, name: &str) {
        let record = self.shared.state.lock().set_connector(name, None);
        self.mark(record);
    }

    pub(crate) fn forget_task(&self, id: &TaskId) {
        let record = self.shared.state.lock().set_task(id, None);
        self.mark(record);
    }

    fn status(&self, state: RunState, trace: Option<String>, version: Option<&str>) -> Status {
        let (worker_id, generation) = (self.shared.worker_id.clone(), *self.shared.generation.lock());
        Status { state, trace, worker_id, generation, version: version.map(str::to_owned) }
    }

    fn mark(&self, record: StateRecord) {
        self.shared.dirty.lock().insert(record.key, record.value);
        self.shared.changed.notify_one();
    }

    /// Writes changes as they come, until aborted.
    pub(crate) fn spawn_writer(&self, log: Arc<StateLog<StatusState>>) -> JoinHandle<()> {
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                store.shared.changed.notified().await;
                while !store.write_dirty(&log).await {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        })
    }

    /// Writes what changed once; `false` if that failed and is to be tried again.
    pub(crate) async fn write_dirty(&self, log: &StateLog<StatusState>) -> bool {
        let taken = std::mem::take(&mut *self.shared.dirty.lock());
        let records = taken.iter().map(|(key, value)| StateRecord { key: key.clone(), value: value.clone() });
        let Err(error) = log.send(records.collect()).await else { return true };
        tracing::warn!(error = %twinstream_connect_api::error::trace_of(&error), "statuses are not written yet");
        let mut dirty = self.shared.dirty.lock();
        for (key, value) in taken {
            dirty.entry(key).or_insert(value); // a newer value wins
        }
        false
    }
}
