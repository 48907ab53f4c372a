//! `twinstream link describe` as a person reads it. Pure: an answer in, text out.
//!
//! The same facts as on the page of links, in the same order: what runs, how far it is, what it would lose, what is wrong and why.

use std::time::Duration;

use serde_json::Value as Json;
use twinstream_connector_mirror::counted;

use crate::link::{count_of, list_of, word};
use crate::output;

pub(crate) fn told(link: &Json) -> String {
    let mut lines = vec![format!("link {}: {}", word(&link["link"]), word(&link["state"]))];
    lines.extend(link["state_cause"].as_str().map(str::to_owned));
    let rows = list_of(&link["connectors"])
        .map(|member| ["part", "name", "state", "tasks"].map(|column| word(&member[column])));
    lines.push(output::table_text(["part", "connector", "state", "tasks"], rows.collect()));
    lines.extend(partitions(&link["partitions"]));
    lines.extend(groups(&link["groups"]));
    lines.extend(list_of(&link["limits"]).map(limit));
    for refused in list_of(&link["topics_refused"]) {
        lines.push(format!("{} is not copied: {}", word(&refused["topic"]), word(&refused["cause"])));
    }
    for apart in list_of(&link["topics_apart"]) {
        lines.push(format!("{} does not follow in everything: {}", word(&apart["topic"]), word(&apart["cause"])));
    }
    for gone in list_of(&link["topics_gone"]) {
        lines.push(format!(
            "{} is gone at the source, or hidden there, and its copy gets nothing more",
            word(&gone["topic"])
        ));
    }
    if link["acls"].is_string() {
        lines.push(format!("ACLs: {}", word(&link["acls"])));
    }
    for member in list_of(&link["connectors"]) {
        for (key, state) in [("failures", "failed"), ("restarting", "restarts")] {
            let causes = list_of(&member[key]);
            lines.extend(causes.map(|cause| format!("{} {state}: {}", word(&member["name"]), word(cause))));
        }
    }
    for (part, config) in link["configs"].as_object().into_iter().flatten() {
        lines.push(format!("\nsettings of {part}:"));
        let settings = config.as_object().into_iter().flatten();
        lines.extend(settings.map(|(name, value)| format!("  {name}={}", word(value))));
    }
    lines.join("\n")
}

/// How the partitions stand that this worker copies.
fn partitions(partitions: &Json) -> Vec<String> {
    let states = partitions["states"].as_object().into_iter().flatten();
    let states: Vec<String> = states.map(|(state, count)| format!("{} {state}", word(count))).collect();
    if states.is_empty() {
        return Vec::new();
    }
    let [aligned, generic] = ["aligned", "generic"].map(|mode| word(&partitions[mode]));
    let mut lines = vec![format!("partitions: {} ({aligned} aligned, {generic} generic)", states.join(", "))];
    let (lag, rpo, compared) = (&partitions["lag"], &partitions["rpo"], &partitions["compared"]);
    let bytes = lag["bytes"].as_i64().map_or_else(|| "? bytes".to_owned(), size);
    let silent = rpo["silent_ms"].as_i64().is_some_and(|silent| silent > 0).then(|| time(&rpo["silent_ms"]));
    let as_of = silent.as_ref().map_or_else(String::new, |silent| format!(", as of {silent} ago"));
    let records = count_of(&lag["records"], "record");
    lines.push(format!("behind the source: {records}, {bytes}, {}{as_of}", time(&lag["ms"])));
    let records = count_of(&rpo["records"], "record");
    lines.push(match (rpo["unknown_partitions"].as_i64().filter(|count| *count > 0), silent) {
        (Some(count), _) => format!(
            "a fail-over now would lose {} and all of the topics that were made anew ({})",
            count_of(&rpo["known_records"], "record"),
            counted(count, "partition")
        ),
        (None, Some(silent)) => {
            format!("a fail-over now would lose {records}, and what the source got since its last word {silent} ago")
        }
        (None, None) => format!("a fail-over now would lose {records}, {}", time(&rpo["ms"])),
    });
    if compared["partitions"].as_i64().is_some_and(|partitions| partitions > 0) {
        let (all, left) =
            (count_of(&compared["partitions"], "partition"), count_of(&compared["records_left"], "record"));
        lines.push(format!("compared on both sides: {all}, {left} left"));
    }
    if partitions["differences"].as_i64().is_some_and(|differences| differences > 0) {
        let differences = count_of(&partitions["differences"], "difference");
        lines.push(format!("{differences} found; `twinstream link verify` names them"));
    }
    let shown: Vec<&Json> = list_of(&partitions["not_copying"]).collect();
    for partition in &shown {
        let [topic, index, state, cause] =
            ["topic", "partition", "state", "cause"].map(|column| word(&partition[column]));
        lines.push(format!("{topic}-{index} {state} {cause}"));
    }
    let count = partitions["not_copying_count"].as_u64().unwrap_or(0);
    if let Some(more) = count.checked_sub(shown.len() as u64).filter(|more| *more > 0) {
        lines.push(format!("and {more} more that do not copy"));
    }
    lines
}

fn groups(groups: &Json) -> Vec<String> {
    if groups["followed"].as_i64().unwrap_or(0) == 0 {
        return Vec::new();
    }
    let (followed, behind) = (count_of(&groups["followed"], "group"), word(&groups["behind"]));
    let mut lines = vec![format!("{followed} followed, {behind} behind")];
    if let Some(first) = list_of(&groups["furthest_behind"]).next() {
        let [group, topic, partition] = ["group", "topic", "partition"].map(|column| word(&first[column]));
        let (records, since) = (count_of(&first["records"], "record"), time(&first["ms"]));
        lines.push(format!("group {group} is furthest behind: {records} in {topic}-{partition}, for {since}"));
    }
    lines
}

