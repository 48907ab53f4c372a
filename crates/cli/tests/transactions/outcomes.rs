//! What writers said of their transactions, held against what readers of committed records saw.

use std::collections::BTreeMap;

/// How a transaction ended, as far as its writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Aborted,
    Unknown,
}

/// Transactions by their key, with the number of their records.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<String, (Outcome, usize)>);

/// The values of each key, with how often each was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, BTreeMap<usize, usize>>);

impl Told {
    /// Takes in lines `committed KEY COUNT`.
    pub(crate) fn add(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [outcome, key, count] = words[..] else { panic!("a writer says {line:?}") };
            let outcome = match outcome {
                "committed" => Outcome::Committed,
                "aborted" => Outcome::Aborted,
                "unknown" => Outcome::Unknown,
                _ => panic!("a writer says {line:?}"),
            };
            self.0.insert(key.to_owned(), (outcome, count.parse().expect("a count")));
        }
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.0.values().filter(|(told, _)| *told == outcome).count()
    }

    /// What is wrong with what was seen, by the names of Jepsen's Kafka checker where it has one.
    pub(crate) fn faults(&self, seen: &Seen) -> Vec<String> {
        let mut faults = Vec::new();
        let nothing = BTreeMap::new();
        for (key, (outcome, count)) in &self.0 {
            let values = seen.0.get(key).unwrap_or(&nothing);
            if let Some((value, times)) = values.iter().find(|(_, times)| **times > 1) {
                faults.push(format!("duplicate: {key} has value {value} {times} times"));
            }
            match (outcome, values.len()) {
                (Outcome::Committed, found) if found < *count => {
                    faults.push(format!("lost write: {key} was committed, {found} of {count} records are there"));
                }
                (Outcome::Aborted, found) if found > 0 => {
                    faults.push(format!("aborted read: {key} was aborted, {found} of {count} records are there"));
                }
                (Outcome::Unknown, found) if found > 0 && found < *count => {
                    faults.push(format!("torn transaction: {found} of {count} records of {key} are there"));
                }
                _ => {}
            }
        }
        faults.extend(seen.0.keys().filter(|key| !self.0.contains_key(*key)).map(|key| format!("nobody wrote {key}")));
        faults
    }
}

impl Seen {
    /// Takes in lines `PARTITION OFFSET KEY VALUE`.
    pub(crate) fn read(text: &str) -> Seen {
        let mut seen = Seen::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, _, key, value] = words[..] else { panic!("the reader says {line:?}") };
            let value = value.parse().expect("a number");
            *seen.0.entry(key.to_owned()).or_default().entry(value).or_default() += 1;
        }
        seen
    }
}

#[test]
fn faults_are_named() {
    let mut told = Told::default();
    told.add("committed a 2\naborted b 2\nunknown c 2\nunknown d 2\nunknown e 2\ncommitted f 1");
    let seen = Seen::read("0 0 a 0\n0 1 a 1\n0 2 d 0\n0 3 d 1\n0 4 f 0");
    assert_eq!(told.faults(&seen), Vec::<String>::new());
    let seen = Seen::read("0 0 a 0\n0 1 b 1\n0 2 e 1\n0 3 f 0\n0 4 f 0\n0 5 g 0");
    let faults = told.faults(&seen);
    for (fault, name) in
        faults.iter().zip(["lost write: a", "aborted read: b", "torn", "duplicate: f", "nobody wrote g"])
    {
        assert!(fault.contains(name), "{fault}");
    }
    assert_eq!(faults.len(), 5);
}
