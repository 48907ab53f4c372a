//! How a source file begins, and how long it is.

use crate::tidy::tree::Tree;

/// Where a reader starts to lose their place. A notice, since a table may be long and easy to read.
const LINES_NOTICE: usize = 600;
/// A banner stands in the first lines or nowhere.
const BANNER_LINES: usize = 5;

pub(super) fn heads(tree: &Tree) -> Vec<String> {
    // A `tests.rs` has the picture in the file beside it.
    let in_sight = |path: &str| path.ends_with("tests.rs") && path.contains("/src/");
    let bare = tree.rust().filter(|file| !file.text.starts_with("//!") && !in_sight(&file.path));
    bare.map(|file| format!("{}:1: begin with `//!`: what it is, the picture, the invariants", file.path)).collect()
}

pub(super) fn banners(tree: &Tree) -> Vec<String> {
    let with_banner = tree.rust().filter(|file| {
        let mut first = file.text.lines().take(BANNER_LINES);
        first.any(|line| line.contains("Copyright") || line.contains("SPDX-"))
    });
    with_banner.map(|file| format!("{}:1: no license banner; Cargo.toml states the license", file.path)).collect()
}

pub(super) fn long_files(tree: &Tree) -> Vec<String> {
    let sized = tree.rust().map(|file| (file.text.lines().count(), &file.path));
    let mut long: Vec<_> = sized.filter(|(lines, _)| *lines > LINES_NOTICE).collect();
    long.sort_by(|a, b| b.cmp(a));
    long.into_iter().map(|(lines, path)| format!("{path}: {lines} lines; does a concept want its own file?")).collect()
}
