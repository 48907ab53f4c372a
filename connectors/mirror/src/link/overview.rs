//! How a link stands by what its tasks in this process have told: for `link describe`, and for the page of links every other
//! second. Nobody is asked for it. Pure.
//!
//! Invariant: lists have at most [`SHOWN_MAX`] entries, the worst first, and a number beside them says how many there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use twinstream_model::{GroupId, TopicPartition};

use crate::engine::standing::Standing;
use crate::figures::{GroupBehind, Mode, Rpo, Seen};

/// Entries of a list.
const SHOWN_MAX: usize = 100;

/// How many partitions stand how, each that does not just copy with its cause, what a fail-over would lose, how far both sides
/// were compared, and who is furthest behind. Only of tasks that run here.
pub(super) fn partitions(seen: &[Seen], now_ms: i64) -> Json {
    let live: Vec<&Seen> = seen.iter().filter(|seen| seen.is_live).collect();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seen in &live {
        *counts.entry(seen.standing.name()).or_default() += 1;
    }
    let trouble: Vec<&Seen> = live.iter().copied().filter(|seen| seen.standing != Standing::Copying).collect();
    let modes = |mode: Mode| live.iter().filter(|seen| seen.mode == Some(mode)).count();
    let rpo = Rpo::of(seen, now_ms);
    json!({
        "states": counts,
        "aligned": modes(Mode::Aligned),
        "generic": modes(Mode::Generic),
        "not_copying_count": trouble.len(),
        "not_copying": trouble.into_iter().take(SHOWN_MAX).map(stands).collect::<Vec<_>>(),
        "differences": seen.iter().map(|seen| seen.differences).sum::<u64>(),
        "rpo": {
            // Nobody takes a part for the whole.
            "records": (rpo.unknown == 0).then_some(rpo.records),
            "known_records": rpo.records,
            "unknown_partitions": rpo.unknown,
            "ms": rpo.ms,
            "silent_ms": rpo.silent_ms,
        },
        "lag": lag(&live),
        "compared": compared(&live),
        "furthest_behind": furthest_behind(&live),
    })
}

fn stands(seen: &Seen) -> Json {
    json!({
        "topic": seen.source.topic.as_str(),
        "partition": seen.source.partition.0,
        "state": seen.standing.name(),
        "cause": seen.cause,
    })
}

/// Sums of records and bytes, the worst partition's time; null where one does not know.
fn lag(live: &[&Seen]) -> Json {
    let known = |value: Option<i64>, seen: &Seen| if seen.lag.records == 0 { Some(0) } else { value };
    let bytes = live.iter().try_fold(0_i64, |all, seen| Some(all.saturating_add(known(seen.lag.bytes, seen)?)));
    let ms = live.iter().try_fold(0_i64, |worst, seen| Some(worst.max(known(seen.lag.ms, seen)?)));
    let records = live.iter().fold(0_i64, |all, seen| all.saturating_add(seen.lag.records));
    json!({"records": records, "bytes": bytes, "ms": ms})
}

/// How many partitions were compared at all, and how many records of those that are on the target are not compared yet.
fn compared(live: &[&Seen]) -> Json {
    let left = |seen: &&Seen| Some((seen.arrived?.0 - seen.verified?.0).max(0));
    let known: Vec<i64> = live.iter().filter_map(left).collect();
    json!({"partitions": known.len(), "records_left": known.iter().sum::<i64>()})
}

fn furthest_behind(live: &[&Seen]) -> Vec<Json> {
    let mut ordered = live.to_vec();
    // Of what is behind for a time that nobody knows, it may be any.
    let late = |seen: &Seen| (seen.lag.records > 0).then(|| seen.lag.ms.unwrap_or(i64::MAX));
    ordered.sort_by_key(|seen| std::cmp::Reverse((late(seen), seen.lag.records)));
    let row = |seen: &&Seen| {
        json!({
            "topic": seen.source.topic.as_str(),
            "partition": seen.source.partition.0,
            "copy": seen.target.topic.as_str(),
            "mode": seen.mode.map(Mode::name),
            "state": seen.standing.name(),
            "position": seen.arrived.map(|offset| offset.0),
            "end": seen.source_end.map(|offset| offset.0),
            "records": seen.lag.records,
            "bytes": seen.lag.bytes,
            "ms": seen.lag.ms,
            "verified": seen.verified.map(|offset| offset.0),
            "differences": seen.differences,
        })
    };
    ordered.iter().take(SHOWN_MAX).map(row).collect()
}

