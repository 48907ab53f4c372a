//! Whether a copy whose offsets are its own has everything, in order.
//!
//! Picture: the source's records of a partition, each with a value of its own, and those of the copy. At least once allows a
//! copy to begin again somewhere before; it must not jump over anything: whatever comes for the first time comes right behind
//! all that came before.
//!
//! Pure. Not here: mirrors, which keep offsets (`compare`).

use std::collections::BTreeMap;

/// Examples that a fault names.
const EXAMPLES: usize = 3;

/// What a copy of a partition is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    pub records: usize,
    /// Records that had come before.
    pub repeated: usize,
    /// How often it began again somewhere before.
    pub restarts: usize,
    pub faults: Vec<String>,
}

/// Compares values in the order of the log.
pub fn compare(source: &[String], target: &[String]) -> Copies {
    let places: BTreeMap<&str, usize> = source.iter().enumerate().map(|(at, value)| (value.as_str(), at)).collect();
    let mut copies = Copies { records: target.len(), ..Copies::default() };
    if places.len() != source.len() {
        copies.faults.push("the source has a value twice, so nothing can be said of its copy".to_owned());
        return copies;
    }
    let (mut arrived, mut last) = (vec![false; source.len()], None);
    let (mut foreign, mut early) = (Vec::new(), Vec::new());
    let mut next = 0;
    for value in target {
        let Some(at) = places.get(value.as_str()).copied() else {
            foreign.push(value.as_str());
            continue;
        };
        if arrived[at] {
            copies.repeated += 1;
        } else if at > next {
            early.push(value.as_str());
        }
        copies.restarts += usize::from(last.is_some_and(|last| at <= last));
        last = Some(at);
        arrived[at] = true;
        next = next.max(at + 1);
    }
    let missing: Vec<&str> = (0..source.len()).filter(|at| !arrived[*at]).map(|at| source[at].as_str()).collect();
    let faults = [(missing, "not copied"), (early, "copied before what comes before"), (foreign, "not of the source")];
    copies.faults.extend(faults.into_iter().filter(|(values, _)| !values.is_empty()).map(tell));
    copies
}

fn tell((values, what): (Vec<&str>, &str)) -> String {
    let some: Vec<&str> = values.iter().copied().take(EXAMPLES).collect();
    format!("{} records are {what}, as {}", values.len(), some.join(", "))
}

#[cfg(test)]
mod tests;
