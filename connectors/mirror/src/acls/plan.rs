//! The steps from what the target has to what it should have. Pure.
//!
//! Picture: four sets of rules, all under names of the target. *asked for* and *justified* come from the source (`rules`),
//! *present* is what the target has, *made* is what the note says this sync made there and nobody has taken back.
//! Invariants: A1 what was there before is never noted as made, so it is never deleted: only a rule that the target did not have
//! is made, and only what was made is noted. A2 a rule is deleted only if it was made, by a source that is the cluster which
//! answers now, and that source had it in neither of the last two looks: a broker that is behind for a moment takes nobody's
//! right away. A3 a made rule that somebody else deleted, and which the source has no more, is struck off, so that
//! one like it that an operator makes later is the operator's.
//! What cannot be told apart: Kafka's rules have no owner. A rule that an operator makes although this sync made the same one
//! before is one and the same, and goes when the source has it no more.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_client::raw::TopicAcl;

/// Rule -> the cluster id of the source that had it.
pub(super) type Made = BTreeMap<TopicAcl, String>;

pub(super) struct Sides<'a> {
    pub asked_for: &'a BTreeSet<TopicAcl>,
    pub justified: &'a BTreeSet<TopicAcl>,
    pub present: &'a BTreeSet<TopicAcl>,
    /// Empty where nothing is ever deleted.
    pub made: &'a Made,
    /// The id of the source, if it tells one.
    pub cluster: Option<&'a str>,
    /// What the look before found to be of no source any more.
    pub missed: &'a BTreeSet<TopicAcl>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub create: Vec<TopicAcl>,
    pub delete: Vec<TopicAcl>,
    /// To strike off the note.
    pub forget: Vec<TopicAcl>,
    /// For the next look.
    pub missed: BTreeSet<TopicAcl>,
}

pub(super) fn plan(sides: &Sides<'_>) -> Plan {
    let is_from_there = |cluster: &String| Some(cluster.as_str()) == sides.cluster;
    let of_no_source = sides.made.iter().filter(|(rule, cluster)| {
        is_from_there(cluster) && !sides.justified.contains(*rule) && !sides.asked_for.contains(*rule)
    });
    let missed: BTreeSet<TopicAcl> = of_no_source.map(|(rule, _)| rule.clone()).collect();
    let twice = || missed.intersection(sides.missed).cloned();
    Plan {
        create: sides.asked_for.difference(sides.present).cloned().collect(),
        delete: twice().filter(|rule| sides.present.contains(rule)).collect(),
        forget: twice().filter(|rule| !sides.present.contains(rule)).collect(),
        missed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acls::tests::{rule, rules};

    const HERE: &str = "the source";

    /// One target and one source, looked at again and again; every rule knows who made it.
    struct World {
        source: BTreeSet<TopicAcl>,
        target: BTreeSet<TopicAcl>,
        made: Made,
        missed: BTreeSet<TopicAcl>,
    }

    impl World {
        fn look(&mut self) -> Plan {
            let sides = Sides {
                asked_for: &self.source,
                justified: &self.source,
                present: &self.target,
                made: &self.made,
                cluster: Some(HERE),
                missed: &self.missed,
            };
            let plan = plan(&sides);
            self.target.extend(plan.create.iter().cloned());
            self.made.extend(plan.create.iter().map(|rule| (rule.clone(), HERE.to_owned())));
            for rule in plan.delete.iter().chain(&plan.forget) {
                self.target.remove(rule);
                self.made.remove(rule);
            }
            self.missed.clone_from(&plan.missed);
            plan
        }

        fn settle(&mut self) {
            (0..3).for_each(|_| drop(self.look()));
            assert_eq!(self.look(), Plan::default(), "nothing is left to do");
        }
    }

    const THREE: [&str; 3] =
        ["ALLOW READ alice LITERAL a", "DENY READ alice PREFIXED a", "ALLOW DESCRIBE bob LITERAL b"];

    fn subset(bits: usize) -> BTreeSet<TopicAcl> {
        rules(&THREE)
            .into_iter()
            .enumerate()
            .filter(|(index, _)| bits & (1 << index) != 0)
            .map(|(_, rule)| rule)
            .collect()
    }

    #[test]
    fn whatever_both_sides_had_the_target_ends_with_the_sources_rules_and_its_own() {
        // All sets of three rules: the source before and after, what the operator of the target has made himself.
        for (before, after, own) in (0..512).map(|bits| (subset(bits & 7), subset(bits >> 3 & 7), subset(bits >> 6))) {
            let mut world = World { source: before, target: own.clone(), made: Made::new(), missed: BTreeSet::new() };
            world.settle();
            world.source.clone_from(&after);
            world.settle();
            let expected: BTreeSet<TopicAcl> = own.union(&after).cloned().collect();
            assert_eq!(world.target, expected, "own {own:?}, then {after:?}");
            assert!(world.made.keys().all(|rule| !own.contains(rule)), "an operator's rule is never noted");
        }
    }

    #[test]
    fn a_rule_goes_when_two_looks_in_a_row_miss_it() {
        let mut world =
            World { source: rules(&THREE), target: BTreeSet::new(), made: Made::new(), missed: BTreeSet::new() };
        world.settle();
        let gone = rule(THREE[0]);
        world.source.remove(&gone);
        assert!(world.look().delete.is_empty(), "one broker may be behind");
        world.source.insert(gone.clone());
        assert!(world.look().delete.is_empty() && world.target.contains(&gone), "it was");
        world.source.remove(&gone);
        assert!(world.look().delete.is_empty(), "counted anew");
        assert_eq!(world.look().delete, std::slice::from_ref(&gone));
        assert!(!world.made.contains_key(&gone) && !world.target.contains(&gone));
    }

    #[test]
    fn a_rule_that_an_operator_deletes_and_makes_anew_after_the_source_has_none_is_the_operators() {
        let gone = rule(THREE[0]);
        let mut world = World {
            source: [gone.clone()].into(),
            target: BTreeSet::new(),
            made: Made::new(),
            missed: BTreeSet::new(),
        };
        world.settle();
        (_, _) = (world.source.remove(&gone), world.target.remove(&gone));
        world.settle();
        world.target.insert(gone.clone());
        world.settle();
        assert!(world.target.contains(&gone));
    }

    #[test]
    fn another_cluster_that_answers_at_the_sources_address_takes_nothing_away() {
        let made = Made::from([(rule(THREE[0]), HERE.to_owned())]);
        let all = made.keys().cloned().collect();
        let none = BTreeSet::new();
        let of = |cluster| {
            plan(&Sides { asked_for: &none, justified: &none, present: &all, made: &made, cluster, missed: &all })
        };
        assert_eq!((of(Some("restored")), of(None)), (Plan::default(), Plan::default()));
        assert_eq!(of(Some(HERE)).delete.len(), 1);
    }

    #[test]
    fn a_rule_that_is_only_not_asked_for_stays() {
        let made = Made::from([(rule(THREE[0]), HERE.to_owned())]);
        let (all, none): (BTreeSet<_>, _) = (made.keys().cloned().collect(), BTreeSet::new());
        let sides =
            Sides { asked_for: &none, justified: &all, present: &all, made: &made, cluster: Some(HERE), missed: &all };
        assert_eq!(plan(&sides), Plan::default());
    }
}
