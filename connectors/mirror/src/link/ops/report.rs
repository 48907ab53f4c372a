//! What a verb found and did, as its answer tells it. Pure.
//!
//! Invariant: what would be lost is never told smaller than it is known to be; where the source could not be asked the report says
//! as of when it is known, and that what the source accepted since is not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use twinstream_model::{Offset, TopicName, TopicPartition};

use super::Verb;
use super::ends::Pair;
use super::groups::Carried;
use super::plan::Phase;
use crate::figures::Seen;
use crate::link::LinkName;
use crate::words::counted;

/// A partition as far as both sides have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Where the source ends, as it says itself or as it last said.
    pub source_end: Option<Offset>,
    /// Everything before is on the target, by the source's offsets.
    pub arrived: Option<Offset>,
    /// Unix time of the source's last word; `None` when it answers now.
    pub as_of_ms: Option<i64>,
    /// Of the source's log beyond the point where both part, after both were written to.
    pub given_up: Option<i64>,
    /// Of the target's log beyond that point.
    pub to_copy: Option<i64>,
}

impl Standing {
    /// Records of the source that are lost: known there and not on the target, or, after both were written to, given up.
    pub(super) fn lost(&self) -> Option<i64> {
        self.given_up.or_else(|| Some((self.source_end?.0 - self.arrived?.0).max(0)))
    }

    /// The source was asked now, and has said where it ends.
    pub(super) fn is_exact(&self) -> bool {
        self.as_of_ms.is_none() && self.lost().is_some()
    }

    /// Of a partition whose source cannot be asked: what its task saw last.
    pub(super) fn seen(seen: &Seen, arrived: Option<Offset>) -> Standing {
        let arrived = arrived.or(seen.arrived);
        Standing { source_end: seen.source_end, arrived, as_of_ms: seen.contact_ms, ..Standing::default() }
    }
}

/// The answer of a verb, as it grows.
pub(super) struct Report {
    pub verb: Verb,
    pub link: LinkName,
    pub dry_run: bool,
    pub done: bool,
    pub source_answers: bool,
    /// A fail-back that an earlier call began: what that one cut nobody counts any more.
    pub resumes: bool,
    pub phases: BTreeMap<TopicName, (TopicName, Phase, Phase)>,
    pub standings: BTreeMap<TopicPartition, Standing>,
    pub steps: Vec<String>,
    pub left: Vec<String>,
    pub groups: Option<Carried>,
    pub next: Vec<String>,
}

impl Report {
    pub(super) fn new(verb: Verb, link: &LinkName, dry_run: bool, source_answers: bool) -> Report {
        Report {
            verb,
            link: link.clone(),
            dry_run,
            done: false,
            source_answers,
            resumes: false,
            phases: BTreeMap::new(),
            standings: BTreeMap::new(),
            steps: Vec::new(),
            left: Vec::new(),
            groups: None,
            next: Vec::new(),
        }
    }

    pub(super) fn stands(&mut self, pair: &Pair, phase: Phase) {
        let before = self.phases.get(&pair.source).map_or(phase, |(_, before, _)| *before);
        self.phases.insert(pair.source.clone(), (pair.target.clone(), before, phase));
    }

    /// Something was done, or would be.
    pub(super) fn step(&mut self, what: impl Into<String>) {
        self.steps.push(what.into());
    }

    /// `now_ms` is the time of day, by which the age of the source's last word is told.
    pub(super) fn json(&self, took: Duration, now_ms: i64) -> Json {
        let topics: Vec<Json> = self.phases.iter().map(|(source, topic)| self.topic(source, topic)).collect();
        json!({
            "link": self.link.to_string(),
            "verb": self.verb.name(),
            "dry_run": self.dry_run,
            "done": self.done,
            "took_ms": took.as_millis() as u64,
            "source": if self.source_answers { "answers" } else { "away" },
            "rpo": self.rpo(now_ms),
            "steps": self.steps,
            "left": self.left,
            "groups": self.groups.as_ref().map(Carried::json),
            "topics": topics,
            "next": self.next,
        })
    }

    fn topic(&self, source: &TopicName, (target, before, now): &(TopicName, Phase, Phase)) -> Json {
        let partitions: Vec<Json> = self
            .standings
            .iter()
            .filter(|(partition, _)| partition.topic == *source)
            .map(|(partition, standing)| {
                json!({
                    "partition": partition.partition.0,
                    "source_end": standing.source_end.map(|end| end.0),
                    "mirrored": standing.arrived.map(|end| end.0),
                    "lost": standing.lost(),
                    "as_of_ms": standing.as_of_ms,
                    "given_up": standing.given_up,
                    "to_copy": standing.to_copy,
                })
            })
            .collect();
        json!({
            "topic": source.as_str(),
            "copy": target.as_str(),
            "before": before.name(),
            "now": now.name(),
            "partitions": partitions,
        })
    }

