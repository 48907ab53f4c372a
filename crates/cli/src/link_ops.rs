//! `twinstream link failover|promote|reverse|failback`: one request to the worker, and its report as a person reads it.
//!
//! Nothing is decided here. A report that says it did not get there ends the command with 1, so that a script calls it again;
//! what was done stays done. With `-o json` the report is printed as it came.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};
use twinstream_connector_mirror::counted;

use crate::arguments::{LinkVerb, OutputFormat};
use crate::failure::Failure;
use crate::link::{Api, count_of, encoded, list_of, word};
use crate::output;

/// What the worker may need beyond the time that it is given: tasks end, brokers answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Partitions without anything to say are left out of the table beyond this.
const QUIET_ROWS_MAX: usize = 20;

pub(crate) async fn run(verb: &str, asked: &LinkVerb, format: OutputFormat) -> Result<ExitCode, Failure> {
    let link = &asked.change.link;
    let api = Api::within(&link.worker, Duration::from_secs(asked.timeout) + ANSWERS_WITHIN)?;
    let mut query = format!("?timeout={}", asked.timeout);
    if let Some(topics) = &asked.topics {
        query.push_str(&format!("&topics={}", encoded(topics)));
    }
    if asked.change.dry_run {
        query.push_str("&dry-run");
    }
    let report = api.put(&api.url(&link.link, &format!("/{verb}{query}")), &json!({})).await?;
    match format {
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &report)?,
        _ => output::line(&told(&report))?,
    }
    Ok(if report["done"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report as text.
fn told(report: &Json) -> String {
    let mut lines = vec![headline(report)];
    let partitions = rows(report);
    if !partitions.is_empty() {
        lines.push(String::new());
        let header = ["topic", "partition", "copy", "source end", "mirrored", "lost", "to bring home", "state"];
        lines.push(output::table_text(header, partitions));
        lines.push(String::new());
    }
    lines.push(lost(report));
    if let Some(groups) = report["groups"].as_object() {
        let of = |name: &str, noun: &str| count_of(groups.get(name).unwrap_or(&Json::Null), noun);
        lines.push(format!("{} carried over, {} written", of("groups", "group"), of("offsets_written", "offset")));
        for (group, why) in groups.get("left").and_then(Json::as_object).into_iter().flatten() {
            lines.push(format!("group {group} was left alone: {}", word(why)));
        }
    }
    let is_dry = report["dry_run"] == true;
    let steps = if is_dry { "would be done" } else { "done" };
    for (what, entries) in [(steps, &report["steps"]), ("left", &report["left"]), ("next", &report["next"])] {
        for entry in list_of(entries) {
            lines.push(format!("{what}: {}", word(entry)));
        }
    }
    lines.join("\n")
}

fn headline(report: &Json) -> String {
    let (link, verb) = (word(&report["link"]), word(&report["verb"]));
    let took = report["took_ms"].as_u64().map(Duration::from_millis).unwrap_or_default();
    let source = if report["source"] == "answers" { "the source answers" } else { "the source is away" };
    let state = match (report["dry_run"] == true, report["done"] == true) {
        (true, _) => "a dry run, nothing was changed",
        (false, true) => "done",
        (false, false) => "NOT done",
    };
    format!("{verb} of link {link}: {state}, after {:.1} s; {source}", took.as_secs_f64())
}

/// One for each partition. Of many, only those that lose something, or that are not known.
fn rows(report: &Json) -> Vec<[String; 8]> {
    let mut rows = Vec::new();
    for topic in list_of(&report["topics"]) {
        for partition in list_of(&topic["partitions"]) {
            let is_quiet = partition["lost"] == 0 && partition["to_copy"].as_i64().unwrap_or(0) == 0;
            let row = [
                word(&topic["topic"]),
                word(&partition["partition"]),
                word(&topic["copy"]),
                word(&partition["source_end"]),
                word(&partition["mirrored"]),
                word(&partition["lost"]),
                word(&partition["to_copy"]),
                word(&topic["now"]),
            ];
            rows.push((is_quiet, row));
        }
    }
    let is_long = rows.len() > QUIET_ROWS_MAX;
    rows.into_iter().filter(|(is_quiet, _)| !(is_long && *is_quiet)).map(|(_, row)| row).collect()
}

/// What is lost in all, in a sentence.
fn lost(report: &Json) -> String {
    let rpo = &report["rpo"];
    let verb = if report["verb"] == "failback" { "given up" } else { "lost" };
    let partitions = count_of(&rpo["partitions"], "partition");
    let mut text = match (rpo["records"].is_null(), rpo["known_records"].as_i64().unwrap_or(0)) {
        (false, _) => format!("{verb}: {} in {partitions}", count_of(&rpo["records"], "record")),
        (true, 0) => format!("{verb}: unknown"),
        (true, known) => format!("{verb}: unknown, at least {} in {partitions}", counted(known, "record")),
    };
    if rpo["exact"] == true {
        text.push_str(" (exact: every partition of the source was asked)");
        return text;
    }
    text.push_str(&format!(" ({}", word(&rpo["note"])));
    if let Some(silent) = rpo["silent_ms"].as_u64() {
        text.push_str(&format!("; it said nothing for {:.1} s", Duration::from_millis(silent).as_secs_f64()));
    }
    if let Some(unknown) = rpo["unknown_partitions"].as_i64().filter(|unknown| *unknown > 0) {
        text.push_str(&format!("; of {} nothing is known", counted(unknown, "partition")));
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Json {
        json!({
            "link": "east->west", "verb": "failover", "dry_run": false, "done": true, "took_ms": 1_240, "source": "away",
            "rpo": {"records": 3, "partitions": 1, "unknown_partitions": 0, "exact": false, "as_of_ms": 1, "silent_ms": 2_500,
                "note": "as of the source's last word; what it accepted since then is not known"},
            "steps": ["2 topics promoted"], "left": [], "groups": null,
            "topics": [{"topic": "orders", "copy": "east.orders", "before": "source leads", "now": "both lead",
                "partitions": [{"partition": 0, "source_end": 10, "mirrored": 7, "lost": 3, "to_copy": null}]}],
            "next": ["point producers and consumers to cluster 'west'"],
        })
    }

    #[test]
    fn a_report_says_what_is_lost_as_of_when_and_what_comes_next() {
        let text = told(&report());
        for part in [
            "failover of link east->west: done, after 1.2 s; the source is away",
            "orders  0          east.orders  10          7         3     -              both lead",
            "lost: 3 records in 1 partition (as of the source's last word; what it accepted since then is not known; it said nothing for 2.5 s)",
            "done: 2 topics promoted",
            "next: point producers and consumers to cluster 'west'",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn what_did_not_get_there_is_told_as_such() {
        let mut report = report();
        report["done"] = json!(false);
        report["left"] = json!(["topic orders is not promoted: no controller"]);
        let text = told(&report);
        assert!(text.contains("NOT done") && text.contains("left: topic orders is not promoted"), "{text}");
        report["dry_run"] = json!(true);
        let text = told(&report);
        assert!(text.contains("nothing was changed") && text.contains("would be done: 2 topics"), "{text}");
    }

    #[test]
    fn what_nobody_knows_is_no_zero() {
        let mut report = report();
        report["rpo"] = json!({"records": null, "known_records": 0, "partitions": 0, "unknown_partitions": 2, "exact": false,
            "note": "the source has told nothing that is known here"});
        assert!(
            told(&report).contains("lost: unknown (the source has told nothing that is known here; of 2 partitions")
        );
        report["rpo"]["known_records"] = json!(3);
        report["rpo"]["partitions"] = json!(1);
        assert!(told(&report).contains("lost: unknown, at least 3 records in 1 partition ("));
    }

    #[test]
    fn of_many_partitions_those_are_shown_that_lose_something() {
        let mut report = report();
        let partitions: Vec<Json> =
            (0..50).map(|index| json!({"partition": index, "lost": i64::from(index == 41), "to_copy": null})).collect();
        report["topics"][0]["partitions"] = json!(partitions);
        let shown: Vec<String> = rows(&report).into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(shown, ["41"]);
    }
}
