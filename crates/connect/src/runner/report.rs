//! How a task tells its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twinstream_connect_api::TaskError;

use super::{Shared, TaskSpec};
use crate::metrics::WorkerMetrics;
use crate::state::TaskId;
use crate::state::statuses::RunState;
use crate::store::StatusStore;

/// Sets the state of one incarnation of a task, until silenced.
#[derive(Clone)]
pub(crate) struct Reporter {
    id: TaskId,
    version: String,
    statuses: StatusStore,
    metrics: WorkerMetrics,
    silent: Arc<AtomicBool>,
}

impl Reporter {
    pub(super) fn new(shared: &Shared, spec: &TaskSpec) -> Self {
        Self {
            id: spec.id.clone(),
            version: spec.plugin.version.clone(),
            statuses: shared.statuses.clone(),
            metrics: shared.metrics.clone(),
            silent: Arc::new(AtomicBool::new(false)),
        }
    }

    pub(crate) fn id(&self) -> &TaskId {
        &self.id
    }

    /// Nothing is reported any more: the task was replaced or is gone.
    pub(super) fn silence(&self) {
        self.silent.store(true, Ordering::Release);
    }

    pub(super) fn state(&self, state: RunState) {
        self.set(state, None);
    }

    /// The task cannot work now and starts afresh; this is why.
    pub(super) fn waits(&self, error: &TaskError, pause: Duration) {
        let trace = error.trace();
        tracing::warn!(task = %self.id, cause = %trace, ?pause, "task starts again from its stored offsets after a pause");
        self.set(RunState::Restarting, Some(trace));
    }

    /// The task is alive and gets nothing; this is why. It goes on trying.
    pub(super) fn polls_fail(&self, error: &TaskError) {
        let trace = error.trace();
        tracing::warn!(task = %self.id, cause = %trace, "task gets nothing, its polls are tried again and again");
        self.set(RunState::Restarting, Some(trace));
    }

    /// What the task sent does not arrive; it is sent again.
    pub(super) fn nothing_arrives(&self, error: &TaskError) {
        let trace = error.trace();
        tracing::warn!(task = %self.id, cause = %trace, "nothing of the task arrives");
        self.set(RunState::Restarting, Some(trace));
    }

    pub(super) fn failed(&self, error: &TaskError) {
        let trace = error.trace();
        tracing::error!(task = %self.id, cause = %trace, "task failed, it stays so until it is restarted");
        self.set(RunState::Failed, Some(trace));
    }

    fn set(&self, state: RunState, trace: Option<String>) {
        if !self.silent.load(Ordering::Acquire) {
            self.statuses.set_task(&self.id, state, trace, Some(&self.version));
            self.metrics.task_status(&self.id, state);
        }
    }
}
