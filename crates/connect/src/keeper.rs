//! Connectors that a worker was started with: nobody else looks after them.
//!
//! Picture: they are put when the worker starts, unless they are stored with this very configuration. One that could not start
//! is started again after a pause, without end. Tasks see to themselves: what may pass makes a task RESTARTING, not FAILED
//! (`runner::lives`), so one that has failed met something that is for somebody to see. It stays as it is, is told in the log
//! again and again, and makes the worker end with an error when it is stopped, so that the exit code of its process says so.
//! Bounds: of failed tasks the name and the number of looks is kept, as long as they are failed.

use std::collections::BTreeMap;
use std::time::Duration;

use twinstream_connect_api::RawConfig;

use crate::rest::{self, SharedApp};
use crate::state::TaskId;
use crate::state::statuses::{RunState, StatusState};
use crate::worker::WorkerError;

const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Connectors that could not start are started again after so many looks: a source that was away is used soon after it is back.
const START_EVERY: u32 = 5;
/// A task that has failed is told again after so many: ten minutes.
const TOLD_EVERY: u32 = 200;

/// Puts connectors and looks after them; returns only when one is refused.
pub(crate) async fn keep(app: &SharedApp, connectors: Vec<(String, RawConfig)>) -> Result<(), WorkerError> {
    let names: Vec<String> = connectors.iter().map(|(name, _)| name.clone()).collect();
    for (name, config) in connectors {
        let put = rest::put_if_changed(app, &name, config).await;
        let changed = put.map_err(|reason| WorkerError::Connector { name: name.clone(), reason })?;
        tracing::info!(connector = name, changed, "connector is configured");
    }
    if names.is_empty() {
        return std::future::pending().await;
    }
    let (mut told, mut looks) = (Told::default(), 0_u32);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        looks = looks.wrapping_add(1);
        for name in names.iter().filter(|_| looks.is_multiple_of(START_EVERY)) {
            rest::restart_if_failed(app, name).await;
        }
        for (task, cause) in told.due(failed(app, &names)) {
            tracing::error!(
                %task,
                cause,
                "task has failed and stays so; mend the cause, then POST /connectors/{}/restart?includeTasks=true&onlyFailed=true",
                task.connector
            );
        }
    }
}

/// Tasks of these connectors that have failed, with their causes.
pub(crate) fn failed(app: &SharedApp, names: &[String]) -> Vec<(TaskId, String)> {
    app.get().map_or_else(Vec::new, |app| failed_in(&app.statuses.read(), names))
}

fn failed_in(statuses: &StatusState, names: &[String]) -> Vec<(TaskId, String)> {
    let of = |name: &String| {
        let failed = statuses.tasks(name).filter(|(_, status)| status.state == RunState::Failed);
        failed.map(|(task, status)| (TaskId::new(name, task), status.trace.clone().unwrap_or_default())).collect()
    };
    names.iter().flat_map(|name| -> Vec<(TaskId, String)> { of(name) }).collect()
}

/// How often each failed task was looked at.
#[derive(Default)]
struct Told(BTreeMap<TaskId, u32>);

impl Told {
    /// Which of those that are failed now are to be told.
    fn due(&mut self, failed: Vec<(TaskId, String)>) -> Vec<(TaskId, String)> {
        let before = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for (task, cause) in failed {
            let looks = before.get(&task).copied().unwrap_or(0);
            self.0.insert(task.clone(), (looks + 1) % TOLD_EVERY);
            if looks == 0 {
                due.push((task, cause));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_has_failed_is_told_at_once_and_every_ten_minutes_as_long_as_it_is() {
        let mut told = Told::default();
        let mut look = |tasks: &[i32]| {
            let failed = tasks.iter().map(|task| (TaskId::new("copy", *task), "truncated".to_owned())).collect();
            told.due(failed).into_iter().map(|(task, _)| task.task).collect::<Vec<_>>()
        };
        assert_eq!(look(&[0]), [0]);
        assert_eq!(look(&[0, 1]), [1]);
        let again: Vec<Vec<i32>> = (2..=201).map(|_| look(&[0, 1])).filter(|due| !due.is_empty()).collect();
        assert_eq!(again, [[0], [1]], "in its turn each");
        assert!(look(&[]).is_empty());
        assert_eq!(look(&[0]), [0], "it was mended, and failed again");
    }
}
