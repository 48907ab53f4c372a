//! Boards as Grafana reads them: version 39 of its schema, which Grafana 11 writes and Grafana 12 reads.
//!
//! Picture: rows stand below each other; the panels of a row that have the same height are spread over its width, in as
//! few lines as are readable. Ids count up, so that the same board always gives the same text.

use serde_json::{Map, Value, json};

use crate::dashboards::board::{Board, Kind, Panel, Query, Row, Variable};

const SCHEMA: u32 = 39;
const WIDTH: usize = 24;
/// The end of every board's uid comes behind this; links and bookmarks need uids that stay.
const UID_PREFIX: &str = "twinstream-";
const TAG: &str = "twinstream";

pub(super) fn text(board: &Board) -> String {
    let mut text = serde_json::to_string_pretty(&dashboard(board)).expect("a board has no keys but strings");
    text.push('\n');
    text
}

fn dashboard(board: &Board) -> Value {
    let mut templating = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": false, "multi": false, "refresh": 1, "regex": "", "options": [],
    })];
    templating.extend(board.variables.iter().enumerate().map(|(at, of)| variable(of, &board.variables[..at])));
    json!({
        "uid": format!("{UID_PREFIX}{}", board.name),
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "annotations": { "list": [built_in(), alerts(board)] },
        "links": [{
            "title": "Twinstream", "type": "dashboards", "tags": [TAG], "asDropdown": true,
            "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
        }],
        "templating": { "list": templating },
        "panels": panels(board),
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Notes that users make on graphs; Grafana expects it in every board.
fn built_in() -> Value {
    json!({
        "builtIn": 1, "datasource": { "type": "grafana", "uid": "-- Grafana --" }, "enable": true, "hide": true,
        "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
    })
}

/// When an alert fired, on every graph; of the sites chosen, where sites can be chosen.
fn alerts(board: &Board) -> Value {
    let has_site = board.variables.iter().any(|variable| variable.name == "site");
    let selection = if has_site { board.filled(",@site") } else { String::new() };
    json!({
        "datasource": datasource(), "enable": true, "hide": false, "iconColor": "red", "name": "Alerts",
        "expr": format!(r#"ALERTS{{alertstate="firing"{selection}}}"#), "step": "60s",
        "titleFormat": "{{alertname}}", "textFormat": "{{instance}}", "useValueForTime": false,
    })
}

/// Its values are those that go with what the variables before it have chosen.
fn variable(variable: &Variable, before: &[Variable]) -> Value {
    let chosen: Vec<String> =
        before.iter().map(|before| format!(r#"{}=~"${}""#, before.of_label, before.name)).collect();
    let glue = if variable.metric.contains('{') { "," } else { "{" };
    let open = variable.metric.trim_end_matches('}');
    let series = match chosen.is_empty() {
        true => variable.metric.to_owned(),
        false => format!("{open}{glue}{}}}", chosen.join(",")),
    };
    let query = format!("label_values({series}, {})", variable.of_label);
    json!({
        "name": variable.name, "label": variable.label, "type": "query", "datasource": datasource(),
        "definition": query,
        "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "includeAll": true, "allValue": if variable.with_empty { ".*" } else { ".+" },
        "multi": true, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "options": [], "skipUrlSync": false,
    })
}

fn panels(board: &Board) -> Vec<Value> {
    let (mut placed, mut top) = (Vec::new(), 0);
    for row in &board.rows {
        let id = placed.len() + 1;
        placed.push(json!({
            "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "h": 1, "w": WIDTH, "x": 0, "y": top },
        }));
        top += 1;
        for (panel, place) in places(row, &mut top) {
            placed.push(as_json(board, panel, placed.len() + 1, &place));
        }
    }
    placed
}

/// How high panels of a kind are, and how many stand side by side at most.
fn shape(kind: Kind) -> (usize, usize) {
    match kind {
        Kind::Stat => (4, 8),
        Kind::Graph | Kind::Stack => (8, 3),
        Kind::Table => (9, 1),
    }
}

/// The panels of a row with their places; the top moves below them.
fn places<'a>(row: &'a Row, top: &mut usize) -> Vec<(&'a Panel, Value)> {
    let mut places = Vec::new();
    for alike in row.panels.chunk_by(|one, other| shape(one.kind) == shape(other.kind)) {
        let (height, side_by_side) = shape(alike[0].kind);
        let lines = alike.len().div_ceil(side_by_side);
        let mut rest = alike;
        for line in (1..=lines).rev() {
            let (here, later) = rest.split_at(rest.len().div_ceil(line));
            rest = later;
            let edge = |at: usize| at * WIDTH / here.len();
            places.extend(here.iter().enumerate().map(|(at, panel)| {
                let width = edge(at + 1) - edge(at);
                (panel, json!({ "h": height, "w": width, "x": edge(at), "y": *top }))
            }));
            *top += height;
        }
    }
    places
}

fn as_json(board: &Board, panel: &Panel, id: usize, place: &Value) -> Value {
    let mut json = json!({
        "id": id, "type": kind(panel.kind), "title": panel.title, "description": panel.description,
        "datasource": datasource(), "gridPos": place,
        "fieldConfig": { "defaults": defaults(panel), "overrides": overrides(panel) },
        "options": options(panel.kind),
        "targets": panel.queries.iter().enumerate().map(|(at, of)| target(board, panel, at, of)).collect::<Vec<_>>(),
    });
    if panel.kind == Kind::Table {
        json["transformations"] = transformations(panel);
    }
    json
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Graph | Kind::Stack => "timeseries",
        Kind::Table => "table",
    }
}

fn letter(at: usize) -> char {
    char::from(b'A' + u8::try_from(at).expect("a panel has few queries"))
}

fn target(board: &Board, panel: &Panel, at: usize, query: &Query) -> Value {
    let is_instant = panel.kind == Kind::Table;
    let legend = if panel.kind == Kind::Table || query.legend.is_empty() { "__auto" } else { query.legend };
    json!({
        "refId": letter(at).to_string(), "datasource": datasource(), "editorMode": "code",
        "expr": board.filled(query.expression), "legendFormat": legend,
        "instant": is_instant, "range": !is_instant, "format": if is_instant { "table" } else { "time_series" },
    })
}

fn defaults(panel: &Panel) -> Value {
    let steps: Vec<Value> =
        panel.bounds.iter().map(|(value, colour)| json!({ "color": colour.name(), "value": value })).collect();
    let mut defaults = json!({ "unit": panel.unit.name(), "thresholds": { "mode": "absolute", "steps": steps } });
    match panel.kind {
        Kind::Stat => defaults["color"] = json!({ "mode": "thresholds" }),
        Kind::Table => defaults["custom"] = json!({ "filterable": true }),
        Kind::Graph | Kind::Stack => {
            let (fill, stacking) = if panel.kind == Kind::Stack { (30, "normal") } else { (10, "none") };
            defaults["color"] = json!({ "mode": "palette-classic" });
            defaults["min"] = json!(0);
            defaults["custom"] = json!({
                "drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "spanNulls": false,
                "stacking": { "mode": stacking, "group": "A" },
            });
        }
    }
    defaults
}

/// Units of the columns of a table.
fn overrides(panel: &Panel) -> Value {
    let of_columns = panel.queries.iter().filter_map(|query| {
        let unit = query.unit?.name();
        Some(json!({
            "matcher": { "id": "byName", "options": query.legend },
            "properties": [{ "id": "unit", "value": unit }],
        }))
    });
    of_columns.collect()
}

fn options(kind: Kind) -> Value {
    match kind {
        Kind::Stat => json!({
            "colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
            "textMode": "auto", "wideLayout": true,
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        }),
        Kind::Graph | Kind::Stack => json!({
            "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
    }
}

/// One row for each set of labels, columns with the names of the queries.
fn transformations(panel: &Panel) -> Value {
    let named = panel.queries.iter().enumerate().map(|(at, query)| {
        let value = if panel.queries.len() == 1 { "Value".to_owned() } else { format!("Value #{}", letter(at)) };
        (value, Value::from(query.legend))
    });
    json!([
        { "id": "merge", "options": {} },
        { "id": "organize", "options": {
            "excludeByName": { "Time": true },
            "indexByName": {},
            "renameByName": Value::Object(named.collect::<Map<_, _>>()),
        } },
    ])
}
