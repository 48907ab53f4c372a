//! The list of complaints names tests that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("../../docs/complaints.md");
const COMPLAINTS: usize = 28;

/// Names of all functions of tests in this folder and below.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the tree").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            if name != "target" {
                tests_in(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    let function = lines.by_ref().find_map(|line| line.split_once("fn ")?.1.split_once('('));
                    found.extend(function.map(|(name, _)| name.to_owned()));
                }
            }
        }
    }
}

#[test]
fn every_complaint_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = BTreeSet::new();
    for folder in ["crates", "connectors"] {
        tests_in(&root.join(folder), &mut tests);
    }
    let rows: Vec<Vec<&str>> = LIST
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let numbers: Vec<usize> = rows.iter().filter_map(|row| row[0].parse().ok()).collect();
    assert_eq!(numbers, (1..=COMPLAINTS).collect::<Vec<_>>());
    for row in &rows {
        let [number, _, _, shown] = row[..] else { panic!("four columns: {row:?}") };
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).filter(|name| !name.starts_with("cargo ")).collect();
        let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(missing.is_empty(), "{number}: no such tests: {missing:?}");
        assert!(!named.is_empty(), "{number}: nothing shows it");
    }
}
