//! What to do so that what runs becomes what is stored. Pure: states in, steps out.
//!
//! Rules: a started connector runs with its stored configuration. A paused one keeps its tasks, paused; a stopped one has
//! none. A task that is missing starts at once; one that runs with an outdated configuration is replaced, but only after
//! its connector has answered for the new configuration (*settled*), so that a change restarts each task once. One whose
//! configuration differs only in keys that its connector calls *live* is told and goes on. Tasks with transactions start only
//! when those of the commit before theirs have been fenced, wherever they run.

use std::collections::BTreeMap;

use twinstream_connect_api::RawConfig;

use crate::state::TaskId;
use crate::state::configs::{ConfigState, TargetState};

/// A connector as the herder keeps it, running or parked.
#[derive(Clone, Debug)]
pub(super) struct RunningConnector {
    pub(super) config: RawConfig,
    pub(super) target: TargetState,
    /// Its task configurations for this configuration are stored.
    pub(super) settled: bool,
    pub(super) incarnation: u64,
    /// Keys that a running task may be told of.
    pub(super) live_keys: &'static [&'static str],
    /// Its tasks are being fenced.
    pub(super) is_fencing: bool,
}

/// A task as it runs.
#[derive(Clone, Debug)]
pub(super) struct RunningTask {
    pub(super) connector: RawConfig,
    pub(super) task: RawConfig,
    pub(super) paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start or replace a connector with its stored configuration.
    RunConnector(String),
    /// Keep a connector known, but not running.
    ParkConnector(String, TargetState),
    DropConnector(String),
    /// Start or replace a task with its stored configuration.
    RunTask(TaskId),
    DropTask(TaskId),
    /// Stop all tasks of a connector, wherever they run, before those that are stored now start.
    FenceTasks(String),
    /// Tell a running task of its stored configuration, which differs in live keys only.
    RetuneTask(TaskId),
    /// Pause or resume.
    SwitchTask(TaskId, bool),
}

/// Keys whose change does not concern a running task.
const NOT_THE_TASKS: [&str; 2] = ["name", "tasks.max"];

pub(super) fn steps(
    wanted: &ConfigState,
    connectors: BTreeMap<&str, &RunningConnector>,
    tasks: BTreeMap<&TaskId, &RunningTask>,
    is_exactly_once: impl Fn(&RawConfig) -> bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for name in connectors.keys().filter(|name| !wanted.contains(name)) {
        steps.push(Step::DropConnector((*name).to_owned()));
    }
    for id in tasks.keys() {
        let kept = wanted.task(id).is_some() && wanted.target(&id.connector) != TargetState::Stopped;
        if !kept {
            steps.push(Step::DropTask((*id).clone()));
        }
    }
    for name in wanted.connectors() {
        let running = connectors.get(name).copied();
        steps.extend(connector_step(wanted, name, running));
        if wanted.target(name) != TargetState::Stopped {
            let waits = awaits_fencing(wanted, name, &is_exactly_once);
            task_steps(wanted, name, running, waits, &tasks, &mut steps);
        }
    }
    steps
}

/// Whether the stored tasks of a connector must not start yet: those before them may still commit.
pub(super) fn awaits_fencing(wanted: &ConfigState, name: &str, is_exactly_once: impl Fn(&RawConfig) -> bool) -> bool {
    wanted.awaits_fencing(name) && wanted.config(name).is_some_and(is_exactly_once)
}

fn connector_step(wanted: &ConfigState, name: &str, running: Option<&RunningConnector>) -> Option<Step> {
    let target = wanted.target(name);
    let as_wanted = running.is_some_and(|running| {
        running.target == target && (target != TargetState::Started || wanted.config(name) == Some(&running.config))
    });
    match target {
        _ if as_wanted => None,
        TargetState::Started => Some(Step::RunConnector(name.to_owned())),
        parked => Some(Step::ParkConnector(name.to_owned(), parked)),
    }
}

fn task_steps(
    wanted: &ConfigState,
    name: &str,
    running: Option<&RunningConnector>,
    must_fence: bool,
    tasks: &BTreeMap<&TaskId, &RunningTask>,
    steps: &mut Vec<Step>,
) {
    if wanted.is_inconsistent(name) {
        return; // the connector is asked again first
    }
    let Some(config) = wanted.config(name) else { return };
    let settled = running.is_some_and(|running| running.settled && running.config == *config);
    let paused = wanted.target(name) == TargetState::Paused;
    if must_fence {
        let is_due = running.is_some_and(|running| !running.is_fencing);
        if is_due && settled && !wanted.tasks(name).is_empty() {
            steps.push(Step::FenceTasks(name.to_owned()));
        }
        return;
    }
    for (number, task_config) in wanted.tasks(name).iter().enumerate() {
        let id = TaskId::new(name, i32::try_from(number).unwrap_or(i32::MAX));
        match tasks.get(&id) {
            None => steps.push(Step::RunTask(id)),
            Some(task) if settled && (task.task != *task_config || !same_for_tasks(&task.connector, config)) => {
                let is_same_connector = same_for_tasks(&task.connector, config);
                let live = running.map_or(&[][..], |running| running.live_keys);
                let is_live = is_same_connector && same_but_for(live, &task.task, task_config);
                steps.push(if is_live { Step::RetuneTask(id) } else { Step::RunTask(id) });
            }
            Some(task) if task.paused != paused => steps.push(Step::SwitchTask(id, paused)),
            Some(_) => {}
        }
    }
}

fn same_for_tasks(a: &RawConfig, b: &RawConfig) -> bool {
    same_but_for(&NOT_THE_TASKS, a, b)
}

fn same_but_for(keys: &[&str], a: &RawConfig, b: &RawConfig) -> bool {
    let matters = |(key, _): &(&String, &String)| !keys.contains(&key.as_str());
    a.iter().filter(matters).eq(b.iter().filter(matters))
}

#[cfg(test)]
mod tests;
