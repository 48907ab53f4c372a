//! Whether everybody goes on: producers of transactions commit, groups read what is new.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Outcome, Value, What, Worker};
use crate::load::TransactionLoad;

/// Looks at a history from its beginning on; what counts as new is what happens from a moment on.
#[derive(Debug)]
pub(super) struct Progress {
    partitions: i32,
    since_us: u64,
    load: TransactionLoad,
    producers: BTreeSet<Worker>,
    /// Producers with a transaction that is new.
    begun: BTreeSet<Worker>,
    committed: BTreeSet<Worker>,
    members: BTreeMap<Worker, String>,
    fresh: BTreeSet<Value>,
    /// Groups with partitions of which they have read something that is new.
    read: BTreeSet<(String, i32)>,
}

impl Progress {
    pub(super) fn since(since_us: u64, partitions: i32, load: TransactionLoad) -> Self {
        Self {
            partitions,
            since_us,
            load,
            producers: BTreeSet::new(),
            begun: BTreeSet::new(),
            committed: BTreeSet::new(),
            members: BTreeMap::new(),
            fresh: BTreeSet::new(),
            read: BTreeSet::new(),
        }
    }

    pub(super) fn take_in(&mut self, event: &Event) {
        let is_new = event.at_us >= self.since_us;
        match &event.what {
            What::Begin => {
                self.producers.insert(event.worker);
                if is_new {
                    self.begun.insert(event.worker);
                }
            }
            What::Ended { outcome: Outcome::Committed } if self.begun.contains(&event.worker) => {
                self.committed.insert(event.worker);
            }
            What::Member { group } => _ = self.members.insert(event.worker, group.clone()),
            What::Send { values, .. } if is_new => self.fresh.extend(values),
            What::Polled { partition, records } => {
                let Some(group) = self.members.get(&event.worker) else { return };
                if records.iter().any(|(_, value)| self.fresh.contains(value)) {
                    self.read.insert((group.clone(), *partition));
                }
            }
            _ => {}
        }
    }

    /// Who has not gone on yet.
    pub(super) fn stuck(&self) -> Vec<String> {
        let producers = self.producers.difference(&self.committed);
        let producers = producers.map(|worker| format!("producer {} has committed nothing new", worker.0));
        let groups: BTreeSet<&String> = self.members.values().collect();
        let wanted = groups.iter().flat_map(|group| (0..self.partitions).map(move |index| ((*group).clone(), index)));
        let unread = wanted.filter(|wanted| !self.read.contains(wanted));
        let unread = unread.map(|(group, index)| format!("group {group} has read nothing new of partition {index}"));
        // Who is stuck before its first transaction or group is known by its absence alone.
        let parts = [
            (self.producers.len(), self.load.all_producers(), "producers have begun a transaction"),
            (groups.len(), self.load.groups(), "groups have a member"),
        ];
        let absent = parts.into_iter().filter(|(found, wanted, _)| found < wanted);
        let absent = absent.map(|(found, wanted, what)| format!("only {found} of {wanted} {what}"));
        producers.chain(unread).chain(absent).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Who is there goes on or not.
    const ANY: TransactionLoad = TransactionLoad { producers: 0, timeout: Duration::ZERO, members: 0 };
    const PRODUCER: Worker = Worker(1);
    const MEMBER: Worker = Worker(2);

    fn value(number: u64) -> Value {
        Value { worker: PRODUCER, number }
    }

    fn told(load: TransactionLoad, events: Vec<(u64, Worker, What)>) -> Vec<String> {
        let mut progress = Progress::since(100, 1, load);
        events.into_iter().for_each(|(at_us, worker, what)| progress.take_in(&Event { at_us, worker, what }));
        progress.stuck()
    }

    #[test]
    fn who_does_what_is_new_goes_on() {
        let group = What::Member { group: "readers".to_owned() };
        let commit = What::Ended { outcome: Outcome::Committed };
        let send = |number| What::Send { partition: 0, values: vec![value(number)] };
        let poll = |number| What::Polled { partition: 0, records: vec![(7, value(number))] };
        let early = vec![(1, PRODUCER, What::Begin), (2, MEMBER, group), (3, PRODUCER, send(0))];
        // Neither the end of what began before, nor to read what was sent before.
        let old = vec![(101, PRODUCER, commit.clone()), (102, MEMBER, poll(0))];
        let stuck = told(ANY, [early.clone(), old].concat());
        let (producer, reader) = ("producer 1 has committed nothing new", "group readers has read nothing new of");
        assert!(stuck.len() == 2 && stuck[0] == producer && stuck[1].starts_with(reader), "{stuck:?}");
        let new = vec![
            (103, PRODUCER, What::Begin),
            (104, PRODUCER, send(1)),
            (105, PRODUCER, commit),
            (106, MEMBER, poll(1)),
        ];
        assert_eq!(told(ANY, [early, new].concat()), Vec::<String>::new());
    }

    #[test]
    fn producers_and_groups_that_never_began_are_stuck() {
        let commit = What::Ended { outcome: Outcome::Committed };
        let load = TransactionLoad { producers: 1, members: 2, ..ANY };
        let stuck = told(load, vec![(103, PRODUCER, What::Begin), (104, PRODUCER, commit)]);
        assert_eq!(stuck, ["only 1 of 2 producers have begun a transaction", "only 0 of 2 groups have a member"]);
    }
}
