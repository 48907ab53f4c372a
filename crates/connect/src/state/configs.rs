//! The config topic: connector and task configurations, and what each connector is wanted to do.
//!
//! Keys: `connector-<name>`, `task-<name>-<n>`, `commit-<name>`, `target-state-<name>`, `tasks-fencing-<name>`. Task configurations count only from
//! the commit record after them; a commit that names more tasks than were written leaves the connector *inconsistent*
//! (a writer died half way, or compaction dropped part), and the herder then asks the connector again.
//! With exactly-once sources a fencing record follows each commit: so many tasks may hold transactions from now on, and all
//! those before them have been fenced. Until it is there no task of that commit may start.
//! Records of other kinds (session keys, loggers) belong to Java workers and are kept untouched.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value as Json, json};
use twinstream_connect_api::RawConfig;

use super::{Replay, StateRecord, TaskId, Unreadable};

/// What a connector is wanted to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TargetState {
    #[default]
    Started,
    Paused,
    Stopped,
}

impl TargetState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Started, Self::Paused, Self::Stopped].into_iter().find(|state| state.name() == text)
    }
}

/// Everything that the config topic says.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigState {
    connectors: BTreeMap<String, Connector>,
    /// Target states may stand before their connector.
    targets: BTreeMap<String, TargetState>,
    /// Task configurations that no commit has covered yet.
    deferred: BTreeMap<String, BTreeMap<i32, RawConfig>>,
    /// How many tasks may hold transactions. It outlives the connector, as its tasks may.
    fenced: BTreeMap<String, u32>,
    /// Connectors with a commit and no fencing record behind it.
    unfenced: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Connector {
    config: RawConfig,
    tasks: Vec<RawConfig>,
    inconsistent: bool,
}

impl ConfigState {
    pub(crate) fn connectors(&self) -> impl Iterator<Item = &str> {
        self.connectors.keys().map(String::as_str)
    }

    pub(crate) fn contains(&self, connector: &str) -> bool {
        self.connectors.contains_key(connector)
    }

    pub(crate) fn config(&self, connector: &str) -> Option<&RawConfig> {
        self.connectors.get(connector).map(|c| &c.config)
    }

    /// Committed task configurations, the task's number being the index.
    pub(crate) fn tasks(&self, connector: &str) -> &[RawConfig] {
        self.connectors.get(connector).map_or(&[], |c| &c.tasks)
    }

    pub(crate) fn task(&self, id: &TaskId) -> Option<&RawConfig> {
        self.tasks(&id.connector).get(usize::try_from(id.task).ok()?)
    }

    pub(crate) fn target(&self, connector: &str) -> TargetState {
        self.targets.get(connector).copied().unwrap_or_default()
    }

    /// How many tasks of this connector may hold transactions, by the last fencing record.
    pub(crate) fn transactional_tasks(&self, connector: &str) -> u32 {
        self.fenced.get(connector).copied().unwrap_or(0)
    }

    /// Whether the tasks of the last commit wait for those before them to be fenced.
    pub(crate) fn awaits_fencing(&self, connector: &str) -> bool {
        self.unfenced.contains(connector)
    }

    /// Whether the last commit lacked tasks, so that the connector must be asked again.
    pub(crate) fn is_inconsistent(&self, connector: &str) -> bool {
        self.connectors.get(connector).is_some_and(|c| c.inconsistent)
    }

    fn apply(&mut self, key: &str, value: Option<Json>) -> Result<(), String> {
        if let Some(name) = key.strip_prefix("connector-") {
            self.apply_connector(name, value)
        } else if let Some(id) = key.strip_prefix("task-") {
            let id = TaskId::parse(id).ok_or("not a task key")?;
            self.apply_task(id, value)
        } else if let Some(name) = key.strip_prefix("commit-") {
            self.apply_commit(name, value)
        } else if let Some(name) = key.strip_prefix("target-state-") {
            self.apply_target(name, value)
        } else if let Some(name) = key.strip_prefix("tasks-fencing-") {
            self.apply_fencing(name, value)
        } else {
            Ok(()) // of a Java worker
        }
    }

    fn apply_connector(&mut self, name: &str, value: Option<Json>) -> Result<(), String> {
        let Some(value) = value else {
            self.connectors.remove(name);
            self.deferred.remove(name);
            return Ok(());
        };
        self.connectors.entry(name.to_owned()).or_default().config = properties(&value)?;
        Ok(())
    }

    fn apply_task(&mut self, id: TaskId, value: Option<Json>) -> Result<(), String> {
        let tasks = self.deferred.entry(id.connector).or_default();
        match value {
            Some(value) => _ = tasks.insert(id.task, properties(&value)?),
            None => _ = tasks.remove(&id.task),
        }
        Ok(())
    }

