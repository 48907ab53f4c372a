//! The connectors of a link, and those of its way back: stopped, started, made, and asked why they do not work.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tokio::time::Instant;
use twinstream_connect_api::{ApiRefusal, RawConfig, Wanted, WorkerApi};
use twinstream_model::TopicName;

use super::super::{LinkName, Members, Part, links};
use super::back::Turn;
use super::{LOOK_EVERY, Operation, STOPS_WITHIN, back, members};
use crate::config::{ON_TRUNCATION, RETURNS};

const RUNNING: &str = "RUNNING";
const FAILED: &str = "FAILED";
/// A failure that is seen more often than that is none of tasks that were there before.
const FAILED_LOOKS: usize = 10;
/// Topics that are told by name.
const TOLD_MAX: usize = 20;

impl Operation<'_> {
    /// Ends these connectors' tasks and waits until they have ended.
    pub(super) async fn stop(&mut self, members: &Members, parts: &[Part]) -> Result<(), ApiRefusal> {
        let names: Vec<&String> =
            members.iter().filter(|(part, _)| parts.contains(part)).map(|(_, name)| name).collect();
        let mut stopping = BTreeSet::new();
        for name in names {
            if self.worker.wanted(name) != Some(Wanted::Stopped) {
                self.worker.want(name, Wanted::Stopped).await?;
                self.report.step(format!("connector {name} stopped"));
            }
            stopping.insert(name);
        }
        let until = Instant::now() + STOPS_WITHIN;
        loop {
            stopping.retain(|name| !has_ended(self.worker, name));
            let Some(name) = stopping.first() else { return Ok(()) };
            if Instant::now() >= until {
                return Err(ApiRefusal::new(
                    500,
                    format!("connector {name} was stopped, and its tasks do not end; call again"),
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn start(&mut self, members: &Members) -> Result<(), ApiRefusal> {
        for (_, name) in members {
            if self.worker.wanted(name) != Some(Wanted::Running) {
                self.worker.want(name, Wanted::Running).await?;
                self.report.step(format!("connector {name} runs"));
            }
        }
        Ok(())
    }

    /// A failback is under way: the source connector of the way back runs.
    pub(super) fn comes_home(&self) -> bool {
        let back = members(self.worker, &self.link.back());
        back.iter().any(|(part, name)| *part == Part::Source && self.worker.wanted(name) == Some(Wanted::Running))
    }

    /// Waits until the link's source connector copies: fencing a source of which nothing is copied would stop all writing. False
    /// if time is up.
    pub(super) async fn wait_until_it_runs(&self, members: &Members) -> bool {
        let source = members.iter().find(|(part, _)| *part == Part::Source);
        let Some((_, name)) = source else { return false };
        loop {
            if runs(&self.worker.status(name).unwrap_or_default()) {
                return true;
            }
            if self.asked.is_over() {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until everything of a link runs that was started at the end of a verb; false if it does not in time, or has failed, which
    /// is told.
    pub(super) async fn tell_whether_it_runs(&mut self, link: &LinkName) -> bool {
        let (mut failed, members) = (0, members(self.worker, link));
        let stands = loop {
            let states = members.iter().map(|(part, name)| {
                let status = self.worker.status(name).unwrap_or_default();
                (name, state_of(&status, *part == Part::Source && self.settings.enabled))
            });
            let Some((name, state)) =
                states.filter(|(_, state)| *state != RUNNING).max_by_key(|(_, state)| *state == FAILED)
            else {
                return true;
            };
            failed = if state == FAILED { failed + 1 } else { 0 };
            if self.asked.is_over() || failed > FAILED_LOOKS {
                break format!("connector {name} is {state}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        self.report.left.push(format!(
            "topics have changed places, and link {link}, which is to copy now, does not run: {stands}; see `twinstream link describe {link}`"
        ));
        self.tell_failures(link);
        false
    }

    /// Topics that were not asked for, and stand still with the link's connectors.
    pub(super) fn tell_who_stands(&mut self) {
        if !self.others.is_empty() {
            let told = format!(
                "other topics of this link are not copied either while it is stopped: {}",
                some_of(self.others.iter())
            );
            self.report.left.push(told);
        }
    }

    /// Topics that began at the site that leads now: what leads back copies only what was a copy.
    pub(super) async fn tell_who_stays(&mut self) -> Result<(), ApiRefusal> {
        let own = self.ends.own_topics_of_target(&self.settings, &self.pairs).await?;
        if !own.is_empty() {
            let (alias, back) = (&self.ends.target_alias, self.link.back());
            self.report.step(format!(
                "link {back} brings home what was copied before; it does not copy what began in '{alias}': {}",
                some_of(own.iter())
            ));
        }
        Ok(())
    }

    /// Whether the way back was made by a fail-back, which cuts what only the originals have, and not by a change of places.
    pub(super) fn has_cut_before(&self) -> bool {
        let back = members(self.worker, &self.link.back());
        let cuts = |name: &String| {
            let config = self.worker.config(name).unwrap_or_default();
            config.get(ON_TRUNCATION).map(String::as_str) == Some("resume") && self.comes_home()
        };
        !self.settings.returns && back.iter().any(|(part, name)| *part == Part::Source && cuts(name))
    }

    /// A source connector that leads the other way, and neither brings topics home nor is what this link brings home.
    pub(super) fn strange_back_link(&self) -> Option<String> {
        let back = links(self.worker).remove(&self.link.back()).unwrap_or_default();
        let name = back.into_iter().find(|(part, _)| *part == Part::Source)?.1;
        let returns = |config: &RawConfig| config.get(RETURNS).map(String::as_str) == Some("true");
        let is_way_back = self.settings.returns || returns(&self.worker.config(&name).unwrap_or_default());
        (!is_way_back).then_some(name)
    }

    /// Makes the connectors that lead the other way, with this link's settings; or starts those whose way back this one is.
    pub(super) async fn make_back_link(&mut self, turn: Turn) -> Result<(), ApiRefusal> {
        let back = self.link.back();
        let known = members(self.worker, &back);
        if !self.settings.returns || known.is_empty() {
            let home = self.worker.producer_servers().unwrap_or_default();
            for (part, name) in members(self.worker, &self.link) {
                let config = self.worker.config(&name).unwrap_or_default();
                let name = known
                    .iter()
                    .find(|(of, _)| *of == part)
                    .map_or_else(|| part.connector(&back), |(_, name)| name.clone());
                let mut turned = back::turned(part, &self.link, &config, turn, &home);
                turned.insert("name".to_owned(), name.clone());
                if self.worker.config(&name).as_ref() != Some(&turned) {
                    self.worker.put(&name, turned).await?;
                    self.report.step(format!("connector {name} made"));
                }
            }
        }
        self.start(&members(self.worker, &back)).await
    }

    /// Says which tasks of a link do not work, and why.
    pub(super) fn tell_failures(&mut self, link: &LinkName) {
        for (_, name) in members(self.worker, link) {
            let status = self.worker.status(&name).unwrap_or_default();
            let tasks = status["tasks"].as_array().into_iter().flatten();
            for failed in tasks.chain([&status["connector"]]).filter(|task| task["state"] == "FAILED") {
                let cause = failed["trace"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
                self.report.left.push(format!("connector {name} has failed: {cause}"));
            }
        }
    }
}

/// Their names, or as many as a line holds.
fn some_of<'a>(topics: impl ExactSizeIterator<Item = &'a TopicName>) -> String {
    let more = topics.len().saturating_sub(TOLD_MAX);
    let told = topics.take(TOLD_MAX).map(TopicName::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
}

/// What a connector with its tasks is: the first state that is not RUNNING, FAILED before others. One that is to have tasks does not
/// run without them.
fn state_of(status: &Json, has_tasks: bool) -> String {
    let tasks: Vec<&Json> = status["tasks"].as_array().into_iter().flatten().collect();
    let none = if has_tasks && tasks.is_empty() { Some("without tasks") } else { None };
    let states = tasks.into_iter().chain([&status["connector"]]).map(|of| of["state"].as_str().unwrap_or("UNASSIGNED"));
    let states: Vec<&str> = states.chain(none).collect();
    let worst = states.iter().find(|state| **state == FAILED).or(states.iter().find(|state| **state != RUNNING));
    worst.copied().unwrap_or(RUNNING).to_owned()
}

/// The connector and all of its tasks run, and there are some.
fn runs(status: &Json) -> bool {
    let tasks = status["tasks"].as_array();
    status["connector"]["state"] == "RUNNING"
        && tasks.is_some_and(|tasks| !tasks.is_empty() && tasks.iter().all(|task| task["state"] == "RUNNING"))
}

/// Whether no task of a stopped connector is left.
fn has_ended(worker: &dyn WorkerApi, name: &str) -> bool {
    let Some(status) = worker.status(name) else { return true };
    let is_stopped = status["connector"]["state"] == "STOPPED";
    is_stopped && status["tasks"].as_array().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connector_is_what_the_worst_of_its_tasks_is_and_nothing_without_those_that_it_needs() {
        let of = |connector: &str, tasks: &[&str], has_tasks| {
            let tasks: Vec<Json> = tasks.iter().map(|state| json!({"state": state})).collect();
            state_of(&json!({"connector": {"state": connector}, "tasks": tasks}), has_tasks)
        };
        assert_eq!(of("RUNNING", &["RUNNING", "RUNNING"], true), "RUNNING");
        assert_eq!(of("RUNNING", &["RESTARTING", "FAILED"], true), "FAILED");
        assert_eq!(of("RUNNING", &["RESTARTING", "RUNNING"], false), "RESTARTING");
        assert_eq!(
            (of("RUNNING", &[], true).as_str(), of("RUNNING", &[], false).as_str()),
            ("without tasks", "RUNNING")
        );
        assert_eq!(state_of(&Json::Null, false), "UNASSIGNED", "nothing is known of it");
    }
}
