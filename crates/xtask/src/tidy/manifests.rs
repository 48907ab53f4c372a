//! Each crate's `Cargo.toml`, and the size of the lock file.

use crate::tidy::tree::Tree;

/// Each package is code that we answer for and that every cold build pays for.
const PACKAGES_MAX: usize = 450;

pub(super) fn manifests(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, manifest) in tree.crates() {
        let path = &manifest.path;
        let table = match manifest.text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                complaints.push(format!("{path}: is not valid TOML: {}", error.message()));
                continue;
            }
        };
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(entries) = table.get(section).and_then(toml::Value::as_table) else { continue };
            for (name, _) in entries.iter().filter(|(_, entry)| !from_workspace(entry)) {
                complaints.push(format!("{path}: {name} must say `workspace = true`; versions stand in the root only"));
            }
        }
        if !table.get("lints").is_some_and(from_workspace) {
            complaints.push(format!("{path}: lacks `[lints] workspace = true`"));
        }
    }
    complaints
}

pub(super) fn budget(tree: &Tree) -> Vec<String> {
    let Some(lock) = tree.get("Cargo.lock") else { return vec!["Cargo.lock: is not there; commit it".to_owned()] };
    let packages = lock.text.matches("[[package]]").count();
    if packages <= PACKAGES_MAX {
        return Vec::new();
    }
    vec![format!("Cargo.lock: {packages} packages, over the budget of {PACKAGES_MAX}; drop a dependency or a feature")]
}

fn from_workspace(entry: &toml::Value) -> bool {
    entry.get("workspace").and_then(toml::Value::as_bool) == Some(true)
}