    fn apply_commit(&mut self, name: &str, value: Option<Json>) -> Result<(), String> {
        let Some(value) = value else { return Ok(()) };
        let count = value.get("tasks").and_then(Json::as_u64).ok_or("field 'tasks' is missing or no number")?;
        let mut written = self.deferred.remove(name).unwrap_or_default();
        // Compaction may have removed the connector; then its tasks are of no interest.
        let Some(connector) = self.connectors.get_mut(name) else { return Ok(()) };
        let complete = (0..count).all(|task| i32::try_from(task).is_ok_and(|task| written.contains_key(&task)));
        connector.inconsistent = !complete;
        if complete {
            let tasks = (0..count).filter_map(|task| written.remove(&(task as i32)));
            connector.tasks = tasks.collect();
            self.unfenced.insert(name.to_owned());
        }
        Ok(())
    }

    fn apply_fencing(&mut self, name: &str, value: Option<Json>) -> Result<(), String> {
        let Some(value) = value else {
            self.fenced.remove(name);
            return Ok(());
        };
        let count = value.get("task-count").and_then(Json::as_u64).and_then(|count| u32::try_from(count).ok());
        self.fenced.insert(name.to_owned(), count.ok_or("field 'task-count' is missing or no number")?);
        self.unfenced.remove(name);
        Ok(())
    }

    fn apply_target(&mut self, name: &str, value: Option<Json>) -> Result<(), String> {
        let Some(value) = value else {
            self.targets.remove(name);
            return Ok(());
        };
        // Old workers know `state` only, where a stopped connector shows as paused; `state.v2` tells the truth.
        let text = value.get("state.v2").or(value.get("state")).and_then(Json::as_str).unwrap_or_default();
        let state = TargetState::parse(text).ok_or(format!("unknown target state '{text}'"))?;
        self.targets.insert(name.to_owned(), state);
        Ok(())
    }
}

impl Replay for ConfigState {
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Unreadable> {
        let name = std::str::from_utf8(key).map_err(|error| Unreadable::new(key, error))?;
        let json = value.map(serde_json::from_slice).transpose().map_err(|error| Unreadable::new(key, error))?;
        self.apply(name, json).map_err(|reason| Unreadable::new(key, reason))
    }
}

fn properties(value: &Json) -> Result<RawConfig, String> {
    let entries = value.get("properties").and_then(Json::as_object).ok_or("field 'properties' is missing")?;
    let entry = |(k, v): (&String, &Json)| match v {
        Json::String(text) => Some((k.clone(), text.clone())),
        Json::Null => None,
        other => Some((k.clone(), other.to_string())),
    };
    Ok(entries.iter().filter_map(entry).collect())
}

fn record(key: String, value: Option<Json>) -> StateRecord {
    StateRecord { key: Bytes::from(key), value: value.map(|value| Bytes::from(value.to_string())) }
}

pub(crate) fn connector_record(name: &str, config: &RawConfig) -> StateRecord {
    record(format!("connector-{name}"), Some(json!({ "properties": config })))
}

/// All that forgets a connector.
pub(crate) fn deletion_records(name: &str) -> Vec<StateRecord> {
    vec![record(format!("connector-{name}"), None), record(format!("target-state-{name}"), None)]
}

/// Task configurations and the commit that makes them count; in this order, in one go.
pub(crate) fn task_records(name: &str, tasks: &[RawConfig]) -> Vec<StateRecord> {
    let task =
        |(i, config): (usize, &RawConfig)| record(format!("task-{name}-{i}"), Some(json!({ "properties": config })));
    let mut records: Vec<StateRecord> = tasks.iter().enumerate().map(task).collect();
    records.push(record(format!("commit-{name}"), Some(json!({ "tasks": tasks.len() }))));
    records
}

pub(crate) fn target_record(name: &str, state: TargetState) -> StateRecord {
    let old = if state == TargetState::Started { "STARTED" } else { "PAUSED" };
    record(format!("target-state-{name}"), Some(json!({ "state": old, "state.v2": state.name() })))
}

