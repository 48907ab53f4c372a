use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn dashboards() -> Vec<(String, Value)> {
    let parsed = |(name, text): (String, String)| (name, serde_json::from_str(&text).expect("JSON"));
    files().into_iter().map(parsed).collect()
}

/// Panels that are not rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

#[test]
fn committed_boards_are_what_the_generator_writes() {
    let folder = crate::root().join(FOLDER);
    let stale: Vec<String> = files().into_iter().filter(|file| differs(&folder, file)).map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "run `cargo xtask dashboards`: {stale:?} differ");
    assert_eq!(strangers(&folder), Vec::<String>::new(), "no board makes these");
}

#[test]
fn places_do_not_overlap_and_fill_the_width() {
    for (name, dashboard) in dashboards() {
        let mut cells = BTreeSet::new();
        let at = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().expect("a place");
        let all = dashboard["panels"].as_array().expect("panels");
        for panel in all {
            for x in at(panel, "x")..at(panel, "x") + at(panel, "w") {
                for y in at(panel, "y")..at(panel, "y") + at(panel, "h") {
                    assert!(x < 24 && cells.insert((x, y)), "{name}: {} at {x},{y}", panel["title"]);
                }
            }
        }
        let lines = cells.iter().map(|(_, y)| y).max().expect("a panel") + 1;
        assert_eq!(cells.len() as u64, lines * 24, "{name} has holes");
    }
}

#[test]
fn ids_titles_and_letters_are_unique() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert!(uids.insert(dashboard["uid"].to_string()), "{name}: uid");
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard["panels"].as_array().expect("panels") {
            assert!(ids.insert(panel["id"].to_string()), "{name}: {}", panel["id"]);
        }
        for panel in panels(&dashboard) {
            assert!(
                panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{name}: {}",
                panel["title"]
            );
            let targets = panel["targets"].as_array().expect("targets");
            let letters: BTreeSet<String> = targets.iter().map(|target| target["refId"].to_string()).collect();
            assert!(!targets.is_empty() && letters.len() == targets.len(), "{name}: {}", panel["title"]);
        }
        for row in boards().iter().find(|board| format!("{}.json", board.name) == name).expect("its board").rows.iter()
        {
            titles.clear();
            assert!(
                row.panels.iter().all(|panel| titles.insert(panel.title)),
                "{name}: {} has a title twice",
                row.title
            );
        }
    }
}

#[test]
fn first_row_asks_whether_all_is_well() {
    for board in boards() {
        let first = &board.rows[0];
        assert_eq!(first.title, "Is all well?", "{}", board.name);
        assert!(first.panels.iter().all(|panel| panel.kind == board::Kind::Stat), "{}", board.name);
        assert!(first.panels.iter().filter(|panel| panel.bounds.len() > 1).count() > 2, "{}: no colours", board.name);
    }
}

/// Every variable that a query reads is one that the board has, or one of Grafana's own.
#[test]
fn queries_read_the_variables_that_their_board_has() {
    for (name, dashboard) in dashboards() {
        let list = dashboard["templating"]["list"].as_array().expect("variables");
        let mut known: BTreeSet<&str> = list.iter().filter_map(|variable| variable["name"].as_str()).collect();
        known.extend(["__rate_interval", "__range"]);
        let mut read = BTreeSet::new();
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                let expression = target["expr"].as_str().expect("an expression");
                assert!(!expression.contains('@') && !expression.contains("instance=\""), "{name}: {expression}");
                read.extend(
                    expression.split('$').skip(1).map(|rest| {
                        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().expect("a name")
                    }),
                );
            }
        }
        let unknown: Vec<_> = read.difference(&known).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        let unread: Vec<_> = known
            .difference(&read)
            .filter(|name| !["datasource", "__rate_interval", "__range"].contains(name))
            .collect();
        assert!(unread.is_empty(), "{name} has variables without use: {unread:?}");
    }
}
