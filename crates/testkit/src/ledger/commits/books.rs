//! What committers were answered, and the commits that a log has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Deserializer, Value};

/// Types of keys that are of commits.
const COMMIT_KEYS: [i64; 2] = [0, 1];
/// Of what cannot be read, so many characters.
const SHOWN: usize = 200;

/// One commit of one partition, as its committer wrote it down; times in ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Commit {
    acknowledged: bool,
    partition: i32,
    offset: i64,
    metadata: String,
    began: u64,
    ended: u64,
}

/// A partition that a member was given, with the offset that the brokers had.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    /// The member, and at whose asking it joined: `ID:JOIN`.
    to: String,
    partition: i32,
    offset: i64,
    began: u64,
}

/// A commit in the log of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub partition: i32,
    pub offset: i64,
    pub metadata: String,
}

/// All that the committers of one group were answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    commits: Vec<Commit>,
    given: Vec<Given>,
}

impl Book {
    /// Takes in lines `acked|failed|given GROUP PARTITION OFFSET METADATA BEGAN ENDED`; others are not about this.
    pub(super) fn of(text: &str) -> Self {
        let mut book = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what @ ("acked" | "failed" | "given"), _, partition, offset, metadata, began, ended] = words[..]
            else {
                continue;
            };
            let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("a committer says {line:?}"));
            let time = |text: &str| u64::try_from(number(text)).expect("a time after 1970");
            let partition = i32::try_from(number(partition)).expect("a partition");
            let (offset, began, ended) = (number(offset), time(began), time(ended));
            if what == "given" {
                book.given.push(Given { to: metadata.to_owned(), partition, offset, began });
            } else {
                let (acknowledged, metadata) = (what == "acked", metadata.to_owned());
                book.commits.push(Commit { acknowledged, partition, offset, metadata, began, ended });
            }
        }
        book
    }

    fn acknowledgements(&self) -> impl Iterator<Item = &Commit> {
        self.commits.iter().filter(|commit| commit.acknowledged)
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledgements().count()
    }

    pub(super) fn failed(&self) -> usize {
        self.commits.len() - self.acknowledged()
    }

    /// The partitions that have an acknowledged commit that began at this time or later.
    pub(super) fn partitions_acknowledged_since(&self, ms: u64) -> BTreeSet<i32> {
        let since = self.acknowledgements().filter(|commit| commit.began >= ms);
        since.map(|commit| commit.partition).collect()
    }

    /// Whether a member (`ID:JOIN`) was given anything.
    pub(super) fn is_given_to(&self, member: &str) -> bool {
        self.given.iter().any(|given| given.to == member)
    }

    /// The highest acknowledged offset of each partition.
    fn highest(&self) -> BTreeMap<i32, i64> {
        let mut highest = BTreeMap::new();
        for commit in self.acknowledgements() {
            let known = highest.entry(commit.partition).or_insert(commit.offset);
            *known = (*known).max(commit.offset);
        }
        highest
    }

    /// The last acknowledged offset of each partition from this one on: those rest once they were committed.
    pub(super) fn resting(&self, from: i32) -> BTreeMap<i32, i64> {
        let commits = self.acknowledgements().filter(|commit| commit.partition >= from);
        commits.map(|commit| (commit.partition, commit.offset)).collect()
    }

    /// What a coordinator has forgotten of a book that was closed before it took over. Where committers go on, it may know
    /// more by now, whatever it knew at first; the partitions from `resting_from` on were left alone since.
    pub(super) fn forgotten(&self, known: &BTreeMap<i32, i64>, resting_from: i32) -> Vec<String> {
        let mut faults = Vec::new();
        let going_on = self.highest().into_iter().filter(|(partition, _)| *partition < resting_from);
        for (partition, offset) in going_on {
            let found = known.get(&partition);
            if found < Some(&offset) {
                faults.push(format!("partition {partition} was at {offset} before, and is at {found:?}"));
            }
        }
        for (partition, offset) in self.resting(resting_from) {
            let found = known.get(&partition);
            if found != Some(&offset) {
                faults.push(format!("resting partition {partition} was left at {offset}, and is at {found:?}"));
            }
        }
        faults
    }

    /// The longest time without an acknowledgement between these times.
    pub(super) fn longest_silence(&self, from: u64, until: u64) -> Duration {
        let within = self.acknowledgements().map(|commit| commit.ended).filter(|at| (from..=until).contains(at));
        let mut times: Vec<u64> = within.chain([from, until]).collect();
        times.sort_unstable();
        let silences = times.windows(2).map(|pair| pair[1] - pair[0]);
        Duration::from_millis(silences.max().unwrap_or(0))
    }

    /// What is wrong with the log of this group's commits, and with what its members were given.
    pub(super) fn faults(&self, log: &[Stored]) -> Vec<String> {
        let mut faults = self.faults_of_log(log);
        for given in &self.given {
            let before = self.acknowledgements().filter(|commit| {
                commit.partition == given.partition && commit.ended < given.began && commit.offset > given.offset
            });
            if let Some(commit) = before.last() {
                faults.push(format!("a member was given {given:?} after {commit:?}: a commit went back"));
            }
        }
        faults
    }

    fn faults_of_log(&self, log: &[Stored]) -> Vec<String> {
        let mut faults = Vec::new();
        // Where each commit lies first and last: one that was sent again after a lost answer may be there twice.
        let mut places: BTreeMap<(i32, &str, i64), (usize, usize)> = BTreeMap::new();
        for (place, stored) in log.iter().enumerate() {
            let key = (stored.partition, stored.metadata.as_str(), stored.offset);
            places.entry(key).or_insert((place, place)).1 = place;
        }
        let mut last: BTreeMap<(i32, &str), usize> = BTreeMap::new();
        for commit in self.acknowledgements() {
            let key = (commit.partition, commit.metadata.as_str(), commit.offset);
            let Some((_, place)) = places.get(&key) else {
                faults.push(format!("lost commit: {commit:?} was acknowledged and is not in the log"));
                continue;
            };
            let member = commit.metadata.split(':').next().unwrap_or("");
            if last.insert((commit.partition, member), *place).is_some_and(|before| before > *place) {
                faults.push(format!("{commit:?} lies before what the same member committed before it"));
            }
        }
        let tried: BTreeSet<_> =
            self.commits.iter().map(|commit| (commit.partition, commit.metadata.as_str(), commit.offset)).collect();
        let strangers = places.keys().filter(|key| !tried.contains(key));
        faults.extend(strangers.map(|key| format!("nobody committed {key:?}, which is in the log")));
        faults
    }
}

