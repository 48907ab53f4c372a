//! What the states of a link's connectors and tasks come to. Pure.

use serde_json::{Value as Json, json};
use twinstream_connect_api::Wanted;

use super::Part;

/// One connector of a link as the worker reports it.
pub(super) struct Member {
    pub part: Part,
    pub name: String,
    pub wanted: Wanted,
    /// The body of its status; none while no state is known.
    pub status: Option<Json>,
}

/// One word for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkState {
    /// Each connector and each task runs.
    Running,
    /// Something does not run yet, or not any more.
    Starting,
    Paused,
    Stopped,
    Failed,
}

impl LinkState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Starting => "STARTING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        }
    }
}

/// What the whole link is: the worst of its parts.
pub(super) fn state_of(members: &[Member]) -> LinkState {
    members.iter().map(Member::state).max().unwrap_or(LinkState::Starting)
}

impl Member {
    fn state(&self) -> LinkState {
        let states = self.states();
        if states.iter().any(|(_, state, _)| *state == "FAILED") {
            return LinkState::Failed;
        }
        match self.wanted {
            Wanted::Paused => LinkState::Paused,
            Wanted::Stopped => LinkState::Stopped,
            Wanted::Running if states.is_empty() || states.iter().any(|(_, state, _)| *state != "RUNNING") => {
                LinkState::Starting
            }
            Wanted::Running => LinkState::Running,
        }
    }

    /// (`connector` or `task N`, state, trace) of the connector and its tasks.
    fn states(&self) -> Vec<(String, &str, Option<&str>)> {
        let Some(status) = &self.status else { return Vec::new() };
        let mut states =
            vec![("connector".to_owned(), text(&status["connector"], "state"), trace(&status["connector"]))];
        for task in status["tasks"].as_array().into_iter().flatten() {
            states.push((format!("task {}", task["id"]), text(task, "state"), trace(task)));
        }
        states
    }

    /// As answers show it.
    pub(super) fn json(&self) -> Json {
        let tasks = self.status.as_ref().and_then(|status| status["tasks"].as_array()).map_or(0, Vec::len);
        json!({
            "name": self.name,
            "part": self.part.name(),
            "state": self.state().name(),
            "tasks": tasks,
            "failures": self.failures(),
        })
    }

    /// Each cause on its own line.
    fn failures(&self) -> Vec<String> {
        let failed = self.states().into_iter().filter(|(_, state, _)| *state == "FAILED");
        failed.map(|(who, _, trace)| format!("{who}: {}", trace.unwrap_or("no cause was told").trim())).collect()
    }
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

fn trace(json: &Json) -> Option<&str> {
    json["trace"].as_str()
}
