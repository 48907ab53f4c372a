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
mod carry; // when groups go over
mod connectors; // stopped, started, made
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
use twinstream_connect_api::{ApiAnswer, ApiRefusal, ApiRequest, WorkerApi};
use twinstream_model::{Offset, TopicName, TopicPartition};

use self::ends::{ANSWERS_WITHIN, Ends, Pair};
use self::plan::{Phase, Step, step};
use self::report::Report;
use super::{LinkName, Members, Part, lag, links};
use crate::config::Settings;
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
    /// Topics that the link copies and that were not asked for.
    others: BTreeSet<TopicName>,
    /// Topics of the source that the link is to copy, and has not begun to.
    uncopied: BTreeSet<TopicName>,
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
        let pairs = ends.pairs_for(verb, &settings, &stored).await?;
        let positions = lag::positions(&settings.source_alias, &stored);
        let positions = positions.into_iter().filter_map(|(partition, next)| Some((partition, next.ok()?))).collect();
        let report = Report::new(verb, link, asked.dry_run, ends.source.is_ok());
        let wanted = asked.topics.clone();
        let is_wanted = |topic: &TopicName| wanted.as_ref().is_none_or(|wanted| wanted.is_match(topic.as_str()));
        let mut uncopied = match tokio::time::timeout(ANSWERS_WITHIN, ends.uncopied(&settings, &pairs)).await {
            Ok(Ok(uncopied)) => uncopied,
            // A source that has just died is one more reason to fail over.
            _ if verb == Verb::Failover => BTreeSet::new(),
            Ok(Err(refusal)) => return Err(refusal),
            Err(_) => return Err(ends.source_silent()),
        };
        uncopied.retain(is_wanted);
        let others = pairs.keys().filter(|topic| !is_wanted(topic)).cloned().collect();
        let pairs = pairs.into_iter().filter(|(topic, _)| is_wanted(topic)).collect();
        let mut operation =
            Operation { worker, link: link.clone(), settings, ends, asked, report, pairs, others, uncopied, positions };
        if operation.pairs.is_empty() {
            return Err(ApiRefusal::conflict(format!("link {link} has copied no topic that was asked for")));
        }
        operation.note_phases();
        Ok(operation)
    }

    /// Looks at the marks once more. A fail-over goes on without the source when that does not answer any more.
    async fn look(&mut self) -> Result<(), ApiRefusal> {
        let (name, _) = source_of(self.worker, &self.link)?;
        let stored = self.worker.offsets(&name);
        let mut found = self.ends.pairs_for(self.report.verb, &self.settings, &stored).await?;
        self.report.source_answers = self.ends.source.is_ok();
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
        for topic in &self.uncopied {
            self.report
                .left
                .push(format!("topic {topic} of '{}' has no copy: all of it is lost", self.ends.source_alias));
        }
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
            self.let_groups_arrive().await?;
        }
        self.stop(&members, &[Part::Checkpoint]).await?;
        let left = self.promote_copies().await?;
        self.measure_what_came_since().await?;
        self.report.done = left == 0;
        self.tell_who_stands();
        self.tell_next(&[
            format!("point producers and consumers to cluster '{}'", self.ends.target_alias),
            format!("when cluster '{}' is back: twinstream link failback {}", self.ends.source_alias, self.link),
        ]);
        Ok(())
    }

    /// Nothing is lost: the source must answer, and nobody may write to it any more.
    async fn promote(&mut self) -> Result<(), ApiRefusal> {
        self.ends.source()?;
        self.refuse_uncopied()?;
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
        self.let_groups_arrive().await?;
        self.stop(&members, &[Part::Checkpoint]).await?;
        let left = self.promote_copies().await?;
        let late = self.measure_what_came_since().await?;
        if late > 0 {
            let told = format!(
                "{late} records were written to cluster '{}' while this was under way and are not copied: its producers had not stopped",
                self.ends.source_alias
            );
            self.report.left.push(told);
        }
        self.report.done = left == 0;
        self.tell_who_stands();
        self.tell_next(&[format!("point producers and consumers to cluster '{}'", self.ends.target_alias)]);
        Ok(())
    }

    /// Who loses nothing cannot leave a topic behind.
    fn refuse_uncopied(&self) -> Result<(), ApiRefusal> {
        let Some(topic) = self.uncopied.first() else { return Ok(()) };
        Err(ApiRefusal::conflict(format!(
            "topic {topic} of '{}' is to be copied and has no copy yet ({} in all): see `twinstream link describe {}` for the reason, wait for it, or leave it out with --topics",
            self.ends.source_alias,
            self.uncopied.len(),
            self.link
        )))
    }

    fn too_far(&self) -> ApiRefusal {
        let (alias, behind) = (&self.ends.source_alias, self.behind());
        ApiRefusal::conflict(match behind {
            i64::MAX => format!(
                "of cluster '{alias}' partitions have no copy yet, or do not say how far they are: see `twinstream link describe {}`, wait and call again, or use failover, which gives them up",
                self.link
            ),
            records => format!(
                "cluster '{alias}' is still written to: {records} records are not copied yet; stop its producers and call again, or use failover, which gives them up"
            ),
        })
    }

    /// The sites change places, planned.
    async fn reverse(&mut self) -> Result<(), ApiRefusal> {
        self.refuse(Verb::Reverse).await?;
        self.refuse_uncopied()?;
        self.measure().await?;
        let members = members(self.worker, &self.link);
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
        if !self.in_phase(&[Phase::Ahead, Phase::Between]).is_empty() {
            self.start(&members).await?;
            if !self.wait_until_it_runs(&members).await {
                self.report.left.push("the link does not run, so nobody was fenced; mend it and call again".to_owned());
                self.tell_failures(&self.link.clone());
                return Ok(());
            }
        }
        if !self.wait_until_copied(NEARLY).await? {
            self.report.left.push(match self.behind() {
                i64::MAX => "partitions have no copy yet, or do not say how far they are; call again".to_owned(),
                records => format!("the copies are {records} records behind, call again"),
            });
            self.tell_failures(&self.link.clone());
            return Ok(());
        }
        self.mark_originals(Phase::Ahead, false).await?;
        self.look().await?;
        if !self.wait_until_all_is_copied(Side::Source).await? {
            self.report.left.push(
                "the last records are not copied yet, or transactions are open, call again; nobody is written to"
                    .to_owned(),
            );
            self.tell_failures(&self.link.clone());
            return Ok(());
        }
        self.carry_groups(Side::Source).await?;
        self.stop(&members, &Part::ALL).await?;
        let left = self.promote_copies().await?;
        self.make_back_link().await?;
        self.look().await?;
        self.report.done = left == 0;
        self.tell_who_stands();
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
                self.tell_failures(&self.link.back());
                return Ok(());
            }
            self.mark_copies().await?;
            self.look().await?;
            if !self.wait_until_all_is_copied(Side::Target).await? {
                self.report
                    .left
                    .push("the last records are not brought home yet, or transactions are open, call again; nobody is written to".to_owned());
                self.tell_failures(&self.link.back());
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
            if !pair.is_there {
                return Err(ApiRefusal::conflict(format!(
                    "topic {} is not at cluster '{}' any more: create it there with {} partitions, it is filled from '{}', or leave it out with --topics",
                    pair.source,
                    self.ends.source_alias,
                    pair.copied.len(),
                    self.ends.target_alias
                )));
            }
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
