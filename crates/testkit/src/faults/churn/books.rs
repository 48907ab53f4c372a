//! What members wrote down, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// From when to when, in microseconds, a member had a partition.
#[derive(Clone, Copy, Debug)]
struct Tenure {
    from: i64,
    until: i64,
}

/// One member's book, and when it was killed.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub member: String,
    pub path: PathBuf,
    pub killed_us: Option<i64>,
}

/// What stands in a book.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    pub owned: BTreeSet<i32>,
    pub read: BTreeSet<(i32, i64)>,
    pub reads: u64,
    /// The next offset of each partition by the newest commit that was acknowledged.
    pub committed: BTreeMap<i32, i64>,
    tenures: Vec<(i32, Tenure)>,
}

impl Book {
    pub(super) fn entries(&self) -> Entries {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let mut entries = Entries::default();
        let mut open: BTreeMap<i32, i64> = BTreeMap::new();
        // When the newest commit that was acknowledged was asked for, of partitions that are open.
        let mut proven: BTreeMap<i32, i64> = BTreeMap::new();
        // A line without its end is one that was being written when the member died.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let at: i64 = words[0].parse().expect("a time");
            let number = |index: usize| words[index].parse::<i64>().expect("a number");
            let partition = || i32::try_from(number(2)).expect("a partition");
            match words[1] {
                "assigned" => {
                    open.insert(partition(), at);
                    proven.remove(&partition());
                }
                "revoked" => {
                    let from = open.remove(&partition()).unwrap_or(at);
                    entries.tenures.push((partition(), Tenure { from, until: at }));
                }
                // Somebody else may have had it for a while already, but not before a commit that its coordinator took.
                "lost" => {
                    if let Some((from, until)) = open.remove(&partition()).zip(proven.remove(&partition())) {
                        entries.tenures.push((partition(), Tenure { from, until }));
                    }
                }
                "read" => {
                    entries.read.insert((partition(), number(3)));
                    entries.reads += 1;
                }
                "committed" => {
                    entries.committed.insert(partition(), number(3));
                    proven.insert(partition(), number(4));
                }
                "leaves" => {
                    let tenures = open.iter().map(|(partition, from)| (*partition, Tenure { from: *from, until: at }));
                    entries.tenures.extend(tenures);
                    open.clear();
                }
                other => panic!("{} says `{other}`", self.member),
            }
        }
        if let Some(killed) = self.killed_us {
            let tenures = open.iter().map(|(partition, from)| (*partition, Tenure { from: *from, until: killed }));
            entries.tenures.extend(tenures);
            open.clear();
        }
        entries.owned = open.into_keys().collect();
        entries
    }
}

/// Partitions that two members had at the same time.
pub(super) fn shared(books: &[Book]) -> Vec<String> {
    let mut tenures: BTreeMap<i32, Vec<(Tenure, &str)>> = BTreeMap::new();
    for book in books {
        for (partition, tenure) in book.entries().tenures {
            tenures.entry(partition).or_default().push((tenure, &book.member));
        }
    }
    let mut faults = Vec::new();
    for (partition, mut of_partition) in tenures {
        of_partition.sort_by_key(|(tenure, _)| tenure.from);
        for pair in of_partition.windows(2) {
            let ((one, first), (other, second)) = (pair[0], pair[1]);
            if other.from < one.until && first != second {
                let ms = (one.until.min(other.until) - other.from) / 1_000;
                faults.push(format!("{first} and {second} both had partition {partition} for {ms} ms"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests;
