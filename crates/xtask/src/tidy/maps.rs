//! `crates/README.md` is the map for newcomers: it must know every crate, and no crate that is gone.

use std::collections::BTreeSet;

use crate::tidy::tree::Tree;

const MAP: &str = "crates/README.md";

pub(super) fn maps(tree: &Tree) -> Vec<String> {
    let Some(map) = tree.get(MAP) else { return vec![format!("{MAP}: is not there")] };
    let present: BTreeSet<&str> = tree.crates().map(|(folder, _)| folder).collect();
    let mut complaints = Vec::new();
    for folder in &present {
        if !map.text.contains(&format!("`{folder}`")) {
            complaints.push(format!("{MAP}: does not mention `{folder}`; give it a paragraph"));
        }
    }
    for named in map.text.split('`').filter(|word| is_crate_folder(word)) {
        if !present.contains(named) {
            complaints.push(format!("{MAP}: mentions `{named}`, which does not exist"));
        }
    }
    complaints
}

fn is_crate_folder(word: &str) -> bool {
    let name = word.strip_prefix("crates/").or_else(|| word.strip_prefix("connectors/"));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
}
