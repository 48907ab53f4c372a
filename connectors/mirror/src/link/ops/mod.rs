//! Fail-over, promotion, reversal and fail-back of a link.
//!
//! ```text
//!   failover   the source may be away: the copies become topics like any other; tells what is lost
//!   promote    the same, planned: waits until the copies have everything, and loses nothing
//!   reverse    A and B change places: A is fenced, B gets the rest and is promoted, B -> A runs
//!   failback   after a fail-over: A gives up what diverged, gets what B wrote, and then both change places
//! ```
//! Invariants: V1 a verb looks first and then does what is left to do, so calling it again goes on where it ended. V2 nobody is
//! written to on both sides by a verb that is planned: the old leader is fenced before the last records are waited for. V3 no
//! verb waits longer than its `timeout`; what it did not get to stands in its report, and nothing is undone.
//! Not here: what to do next about a topic (`plan`), the two clusters (`ends`), groups (`groups`), what is told (`report`).

mod back; // the configuration that leads the other way
mod ends; // both clusters, topics and their copies
mod groups; // offsets of groups go over
mod marks; // topics become mirrors, and topics like any other
mod measure; // how far both sides are
mod plan; // who leads, and what is next
mod report; // the answer

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiAnswer, ApiRefusal, ApiRequest, RawConfig, Wanted, WorkerApi};
use twinstream_model::{Offset, TopicName, TopicPartition};

use self::ends::{ANSWERS_WITHIN, Ends, Pair};
use self::plan::{Phase, Step, step};
use self::report::Report;
use super::{LinkName, Members, Part, lag, links};
use crate::checkpoint::settings::CheckpointSettings;
use crate::config::{RETURNS, Settings};
use crate::policy::full_match;

const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// How often it is looked whether what is waited for is there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long tasks may take to end: what is under way is delivered first.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How long offsets of groups may take to go over; what is not carried by then is told.
const GROUPS_WITHIN: Duration = Duration::from_secs(20);
/// The sites change places when the copy lacks no more than this in any partition: producers are fenced for as long as it takes
/// to bring that over.
const NEARLY: i64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Failover,
    Promote,
    Reverse,
    Failback,
}

