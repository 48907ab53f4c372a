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
//! verb waits longer than its `timeout`; what it did not get to stands in its report, and nothing is undone. V4 one verb at a time
//! changes something about two clusters, and `done` is what the marks say at the end.
//! Not here: what to do next about a topic (`plan`), the two clusters (`ends`), groups (`groups`), what is told (`report`).

mod asked; // how it is asked for
mod back; // the configuration that leads the other way
mod carry; // when groups go over
mod connectors; // stopped, started, made
mod ends; // both clusters, topics and their copies
mod groups; // offsets of groups go over
mod marks; // topics become mirrors, and topics like any other
mod measure; // how far both sides are
mod origin; // the link that it is about
mod plan; // who leads, and what is next
mod refusing; // what stands in the way
mod report; // the answer
mod settings; // of topics go over before sites change places
mod turn; // one verb at a time

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use twinstream_connect_api::{ApiAnswer, ApiRefusal, ApiRequest, WorkerApi};
use twinstream_model::{Offset, TopicName, TopicPartition};

use self::asked::Asked;
use self::back::Turn;
use self::ends::{ANSWERS_WITHIN, Ends, Pair};
use self::origin::{Origin, way_out};
use self::plan::Phase;
use self::report::Report;
use super::{LinkName, Members, Part, lag, links};
use crate::config::Settings;
use crate::words::counted;

/// How often it is looked whether what is waited for is there.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long tasks may take to end: what is under way is delivered first.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How long offsets of groups may take to go over; what is not carried by then is told.
const GROUPS_WITHIN: Duration = Duration::from_secs(20);
/// How long a fail-over in the middle of a change of places lets transactions of the target end. Where the other side has led since,
/// what is open is aborted with the promotion, also if its coordinator, which is there, answers afterwards that it is committed.
const TRANSACTIONS_WITHIN: Duration = Duration::from_secs(10);
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

/// A link in the hands of a verb.
struct Operation<'a> {
    worker: &'a dyn WorkerApi,
    link: LinkName,
    /// Of the source connector.
    name: String,
    settings: Settings,
    /// The link does not exist: what a verb has fenced that was cut off leads again.
    undoes: bool,
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
    let asked = Asked::read(request)?;
    let _turn = match asked.dry_run {
        true => None,
        false => Some(turn::take(verb, link)?),
    };
    let done = async {
        let mut operation = Operation::begin(worker, link, verb, asked).await?;
        match verb {
            Verb::Failover => operation.failover().await?,
            Verb::Promote => operation.promote().await?,
            Verb::Reverse => operation.reverse().await?,
            Verb::Failback => operation.failback().await?,
        }
        Ok(ApiAnswer::ok(operation.report.json(began.elapsed(), crate::observer::now_ms())))
    };
    done.await
}

