//! What `monitoring/` holds, judged by Prometheus itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use twinstream_testkit::peer;

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../monitoring")
}

/// Files of a folder there, by paths that begin with the folder.
fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(monitoring().join(folder)).expect("a folder of monitoring");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut files: Vec<String> =
        names.filter(|name| name.ends_with(".yml")).map(|name| format!("{folder}/{name}")).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

/// What stands behind this word at the begin of lines of these files.
fn named(files: &[String], word: &str) -> BTreeSet<String> {
    let texts = files.iter().map(|file| fs::read_to_string(monitoring().join(file)).expect("a file"));
    let found: Vec<String> = texts
        .flat_map(|text| {
            text.lines().filter_map(|line| line.trim().strip_prefix(word)).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let names: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(names.len(), found.len(), "{word} names something twice");
    names
}

#[test]
fn prometheus_takes_the_rules_and_the_scrape_settings() {
    let promtool = peer::promtool();
    let rules = files("alerts");
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    promtool.text(&monitoring(), &[&["check", "rules"], &rules[..]].concat());
    promtool.text(&monitoring(), &["check", "config", "prometheus.yml"]);
}

#[test]
fn each_alert_fires_when_it_must_and_is_silent_when_it_must() {
    let promtool = peer::promtool();
    let (alerts, tests) = (named(&files("alerts"), "- alert: "), files("tests"));
    let cases = named(&tests, "- name: ");
    let records = named(&files("alerts"), "- record: ");
    let both = alerts.iter().flat_map(|alert| [format!("{alert} fires"), format!("{alert} is silent")]);
    let wanted: BTreeSet<String> = both.chain(records.iter().map(|record| format!("{record} records"))).collect();
    assert_eq!(cases, wanted, "each alert has both cases, each record has one, and no case lacks its rule");
    let tests: Vec<String> = tests.iter().map(|test| test.trim_start_matches("tests/").to_owned()).collect();
    let tests: Vec<&str> = tests.iter().map(String::as_str).collect();
    promtool.text(&monitoring().join("tests"), &[&["test", "rules"], &tests[..]].concat());
}
