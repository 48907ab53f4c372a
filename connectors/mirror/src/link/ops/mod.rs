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
mod plan; // who leads, and what is next
mod report; // the answer

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;
use tokio::time::Instant;
use twinstream_client::RawClient;
use twinstream_client::raw::{Marked, MirrorSource};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiAnswer, ApiRefusal, ApiRequest, Wanted, WorkerApi};
use twinstream_model::{Offset, TopicName, TopicPartition};

use self::ends::{Ends, Pair, ends_of, log_ends_of};
use self::plan::{Phase, Step, step};
use self::report::{Report, Standing};
use super::{LinkName, Members, Part, links};
use crate::aligned::parting;
use crate::checkpoint::settings::CheckpointSettings;
use crate::config::Settings;
use crate::policy::full_match;

const TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// How often it is looked whether what is waited for is there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long tasks may take to end: what is under way is delivered first.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
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
        let ends = Ends::connect(&settings).await?;
        let pairs = ends.pairs(&settings, &worker.offsets(&name)).await?;
        let report = Report::new(verb, link, asked.dry_run, ends.source.is_ok());
        let mut operation =
            Operation { worker, link: link.clone(), settings, ends, asked, report, pairs: BTreeMap::new() };
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
            self.carry_groups(false).await?;
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
        self.carry_groups(false).await?;
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
        self.refuse(Verb::Reverse)?;
        self.ends.source()?;
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
            self.report.step(format!("link {} would run instead of {}", self.link.back(), self.link));
            self.report.done = true;
            return Ok(());
        }
        if !self.wait_until_copied(NEARLY).await? {
            self.report.left.push(format!("the copies are {} records behind, call again", self.behind()));
            return Ok(());
        }
        self.mark_originals().await?;
        self.look().await?;
        if !self.wait_until_all_is_copied(Side::Source).await? {
            self.report.left.push("the last records are not copied yet, call again; nobody is written to".to_owned());
            return Ok(());
        }
        self.carry_groups(false).await?;
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
        self.refuse(Verb::Failback)?;
        self.ends.source()?;
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
            self.report.done = true;
            return Ok(());
        }
        let members = members(self.worker, &self.link);
        if !self.in_phase(&[Phase::Parted, Phase::Behind, Phase::Between]).is_empty() {
            self.stop(&members, &Part::ALL).await?;
            self.mark_originals().await?;
            self.make_back_link().await?;
            self.look().await?;
            if !self.wait_until_brought_home(NEARLY).await? {
                self.report.left.push("what the target wrote is not brought home yet, call again".to_owned());
                return Ok(());
            }
            self.mark_copies().await?;
            self.look().await?;
            if !self.wait_until_all_is_copied(Side::Target).await? {
                self.report
                    .left
                    .push("the last records are not brought home yet, call again; nobody is written to".to_owned());
                return Ok(());
            }
            self.carry_groups(true).await?;
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
    fn refuse(&self, verb: Verb) -> Result<(), ApiRefusal> {
        for pair in self.pairs.values() {
            if let Step::Refuse(why) = step(verb, self.ends.phase(pair)) {
                return Err(ApiRefusal::conflict(format!("topic {}: {why}", pair.source)));
            }
        }
        Ok(())
    }

    /// How far both sides are, by asking them, or by what the source said last.
    async fn measure(&mut self) -> Result<(), ApiRefusal> {
        let seen: BTreeMap<TopicPartition, crate::figures::Seen> =
            crate::figures::link(&self.link.source, &self.link.target)
                .partitions()
                .into_iter()
                .map(|seen| (seen.source.clone(), seen))
                .collect();
        let (there, here): (Vec<_>, Vec<_>) = self.pairs.values().flat_map(Pair::partitions).unzip();
        let source_ends = match &self.ends.source {
            Ok(source) => Some(ends_of(source, &there).await.map_err(|cause| self.ends.source_unheard(&cause))?),
            Err(_) => None,
        };
        let target_ends = ends_of(&self.ends.target, &here).await.map_err(|cause| self.ends.unheard(&cause))?;
        for pair in self.pairs.values() {
            for (there, here) in pair.partitions() {
                // A copy at the source's offsets tells itself how far it is.
                let arrived = match pair.here.is_some() {
                    true => target_ends.get(&here).copied(),
                    false => None,
                };
                let seen = seen.get(&there);
                let standing = match (&source_ends, seen) {
                    (Some(ends), _) => Standing {
                        source_end: ends.get(&there).copied(),
                        arrived: arrived.or(seen.and_then(|seen| seen.arrived)),
                        ..Standing::default()
                    },
                    (None, Some(seen)) => Standing::seen(seen, arrived),
                    (None, None) => Standing { arrived, ..Standing::default() },
                };
                self.report.standings.insert(there, standing);
            }
        }
        Ok(())
    }

    /// Where both sides part, after both may have been written to.
    async fn measure_parting(&mut self) -> Result<(), ApiRefusal> {
        let source = self.ends.source()?.clone();
        let (there, here): (Vec<_>, Vec<_>) = self.pairs.values().flat_map(Pair::partitions).unzip();
        let source_ends = ends_of(&source, &there).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        let target_ends = ends_of(&self.ends.target, &here).await.map_err(|cause| self.ends.unheard(&cause))?;
        for (there, here) in there.into_iter().zip(here) {
            // The original is the one that has to give up: seen from the way back it is the mirror.
            let parted = parting::between(&self.ends.target, &here, &source, &there).await;
            let parted = parted.map_err(|cause| self.ends.source_unheard(&cause))?;
            let (end, target_end) = (source_ends.get(&there).copied(), target_ends.get(&here).copied());
            let at = parted.map_or(end, |parted| Some(parted.at));
            let beyond = |end: Option<Offset>| Some((end?.0 - at?.0).max(0));
            let standing = Standing {
                source_end: end,
                arrived: target_end,
                as_of_ms: None,
                given_up: beyond(parted.map_or(end, |parted| Some(parted.mirror_end)).max(end)),
                to_copy: beyond(target_end),
            };
            self.report.standings.insert(there, standing);
        }
        Ok(())
    }

    fn behind(&self) -> i64 {
        self.report.standings.values().map(|standing| standing.lost().unwrap_or(i64::MAX)).fold(0, i64::saturating_add)
    }

    fn worst(&self) -> i64 {
        self.report.standings.values().map(|standing| standing.lost().unwrap_or(i64::MAX)).max().unwrap_or(0)
    }

    /// Waits until no copy lacks more than `records`; false if time is up.
    async fn wait_until_copied(&mut self, records: i64) -> Result<bool, ApiRefusal> {
        loop {
            self.measure().await?;
            if self.worst() <= records {
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the originals lack no more than `records` of what the copies have.
    async fn wait_until_brought_home(&mut self, records: i64) -> Result<bool, ApiRefusal> {
        loop {
            let (there, here): (Vec<_>, Vec<_>) = self.pairs.values().flat_map(Pair::partitions).unzip();
            let source = self.ends.source()?;
            let source_ends = ends_of(source, &there).await.map_err(|cause| self.ends.source_unheard(&cause))?;
            let target_ends = ends_of(&self.ends.target, &here).await.map_err(|cause| self.ends.unheard(&cause))?;
            let partings = self.still_parted(&there, &here).await?;
            let lacks = |(there, here): (&TopicPartition, &TopicPartition)| {
                let (home, away) = (source_ends.get(there)?, target_ends.get(here)?);
                Some((away.0 - home.0).max(0))
            };
            let is_near = there.iter().zip(&here).map(lacks).all(|lack| lack.is_some_and(|lack| lack <= records));
            if is_near && partings == 0 {
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Originals that still have records which the copies have not.
    async fn still_parted(&self, there: &[TopicPartition], here: &[TopicPartition]) -> Result<usize, ApiRefusal> {
        let source = self.ends.source()?;
        let mut parted = 0;
        for (there, here) in there.iter().zip(here) {
            let found = parting::between(&self.ends.target, here, source, there).await;
            parted += usize::from(found.map_err(|cause| self.ends.source_unheard(&cause))?.is_some());
        }
        Ok(parted)
    }

    /// Waits until the fenced `side` has nothing that the other one lacks; both are mirrors, so their log ends tell.
    async fn wait_until_all_is_copied(&mut self, side: Side) -> Result<bool, ApiRefusal> {
        loop {
            let pairs = self.in_phase(&[Phase::Between, Phase::Ahead, Phase::Behind]);
            let (there, here): (Vec<_>, Vec<_>) = pairs.iter().flat_map(|pair| pair.partitions()).unzip();
            let source = self.ends.source()?;
            let source_ends = log_ends_of(source, &there).await.map_err(|cause| self.ends.source_unheard(&cause))?;
            let target_ends = log_ends_of(&self.ends.target, &here).await.map_err(|cause| self.ends.unheard(&cause))?;
            let has_all = there.iter().zip(&here).all(|(there, here)| {
                match (side, source_ends.get(there), target_ends.get(here)) {
                    (Side::Source, Some(fenced), Some(other)) => other >= fenced,
                    (Side::Target, Some(other), Some(fenced)) => other >= fenced,
                    _ => false,
                }
            });
            if has_all {
                return Ok(true);
            }
            if self.asked.is_over() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
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

    /// Makes ordinary topics of the copies; how many are left.
    async fn promote_copies(&mut self) -> Result<usize, ApiRefusal> {
        let topics: Vec<TopicName> =
            self.in_phase(&[Phase::Ahead, Phase::Between]).iter().map(|pair| pair.target.clone()).collect();
        let marked =
            self.ends.target.promote_mirrors(&topics, false).await.map_err(|cause| self.ends.unheard(&cause))?;
        let left = self.tell_marked("promoted", marked);
        self.look().await?;
        Ok(left)
    }

    async fn promote_originals(&mut self) -> Result<(), ApiRefusal> {
        let topics: Vec<TopicName> =
            self.in_phase(&[Phase::Between, Phase::Behind]).iter().map(|pair| pair.source.clone()).collect();
        let source = self.ends.source()?;
        let marked = source.promote_mirrors(&topics, false).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        self.all_or_refuse("promoted at home", marked)
    }

    /// Makes mirrors of the originals, over the link that leads back: from then on nobody else writes to them.
    async fn mark_originals(&mut self) -> Result<(), ApiRefusal> {
        let cluster = self.ends.target.cluster_id().unwrap_or_default();
        let Some(link) = self.ends.back_id() else { return Err(self.no_id()) };
        let mark = |pair: &&Pair| {
            let (topic, topic_id) = (pair.target.clone(), pair.target_id);
            (pair.source.clone(), MirrorSource { link, cluster: cluster.clone(), topic, topic_id })
        };
        let wanted = self.in_phase(&[Phase::Ahead, Phase::Parted]).iter().map(mark).collect();
        let source = self.ends.source()?;
        let marked = source.mark_mirrors(&wanted, false).await.map_err(|cause| self.ends.source_unheard(&cause))?;
        self.all_or_refuse(&format!("fenced at '{}'", self.ends.source_alias), marked)
    }

    /// Makes mirrors of the copies again.
    async fn mark_copies(&mut self) -> Result<(), ApiRefusal> {
        let cluster = self.ends.source()?.cluster_id().unwrap_or_default();
        let Some(link) = self.ends.id() else { return Err(self.no_id()) };
        let mark = |pair: &&Pair| {
            let (topic, topic_id) = (pair.source.clone(), pair.source_id);
            (pair.target.clone(), MirrorSource { link, cluster: cluster.clone(), topic, topic_id })
        };
        let wanted = self.in_phase(&[Phase::Behind]).iter().map(mark).collect();
        let marked = self.ends.target.mark_mirrors(&wanted, false).await.map_err(|cause| self.ends.unheard(&cause))?;
        self.all_or_refuse(&format!("fenced at '{}'", self.ends.target_alias), marked)
    }

    fn no_id(&self) -> ApiRefusal {
        ApiRefusal::conflict(format!("a cluster of link {} tells no id, so its topics cannot be marked", self.link))
    }

    /// Tells what was done; how many topics are left, each with its cause in the report.
    fn tell_marked(&mut self, what: &str, marked: Marked) -> usize {
        let (done, failed): (Vec<_>, Vec<_>) = marked.into_iter().partition(|(_, result)| result.is_ok());
        if !done.is_empty() {
            self.report.step(format!("{} topics {what}", done.len()));
        }
        for (topic, result) in &failed {
            if let Err(cause) = result {
                self.report.left.push(format!("topic {topic} is not {what}: {}", trace_of(cause)));
            }
        }
        failed.len()
    }

    fn all_or_refuse(&mut self, what: &str, marked: Marked) -> Result<(), ApiRefusal> {
        match self.tell_marked(what, marked) {
            0 => Ok(()),
            _ => Err(ApiRefusal::conflict(self.report.left.join("; "))),
        }
    }

    /// Brings offsets of groups over, if the link follows groups.
    async fn carry_groups(&mut self, home: bool) -> Result<(), ApiRefusal> {
        let members = members(self.worker, &self.link);
        let Some((_, name)) = members.iter().find(|(part, _)| *part == Part::Checkpoint) else { return Ok(()) };
        let config = self.worker.config(name).unwrap_or_default();
        let settings = CheckpointSettings::parse(&config)
            .map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))?;
        let names: BTreeMap<TopicName, TopicName> = self
            .pairs
            .values()
            .filter(|pair| pair.here.is_some())
            .map(|pair| if home { (&pair.target, &pair.source) } else { (&pair.source, &pair.target) })
            .map(|(from, to)| (from.clone(), to.clone()))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let source: &RawClient = self.ends.source()?;
        let (from, to) = if home { (&self.ends.target, source) } else { (source, &self.ends.target) };
        let follows = |group: &str| settings.groups.follows(group);
        match groups::carry(from, to, &names, follows).await {
            Ok(carried) => self.report.groups = Some(carried),
            // Topics matter more: what groups read again is told, and nothing waits for it.
            Err(cause) => self
                .report
                .left
                .push(format!("offsets of groups are as the checkpoint connector left them: {}", trace_of(&cause))),
        }
        Ok(())
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

    /// Makes the connectors that lead the other way, or starts those that are there.
    async fn make_back_link(&mut self) -> Result<(), ApiRefusal> {
        let back = self.link.back();
        let known = links(self.worker).remove(&back).unwrap_or_default();
        if !known.is_empty() {
            return self.start(&known).await;
        }
        for (part, name) in members(self.worker, &self.link) {
            let config = self.worker.config(&name).unwrap_or_default();
            let turned = back::turned(part, &self.link, &config);
            let name = part.connector(&back);
            self.worker.put(&name, turned).await?;
            self.report.step(format!("connector {name} made"));
        }
        Ok(())
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
