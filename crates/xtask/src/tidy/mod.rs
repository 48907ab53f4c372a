//! Rules about the source tree that no compiler checks.
//!
//! Picture: [`tree::Tree`] reads the files once; each rule is a function from the tree to a list of complaints, told as
//! `file:line: what is wrong and what to do`. A rule without complaints has passed.

mod arrows; // which crate may know which
mod bans; // calls with a better replacement
mod dashboards; // monitoring/ names only what exists
mod heads; // how a file begins, how long it is
mod manifests; // Cargo.toml of the crates, the lock file
mod maps; // crates/README.md knows every crate
mod tree; // the files

use std::path::Path;

use anyhow::Result;

use crate::command::say;
use crate::test::Counts;
use crate::tidy::tree::Tree;

type Rule = fn(&Tree) -> Vec<String>;

const RULES: [(&str, Rule); 10] = [
    ("crates know only what lies below them", arrows::arrows),
    ("cores know no runtime, network or clock", arrows::foreign),
    ("calls that have a better replacement", bans::calls),
    ("no paths of one machine", bans::machine),
    ("files begin with their documentation", heads::heads),
    ("no license banners", heads::banners),
    ("versions stand in the workspace only, lints are on", manifests::manifests),
    ("packages in the lock file", manifests::budget),
    ("the map of crates is whole", maps::maps),
    ("alerts and boards name metrics and runbooks that exist", dashboards::dashboards),
];

pub(crate) fn run(root: &Path) -> Result<Counts> {
    let tree = Tree::read(root)?;
    let mut counts = Counts::default();
    for (name, rule) in RULES {
        let complaints = rule(&tree);
        let good = complaints.is_empty();
        say(format!("{} tidy: {name}", if good { "ok    " } else { "FAILED" }));
        for complaint in complaints {
            say(format!("         {complaint}"));
        }
        counts.add(Counts::of(good));
    }
    for notice in heads::long_files(&tree) {
        say(format!("notice tidy: {notice}"));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests;