impl Verb {
    pub(super) const ALL: [Verb; 4] = [Verb::Failover, Verb::Promote, Verb::Reverse, Verb::Failback];

    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::Failover => "failover",
            Verb::Promote => "promote",
            Verb::Reverse => "reverse",
            Verb::Failback => "failback",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// How a verb is asked for.
struct Asked {
    dry_run: bool,
    until: Instant,
    /// For the source's names; all if none.
    topics: Option<Regex>,
}

impl Asked {
    fn read(request: &ApiRequest) -> Result<Asked, ApiRefusal> {
        let timeout = match request.query.get("timeout") {
            None => TIMEOUT,
            Some(text) => {
                text.parse().ok().map(Duration::from_secs).filter(|timeout| *timeout <= TIMEOUT_MAX).ok_or_else(
                    || ApiRefusal::bad_request(format!("timeout must be seconds, at most 3600, not '{text}'")),
                )?
            }
        };
        let topics = request.query.get("topics").map(|list| {
            let list: Vec<String> = list.split(',').map(|topic| topic.trim().to_owned()).collect();
            full_match(&list).map_err(|why| ApiRefusal::bad_request(format!("topics: {why}")))
        });
        Ok(Asked { dry_run: request.flag("dry-run"), until: Instant::now() + timeout, topics: topics.transpose()? })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// A link in the hands of a verb.
struct Operation<'a> {
    worker: &'a dyn WorkerApi,
    link: LinkName,
    settings: Settings,
    ends: Ends,
    asked: Asked,
    report: Report,
    /// By the source's names.
    pairs: BTreeMap<TopicName, Pair>,
    /// What the worker has stored of them.
    positions: BTreeMap<TopicPartition, Offset>,
}

pub(super) async fn answer(
    worker: &dyn WorkerApi,
    link: &LinkName,
    verb: Verb,
    request: &ApiRequest,
) -> Result<ApiAnswer, ApiRefusal> {
    let began = Instant::now();
    let mut operation = Operation::begin(worker, link, verb, Asked::read(request)?).await?;
    match verb {
        Verb::Failover => operation.failover().await?,
        Verb::Promote => operation.promote().await?,
        Verb::Reverse => operation.reverse().await?,
        Verb::Failback => operation.failback().await?,
    }
    Ok(ApiAnswer::ok(operation.report.json(began.elapsed(), crate::observer::now_ms())))
}

impl<'a> Operation<'a> {
    async fn begin(
        worker: &'a dyn WorkerApi,
        link: &LinkName,
        verb: Verb,
        asked: Asked,
    ) -> Result<Operation<'a>, ApiRefusal> {
        let (name, settings) = source_of(worker, link)?;
        let mut ends = Ends::connect(&settings).await?;
        let stored = worker.offsets(&name);
        let pairs = match verb {
            // One that answers some questions and not others is lost as well.
            Verb::Failover => match tokio::time::timeout(ANSWERS_WITHIN, ends.pairs(&settings, &stored)).await {
                Ok(Ok(pairs)) => pairs,
                _ => {
                    ends.give_up_source();
                    ends.pairs(&settings, &stored).await?
                }
            },
            _ => ends.pairs(&settings, &stored).await?,
        };
        let positions = lag::positions(&settings.source_alias, &stored);
        let positions = positions.into_iter().filter_map(|(partition, next)| Some((partition, next.ok()?))).collect();
        let report = Report::new(verb, link, asked.dry_run, ends.source.is_ok());
        let mut operation =
            Operation { worker, link: link.clone(), settings, ends, asked, report, pairs: BTreeMap::new(), positions };
        let wanted = operation.asked.topics.clone();
        let is_wanted = |topic: &TopicName| wanted.as_ref().is_none_or(|wanted| wanted.is_match(topic.as_str()));
        operation.pairs = pairs.into_iter().filter(|(topic, _)| is_wanted(topic)).collect();
        if operation.pairs.is_empty() {
            return Err(ApiRefusal::conflict(format!("link {link} has copied no topic that was asked for")));
        }
        operation.note_phases();
        Ok(operation)
    }

    /// Looks at the marks once more.
    async fn look(&mut self) -> Result<(), ApiRefusal> {
        let (name, _) = source_of(self.worker, &self.link)?;
        let mut found = self.ends.pairs(&self.settings, &self.worker.offsets(&name)).await?;
        found.retain(|topic, _| self.pairs.contains_key(topic));
        self.pairs = found;
        self.note_phases();
        Ok(())
    }

    fn note_phases(&mut self) {
        for pair in self.pairs.values() {
            self.report.stands(pair, self.ends.phase(pair));
        }
    }

    fn in_phase(&self, phases: &[Phase]) -> Vec<&Pair> {
        self.pairs.values().filter(|pair| phases.contains(&self.ends.phase(pair))).collect()
    }

    /// The copies may be all that is left: whatever the source has beyond them is lost.
    async fn failover(&mut self) -> Result<(), ApiRefusal> {
        self.measure().await?;
        if self.asked.dry_run {
            self.tell_promotions();
            self.report.done = true;
            return Ok(());
        }
        let members = members(self.worker, &self.link);
        // What is under way arrives, and what the source said last is known by then.
        self.stop(&members, &[Part::Source, Part::Heartbeat]).await?;
        self.measure().await?;
        if self.ends.source.is_ok() {
            self.carry_groups(Side::Source).await?;
            self.let_groups_arrive().await;
        }
        self.stop(&members, &[Part::Checkpoint]).await?;
        let left = self.promote_copies().await?;
        self.report.done = left == 0;
        self.tell_next(&[
            format!("point producers and consumers to cluster '{}'", self.ends.target_alias),
            format!("when cluster '{}' is back: twinstream link failback {}", self.ends.source_alias, self.link),
        ]);
        Ok(())
    }

