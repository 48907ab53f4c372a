//! What writers said of their transactions, held against what readers saw.
//!
//! Names of faults are those of Jepsen's Kafka checker where it has one.

use std::collections::{BTreeMap, BTreeSet};

/// How a transaction ended, as far as its writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Aborted,
    Unknown,
}

/// Transactions by their key, with the number of their records.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<String, (Outcome, usize)>);

/// One record as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub value: String,
}

/// All that one reader got, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub name: String,
    pub entries: Vec<Entry>,
}

impl Told {
    /// Takes in lines `told OUTCOME KEY COUNT`; others are not about this.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["told", outcome, key, count] = words[..] else { continue };
            let outcome = match outcome {
                "committed" => Outcome::Committed,
                "aborted" => Outcome::Aborted,
                "unknown" => Outcome::Unknown,
                _ => panic!("a writer says {line:?}"),
            };
            self.0.insert(key.to_owned(), (outcome, count.parse().expect("a count")));
        }
    }

    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.0.values().filter(|(told, _)| *told == outcome).count()
    }

    /// What is wrong with what a reader of committed records saw from the first offset to the last.
    pub(super) fn faults(&self, reading: &Reading) -> Vec<String> {
        let reader = &reading.name;
        let seen = reading.values_by_key();
        let nothing = BTreeMap::new();
        let mut faults = Vec::new();
        for (key, (outcome, count)) in &self.0 {
            let values = seen.get(key.as_str()).unwrap_or(&nothing);
            if let Some((value, times)) = values.iter().find(|(_, times)| **times > 1) {
                faults.push(format!("duplicate: {reader} saw value {value} of {key} {times} times"));
            }
            let found = values.len();
            match outcome {
                Outcome::Committed if found < *count => {
                    faults.push(format!("lost write: {key} was committed, {reader} saw {found} of {count} records"));
                }
                Outcome::Aborted if found > 0 => {
                    faults.push(format!("aborted read: {key} was aborted, {reader} saw {found} of {count} records"));
                }
                Outcome::Unknown if found > 0 && found < *count => {
                    faults.push(format!("torn transaction: {reader} saw {found} of {count} records of {key}"));
                }
                _ => {}
            }
        }
        let strangers = seen.keys().filter(|key| !self.0.contains_key(**key));
        faults.extend(strangers.map(|key| format!("{reader} saw {key}, which nobody wrote")));
        faults.extend(reading.faults_of_order());
        faults
    }
}

impl Reading {
    /// Takes in lines `saw PARTITION OFFSET KEY VALUE`; others are not about this.
    pub(super) fn of(name: &str, text: &str) -> Self {
        let mut entries = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["saw", partition, offset, key, value] = words[..] else { continue };
            let (partition, offset) = (partition.parse().expect("a partition"), offset.parse().expect("an offset"));
            entries.push(Entry { partition, offset, key: key.to_owned(), value: value.to_owned() });
        }
        Self { name: name.to_owned(), entries }
    }

    /// How often each value of each key was seen.
    fn values_by_key(&self) -> BTreeMap<&str, BTreeMap<&str, usize>> {
        let mut seen: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for entry in &self.entries {
            *seen.entry(&entry.key).or_default().entry(&entry.value).or_default() += 1;
        }
        seen
    }

    /// Offsets of a partition only ascend, and what one writer wrote there lies in the order in which it did. Keys are
    /// `ID:NUMBER`, with numbers and values that a writer counts up.
    fn faults_of_order(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut offsets: BTreeMap<i32, i64> = BTreeMap::new();
        let mut written: BTreeMap<(i32, &str), (u64, u64)> = BTreeMap::new();
        for entry in &self.entries {
            let (reader, at) = (&self.name, format!("{}@{}", entry.partition, entry.offset));
            if let Some(last) = offsets.insert(entry.partition, entry.offset).filter(|last| *last >= entry.offset) {
                faults.push(format!("nonmonotonic poll: {reader} got {at} after offset {last}"));
            }
            let Some((writer, number)) = entry.key.rsplit_once(':') else { continue };
            let (Ok(number), Ok(value)) = (number.parse(), entry.value.parse()) else { continue };
            let before = written.insert((entry.partition, writer), (number, value));
            if let Some((last_number, last)) = before.filter(|before| *before >= (number, value)) {
                let (key, value) = (&entry.key, &entry.value);
                faults.push(format!(
                    "nonmonotonic send: {reader} got value {value} of {key} at {at} after value {last} of \
                     {writer}:{last_number}"
                ));
            }
        }
        faults
    }

    /// Keys and values of each partition, by offset.
    pub(super) fn contents(&self) -> BTreeMap<i32, Vec<(&str, &str)>> {
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by_key(|entry| (entry.partition, entry.offset));
        let mut contents: BTreeMap<i32, Vec<(&str, &str)>> = BTreeMap::new();
        for entry in sorted {
            contents.entry(entry.partition).or_default().push((&entry.key, &entry.value));
        }
        contents
    }
}

/// Where two readers got different records from one place; a reader of all records must also have got what others got.
pub(super) fn faults_between(all: &Reading, others: &[&Reading]) -> Vec<String> {
    let place = |entry: &Entry| (entry.partition, entry.offset);
    let known: BTreeMap<(i32, i64), &Entry> = all.entries.iter().map(|entry| (place(entry), entry)).collect();
    let mut faults = Vec::new();
    for reading in others {
        for entry in &reading.entries {
            let (reader, (partition, offset)) = (&reading.name, place(entry));
            match known.get(&(partition, offset)) {
                None => faults.push(format!("lost write: {reader} saw {partition}@{offset}, {} did not", all.name)),
                Some(other) if *other != entry => {
                    let (one, two) = (&entry.key, &other.key);
                    let all = &all.name;
                    faults.push(format!(
                        "inconsistent offsets: {partition}@{offset} is {one} for {reader}, {two} for {all}"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

/// What is wrong with a copy that must have each record of each partition once and in its order.
pub(super) fn faults_of_copy(original: &Reading, copy: &Reading) -> Vec<String> {
    let (from, to) = (original.contents(), copy.contents());
    let name = &copy.name;
    let mut faults = Vec::new();
    for partition in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
        let none = Vec::new();
        let (from, to) = (from.get(partition).unwrap_or(&none), to.get(partition).unwrap_or(&none));
        if from == to {
            continue;
        }
        let at = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        let mut counts: BTreeMap<_, i64> = BTreeMap::new();
        from.iter().for_each(|record| *counts.entry(record).or_default() += 1);
        to.iter().for_each(|record| *counts.entry(record).or_default() -= 1);
        let lost = counts.values().filter(|count| **count > 0).count();
        let duplicates = counts.values().filter(|count| **count < 0).count();
        faults.push(format!(
            "{name}, partition {partition}: {lost} lost, {duplicates} duplicate or strange; {} of {} records, the first \
             difference is at record {at}: {:?} became {:?}",
            to.len(),
            from.len(),
            from.get(at),
            to.get(at)
        ));
    }
    faults
}

#[cfg(test)]
mod tests;
