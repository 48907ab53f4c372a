//! The JSON of connectors, tasks and statuses, secrets hidden.

use serde_json::{Map as JsonMap, Value as Json, json};
use twinstream_connect_api::config::HIDDEN;
use twinstream_connect_api::{ConfigDef, RawConfig};

use super::App;
use crate::plugins::definition;
use crate::state::TaskId;
use crate::state::statuses::Status;

impl App {
    fn definition_of(&self, config: &RawConfig) -> ConfigDef {
        self.plugins.of(config).map(|plugin| definition(&self.settings, plugin)).unwrap_or_default()
    }

    fn masks(&self) -> bool {
        self.settings.bool("twinstream.mask.passwords")
    }

    /// A configuration as answers show it.
    pub(super) fn shown(&self, connector: &RawConfig, config: &RawConfig) -> RawConfig {
        if self.masks() { self.definition_of(connector).masked(config) } else { config.clone() }
    }

    /// Puts stored secrets back where a client returns what it was shown: who reads a configuration, changes a line and
    /// writes it back must not destroy a password.
    pub(super) fn unmask(&self, name: &str, mut config: RawConfig) -> RawConfig {
        let state = self.configs.state();
        let Some(stored) = state.config(name) else { return config };
        let def = self.definition_of(stored);
        for (key, value) in &mut config {
            if value == HIDDEN
                && def.is_secret(key)
                && let Some(known) = stored.get(key)
            {
                value.clone_from(known);
            }
        }
        config
    }

    /// `ConnectorInfo`; `None` if there is no such connector.
    pub(super) fn connector_json(&self, name: &str) -> Option<Json> {
        let (config, tasks) = {
            let state = self.configs.state();
            (state.config(name)?.clone(), state.tasks(name).len())
        };
        let task = |task: usize| json!({"connector": name, "task": task});
        Some(json!({
            "name": name,
            "config": self.shown(&config, &config),
            "tasks": (0..tasks).map(task).collect::<Vec<_>>(),
            "type": self.plugins.kind_name(&config),
        }))
    }

    /// `ConnectorStateInfo`; `None` if no state is known.
    pub(super) fn status_json(&self, name: &str) -> Option<Json> {
        let kind = match self.configs.state().config(name) {
            Some(config) => self.plugins.kind_name(config),
            None => "unknown",
        };
        let statuses = self.statuses.read();
        let connector = Json::Object(state_json(statuses.connector(name)?));
        let task = |(id, status): (i32, &Status)| {
            let mut json = JsonMap::from_iter([("id".to_owned(), json!(id))]);
            json.extend(state_json(status));
            Json::Object(json)
        };
        let tasks: Vec<Json> = statuses.tasks(name).map(task).collect();
        Some(json!({"name": name, "connector": connector, "tasks": tasks, "type": kind}))
    }

    pub(super) fn task_status_json(&self, id: &TaskId) -> Option<Json> {
        let statuses = self.statuses.read();
        let mut json = JsonMap::from_iter([("id".to_owned(), json!(id.task))]);
        json.extend(state_json(statuses.task(id)?));
        Some(Json::Object(json))
    }
}

fn state_json(status: &Status) -> JsonMap<String, Json> {
    let mut json = JsonMap::new();
    json.insert("state".to_owned(), json!(status.state.name()));
    json.insert("worker_id".to_owned(), json!(status.worker_id));
    if let Some(trace) = &status.trace {
        json.insert("trace".to_owned(), json!(trace));
    }
    if let Some(version) = &status.version {
        json.insert("version".to_owned(), json!(version));
    }
    json
}
