//! The status topic: what connectors and tasks are doing, as last told.
//!
//! Keys: `status-connector-<name>`, `status-task-<name>-<n>`. A tombstone forgets. The state in memory is what REST answers
//! show; it is also what a restarted worker finds and overwrites.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{Replay, StateRecord, TaskId, Unreadable};

/// What a connector or task is doing.
///
/// Legal ways: UNASSIGNED -> RUNNING | PAUSED | STOPPED (connectors) | FAILED; RUNNING <-> PAUSED; any -> FAILED; FAILED ->
/// RESTARTING -> RUNNING; any -> UNASSIGNED when the worker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RunState {
    Unassigned,
    Running,
    Paused,
    Stopped,
    Failed,
    Restarting,
}

impl RunState {
    pub(crate) const ALL: [Self; 6] =
        [Self::Unassigned, Self::Running, Self::Paused, Self::Stopped, Self::Failed, Self::Restarting];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unassigned => "UNASSIGNED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Restarting => "RESTARTING",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }
}

/// One entry of the status topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: RunState,
    /// Cause chain of a failure, first line plain.
    pub(crate) trace: Option<String>,
    pub(crate) worker_id: String,
    pub(crate) generation: i64,
    pub(crate) version: Option<String>,
}

impl Status {
    pub(crate) fn to_json(&self) -> Json {
        json!({
            "state": self.state.name(),
            "trace": self.trace,
            "worker_id": self.worker_id,
            "generation": self.generation,
            "version": self.version,
        })
    }

    fn from_json(json: &Json) -> Result<Self, String> {
        let text = |field: &str| json.get(field).and_then(Json::as_str).map(str::to_owned);
        let state = text("state").unwrap_or_default();
        Ok(Self {
            state: RunState::parse(&state).ok_or(format!("unknown state '{state}'"))?,
            trace: text("trace"),
            worker_id: text("worker_id").unwrap_or_default(),
            generation: json.get("generation").and_then(Json::as_i64).unwrap_or(0),
            version: text("version"),
        })
    }
}

/// Everything that the status topic says.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatusState {
    connectors: BTreeMap<String, Status>,
    tasks: BTreeMap<TaskId, Status>,
}

impl StatusState {
    pub(crate) fn connector(&self, name: &str) -> Option<&Status> {
        self.connectors.get(name)
    }

    pub(crate) fn task(&self, id: &TaskId) -> Option<&Status> {
        self.tasks.get(id)
    }

    /// Names of all connectors with a state.
    pub(crate) fn connectors(&self) -> impl Iterator<Item = &String> {
        self.connectors.keys()
    }

    /// Tasks of a connector in order of their number.
    pub(crate) fn tasks<'a>(&'a self, connector: &'a str) -> impl Iterator<Item = (i32, &'a Status)> {
        let from = TaskId { connector: connector.to_owned(), task: i32::MIN };
        self.tasks.range(from..).take_while(move |(id, _)| id.connector == connector).map(|(id, s)| (id.task, s))
    }

    pub(crate) fn all_tasks(&self) -> impl Iterator<Item = (&TaskId, &Status)> {
        self.tasks.iter()
    }

    pub(crate) fn set_connector(&mut self, name: &str, status: Option<Status>) -> StateRecord {
        let record = record(format!("status-connector-{name}"), status.as_ref());
        match status {
            Some(status) => _ = self.connectors.insert(name.to_owned(), status),
            None => _ = self.connectors.remove(name),
        }
        record
    }

    pub(crate) fn set_task(&mut self, id: &TaskId, status: Option<Status>) -> StateRecord {
        let record = record(format!("status-task-{id}"), status.as_ref());
        match status {
            Some(status) => _ = self.tasks.insert(id.clone(), status),
            None => _ = self.tasks.remove(id),
        }
        record
    }
}

impl Replay for StatusState {
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unreadable> {
        let unreadable = |reason: String| Unreadable::new(key, reason);
        let name = std::str::from_utf8(key).map_err(|error| unreadable(error.to_string()))?;
        let json: Option<Json> =
            value.map(serde_json::from_slice).transpose().map_err(|error| unreadable(error.to_string()))?;
        let status = || json.as_ref().map(Status::from_json).transpose().map_err(unreadable);
        if let Some(connector) = name.strip_prefix("status-connector-") {
            _ = self.set_connector(connector, status()?);
        } else if let Some(id) = name.strip_prefix("status-task-") {
            let id = TaskId::parse(id).ok_or_else(|| unreadable("not a task key".to_owned()))?;
            _ = self.set_task(&id, status()?);
        }
        Ok(()) // `status-topic-*`: topics that a Java worker saw its connectors use
    }
}

fn record(key: String, status: Option<&Status>) -> StateRecord {
    StateRecord { key: Bytes::from(key), value: status.map(|status| Bytes::from(status.to_json().to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Status {
        let (trace, version) = (None, Some("0.1.0".to_owned()));
        Status { state: RunState::Running, trace, worker_id: "h:8083".to_owned(), generation: 3, version }
    }

    #[test]
    fn bytes_are_those_of_kafka_connect() {
        let record = StatusState::default().set_task(&TaskId::new("c", 1), Some(running()));
        assert_eq!(record.key, "status-task-c-1");
        let expected = r#"{"state":"RUNNING","trace":null,"worker_id":"h:8083","generation":3,"version":"0.1.0"}"#;
        assert_eq!(record.value.unwrap(), expected);
    }

    #[test]
    fn what_is_set_is_what_a_restart_replays() {
        let mut live = StatusState::default();
        let records = [live.set_connector("c", Some(running())), live.set_task(&TaskId::new("c", 0), Some(running()))];
        let mut restarted = StatusState::default();
        for record in &records {
            restarted.replay(&record.key, record.value.as_deref()).unwrap();
        }
        assert_eq!(restarted.connector("c"), live.connector("c"));
        assert_eq!(restarted.tasks("c").collect::<Vec<_>>(), live.tasks("c").collect::<Vec<_>>());
        restarted.replay(b"status-connector-c", None).unwrap();
        assert_eq!(restarted.connector("c"), None);
    }

    #[test]
    fn tasks_of_similar_names_do_not_mix() {
        let mut state = StatusState::default();
        for id in [TaskId::new("c", 0), TaskId::new("c", 10), TaskId::new("c", 2), TaskId::new("c-1", 0)] {
            state.set_task(&id, Some(running()));
        }
        assert_eq!(state.tasks("c").map(|(n, _)| n).collect::<Vec<_>>(), [0, 2, 10]);
    }

    #[test]
    fn statuses_of_java_workers_without_version_are_read() {
        let mut state = StatusState::default();
        let value = br#"{"state":"FAILED","trace":"java.lang.X","worker_id":"w","generation":1}"#;
        state.replay(b"status-connector-c", Some(value)).unwrap();
        assert_eq!(state.connector("c").map(|s| s.state), Some(RunState::Failed));
        state.replay(b"status-topic-t:connector-c", Some(b"{}")).unwrap();
        assert!(state.replay(b"status-connector-c", Some(br#"{"state":"DANCING"}"#)).is_err());
    }
}
