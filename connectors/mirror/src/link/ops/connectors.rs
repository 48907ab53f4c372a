//! The connectors of a link, and those of its way back: stopped, started, made, and asked why they do not work.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tokio::time::Instant;
use twinstream_connect_api::{ApiRefusal, RawConfig, Wanted, WorkerApi};
use twinstream_model::TopicName;

use super::super::{LinkName, Members, Part, links};
use super::{LOOK_EVERY, Operation, STOPS_WITHIN, back, members};
use crate::config::RETURNS;

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

    /// Topics that were not asked for, and stand still with the link's connectors.
    pub(super) fn tell_who_stands(&mut self) {
        let others: Vec<&str> = self.others.iter().map(TopicName::as_str).take(TOLD_MAX).collect();
        if !others.is_empty() {
            let more = self.others.len() - others.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let told = format!(
                "other topics of this link are not copied either while it is stopped: {}{more}",
                others.join(", ")
            );
            self.report.left.push(told);
        }
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
    pub(super) async fn make_back_link(&mut self) -> Result<(), ApiRefusal> {
        let back = self.link.back();
        let known = members(self.worker, &back);
        if !self.settings.returns || known.is_empty() {
            for (part, name) in members(self.worker, &self.link) {
                let config = self.worker.config(&name).unwrap_or_default();
                let name = known
                    .iter()
                    .find(|(of, _)| *of == part)
                    .map_or_else(|| part.connector(&back), |(_, name)| name.clone());
                let mut turned = back::turned(part, &self.link, &config);
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
