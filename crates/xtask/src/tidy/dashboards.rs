//! What `monitoring/` says about metrics, in rules and in boards, must be true: each name is declared in a crate, each alert has a runbook.

use std::collections::BTreeSet;

use crate::tidy::tree::{File, Tree};

const RUNBOOKS: &str = "monitoring/runbooks.md";
const PREFIXES: [&str; 4] = ["twinstream_", "kafka_", "process_", "jvm_"];
/// What stands before an expression.
const EXPRESSIONS: [&str; 3] = ["expr:", "\"expr\":", "\"query\":"];
/// What the text format adds to the name of a histogram.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

pub(super) fn dashboards(tree: &Tree) -> Vec<String> {
    let declared: Vec<&File> = tree.rust().filter(|file| is_product(file)).collect();
    let mut complaints = Vec::new();
    for file in tree.files.iter().filter(|file| file.within("monitoring/") && is_read(&file.path)) {
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

/// Code of the product; that of the boards names metrics and declares none.
fn is_product(file: &File) -> bool {
    file.path.contains("/src/") && !file.is_test() && !file.within("crates/xtask/")
}

fn is_read(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".json")
}

/// Names in the expressions of rules, and in those and the variables of boards.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let uncommented = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && EXPRESSIONS.iter().any(|begin| line.contains(begin)));
    let words = uncommented.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))).collect()
}

fn alerts(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
}