/// The commits of each group in their order, from what Kafka's formatter prints: one object after the other, with nothing
/// between them. What cannot be read is an error: a log that ends there would hide all that comes behind.
pub(super) fn log_of_commits(text: &str) -> Result<BTreeMap<String, Vec<Stored>>, String> {
    let mut log: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !is_end(rest) {
        // A number or a text would be a record to the parser.
        let mut records = Deserializer::from_str(rest).into_iter::<Value>();
        let record = records.next().and_then(Result::ok).filter(Value::is_object);
        let record = record.ok_or_else(|| {
            let shown: String = rest.chars().take(SHOWN).collect();
            format!("the formatter printed what is no record: {shown:?}")
        })?;
        if let Some((group, stored)) = stored(&record).ok_or_else(|| format!("the formatter printed {record}"))? {
            log.entry(group).or_default().push(stored);
        }
        rest = rest[records.byte_offset()..].trim_start();
    }
    Ok(log)
}

/// What the console consumer may say when it ends, behind all records: how many it has read, or that no more came in time.
fn is_end(rest: &str) -> bool {
    // What begins as a record is one, without a look at all that follows for each.
    let says = || rest.contains("TimeoutException") && !rest.contains('{');
    !rest.starts_with('{') && (rest.starts_with("Processed a total of") || says())
}

/// A commit with its group, nothing for a commit that was deleted and for what is no commit; `None` for what this cannot
/// read.
fn stored(record: &Value) -> Option<Option<(String, Stored)>> {
    let (key, value) = (&record["key"], &record["value"]);
    if !COMMIT_KEYS.contains(&key["type"].as_i64()?) || value.is_null() {
        return Some(None);
    }
    let (key, value) = (&key["data"], &value["data"]);
    let partition = i32::try_from(key["partition"].as_i64()?).ok()?;
    // confluent-kafka sends the zero at the end of its string as well.
    let metadata = value["metadata"].as_str()?.trim_end_matches('\0').to_owned();
    Some(Some((key["group"].as_str()?.to_owned(), Stored { partition, offset: value["offset"].as_i64()?, metadata })))
}

#[cfg(test)]
mod tests;
