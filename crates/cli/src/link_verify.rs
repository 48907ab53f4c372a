//! `twinstream link verify`: asks the worker again and again, as each of its answers takes a bounded time, and prints what all
//! of them came to.
//!
//! A partition is compared up to the end that it had when it was asked for first; what is written meanwhile is no part of it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value as Json, json};
use twinstream_connector_mirror::counted;

use crate::arguments::{LinkVerify, OutputFormat};
use crate::failure::Failure;
use crate::link::{Api, list_of, word};
use crate::output;

/// Differences of a partition that are printed, whatever the number of answers.
const SHOWN_MAX: usize = 20;
/// What adds up from answer to answer.
const SUMS: [&str; 6] = ["records", "bytes", "removed", "repeated", "unpaired", "differences"];

pub(crate) async fn run(verify: &LinkVerify, format: OutputFormat) -> Result<ExitCode, Failure> {
    let link = &verify.change.link;
    let api = Api::new(&link.worker)?;
    let query = [("topics", verify.topics.as_str()), ("dry-run", if verify.change.dry_run { "true" } else { "false" })];
    let query: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", crate::link::encoded(value))).collect();
    let url = api.url(&link.link, &format!("/verify?{}", query.join("&")));
    let mut all: BTreeMap<(String, i64), Json> = BTreeMap::new();
    let mut left_out = Json::Null;
    let mut body = json!({});
    loop {
        let answer = api.put(&url, &body).await?;
        if left_out.is_null() {
            left_out = answer["left_out"].clone();
        }
        if verify.change.dry_run {
            return planned(&answer, format);
        }
        list_of(&answer["partitions"]).for_each(|partition| add(&mut all, partition));
        let rest: Vec<Json> =
            all.values().filter(|partition| partition["state"] == "UNFINISHED").filter_map(next).collect();
        if rest.is_empty() {
            break;
        }
        let records: i64 = all.values().filter_map(|partition| partition["records"].as_i64()).sum();
        output::talk(&format!("{} compared, {} left", counted(records, "record"), counted(rest.len(), "partition")));
        body = json!({"from": rest});
    }
    let partitions: Vec<Json> = all.into_values().collect();
    let is_equal = |partition: &Json| partition["state"] == "EQUAL" || partition["state"] == "BEHIND";
    let is_sound = !partitions.is_empty() && partitions.iter().all(is_equal);
    if partitions.is_empty() {
        output::talk("nothing was compared: the link copies no topic that was asked for");
    }
    match format {
        OutputFormat::Json => {
            output::json(
                &json!({"link": link.link, "sound": is_sound, "partitions": partitions, "left_out": left_out}),
            )?;
        }
        _ => show(&partitions, &left_out)?,
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where to go on with a partition; from its beginning if it was not begun.
fn next(partition: &Json) -> Option<Json> {
    let offset = partition["verified"].as_i64().unwrap_or(0);
    Some(
        json!({"topic": partition["topic"].as_str()?, "partition": partition["partition"].as_i64()?, "offset": offset}),
    )
}

/// Adds an answer to what is known of the partition.
fn add(all: &mut BTreeMap<(String, i64), Json>, partition: &Json) {
    let (Some(topic), Some(index)) = (partition["topic"].as_str(), partition["partition"].as_i64()) else { return };
    let Some(known) = all.get_mut(&(topic.to_owned(), index)) else {
        all.insert((topic.to_owned(), index), partition.clone());
        return;
    };
    // Of one that was asked for again because others were not finished.
    if known["state"] != "UNFINISHED" {
        return;
    }
    let (before, from) = (known.clone(), known["from"].clone());
    *known = partition.clone();
    if !from.is_null() {
        known["from"] = from;
    }
    for name in SUMS {
        known[name] = json!(before[name].as_i64().unwrap_or(0) + partition[name].as_i64().unwrap_or(0));
    }
    let first: Vec<Json> =
        list_of(&before["first"]).chain(list_of(&partition["first"])).take(SHOWN_MAX).cloned().collect();
    known["first"] = json!(first);
    if before["differences"].as_i64().unwrap_or(0) > 0 && known["state"] != "UNFINISHED" {
        known["state"] = json!("DIFFERENT");
    }
}

fn planned(answer: &Json, format: OutputFormat) -> Result<ExitCode, Failure> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, answer)?,
        _ => {
            let columns = ["topic", "partition", "target_topic", "mode"];
            let rows = list_of(&answer["partitions"]).map(|partition| columns.map(|column| word(&partition[column])));
            output::table(["topic", "partition", "on the target", "mode"], rows.collect())?;
            told_left_out(&answer["left_out"])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(partitions: &[Json], left_out: &Json) -> Result<(), Failure> {
    let columns = ["topic", "partition", "mode", "state", "from", "verified", "source_end", "records", "differences"];
    let rows = partitions.iter().map(|partition| columns.map(|column| word(&partition[column])));
    output::table(
        ["topic", "partition", "mode", "state", "from", "verified up to", "end", "records", "differences"],
        rows.collect(),
    )?;
    for partition in partitions {
        let name = format!("{}-{}", word(&partition["topic"]), word(&partition["partition"]));
        for difference in list_of(&partition["first"]) {
            let (source, target) = (word(&difference["source"]), word(&difference["target"]));
            output::line(&format!(
                "{name}: source offset {source}, target offset {target}: {}",
                word(&difference["what"])
            ))?;
        }
        for (count, what) in [
            ("removed", "removed by compaction on one side"),
            ("repeated", "twice on the target, or not from this link"),
            ("unpaired", "not compared, the offset map is coarse there"),
        ] {
            if let Some(records) = partition[count].as_i64().filter(|records| *records > 0) {
                output::line(&format!("{name}: {} {what}", counted(records, "record")))?;
            }
        }
        if let Some(error) = partition["error"].as_str() {
            output::line(&format!("{name}: {error}"))?;
        }
    }
    told_left_out(left_out)
}

fn told_left_out(left_out: &Json) -> Result<(), Failure> {
    for topic in list_of(left_out) {
        output::line(&format!("not compared: {}: {}", word(&topic["topic"]), word(&topic["why"])))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(state: &str, verified: i64, records: i64, differences: i64) -> Json {
        json!({"topic": "t", "partition": 0, "state": state, "from": verified - records, "verified": verified,
            "records": records, "differences": differences, "first": []})
    }

    #[test]
    fn answers_of_one_partition_add_up() {
        let mut all = BTreeMap::new();
        add(&mut all, &part("UNFINISHED", 10, 10, 1));
        assert_eq!(next(&all[&("t".to_owned(), 0)]), Some(json!({"topic": "t", "partition": 0, "offset": 10})));
        add(&mut all, &part("UNFINISHED", 25, 15, 0));
        add(&mut all, &part("EQUAL", 30, 5, 0));
        let known = &all[&("t".to_owned(), 0)];
        let told = ["state", "from", "verified", "records", "differences"].map(|name| word(&known[name]));
        assert_eq!(told, ["DIFFERENT", "0", "30", "30", "1"]);
    }

    #[test]
    fn a_partition_that_is_done_is_not_counted_twice() {
        let mut all = BTreeMap::new();
        add(&mut all, &part("EQUAL", 10, 10, 0));
        add(&mut all, &part("EQUAL", 12, 12, 0));
        assert_eq!(all[&("t".to_owned(), 0)]["records"], 10);
    }
}
