//! What `monitoring/` says about metrics must be true: each name is declared in a crate, each alert has a runbook.

use std::collections::BTreeSet;

use crate::tidy::tree::{File, Tree};

const RUNBOOKS: &str = "monitoring/runbooks.md";
const PREFIXES: [&str; 4] = ["twinstream_", "kafka_", "process_", "jvm_"];
/// What the text format adds to the name of a histogram.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

pub(super) fn dashboards(tree: &Tree) -> Vec<String> {
    let declared: Vec<&File> = tree.rust().filter(|file| file.path.contains("/src/") && !file.is_test()).collect();
    let mut complaints = Vec::new();
    for file in tree.files.iter().filter(|file| file.within("monitoring/") && file.path.ends_with(".yml")) {
        for name in metric_names(&file.text) {
            let bare = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            let exists = |name: &str| declared.iter().any(|file| file.text.contains(&format!("\"{name}\"")));
            if !exists(name) && !exists(bare) {
                complaints.push(format!("{}: metric {name} is declared nowhere", file.path));
            }
        }
        for alert in alerts(&file.text) {
            let known = tree.get(RUNBOOKS).is_some_and(|book| book.text.contains(&format!("## {alert}\n")));
            if !known {
                complaints.push(format!("{}: alert {alert} has no heading in {RUNBOOKS}", file.path));
            }
        }
    }
    complaints
}

fn metric_names(text: &str) -> BTreeSet<&str> {
    let uncommented = text.lines().filter(|line| !line.trim_start().starts_with('#') && line.contains("expr:"));
    let words = uncommented.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))).collect()
}

fn alerts(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
}
