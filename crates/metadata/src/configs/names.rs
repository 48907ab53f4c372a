//! The known name that somebody probably meant.

/// More edits than this are a different word.
const EDITS_MAX: usize = 4;

/// The candidate with the fewest edits, if there is one close enough.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = EDITS_MAX.min(name.len() / 2);
    candidates
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, or any number above [`EDITS_MAX`]. Names that differ that much in their length cost nothing, so neither
/// does one that is longer than any config.
fn edits(from: &str, to: &str) -> usize {
    if from.len().abs_diff(to.len()) > EDITS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}
