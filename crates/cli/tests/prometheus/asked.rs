//! Expressions of boards: where each stands, and how its variables are filled in.
//!
//! Not here: what is put into the variables.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub board: String,
    pub panel: String,
    pub expression: String,
}

impl Asked {
    /// The expression, with this for each `$variable`.
    pub(crate) fn filled(&self, value: impl Fn(&str) -> String) -> String {
        let mut parts = self.expression.split('$');
        let mut filled = parts.next().expect("a split has a first part").to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
            filled += &value(&part[..end]);
            filled += &part[end..];
        }
        filled
    }
}

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../monitoring")
}

/// What the boards of `monitoring/dashboards/` ask.
pub(crate) fn ours() -> Vec<Asked> {
    let folder = monitoring().join("dashboards");
    let entries = fs::read_dir(folder).expect("the folder of boards");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.iter().flat_map(|file| of_board(file)).collect()
}

fn of_board(file: &Path) -> Vec<Asked> {
    let text = fs::read_to_string(file).expect("a board");
    let board: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
    let string = |value: &Value| value.as_str().expect("text").to_owned();
    let mut asked = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = string(&target["expr"]);
            asked.push(Asked { board: name.clone(), panel: string(&panel["title"]), expression });
        }
    }
    assert!(!asked.is_empty(), "{name} asks nothing");
    asked
}

/// What well-known boards ask, without what needs something special.
pub(crate) fn well_known() -> Vec<Asked> {
    let text = fs::read_to_string(monitoring().join("well-known-queries.yml")).expect("the list of queries");
    let list: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let string = |value: &Value| value.as_str().expect("text").to_owned();
    let queries = list["queries"].as_array().expect("queries").iter().filter(|query| query["needs"].is_null());
    let asked = |query: &Value| Asked {
        board: string(&query["board"]),
        panel: string(&query["panel"]),
        expression: string(&query["expression"]),
    };
    queries.map(asked).collect()
}