impl<'a> Operation<'a> {
    async fn begin(
        worker: &'a dyn WorkerApi,
        link: &LinkName,
        verb: Verb,
        asked: Asked,
    ) -> Result<Operation<'a>, ApiRefusal> {
        let Origin { name, settings, undoes } = Origin::of(worker, link, verb)?;
        let mut ends = Ends::connect(&settings, verb).await?;
        let stored = worker.offsets(&name);
        let pairs = ends.pairs_for(verb, &settings, &stored).await?;
        let positions = lag::positions(&settings.source_alias, &stored);
        let positions = positions.into_iter().filter_map(|(partition, next)| Some((partition, next.ok()?))).collect();
        let report = Report::new(verb, link, asked.dry_run, ends.source.is_ok());
        let mut uncopied = match tokio::time::timeout(ANSWERS_WITHIN, ends.uncopied(&settings, &pairs)).await {
            Ok(Ok(uncopied)) => uncopied,
            // A source that has just died is one more reason to fail over.
            _ if verb == Verb::Failover => BTreeSet::new(),
            Ok(Err(refusal)) => return Err(refusal),
            Err(_) => return Err(ends.source_silent()),
        };
        // What the other site has of its own was never to come here.
        uncopied.retain(|topic| asked.topics.has(topic) && !undoes);
        let others = pairs.keys().filter(|topic| !asked.topics.has(topic)).cloned().collect();
        let pairs: BTreeMap<TopicName, Pair> = pairs.into_iter().filter(|(topic, _)| asked.topics.has(topic)).collect();
        if pairs.is_empty() {
            return Err(ApiRefusal::conflict(match undoes {
                true => format!("link {link} does not exist, and no topic of '{}' is fenced for it", link.target),
                false => format!("link {link} has copied no topic that was asked for"),
            }));
        }
        let link = link.clone();
        let mut operation =
            Operation { worker, link, name, settings, undoes, ends, asked, report, pairs, others, uncopied, positions };
        operation.note_phases();
        Ok(operation)
    }

    /// Looks at the marks once more. A fail-over goes on without the source when that does not answer any more.
    async fn look(&mut self) -> Result<(), ApiRefusal> {
        let stored = self.worker.offsets(&self.name);
        let mut found = self.ends.pairs_for(self.report.verb, &self.settings, &stored).await?;
        self.report.source_answers = self.ends.source.is_ok();
        found.retain(|topic, _| self.pairs.contains_key(topic));
        self.pairs = found;
        self.note_phases();
        Ok(())
    }

    /// What to do when the target is gone for good in the middle of this.
    fn way_out(&self) -> String {
        way_out(&self.link.target, &self.link.source)
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
        if self.undoes {
            self.refuse_undoing()?;
        }
        let others = self.pairs.values().filter(|pair| pair.is_another(self.ends.phase(pair)));
        self.report.left.extend(others.map(|pair| {
            format!(
                "topic {} of '{}' was deleted and made anew: what the one before had beyond its copy nobody knows, and of the new one all is lost",
                pair.source, self.ends.source_alias
            )
        }));
        for topic in &self.uncopied {
            self.report
                .left
                .push(format!("topic {topic} of '{}' has no copy: all of it is lost", self.ends.source_alias));
        }
        if self.asked.dry_run {
            self.tell_promotions();
            self.tell_who_is_silent();
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
        self.let_transactions_end().await?;
        let left = self.promote_copies().await?;
        self.measure_what_came_since().await?;
        self.tell_who_is_silent();
        self.report.done = left == 0 && self.all_are_in(&[Phase::Behind, Phase::Parted, Phase::Plain]);
        self.tell_who_stands();
        let (source, target) = (&self.ends.source_alias, &self.ends.target_alias);
        let next = match self.undoes {
            true => [
                format!("producers of cluster '{target}' are taken again"),
                format!(
                    "when cluster '{source}' is back, link {forth} goes on; where `twinstream link reverse {forth} --dry-run` says that both sides may have been written to: twinstream link failback {forth}",
                    forth = self.link.back()
                ),
            ],
            false => [
                format!("point producers and consumers to cluster '{target}'"),
                format!("when cluster '{source}' is back: twinstream link failback {}", self.link),
            ],
        };
        self.tell_next(&next);
        Ok(())
    }

    /// Nothing is lost: the source must answer, and nobody may write to it any more.
    async fn promote(&mut self) -> Result<(), ApiRefusal> {
        self.ends.source()?;
        self.refuse_others()?;
        self.refuse_uncopied()?;
        self.measure().await?;
        if !self.is_to_run() && self.behind() > 0 {
            return Err(self.too_far());
        }
        if self.asked.dry_run {
            self.copy_before_it_leads();
            self.bring_settings(Side::Source, &[Phase::Ahead, Phase::Between]).await?;
            self.tell_promotions();
            self.report.done = true;
            return Ok(());
        }
        if !self.wait_until_copied(0).await? {
            return Err(self.too_far());
        }
        let members = members(self.worker, &self.link);
        if !self.bring_settings(Side::Source, &[Phase::Ahead, Phase::Between]).await? {
            return Ok(());
        }
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
                "{} written to cluster '{}' while this was under way and not copied: its producers had not stopped",
                counted(late, "record"),
                self.ends.source_alias
            );
            self.report.left.push(told);
        }
        self.report.done = left == 0;
        self.tell_who_stands();
        let mut next = vec![format!("point producers and consumers to cluster '{}'", self.ends.target_alias)];
        let given_up = self.beyond_the_parted();
        if given_up > 0 {
            next.push(format!(
                "cluster '{}' has {} that no copy has: `twinstream link failback {}` gives them up, and lets it lead again",
                self.ends.source_alias,
                counted(given_up, "record"),
                self.link
            ));
        }
        self.tell_next(&next);
        Ok(())
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
            self.copy_before_it_leads();
            if !self.is_to_run() && !steps.is_empty() {
                self.report.step(format!("link {} would be started, and copy what is missing first", self.link));
            }
            self.bring_settings(Side::Source, &[Phase::Ahead]).await?;
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
        if !self.bring_settings(Side::Source, &[Phase::Ahead, Phase::Between]).await? {
            return Ok(());
        }
        self.mark_originals(Phase::Ahead, false).await?;
        self.look().await?;
        if !self.wait_until_all_is_copied(Side::Source).await? {
            self.report.left.push(format!(
                "the last records are not copied yet, or transactions are open, call again; nobody is written to ({})",
                self.way_out()
            ));
            self.tell_failures(&self.link.clone());
            return Ok(());
        }
        self.carry_groups(Side::Source).await?;
        self.stop(&members, &Part::ALL).await?;
        let led: BTreeSet<TopicName> =
            self.in_phase(&[Phase::Between]).iter().map(|pair| pair.source.clone()).collect();
        let left = self.promote_copies().await?;
        self.make_back_link(Turn::Planned).await?;
        self.hand_groups_over(Side::Source, &led).await;
        self.look().await?;
        self.tell_who_stays().await?;
        let runs = self.tell_whether_it_runs(&self.link.back()).await;
        self.report.done = left == 0 && runs;
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
        self.refuse_strangers().await?;
        self.report.resumes = self.has_cut_before();
        self.measure_parting().await?;
        if self.report.resumes {
            self.report.step("an earlier call has fenced and cut topics already: what it gave up of those stands in its report, and in the worker's log");
        }
        if self.asked.dry_run {
            let tell = |pair: &&Pair| {
                format!(
                    "topic {} of '{}' would be fenced and cut where both part, get what {} has beyond, and lead again",
                    pair.source, self.ends.source_alias, pair.target
                )
            };
            let steps: Vec<String> = self.in_phase(&[Phase::Parted]).iter().map(tell).collect();
            self.bring_settings(Side::Target, &[Phase::Parted, Phase::Behind, Phase::Between]).await?;
            self.report.steps.extend(steps);
            self.mark_originals(Phase::Parted, true).await?;
            self.report.done = true;
            return Ok(());
        }
        let members = members(self.worker, &self.link);
        if !self.in_phase(&[Phase::Parted, Phase::Behind, Phase::Between]).is_empty() {
            let between = self.not_home().await?;
            self.stop(&members, &Part::ALL).await?;
            let was_written_to = !self.in_phase(&[Phase::Parted]).is_empty();
            self.mark_originals(Phase::Parted, false).await?;
            self.look().await?;
            if was_written_to {
                if !self.wait_until_fence_is_known().await? {
                    let told = "not all leaders have heard that they are fenced, call again; nothing is cut yet";
                    self.report.left.push(told.to_owned());
                    return Ok(());
                }
                // What it took until it was fenced is given up as well.
                let fenced = self.measure_parting().await;
                fenced.map_err(|refusal| match refusal.status {
                    409 => ApiRefusal::new(409, format!("{}; {}", refusal.message, self.way_out())),
                    _ => refusal,
                })?;
                self.set_groups_back().await?;
            }
            if between || !self.in_phase(&[Phase::Behind]).is_empty() {
                self.make_back_link(Turn::CutOff).await?;
            }
            if !self.wait_until_brought_home(NEARLY).await? {
                self.report.left.push("what the target wrote is not brought home yet, call again".to_owned());
                self.tell_failures(&self.link.back());
                return Ok(());
            }
            // The originals are mirrors by now, and lead with what they are told here.
            if !self.bring_settings(Side::Target, &[Phase::Behind, Phase::Between]).await? {
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
            let led = self.in_phase(&[Phase::Between]).iter().map(|pair| pair.target.clone()).collect();
            self.promote_originals().await?;
            self.hand_groups_over(Side::Target, &led).await;
        }
        self.start(&members).await?;
        self.look().await?;
        let runs = self.tell_whether_it_runs(&self.link.clone()).await;
        self.report.done = self.all_are_in(&[Phase::Ahead]) && runs;
        self.tell_next(&[format!(
            "point producers and consumers to cluster '{}'; link {} copies as before",
            self.ends.source_alias, self.link
        )]);
        Ok(())
    }

    /// Whether each topic stands as the verb is to leave it; one that does not was changed by somebody else meanwhile, and is told.
    fn all_are_in(&mut self, phases: &[Phase]) -> bool {
        let others = self.pairs.values().filter(|pair| !phases.contains(&self.ends.phase(pair)));
        let told: Vec<String> = others
            .map(|pair| {
                format!(
                    "topic {}: {}, somebody else has changed that meanwhile",
                    pair.source,
                    self.ends.phase(pair).name()
                )
            })
            .collect();
        let all = told.is_empty();
        self.report.left.extend(told);
        all
    }

    /// Brokers of the source that do not answer while others do: what they led is known as of their last word.
    fn tell_who_is_silent(&mut self) {
        if let (Ok(_), Some(brokers)) = (&self.ends.source, self.ends.silent_brokers()) {
            let unasked = self.report.standings.values().filter(|standing| !standing.is_exact()).count();
            self.report.left.push(format!(
                "{brokers} of '{}' does not answer: what {} accepted since its last word is not known, and groups that it coordinates stand as the checkpoint connector left them",
                self.ends.source_alias,
                counted(unasked, "partition"),
            ));
        }
    }

    fn tell_promotions(&mut self) {
        let (marked, plain) =
            (self.in_phase(&[Phase::Ahead, Phase::Between]).len(), self.in_phase(&[Phase::Plain]).len());
        if !self.undoes {
            self.report.step(format!("the connectors of link {} would be stopped", self.link));
        }
        if marked > 0 {
            self.report.step(format!("{} would be promoted", counted(marked, "mirror")));
        }
        if plain > 0 {
            self.report.step(format!("writable already, because no mirror: {}", counted(plain, "copy")));
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
