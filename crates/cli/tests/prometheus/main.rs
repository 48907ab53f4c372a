//! What boards ask, asked of a real Prometheus.
//!
//! Picture: [`asked`] reads the expressions out of our boards and out of the list of well-known ones, and fills in their
//! variables.
//!
//! Not here: rules and alerts (`monitoring.rs`), and how the boards are made (`xtask`).

mod asked; // expressions with their variables filled in

use serde_json::json;
use twinstream_testkit::{Folder, peer};

/// promtool reads rules, so each expression becomes one that records.
#[test]
fn prometheus_reads_every_expression() {
    let (promtool, folder) = (peer::promtool(), Folder::new());
    let variables = |_: &str| "1m".to_owned();
    let all = asked::ours().into_iter().chain(asked::well_known());
    let rules: Vec<_> = all
        .enumerate()
        .map(|(at, asked)| {
            let labels = json!({ "board": asked.board, "panel": asked.panel });
            json!({ "record": format!("asked:{at}"), "expr": asked.filled(variables), "labels": labels })
        })
        .collect();
    assert!(rules.len() > 350, "{} expressions", rules.len());
    let file = json!({ "groups": [{ "name": "asked", "rules": rules }] });
    std::fs::write(folder.path().join("asked.json"), file.to_string()).expect("rules are written");
    let said = promtool.text(folder.path(), &["check", "rules", "asked.json"]);
    assert!(said.contains(&format!("{} rules found", rules.len())), "{said}");
}