/// Everything that may hold transactions of this connector's tasks has been fenced; so many may from now on.
pub(crate) fn fencing_record(name: &str, tasks: usize) -> StateRecord {
    record(format!("tasks-fencing-{name}"), Some(json!({ "task-count": tasks })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> RawConfig {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn replayed(records: &[StateRecord]) -> ConfigState {
        let mut state = ConfigState::default();
        for record in records {
            state.replay(&record.key, record.value.as_deref()).unwrap();
        }
        state
    }

    fn text(record: &StateRecord) -> String {
        let part = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        format!("{}={}", part(&record.key), record.value.as_ref().map_or("null".to_owned(), part))
    }

    #[test]
    fn bytes_are_those_of_kafka_connect() {
        assert_eq!(text(&connector_record("c", &config(&[("a", "1")]))), r#"connector-c={"properties":{"a":"1"}}"#);
        let tasks = task_records("c", &[config(&[("a", "1")])]);
        assert_eq!(text(&tasks[0]), r#"task-c-0={"properties":{"a":"1"}}"#);
        assert_eq!(text(&tasks[1]), r#"commit-c={"tasks":1}"#);
        let stopped = target_record("c", TargetState::Stopped);
        assert_eq!(text(&stopped), r#"target-state-c={"state":"PAUSED","state.v2":"STOPPED"}"#);
        assert_eq!(text(&deletion_records("c")[0]), "connector-c=null");
    }

    #[test]
    fn tasks_count_only_from_their_commit() {
        let mut records = vec![connector_record("c", &config(&[]))];
        let tasks = task_records("c", &[config(&[("n", "0")]), config(&[("n", "1")])]);
        records.extend(tasks[..2].iter().cloned());
        assert!(replayed(&records).tasks("c").is_empty());
        records.push(tasks[2].clone());
        assert_eq!(replayed(&records).tasks("c").len(), 2);
    }

    #[test]
    fn commit_with_missing_tasks_is_inconsistent_and_keeps_the_old_ones() {
        let mut records = vec![connector_record("c", &config(&[]))];
        records.extend(task_records("c", &[config(&[("n", "0")])]));
        let next = task_records("c", &[config(&[("n", "0")]), config(&[("n", "1")])]);
        records.extend(next[1..].iter().cloned());
        let state = replayed(&records);
        assert!(state.is_inconsistent("c"));
        assert_eq!(state.tasks("c").len(), 1);
    }

    #[test]
    fn deleting_forgets_tasks_and_target_state() {
        let mut records = vec![connector_record("c", &config(&[])), target_record("c", TargetState::Paused)];
        records.extend(task_records("c", &[config(&[])]));
        records.extend(deletion_records("c"));
        records.push(connector_record("c", &config(&[])));
        let state = replayed(&records);
        assert!(state.tasks("c").is_empty());
        assert_eq!(state.target("c"), TargetState::Started);
    }

    #[test]
    fn tasks_of_a_commit_wait_for_the_fencing_record_behind_it() {
        let mut records = vec![connector_record("c", &config(&[]))];
        assert!(!replayed(&records).awaits_fencing("c"));
        records.extend(task_records("c", &[config(&[]), config(&[])]));
        assert!(replayed(&records).awaits_fencing("c"));
        records.push(fencing_record("c", 2));
        assert_eq!(text(records.last().unwrap()), r#"tasks-fencing-c={"task-count":2}"#);
        let state = replayed(&records);
        assert!(!state.awaits_fencing("c"));
        assert_eq!(state.transactional_tasks("c"), 2);
        records.extend(task_records("c", &[config(&[])]));
        let state = replayed(&records);
        assert!(state.awaits_fencing("c"));
        assert_eq!(state.transactional_tasks("c"), 2, "two are to be fenced before the one may start");
        // A connector that was deleted may have left tasks behind somewhere.
        records.extend(deletion_records("c"));
        assert_eq!(replayed(&records).transactional_tasks("c"), 2);
    }

    #[test]
    fn names_with_dashes_are_kept_whole() {
        let mut records = vec![connector_record("a-1", &config(&[]))];
        records.extend(task_records("a-1", &[config(&[("x", "y")])]));
        assert_eq!(replayed(&records).task(&TaskId::new("a-1", 0)), Some(&config(&[("x", "y")])));
    }

    #[test]
    fn states_of_old_and_new_java_workers_are_read() {
        let mut state = ConfigState::default();
        state.replay(b"target-state-c", Some(br#"{"state":"PAUSED"}"#)).unwrap();
        assert_eq!(state.target("c"), TargetState::Paused);
        state.replay(b"target-state-c", Some(br#"{"state":"PAUSED","state.v2":"STOPPED"}"#)).unwrap();
        assert_eq!(state.target("c"), TargetState::Stopped);
    }

    #[test]
    fn foreign_and_broken_records_change_nothing() {
        let mut state = replayed(&[connector_record("c", &config(&[("a", "1")]))]);
        state.replay(b"session-key", Some(br#"{"key":"x"}"#)).unwrap();
        for value in [&b"{"[..], b"[]", b"null", b"{\"properties\":7}"] {
            assert!(state.replay(b"connector-c", Some(value)).is_err());
        }
        assert!(state.replay(b"\xff", None).is_err());
        assert_eq!(state.config("c"), Some(&config(&[("a", "1")])));
    }
}