/// What limits the link now, and until when.
fn limit(limit: &Json) -> String {
    let of = match (limit["of"].as_str(), limit["topics"].as_str()) {
        (Some("topics"), Some(topics)) => format!("topics {topics}"),
        (Some("link"), _) => "the link".to_owned(),
        (of, _) => of.unwrap_or("?").to_owned(),
    };
    let rate = match limit["bytes_per_second"].as_i64() {
        Some(bytes) => format!("{} per second", size(bytes)),
        None => "unlimited".to_owned(),
    };
    let until = limit["until"].as_str().map(|until| format!(" until {until}")).unwrap_or_default();
    let window = limit["window"].as_str().map(|window| format!(" ({window})")).unwrap_or_default();
    format!("limit of {of}: {rate}{until}{window}")
}

/// Bytes as people read them.
fn size(bytes: i64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{} {name}", (bytes as f64 / unit as f64 * 10.0).round() / 10.0),
        None => counted(bytes, "byte"),
    }
}

/// Milliseconds as people read them.
fn time(ms: &Json) -> String {
    let Some(ms) = ms.as_u64() else { return "for a time that is not known".to_owned() };
    if ms < 1_000 {
        return format!("{ms} ms");
    }
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0..60 => format!("{:.1} s", Duration::from_millis(ms).as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn link() -> Json {
        json!({
            "link": "east->west", "state": "RUNNING",
            "connectors": [{"part": "source", "name": "copy", "state": "STARTING", "tasks": 1, "failures": [],
                "restarting": ["task 0: the source is away"]}],
            "partitions": {"states": {"COPYING": 1, "AWAY": 1}, "aligned": 2, "generic": 0,
                "lag": {"records": 1, "bytes": null, "ms": 61_500}, "rpo": {"records": 1, "ms": 2_500},
                "compared": {"partitions": 1, "records_left": 0}, "differences": 1,
                "not_copying": [{"topic": "t", "partition": 3, "state": "AWAY", "cause": "no leader"}],
                "not_copying_count": 4},
            "groups": {"followed": 1, "behind": 1,
                "furthest_behind": [{"group": "g", "topic": "t", "partition": 0, "records": 1, "ms": 900}]},
            "limits": [
                {"of": "link", "topics": null, "bytes_per_second": 10_000_000, "window": "mon-fri 08:00-18:00 10MB",
                    "until": "2026-11-23T18:00:00Z"},
                {"of": "topics", "topics": "logs-.*", "bytes_per_second": null, "window": null, "until": null},
            ],
            "topics_refused": [{"topic": "large", "cause": "too many partitions"}],
            "configs": {"source": {"topics": "t"}},
        })
    }

    #[test]
    fn a_link_is_told_with_what_is_wrong_and_what_limits_it() {
        let text = told(&link());
        for part in [
            "link east->west: RUNNING\n",
            "partitions: 1 COPYING, 1 AWAY (2 aligned, 0 generic)\n",
            "behind the source: 1 record, ? bytes, 1 min 1 s\n",
            "a fail-over now would lose 1 record, 2.5 s\n",
            "compared on both sides: 1 partition, 0 records left\n",
            "1 difference found; `twinstream link verify` names them\n",
            "t-3 AWAY no leader\nand 3 more that do not copy\n",
            "1 group followed, 1 behind\ngroup g is furthest behind: 1 record in t-0, for 900 ms\n",
            "limit of the link: 10 MB per second until 2026-11-23T18:00:00Z (mon-fri 08:00-18:00 10MB)\n",
            "limit of topics logs-.*: unlimited\n",
            "large is not copied: too many partitions\n",
            "copy restarts: task 0: the source is away\n",
            "settings of source:\n  topics=t",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn what_a_worker_does_not_copy_is_left_out() {
        let text = told(&json!({"link": "a->b", "state": "PAUSED", "connectors": [], "partitions": {"states": {}},
            "groups": {"followed": 0}, "limits": [], "topics_refused": []}));
        assert!(text.starts_with("link a->b: PAUSED\n") && text.lines().count() <= 2, "{text}");
        assert_eq!(time(&json!(7_260_000)), "2 h 1 min");
        assert_eq!([1, 999, 1_500, 8_388_608].map(size), ["1 byte", "999 bytes", "1.5 kB", "8.4 MB"]);
    }

    #[test]
    fn what_is_told_of_a_source_that_is_silent_has_its_age_and_what_nobody_knows_is_no_zero() {
        let parts = |rpo: Json| {
            json!({"states": {"COPYING": 1}, "aligned": 1, "generic": 0, "lag": {"records": 0, "bytes": 0, "ms": 0}, "rpo": rpo,
                "compared": {"partitions": 0, "records_left": 0}, "differences": 0, "not_copying": [], "not_copying_count": 0})
        };
        let silent =
            json!({"records": 0, "known_records": 0, "unknown_partitions": 0, "ms": 9_800, "silent_ms": 9_800});
        let text = partitions(&parts(silent)).join("\n");
        assert!(text.contains("behind the source: 0 records, 0 bytes, 0 ms, as of 9.8 s ago"), "{text}");
        assert!(text.contains("lose 0 records, and what the source got since its last word 9.8 s ago"), "{text}");
        let anew = json!({"records": null, "known_records": 3, "unknown_partitions": 2, "ms": 0, "silent_ms": 0});
        let text = partitions(&parts(anew)).join("\n");
        assert!(text.contains("lose 3 records and all of the topics that were made anew (2 partitions)"), "{text}");
    }
}