    /// Nothing is lost: the source must answer, and nobody may write to it any more.
    async fn promote(&mut self) -> Result<(), ApiRefusal> {
        self.ends.source()?;
        self.measure().await?;
        if self.asked.dry_run {
            self.tell_promotions();
            self.report.done = true;
            return Ok(());
        }
        if !self.wait_until_copied(0).await? {
            return Err(self.too_far());
        }
        let members = members(self.worker, &self.link);
        self.stop(&members, &[Part::Source, Part::Heartbeat]).await?;
        self.measure().await?;
        if self.behind() > 0 {
            self.start(&members).await?;
            return Err(self.too_far());
        }
        self.carry_groups(Side::Source).await?;
        self.let_groups_arrive().await;
        self.stop(&members, &[Part::Checkpoint]).await?;
        let left = self.promote_copies().await?;
        self.report.done = left == 0;
        self.tell_next(&[format!("point producers and consumers to cluster '{}'", self.ends.target_alias)]);
        Ok(())
    }

    fn too_far(&self) -> ApiRefusal {
        ApiRefusal::conflict(format!(
            "cluster '{}' is still written to: {} records are not copied yet; stop its producers and call again, or use failover, which gives them up",
            self.ends.source_alias,
            self.behind()
        ))
    }

    /// The sites change places, planned.
    async fn reverse(&mut self) -> Result<(), ApiRefusal> {
        self.refuse(Verb::Reverse).await?;
        self.measure().await?;
        if self.asked.dry_run {
            let tell = |pair: &&Pair| {
                format!(
                    "topic {} of '{}' would be fenced, {} be promoted",
                    pair.source, self.ends.source_alias, pair.target
                )
            };
            let steps: Vec<String> = self.in_phase(&[Phase::Ahead]).iter().map(tell).collect();
            self.report.steps.extend(steps);
            self.mark_originals(Phase::Ahead, true).await?;
            self.report.step(format!("link {} would run instead of {}", self.link.back(), self.link));
            self.report.done = true;
            return Ok(());
        }
        if !self.wait_until_copied(NEARLY).await? {
            self.report.left.push(format!("the copies are {} records behind, call again", self.behind()));
            return Ok(());
        }
        self.mark_originals(Phase::Ahead, false).await?;
        self.look().await?;
        if !self.wait_until_all_is_copied(Side::Source).await? {
            self.report.left.push(
                "the last records are not copied yet, or transactions are open, call again; nobody is written to"
                    .to_owned(),
            );
            return Ok(());
        }
        self.carry_groups(Side::Source).await?;
        let members = members(self.worker, &self.link);
        self.stop(&members, &Part::ALL).await?;
        let left = self.promote_copies().await?;
        self.make_back_link().await?;
        self.look().await?;
        self.report.done = left == 0;
        self.tell_next(&[
            format!("point producers and consumers to cluster '{}'", self.ends.target_alias),
            format!(
                "link {} copies now; to change places again: twinstream link reverse {}",
                self.link.back(),
                self.link.back()
            ),
        ]);
        Ok(())
    }

    /// The source leads again: it gives up what diverged, gets what the target wrote, and both change places.
    async fn failback(&mut self) -> Result<(), ApiRefusal> {
        self.refuse(Verb::Failback).await?;
        self.measure_parting().await?;
        if self.asked.dry_run {
            let tell = |pair: &&Pair| {
                format!(
                    "topic {} of '{}' would be fenced and cut where both part, get what {} has beyond, and lead again",
                    pair.source, self.ends.source_alias, pair.target
                )
            };
            let steps: Vec<String> = self.in_phase(&[Phase::Parted]).iter().map(tell).collect();
            self.report.steps.extend(steps);
            self.mark_originals(Phase::Parted, true).await?;
            self.report.done = true;
            return Ok(());
        }
        let members = members(self.worker, &self.link);
        if !self.in_phase(&[Phase::Parted, Phase::Behind, Phase::Between]).is_empty() {
            let between = self.not_home().await?;
            self.stop(&members, &Part::ALL).await?;
            self.mark_originals(Phase::Parted, false).await?;
            self.look().await?;
            if between || !self.in_phase(&[Phase::Behind]).is_empty() {
                self.make_back_link().await?;
            }
            if !self.wait_until_brought_home(NEARLY).await? {
                self.report.left.push("what the target wrote is not brought home yet, call again".to_owned());
                self.tell_failures();
                return Ok(());
            }
            self.mark_copies().await?;
            self.look().await?;
            if !self.wait_until_all_is_copied(Side::Target).await? {
                self.report
                    .left
                    .push("the last records are not brought home yet, or transactions are open, call again; nobody is written to".to_owned());
                self.tell_failures();
                return Ok(());
            }
            self.carry_groups(Side::Target).await?;
            let back = links(self.worker).remove(&self.link.back()).unwrap_or_default();
            self.stop(&back, &Part::ALL).await?;
            self.promote_originals().await?;
        }
        self.start(&members).await?;
        self.look().await?;
        self.report.done = true;
        self.tell_next(&[format!(
            "point producers and consumers to cluster '{}'; link {} copies as before",
            self.ends.source_alias, self.link
        )]);
        Ok(())
    }