/// How many groups are followed, and those that stand elsewhere on the target than at the source.
pub(super) fn groups(groups: &[((GroupId, TopicPartition), GroupBehind)], now_ms: i64) -> Json {
    let followed: BTreeSet<&GroupId> = groups.iter().map(|((group, _), _)| group).collect();
    let mut late: Vec<_> =
        groups.iter().filter_map(|((group, at), behind)| Some((group, at, behind, behind.since_ms?))).collect();
    late.sort_by_key(|(_, _, _, since_ms)| *since_ms);
    let behind: BTreeSet<&GroupId> = late.iter().map(|(group, ..)| *group).collect();
    let row = |(group, at, behind, since_ms): &(&GroupId, &TopicPartition, &GroupBehind, i64)| {
        json!({
            "group": group.as_str(),
            "topic": at.topic.as_str(),
            "partition": at.partition.0,
            "records": behind.records,
            "ms": (now_ms - since_ms).max(0),
        })
    };
    json!({
        "followed": followed.len(),
        "behind": behind.len(),
        "furthest_behind": late.iter().take(SHOWN_MAX).map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use twinstream_model::{NodeId, Offset, PartitionIndex, TopicName};

    use super::*;
    use crate::figures::{Heard, LinkFigures};

    fn at(topic: &str, index: i32) -> TopicPartition {
        TopicPartition::new(TopicName::parse(topic).unwrap(), PartitionIndex(index))
    }

    /// A partition that ends at 100, of which so many are on the target.
    fn copying(link: &LinkFigures, index: i32, arrived: i64) {
        let figures = link.partition(&at("t", index), &at("s.t", index));
        figures.held();
        figures.stands(Standing::Copying, "");
        figures.copied_as(Mode::Aligned);
        let heard = Heard { leader: NodeId(1), source_end: Offset(100), log_start: Offset(0), offsets: 10, bytes: 500 };
        figures.heard(&heard, Offset(0), 1_000);
        figures.arrived(Offset(arrived), Some((5, 2_000)), 3_000);
    }

    #[test]
    fn sums_are_those_of_what_runs_here_and_the_worst_comes_first() {
        let link = LinkFigures::default();
        copying(&link, 0, 100);
        copying(&link, 1, 40);
        link.partition(&at("t", 1), &at("s.t", 1)).verified(Offset(30));
        link.partition(&at("t", 2), &at("s.t", 2)).stands(Standing::Away, "of another worker");
        let json = partitions(&link.partitions_at(12_000), 12_000);
        assert_eq!(json["lag"], json!({"records": 60, "bytes": 3_000, "ms": 10_000}), "{json}");
        assert_eq!(json["compared"], json!({"partitions": 1, "records_left": 10}));
        assert_eq!((&json["states"], &json["aligned"]), (&json!({"COPYING": 2}), &json!(2)));
        let rows = json["furthest_behind"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["partition"], &rows[0]["verified"]), (2, &json!(1), &json!(30)), "{json}");
        assert_eq!((&json["not_copying"], &json["not_copying_count"]), (&json!([]), &json!(0)));
    }

    #[test]
    fn lists_are_bounded_and_say_how_many_there_are() {
        let link = LinkFigures::default();
        for index in 0..250 {
            copying(&link, index, 0);
            link.partition(&at("t", index), &at("s.t", index)).stands(Standing::Gone, "deleted");
        }
        let json = partitions(&link.partitions_at(2_000), 2_000);
        let len = |list: &str| json[list].as_array().unwrap().len();
        assert_eq!((len("not_copying"), len("furthest_behind")), (SHOWN_MAX, SHOWN_MAX));
        assert_eq!(json["not_copying_count"], json!(250));
        assert_eq!(json["not_copying"][0]["cause"], "deleted");
    }

    #[test]
    fn groups_that_are_behind_longest_come_first() {
        let link = LinkFigures::default();
        let group = |name: &str| GroupId::from(name);
        let behind = |records, since_ms| GroupBehind { records, since_ms };
        link.group_behind(&group("late"), &at("t", 0), behind(7, Some(1_000)));
        link.group_behind(&group("later"), &at("t", 1), behind(1, Some(400)));
        link.group_behind(&group("later"), &at("t", 0), behind(0, None));
        link.group_behind(&group("there"), &at("t", 0), behind(0, None));
        let json = groups(&link.groups(), 5_000);
        assert_eq!((&json["followed"], &json["behind"]), (&json!(3), &json!(2)), "{json}");
        let first = json!({"group": "later", "topic": "t", "partition": 1, "records": 1, "ms": 4_600});
        assert_eq!(json["furthest_behind"][0], first);
        assert_eq!(json["furthest_behind"].as_array().unwrap().len(), 2);
    }
}
