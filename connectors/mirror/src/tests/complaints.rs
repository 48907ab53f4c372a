//! The list of complaints names tests that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("../../docs/complaints.md");
/// The attribute of a test that is left out of ordinary runs.
const IGNORE: &str = "ignore";
const COMPLAINTS: usize = 28;

/// The test whose first attribute was just read; one that is left out of ordinary runs shows nothing.
fn named<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<String> {
    let mut is_ignored = false;
    for line in lines {
        is_ignored |= line.strip_prefix("#[").is_some_and(|attribute| attribute.starts_with(IGNORE));
        if let Some((_, function)) = line.split_once("fn ") {
            let (name, _) = function.split_once('(')?;
            return (!is_ignored).then(|| name.to_owned());
        }
    }
    None
}

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
                    found.extend(named(&mut lines));
                }
            }
        }
    }
}

#[test]
fn a_test_that_is_ignored_shows_nothing() {
    let read = |text: &str| named(&mut text.lines().map(str::trim));
    assert_eq!(read("async fn it_holds() {"), Some("it_holds".to_owned()));
    assert_eq!(read("#[should_panic]\nfn it_holds() {"), Some("it_holds".to_owned()));
    assert_eq!(read(&format!("#[{IGNORE} = \"slow\"]\nfn it_holds() {{")), None);
    assert_eq!(read(&format!("#[{IGNORE}]\n#[cfg(unix)]\nfn it_holds() {{")), None);
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
