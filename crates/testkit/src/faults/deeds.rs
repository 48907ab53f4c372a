//! Whether a load of transactions did what it is there for: a run in which nobody committed has no anomalies either.
//!
//! Only the load's own doings count. Scenarios write into the same history with producers that they lead step by step, and
//! those say nothing of the load; they poll nothing, while each producer of the load notes at first what it will poll.

use std::collections::{BTreeMap, BTreeSet};

use crate::checker::Counts;
use crate::history::{Event, Outcome, What, Worker};
use crate::load::TransactionLoad;

/// Looks at a history from its beginning on.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    /// Workers that poll: readers, members, and producers of the load.
    pollers: BTreeSet<Worker>,
    members: BTreeMap<Worker, String>,
    counts: Counts,
    /// Producers that have committed.
    committers: BTreeSet<Worker>,
    /// Groups that have.
    groups: BTreeSet<String>,
}

impl Deeds {
    pub(super) fn take_in(&mut self, event: &Event) {
        let worker = event.worker;
        match &event.what {
            What::Assigned { .. } => _ = self.pollers.insert(worker),
            What::Member { group } => _ = self.members.insert(worker, group.clone()),
            What::Ended { outcome } if self.pollers.contains(&worker) => match outcome {
                Outcome::Committed => {
                    self.counts.committed += 1;
                    self.committers.insert(worker);
                }
                Outcome::Aborted => self.counts.aborted += 1,
                Outcome::Unknown => self.counts.in_doubt += 1,
            },
            What::Committed { .. } => {
                self.counts.group_commits += 1;
                self.groups.extend(self.members.get(&worker).cloned());
            }
            _ => {}
        }
    }

    /// What has not happened, and without which there is no verdict.
    pub(super) fn missing(&self, load: TransactionLoad) -> Vec<String> {
        let mut missing = load.missing(&self.counts);
        let parts =
            [("producers", self.committers.len(), load.all_producers()), ("groups", self.groups.len(), load.groups())];
        for (who, found, wanted) in parts.into_iter().filter(|(_, found, wanted)| found < wanted) {
            missing.push(format!("only {found} of {wanted} {who} of the load have committed anything"));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LOAD: TransactionLoad = TransactionLoad { producers: 1, timeout: Duration::from_secs(1), members: 1 };

    /// What two producers and two groups did, each producer so many transactions of each kind.
    fn deeds(producers: u32, committed: usize, aborted: usize, groups: u32) -> Deeds {
        let mut deeds = Deeds::default();
        let mut note = |worker, what| deeds.take_in(&Event { at_us: 0, worker: Worker(worker), what });
        for producer in 0..producers {
            note(producer, What::Assigned { partitions: vec![(0, 0)] });
            (0..committed).for_each(|_| note(producer, What::Ended { outcome: Outcome::Committed }));
            (0..aborted).for_each(|_| note(producer, What::Ended { outcome: Outcome::Aborted }));
        }
        for member in 100..100 + groups {
            note(member, What::Member { group: format!("group-{member}") });
            note(member, What::Committed { partitions: vec![(0, 7)] });
        }
        deeds
    }

    #[test]
    fn load_that_did_next_to_nothing_is_told() {
        let (committed, aborted) = (TransactionLoad::COMMITTED_MIN, TransactionLoad::ABORTED_MIN);
        assert_eq!(deeds(2, committed, aborted, 2).missing(LOAD), Vec::<String>::new());
        // Nobody but one producer, too few of either kind, one group, none.
        let parts = [
            deeds(1, committed, aborted, 2),
            deeds(2, 1, aborted, 2),
            deeds(2, committed, 1, 2),
            deeds(2, committed, aborted, 1),
            deeds(2, committed, aborted, 0),
        ];
        for done in parts {
            assert!(!done.missing(LOAD).is_empty(), "{done:?}");
        }
        let without_groups = TransactionLoad { members: 0, ..LOAD };
        assert_eq!(deeds(2, committed, aborted, 0).missing(without_groups), Vec::<String>::new());
    }

    #[test]
    fn producers_that_a_scenario_leads_do_not_count_for_the_load() {
        let mut done = deeds(0, 0, 0, 2);
        for _ in 0..1_000 {
            let what = What::Ended { outcome: Outcome::Committed };
            done.take_in(&Event { at_us: 0, worker: Worker(7), what });
        }
        assert_eq!(done.counts.committed, 0);
        assert!(!done.missing(LOAD).is_empty());
    }
}