    /// Says what cannot be done at all before anything is.
    async fn refuse(&self, verb: Verb) -> Result<(), ApiRefusal> {
        let source = self.ends.source()?;
        if !source.knows_mirrors().await.map_err(|cause| self.ends.source_unheard(&cause))? {
            return Err(ApiRefusal::conflict(format!(
                "cluster '{}' cannot have mirrors, which {} needs on both sides: it takes brokers of ours with feature twinstream.mirror",
                self.ends.source_alias,
                verb.name()
            )));
        }
        if let Some(name) = self.strange_back_link() {
            return Err(ApiRefusal::conflict(format!(
                "connector {name} of link {} is not the way back of link {} (twinstream.link.returns is not set): delete that link first, and make it again when this is done",
                self.link.back(),
                self.link
            )));
        }
        for pair in self.pairs.values() {
            if let Step::Refuse(why) = step(verb, self.ends.phase(pair)) {
                return Err(ApiRefusal::conflict(format!("topic {}: {why}", pair.source)));
            }
        }
        Ok(())
    }

    fn tell_promotions(&mut self) {
        let (marked, plain) =
            (self.in_phase(&[Phase::Ahead, Phase::Between]).len(), self.in_phase(&[Phase::Plain]).len());
        self.report.step(format!("the connectors of link {} would be stopped", self.link));
        if marked > 0 {
            self.report.step(format!("{marked} mirrors would be promoted"));
        }
        if plain > 0 {
            self.report.step(format!("{plain} copies are topics like any other already"));
        }
    }

    fn tell_next(&mut self, next: &[String]) {
        if self.report.done {
            self.report.next = next.to_vec();
        } else {
            self.report.next = vec![format!("call `twinstream link {} {}` again", self.report.verb.name(), self.link)];
        }
    }

