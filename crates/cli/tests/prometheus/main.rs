//! What boards ask, asked of a real Prometheus that scrapes real processes under load.
//!
//! Picture: [`world`] is two sites with a mirror, a sink and a registry, and a Prometheus that scrapes them each second with
//! the labels that boards expect; [`load`] keeps them busy. [`asked`] reads the expressions out of our boards and out of the
//! list of well-known ones: each must find finite values. [`figures`] holds values against what an outside client counted.
//!
//! Not here: rules and alerts (`monitoring.rs`), how the boards are made (`xtask`), and queries that need containers, a JVM
//! or a state that a healthy system is not in.

mod asked; // expressions with their variables filled in
mod figures; // values that somebody else counted too
mod load; // what keeps it busy
mod world; // the processes

use std::time::Duration;

use serde_json::json;
use twinstream_testkit::{Folder, peer, wait_until_some};

use crate::asked::Asked;
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(90);

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boards_find_values_and_key_figures_are_what_a_client_counts() {
    let mut world = World::start().await;
    let load = load::start(&world);
    let counted = figures::of_a_healthy_system(&world).await;
    let (ours, well_known) = (asked::ours(), asked::well_known());
    let mut empty = Vec::new();
    for asked in ours.iter().chain(&well_known) {
        empty.extend(complaint(&world, asked).await);
    }
    assert!(empty.is_empty(), "{} queries find nothing of use:\n{}", empty.len(), empty.join("\n"));
    drop(load);
    let counted = counted + figures::with_one_broker_down(&mut world).await;
    eprintln!("{} queries of ours, {} well-known ones, {counted} key figures", ours.len(), well_known.len());
}

/// What is wrong with the answer to a query, if it stays wrong.
async fn complaint(world: &World, asked: &Asked) -> Option<String> {
    let expression = asked.filled(|name| world.variable(&asked.board, name));
    let what = format!("{} / {}: {expression}", asked.board, asked.panel);
    let values = async {
        wait_until_some(&what, PATIENCE * 2, || async {
            let values = world.prometheus.query(&expression).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            (!values.is_empty() && values.iter().all(|value| value.is_finite())).then_some(())
        })
        .await;
    };
    match tokio::time::timeout(load::SETTLES_WITHIN, values).await {
        Ok(()) => None,
        Err(_) => Some(format!("{what}\n    {:?}", world.prometheus.query(&expression).await)),
    }
}