    /// What is lost in all. `exact` only if every partition's source was asked now.
    fn rpo(&self, now_ms: i64) -> Json {
        let known: Vec<i64> = self.standings.values().filter_map(Standing::lost).collect();
        let unknown = self.standings.len() - known.len();
        let as_of = self.standings.values().filter_map(|standing| standing.as_of_ms).min();
        let unasked = self.standings.values().filter(|standing| !standing.is_exact()).count();
        let exact = self.source_answers && unasked == 0;
        let note = match (exact, as_of) {
            (true, _) => "every partition of the source was asked".to_owned(),
            (false, _) if self.resumes => "what an earlier call gave up stands in its report".to_owned(),
            (false, _) if self.source_answers => format!(
                "{} of {} did not answer, or have no copy: what is told of those is older, and what they accepted since then is not known",
                unasked,
                counted(self.standings.len(), "partition")
            ),
            (false, Some(_)) => "as of the source's last word; what it accepted since then is not known".to_owned(),
            (false, None) => "the source has told nothing that is known here".to_owned(),
        };
        let sum = known.iter().sum::<i64>();
        json!({
            // Nobody takes a part for the whole.
            "records": (unknown == 0).then_some(sum),
            "known_records": sum,
            "partitions": known.iter().filter(|lost| **lost > 0).count(),
            "unknown_partitions": unknown,
            "unasked_partitions": unasked,
            "exact": exact,
            "as_of_ms": as_of,
            "silent_ms": as_of.map(|as_of| (now_ms - as_of).max(0)),
            "note": note,
        })
    }
}

#[cfg(test)]
mod tests {
    use twinstream_model::PartitionIndex;

    use super::*;

    fn at(index: i32) -> TopicPartition {
        TopicPartition::new(TopicName::parse("orders").unwrap(), PartitionIndex(index))
    }

    fn standing(end: i64, arrived: i64, as_of_ms: Option<i64>) -> Standing {
        Standing { source_end: Some(Offset(end)), arrived: Some(Offset(arrived)), as_of_ms, ..Standing::default() }
    }

    fn report(answers: bool, standings: &[(i32, Standing)]) -> Json {
        let link = LinkName::parse("east->west").unwrap();
        let mut report = Report::new(Verb::Failover, &link, true, answers);
        report.standings = standings.iter().map(|(index, standing)| (at(*index), *standing)).collect();
        report.json(Duration::from_millis(7), 1_000)
    }

    #[test]
    fn what_is_lost_is_exact_only_if_the_source_was_asked_for_all() {
        let exact = report(true, &[(0, standing(10, 7, None)), (1, standing(5, 6, None))]);
        assert_eq!((&exact["rpo"]["records"], &exact["rpo"]["exact"]), (&json!(3), &json!(true)), "{exact}");
        assert_eq!(exact["rpo"]["partitions"], json!(1), "a copy that is ahead lacks nothing");
        let unknown = report(true, &[(0, standing(10, 7, None)), (1, Standing::default())]);
        assert_eq!((&unknown["rpo"]["exact"], &unknown["rpo"]["unknown_partitions"]), (&json!(false), &json!(1)));
        assert_eq!((&unknown["rpo"]["records"], &unknown["rpo"]["known_records"]), (&Json::Null, &json!(3)));
    }

    #[test]
    fn a_partition_that_did_not_answer_is_told_beside_those_that_did() {
        let half = report(true, &[(0, standing(10, 10, None)), (1, standing(8, 8, Some(500)))]);
        assert_eq!((&half["rpo"]["exact"], &half["rpo"]["unasked_partitions"]), (&json!(false), &json!(1)), "{half}");
        assert!(half["rpo"]["note"].as_str().unwrap().starts_with("1 of 2 partitions did not answer, or"), "{half}");
        assert_eq!(half["topics"], json!([]));
    }

    #[test]
    fn an_older_word_of_the_source_is_told_with_its_time() {
        let away = report(false, &[(0, standing(10, 7, Some(900))), (1, standing(3, 3, Some(500)))]);
        assert_eq!((&away["rpo"]["as_of_ms"], &away["rpo"]["exact"]), (&json!(500), &json!(false)));
        assert_eq!(away["rpo"]["silent_ms"], json!(500));
        assert!(away["rpo"]["note"].as_str().unwrap().contains("not known"), "{away}");
    }

    #[test]
    fn a_call_that_goes_on_does_not_tell_what_the_one_before_gave_up_as_nothing() {
        let link = LinkName::parse("east->west").unwrap();
        let mut report = Report::new(Verb::Failback, &link, false, true);
        report.resumes = true;
        report.standings.insert(at(0), Standing { source_end: Some(Offset(9)), ..Standing::default() });
        let rpo = report.json(Duration::ZERO, 1_000)["rpo"].clone();
        assert_eq!((&rpo["records"], &rpo["exact"]), (&Json::Null, &json!(false)), "{rpo}");
        assert_eq!(rpo["note"], "what an earlier call gave up stands in its report");
    }

    #[test]
    fn after_both_sides_were_written_to_what_is_lost_is_what_is_given_up() {
        let parted = Standing { given_up: Some(4), to_copy: Some(90), ..standing(14, 100, None) };
        assert_eq!(report(true, &[(0, parted)])["rpo"]["records"], json!(4));
    }
}
