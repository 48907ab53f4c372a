//! `cargo xtask dashboards`: writes Grafana's boards of `monitoring/dashboards/`; `--check` only says which differ.
//!
//! Picture: a file here says in Rust what a board asks ([`cluster`], [`broker`], ...); [`board`] has the parts that boards
//! are made of (rows, panels, queries, variables) and [`json`] writes them as Grafana reads them. The files are committed,
//! so that an operator needs no Rust; a test holds them against this code.
//!
//! Invariants: the first row of a board answers whether all is well, and its values have colours. Every panel has a
//! description and a unit. No board names an instance, a topic or a source of data; they are variables. A query finds a
//! series whenever its role is at work, so that "No data" means that nothing is measured, and never that all is well.
//!
//! Not here: whether a metric exists (`tidy`), and what Prometheus makes of the queries (tests of the cli).

mod board; // the parts of a board
mod json; // as Grafana reads them

mod broker; // one process of a cluster
mod cluster; // the brokers of a site together
mod groups; // consumers and how far they are
mod links; // mirrors from one cluster to another
mod registry; // schemas
mod sink; // from topics into an index
mod topic; // one topic
mod worker; // processes that run connectors

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use crate::command::say;
use crate::dashboards::board::Board;

/// Where the boards are kept.
const FOLDER: &str = "monitoring/dashboards";

#[derive(Args)]
pub(crate) struct Dashboards {
    /// Only tell which differ.
    #[arg(long)]
    check: bool,
}

impl Dashboards {
    /// False if a file differs and was not to be written.
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        let folder = root.join(FOLDER);
        let stale: Vec<(String, String)> = files().into_iter().filter(|file| differs(&folder, file)).collect();
        let strangers = strangers(&folder);
        for (name, text) in &stale {
            if !self.check {
                fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
                fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
            }
            say(format!("{} {FOLDER}/{name}", if self.check { "differs" } else { "written" }));
        }
        for name in &strangers {
            say(format!("unknown {FOLDER}/{name}: no board here makes it"));
        }
        say(format!("{} boards, {} queries", boards().len(), boards().iter().map(Board::queries).sum::<usize>()));
        Ok(strangers.is_empty() && (stale.is_empty() || !self.check))
    }
}

/// All boards, in the order in which an operator looks.
fn boards() -> Vec<Board> {
    vec![
        cluster::board(),
        broker::board(),
        topic::board(),
        groups::board(),
        links::board(),
        worker::board(),
        sink::board(),
        registry::board(),
    ]
}

/// Name and text of each file.
fn files() -> Vec<(String, String)> {
    boards().iter().map(|board| (format!("{}.json", board.name), json::text(board))).collect()
}

fn differs(folder: &Path, (name, text): &(String, String)) -> bool {
    fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text)
}

/// Files in the folder that no board makes.
fn strangers(folder: &Path) -> Vec<String> {
    let known: Vec<String> = files().into_iter().map(|(name, _)| name).collect();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut strangers: Vec<String> = names.filter(|name| !known.contains(name)).collect();
    strangers.sort();
    strangers
}

#[cfg(test)]
mod tests;
