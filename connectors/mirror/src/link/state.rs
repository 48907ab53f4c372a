//! What the states of a link's connectors and tasks come to. Pure.
//!
//! Tasks run whose partitions stand, each for a reason of its own that somebody has to look at (`engine::standing`). A link of which
//! nothing moves for such reasons does not call itself running.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use twinstream_connect_api::Wanted;
use twinstream_model::TopicName;

use super::Part;
use crate::engine::standing::Standing;
use crate::figures::Seen;
use crate::words::counted;

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
    /// Everything runs, and no partition is copied: each stands until somebody has looked.
    Degraded,
    Paused,
    Stopped,
    Failed,
}

impl LinkState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Starting => "STARTING",
            Self::Degraded => "DEGRADED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        }
    }
}

/// What the whole link is, the worst of its parts; and why, if they run and it copies nothing all the same.
pub(super) fn state_of(members: &[Member], seen: &[Seen], left: &Left) -> (LinkState, Option<String>) {
    let state = members.iter().map(Member::state).max().unwrap_or(LinkState::Starting);
    match standstill(seen).or_else(|| left.instead(seen)).filter(|_| state == LinkState::Running) {
        Some(cause) => (LinkState::Degraded, Some(cause)),
        None => (state, None),
    }
}

/// Why none of the partitions that tasks of this process hold is copied, by one of them; `None` while one is, or there are none.
fn standstill(seen: &[Seen]) -> Option<String> {
    let live: Vec<&Seen> = seen.iter().filter(|seen| seen.is_live).collect();
    let first = live.first().filter(|_| live.iter().all(|seen| stands(seen)))?;
    let cause = if first.cause.is_empty() { String::new() } else { format!(": {}", first.cause) };
    Some(format!(
        "nothing is copied, {} {} still; {} is {}{cause}",
        counted(live.len(), "partition"),
        if live.len() == 1 { "stands" } else { "stand" },
        first.source,
        first.standing
    ))
}

/// Whether it stands until somebody has looked.
fn stands(seen: &Seen) -> bool {
    match seen.standing {
        Standing::Starting | Standing::Copying | Standing::Away => false,
        Standing::Gone
        | Standing::Unauthorized
        | Standing::Overtaken
        | Standing::Truncated
        | Standing::Recreated
        | Standing::Promoted
        | Standing::Refused => true,
    }
}

/// How many partitions that tasks of this process hold stand, and how many there are.
pub(super) fn standing(seen: &[Seen]) -> (usize, usize) {
    let live = || seen.iter().filter(|seen| seen.is_live);
    (live().filter(|seen| stands(seen)).count(), live().count())
}

/// Topics that a link is to copy and that no task holds.
pub(super) struct Left<'a> {
    /// They were copied, and the source does not show them any more.
    pub gone: usize,
    /// The target does not take them, and why.
    pub refused: &'a BTreeMap<TopicName, String>,
}

impl Left<'_> {
    /// Why there are no partitions, if there were or should be some.
    fn instead(&self, seen: &[Seen]) -> Option<String> {
        if seen.iter().any(|seen| seen.is_live) {
            return None;
        }
        if let Some((topic, cause)) = self.refused.first_key_value() {
            let topics = counted(self.refused.len(), "topic");
            return Some(format!("nothing is copied, the target refuses {topics}; {topic}: {cause}"));
        }
        (self.gone > 0).then(|| {
            format!(
                "nothing is copied: the source does not show {} any more that were copied; they were deleted there, or the link may not DESCRIBE them",
                counted(self.gone, "topic")
            )
        })
    }
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
            "failures": self.causes("FAILED"),
            "restarting": self.causes("RESTARTING"),
        })
    }

    /// Of everything in this state: each cause on its own line.
    fn causes(&self, state: &str) -> Vec<String> {
        let there = self.states().into_iter().filter(|(_, is, _)| *is == state);
        there.map(|(who, _, trace)| format!("{who}: {}", trace.unwrap_or("no cause was told").trim())).collect()
    }
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

fn trace(json: &Json) -> Option<&str> {
    json["trace"].as_str()
}

#[cfg(test)]
mod tests {
    use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

    use super::*;
    use crate::figures::LinkFigures;

    #[test]
    fn a_link_of_which_nothing_moves_does_not_say_that_it_runs() {
        let at = |index| TopicPartition::new(TopicName::parse("orders").unwrap(), PartitionIndex(index));
        let status = json!({"connector": {"state": "RUNNING"}, "tasks": [{"id": 0, "state": "RUNNING"}]});
        let member = |wanted| Member { part: Part::Source, name: "m".to_owned(), wanted, status: Some(status.clone()) };
        let figures = LinkFigures::default();
        let refused = BTreeMap::from([(TopicName::parse("large").unwrap(), "one broker is there".to_owned())]);
        let none = BTreeMap::new();
        let left = |refused| state_of(&[member(Wanted::Running)], &[], &Left { gone: 0, refused });
        let (degraded, cause) = left(&refused);
        assert_eq!(degraded, LinkState::Degraded);
        assert!(cause.is_some_and(|cause| cause.contains("refuses 1 topic; large: one broker is there")));
        let nothing_left = Left { gone: 0, refused: &none };
        let state = |wanted| state_of(&[member(wanted)], &figures.partitions_at(1_000), &nothing_left);
        assert_eq!(state(Wanted::Running), (LinkState::Running, None), "there is nothing to copy yet");
        let stands = |index, standing| {
            let partition = figures.partition(&at(index), &at(index));
            partition.held();
            partition.stands(standing, "records were lost there");
        };
        stands(0, Standing::Truncated);
        stands(1, Standing::Copying);
        assert_eq!(state(Wanted::Running).0, LinkState::Running, "the other one is copied");
        assert_eq!(standing(&figures.partitions_at(1_000)), (1, 2), "and it is told that one is not");
        stands(1, Standing::Refused);
        let (degraded, cause) = state(Wanted::Running);
        assert_eq!(degraded.name(), "DEGRADED");
        let cause = cause.unwrap();
        assert!(
            cause.contains("2 partitions") && cause.contains("orders-0 is TRUNCATED: records were lost"),
            "{cause}"
        );
        assert_eq!(state(Wanted::Paused), (LinkState::Paused, None), "who paused it knows why");
        stands(1, Standing::Away);
        assert_eq!(state(Wanted::Running).0, LinkState::Running, "it is tried again without end");
    }
}
