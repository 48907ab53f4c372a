//! Claims about the rules, on small trees.

use super::*;
use crate::tidy::tree::File;

fn tree(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() });
    Tree { files: files.collect() }
}

#[test]
fn upward_arrow_is_refused_and_named() {
    let tree = tree(&[("crates/model/Cargo.toml", "[dependencies]\ntwinstream-broker.workspace = true\n")]);
    let complaints = arrows::arrows(&tree);
    assert!(complaints.iter().any(|line| line.contains("crates/model: must not know crates/broker")), "{complaints:?}");
}

#[test]
fn arrow_hidden_in_a_platform_section_is_found() {
    let manifest = "[target.'cfg(unix)'.dependencies]\ntwinstream-log.workspace = true\n";
    let complaints = arrows::arrows(&tree(&[("crates/metadata/Cargo.toml", manifest)]));
    assert!(complaints.iter().any(|line| line.contains("crates/metadata: must not know crates/log")), "{complaints:?}");
}

#[test]
fn crate_without_a_row_is_refused() {
    let complaints = arrows::arrows(&tree(&[("crates/novel/Cargo.toml", "")]));
    assert!(complaints.iter().any(|line| line.contains("crates/novel: has no row")), "{complaints:?}");
}

#[test]
fn tests_may_know_the_testkit_but_code_may_not() {
    let for_tests =
        tree(&[("crates/registry/Cargo.toml", "[dev-dependencies]\ntwinstream-testkit.workspace = true\n")]);
    assert!(!arrows::arrows(&for_tests).iter().any(|line| line.starts_with("crates/registry: must")));
    let for_code = tree(&[("crates/registry/Cargo.toml", "[dependencies]\ntwinstream-testkit.workspace = true\n")]);
    assert!(arrows::arrows(&for_code).iter().any(|line| line.starts_with("crates/registry: must")));
}

#[test]
fn core_that_depends_on_tokio_is_refused() {
    let complaints =
        arrows::foreign(&tree(&[("crates/coordinator/Cargo.toml", "[dependencies]\ntokio.workspace = true\n")]));
    assert_eq!(complaints.len(), 1, "{complaints:?}");
}

#[test]
fn clock_in_a_core_is_banned_and_allowed_elsewhere_and_in_comments() {
    let call = concat!("let now = Instant::", "now();");
    let comment = format!("//! head\n// {call}");
    let complaints = bans::calls(&tree(&[
        ("crates/coordinator/src/lib.rs", call),
        ("crates/broker/src/lib.rs", call),
        ("crates/metadata/src/lib.rs", &comment),
    ]));
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("crates/coordinator/src/lib.rs:1:"), "{complaints:?}");
}

#[test]
fn version_outside_the_workspace_table_is_refused() {
    let manifest = "[dependencies]\nserde = \"1\"\n[lints]\nworkspace = true\n";
    let complaints = manifests::manifests(&tree(&[("crates/model/Cargo.toml", manifest)]));
    assert!(complaints[0].contains("serde must say"), "{complaints:?}");
}

#[test]
fn file_without_head_and_file_with_banner_are_named() {
    let tree = tree(&[("a.rs", "use x;"), ("b.rs", "//! Copyright 2020")]);
    assert_eq!(heads::heads(&tree).len(), 1);
    assert_eq!(heads::banners(&tree).len(), 1);
}

#[test]
fn map_must_know_every_crate_and_no_ghosts() {
    let tree = tree(&[
        ("crates/README.md", "`crates/log` and `crates/ghost`"),
        ("crates/log/Cargo.toml", ""),
        ("crates/new/Cargo.toml", ""),
    ]);
    let complaints = maps::maps(&tree);
    assert!(complaints.iter().any(|line| line.contains("does not mention `crates/new`")), "{complaints:?}");
    assert!(complaints.iter().any(|line| line.contains("`crates/ghost`, which does not exist")), "{complaints:?}");
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}

#[test]
fn alert_on_an_unknown_metric_or_without_runbook_is_named() {
    let rules = "- alert: Down\n  expr: rate(twinstream_gone_total[5m]) > 0\n- alert: Slow\n  expr: twinstream_times_bucket > 0\n";
    let tree = tree(&[
        ("monitoring/alerts.yml", rules),
        ("monitoring/runbooks.md", "## Slow\n"),
        ("crates/broker/src/metrics.rs", "(\"twinstream_times\")"),
    ]);
    let complaints = dashboards::dashboards(&tree);
    assert!(complaints.iter().any(|line| line.contains("twinstream_gone_total")), "{complaints:?}");
    assert!(complaints.iter().any(|line| line.contains("alert Down")), "{complaints:?}");
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}

#[test]
fn board_that_asks_for_an_unknown_metric_is_named_though_its_generator_names_it() {
    let board = r#"{ "targets": [ {
        "expr": "sum(rate(twinstream_gone_total{site=~\"$site\"}[1m])) + twinstream_here" } ] }"#;
    let tree = tree(&[
        ("monitoring/dashboards/cluster.json", board),
        ("crates/xtask/src/dashboards/cluster.rs", "(\"twinstream_gone_total\")"),
        ("crates/broker/src/metrics.rs", "(\"twinstream_here\")"),
    ]);
    let complaints = dashboards::dashboards(&tree);
    assert!(complaints.len() == 1 && complaints[0].contains("twinstream_gone_total"), "{complaints:?}");
}
