//! Which crate may know which: the layers of `crates/README.md`, as data.
//!
//! Think hard before adding a row or a name. An arrow that seems needed is more often code that lives one layer too high.

use std::collections::BTreeSet;

use crate::tidy::tree::Tree;

struct Row {
    folder: &'static str,
    /// Crates of ours, by folder, that this one may name in `[dependencies]`.
    knows: &'static [&'static str],
    /// Crates of others that it must not name, whatever happens.
    never: &'static [&'static str],
}

/// What would bring a clock, a socket, a file or chance into a pure core.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio-util",
    "futures",
    "async-trait",
    "rand",
    "rustix",
    "reqwest",
    "axum",
    "rdkafka",
    "raft",
    "tracing",
];
const NO_RDKAFKA: &[&str] = &["rdkafka"];
const NO_NETWORK: &[&str] = &["tokio", "reqwest", "axum", "rdkafka"];

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { folder: "crates/model", knows: &[], never: IMPURE },
    Row { folder: "crates/telemetry", knows: &[], never: NO_RDKAFKA },
    Row { folder: "crates/protocol", knows: &["crates/model"], never: IMPURE },
    Row { folder: "crates/metadata", knows: &["crates/model"], never: IMPURE },
    Row { folder: "crates/replication", knows: &["crates/model"], never: IMPURE },
    Row { folder: "crates/coordinator", knows: &["crates/model", "crates/protocol"], never: IMPURE },
    Row { folder: "crates/log", knows: &["crates/model", "crates/protocol"], never: NO_NETWORK },
    Row { folder: "crates/quorum", knows: &["crates/model"], never: NO_RDKAFKA },
    Row { folder: "crates/client", knows: &["crates/model", "crates/protocol"], never: &["axum"] },
    Row { folder: "crates/broker", knows: &["crates/model", "crates/telemetry", "crates/protocol", "crates/metadata",
        "crates/replication", "crates/coordinator", "crates/log", "crates/quorum"], never: NO_RDKAFKA },
    Row { folder: "crates/registry", knows: &["crates/model", "crates/telemetry", "crates/client"], never: NO_RDKAFKA },
    Row { folder: "crates/connect-api", knows: &["crates/model"], never: NO_RDKAFKA },
    Row { folder: "crates/connect", knows: &["crates/model", "crates/telemetry", "crates/client", "crates/connect-api"],
        never: NO_RDKAFKA },
    Row { folder: "crates/search", knows: &[], never: NO_RDKAFKA },
    Row { folder: "connectors/mirror", knows: &["crates/model", "crates/client", "crates/connect-api"], never: NO_RDKAFKA },
    Row { folder: "connectors/elasticsearch", knows: &["crates/model", "crates/connect-api"], never: NO_RDKAFKA },
    Row { folder: "crates/cli", knows: &["crates/model", "crates/telemetry", "crates/client", "crates/broker",
        "crates/registry", "crates/connect-api", "crates/connect", "crates/search", "connectors/mirror",
        "connectors/elasticsearch"], never: NO_RDKAFKA },
    Row { folder: "crates/testkit", knows: &["crates/model", "crates/client"], never: NO_RDKAFKA },
    Row { folder: "crates/bench", knows: &["crates/model", "crates/client", "crates/testkit"], never: NO_RDKAFKA },
    Row { folder: "crates/fuzz", knows: &["crates/model", "crates/protocol", "crates/metadata", "crates/coordinator",
        "crates/log", "crates/quorum", "crates/client", "crates/broker", "crates/registry", "crates/connect",
        "connectors/mirror"], never: NO_RDKAFKA },
    Row { folder: "crates/xtask", knows: &[], never: NO_RDKAFKA },
];

/// A test may also bring the cluster of real processes, and the embedded index as a server to write to.
const TESTS_MAY_KNOW: &[&str] = &["crates/testkit", "crates/search"];

pub(super) fn arrows(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, manifest) in tree.crates() {
        let Some(row) = TABLE.iter().find(|row| row.folder == folder) else {
            complaints.push(format!("{folder}: has no row in crates/xtask/src/tidy/arrows.rs; say what it may know"));
            continue;
        };
        for (section, name) in dependencies(&manifest.text) {
            let Some(target) = our_folder(&name) else { continue };
            let for_tests = section == "dev-dependencies" && TESTS_MAY_KNOW.contains(&target.as_str());
            if !row.knows.contains(&target.as_str()) && !for_tests {
                complaints
                    .push(format!("{folder}: must not know {target}; the table is crates/xtask/src/tidy/arrows.rs"));
            }
        }
    }
    let present: BTreeSet<&str> = tree.crates().map(|(folder, _)| folder).collect();
    for row in TABLE.iter().filter(|row| !present.contains(row.folder)) {
        complaints.push(format!("{}: stands in the table of arrows but does not exist; remove its row", row.folder));
    }
    complaints
}

pub(super) fn foreign(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, manifest) in tree.crates() {
        let Some(row) = TABLE.iter().find(|row| row.folder == folder) else { continue };
        for (section, name) in dependencies(&manifest.text) {
            if section == "dependencies" && row.never.contains(&name.as_str()) {
                complaints.push(format!("{folder}: must not depend on {name}; that belongs to a layer above"));
            }
        }
    }
    complaints
}

/// The folder of a package of ours.
fn our_folder(package: &str) -> Option<String> {
    match package.strip_prefix("twinstream-") {
        Some(name) => Some(match name.strip_prefix("connector-") {
            Some(connector) => format!("connectors/{connector}"),
            None => format!("crates/{name}"),
        }),
        None => (package == "xtask").then(|| "crates/xtask".to_owned()),
    }
}

/// (section, package) of every dependency, whatever its target platform.
pub(super) fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let Ok(table) = manifest.parse::<toml::Table>() else { return Vec::new() };
    let mut found = Vec::new();
    collect(&table, &mut found);
    let targets = table.get("target").and_then(toml::Value::as_table);
    for target in targets.into_iter().flat_map(|targets| targets.values()).filter_map(toml::Value::as_table) {
        collect(target, &mut found);
    }
    found
}

fn collect(table: &toml::Table, found: &mut Vec<(String, String)>) {
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let names = table.get(section).and_then(toml::Value::as_table).into_iter().flat_map(|section| section.keys());
        found.extend(names.map(|name| (section.to_owned(), name.clone())));
    }
}