    /// Brings offsets of groups over from this side, if the link follows groups; of topics that are about to change places, and
    /// of no others: where they did already, groups have gone on.
    async fn carry_groups(&mut self, from: Side) -> Result<(), ApiRefusal> {
        let leaving = match from {
            Side::Source => [Phase::Ahead, Phase::Between].as_slice(),
            Side::Target => &[Phase::Between],
        };
        let members = members(self.worker, &self.link);
        let Some((_, name)) = members.iter().find(|(part, _)| *part == Part::Checkpoint) else { return Ok(()) };
        let config = self.worker.config(name).unwrap_or_default();
        let settings = CheckpointSettings::parse(&config)
            .map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))?;
        let names: BTreeMap<TopicName, TopicName> = self
            .in_phase(leaving)
            .into_iter()
            .map(|pair| match from {
                Side::Source => (&pair.source, &pair.target),
                Side::Target => (&pair.target, &pair.source),
            })
            .map(|(from, to)| (from.clone(), to.clone()))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let source: &RawClient = self.ends.source()?;
        let (from, to) = match from {
            Side::Source => (source, &self.ends.target),
            Side::Target => (&self.ends.target, source),
        };
        let follows = |group: &str| settings.groups.follows(group);
        let carried = tokio::time::timeout(GROUPS_WITHIN, groups::carry(from, to, &names, follows)).await;
        let late = || ClientError::Timeout { what: "carry groups over".to_owned(), after: GROUPS_WITHIN };
        match carried.unwrap_or_else(|_| Err(late())) {
            Ok(carried) => self.report.groups = Some(carried),
            // Topics matter more: what groups read again is told, and nothing waits for it.
            Err(cause) => self
                .report
                .left
                .push(format!("offsets of groups are as the checkpoint connector left them: {}", trace_of(&cause))),
        }
        Ok(())
    }

    /// Copies that do not keep the source's offsets: their groups are translated by the checkpoint connector, which gets two
    /// more rounds.
    async fn let_groups_arrive(&mut self) {
        let members = members(self.worker, &self.link);
        let checkpoint = members.iter().find(|(part, _)| *part == Part::Checkpoint);
        let config = checkpoint.and_then(|(_, name)| self.worker.config(name)).unwrap_or_default();
        let settings = CheckpointSettings::parse(&config).ok();
        let Some(every) = settings.and_then(|settings| settings.sync_every) else { return };
        if self.in_phase(&[Phase::Plain]).is_empty() {
            return;
        }
        if 2 * every > GROUPS_WITHIN {
            self.report.left.push(format!(
                "offsets of groups are as old as sync.group.offsets.interval.seconds lets them be, up to {every:?}"
            ));
        }
        tokio::time::sleep((2 * every).min(GROUPS_WITHIN)).await;
    }

    /// Ends these connectors' tasks and waits until they have ended.
    async fn stop(&mut self, members: &Members, parts: &[Part]) -> Result<(), ApiRefusal> {
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

    async fn start(&mut self, members: &Members) -> Result<(), ApiRefusal> {
        for (_, name) in members {
            if self.worker.wanted(name) != Some(Wanted::Running) {
                self.worker.want(name, Wanted::Running).await?;
                self.report.step(format!("connector {name} runs"));
            }
        }
        Ok(())
    }

    /// A source connector that leads the other way, and neither brings topics home nor is what this link brings home.
    fn strange_back_link(&self) -> Option<String> {
        let back = links(self.worker).remove(&self.link.back()).unwrap_or_default();
        let name = back.into_iter().find(|(part, _)| *part == Part::Source)?.1;
        let returns = |config: &RawConfig| config.get(RETURNS).map(String::as_str) == Some("true");
        let is_way_back = self.settings.returns || returns(&self.worker.config(&name).unwrap_or_default());
        (!is_way_back).then_some(name)
    }

    /// Makes the connectors that lead the other way, with this link's settings; or starts those whose way back this one is.
    async fn make_back_link(&mut self) -> Result<(), ApiRefusal> {
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

    /// Says which tasks of the way back do not work, and why.
    fn tell_failures(&mut self) {
        for (_, name) in members(self.worker, &self.link.back()) {
            let status = self.worker.status(&name).unwrap_or_default();
            let tasks = status["tasks"].as_array().into_iter().flatten();
            for failed in tasks.chain([&status["connector"]]).filter(|task| task["state"] == "FAILED") {
                let cause = failed["trace"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
                self.report.left.push(format!("connector {name} has failed: {cause}"));
            }
        }
    }
}

/// Which side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

fn members(worker: &dyn WorkerApi, link: &LinkName) -> Members {
    links(worker).remove(link).unwrap_or_default()
}

/// The source connector of a link, and its settings.
fn source_of(worker: &dyn WorkerApi, link: &LinkName) -> Result<(String, Settings), ApiRefusal> {
    let members = members(worker, link);
    if members.is_empty() {
        return Err(ApiRefusal::not_found(format!(
            "link {link} does not exist: no mirror connector has these two aliases"
        )));
    }
    let source = members.into_iter().find(|(part, _)| *part == Part::Source);
    let (_, name) = source.ok_or_else(|| {
        ApiRefusal::conflict(format!("link {link} has no MirrorSourceConnector, so it copies nothing"))
    })?;
    let config = worker.config(&name).unwrap_or_default();
    let settings = Settings::parse(&config)
        .map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))?;
    Ok((name, settings))
}

/// Whether no task of a stopped connector is left.
fn has_ended(worker: &dyn WorkerApi, name: &str) -> bool {
    let Some(status) = worker.status(name) else { return true };
    let is_stopped = status["connector"]["state"] == "STOPPED";
    is_stopped && status["tasks"].as_array().is_none_or(Vec::is_empty)
}
