//! Which rules of the source the target should have, and under what names. Pure.
//!
//! As MirrorMaker: rules about single topics that the link copies, whoever they are for and whatever they say, under the
//! topics' names on the target. A right to write is not copied, because the copy is the link's to write; a right to everything
//! becomes one to read. With `twinstream.sync.acls=full` also rules about beginnings of names, and about all topics (`*`), as far
//! as they can be said of copies alone: `DefaultReplicationPolicy` puts the alias before a name, so `pay-` becomes
//! `src.pay-` and `*` becomes the beginning `src.`. Names that stay (`IdentityReplicationPolicy`) keep their beginnings, and
//! `*` is not copied: it would be about the target's own topics.
//! Invariants: no rule that is copied lets anybody write. What is *asked for* is a part of what is *justified*: the latter does not
//! depend on which topics are copied at the moment, so that a topic which goes takes no rules along.

use std::collections::BTreeSet;

use twinstream_client::raw::{AclOperation, AclPattern, AclPermission, TopicAcl};
use twinstream_model::TopicName;

use crate::policy::{Policy, TopicFilter};

const EVERY_TOPIC: &str = "*";

/// What is copied of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// As MirrorMaker does; nothing is ever deleted.
    Topics,
    /// Also beginnings of names and `*`, and what this sync made goes when the source has it no more.
    Full,
}

impl Extent {
    pub(crate) const NAMES: [&'static str; 2] = ["topics", "full"];

    pub(crate) fn parse(name: &str) -> Self {
        if name == "full" { Self::Full } else { Self::Topics }
    }
}

/// How names of the source become names on the target, and which are copied.
pub(super) struct Naming<'a> {
    pub policy: &'a Policy,
    pub filter: &'a TopicFilter,
    pub target_alias: &'a str,
    pub extent: Extent,
}

impl Naming<'_> {
    /// The rules that the target should have.
    pub(super) fn asked_for(&self, source: &BTreeSet<TopicAcl>, copied: &BTreeSet<TopicName>) -> BTreeSet<TopicAcl> {
        let is_copied = |rule: &&TopicAcl| match scope(rule) {
            Scope::Topic(name) => self.filter.copies(name, self.policy, self.target_alias),
            Scope::Beginning(prefix) => copied.iter().any(|topic| topic.as_str().starts_with(prefix)),
        };
        source.iter().filter(is_copied).filter_map(|rule| self.on_target(rule)).collect()
    }

    /// The rules that this sync would ever make of the source's.
    pub(super) fn justified(&self, source: &BTreeSet<TopicAcl>) -> BTreeSet<TopicAcl> {
        source.iter().filter_map(|rule| self.on_target(rule)).collect()
    }

    fn on_target(&self, rule: &TopicAcl) -> Option<TopicAcl> {
        let operation = match (rule.permission, rule.operation) {
            (AclPermission::Allow, AclOperation::WRITE) => return None,
            (AclPermission::Allow, AclOperation::ALL) => AclOperation::READ,
            (_, operation) => operation,
        };
        let (pattern, name) = match scope(rule) {
            Scope::Topic(name) => {
                let topic = TopicName::parse(name).ok()?;
                (AclPattern::Literal, self.policy.remote_topic(&topic).ok()?.to_string())
            }
            Scope::Beginning(_) if self.extent == Extent::Topics => return None,
            Scope::Beginning("") if self.policy.is_identity() => return None,
            Scope::Beginning(prefix) => (AclPattern::Prefixed, self.policy.remote_prefix(prefix)),
        };
        Some(TopicAcl { pattern, name, operation, ..rule.clone() })
    }
}

/// What a rule is about.
enum Scope<'a> {
    Topic(&'a str),
    /// Topics whose names begin so.
    Beginning(&'a str),
}

fn scope(rule: &TopicAcl) -> Scope<'_> {
    match rule.pattern {
        AclPattern::Literal if rule.name == EVERY_TOPIC => Scope::Beginning(""),
        AclPattern::Literal => Scope::Topic(&rule.name),
        AclPattern::Prefixed => Scope::Beginning(&rule.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acls::tests::{rule, rules};

    fn asked(policy: &Policy, extent: Extent, source: &[&str]) -> Vec<String> {
        let filter =
            TopicFilter::new(&["orders".to_owned(), "pay-.*".to_owned(), "a\\*".to_owned()], &[], true).unwrap();
        let naming = Naming { policy, filter: &filter, target_alias: "dst", extent };
        let copied = ["orders", "pay-in"].map(|name| TopicName::parse(name).unwrap()).into();
        let asked = naming.asked_for(&rules(source), &copied);
        assert!(asked.is_subset(&naming.justified(&rules(source))), "what is asked for is justified");
        let lets_write = |rule: &&TopicAcl| {
            rule.permission == AclPermission::Allow
                && [AclOperation::WRITE, AclOperation::ALL].contains(&rule.operation)
        };
        assert_eq!(asked.iter().find(lets_write), None);
        asked.iter().map(crate::acls::tests::short).collect()
    }

    const SOURCE: [&str; 10] = [
        "ALLOW READ alice LITERAL orders",
        "ALLOW WRITE alice LITERAL orders",
        "ALLOW ALL bob LITERAL orders",
        "DENY ALL eve LITERAL orders",
        "DENY WRITE eve LITERAL pay-in",
        "ALLOW READ alice LITERAL other",
        "ALLOW READ alice PREFIXED pay-",
        "ALLOW READ alice PREFIXED other-",
        "DENY READ eve LITERAL *",
        "ALLOW ALL bob PREFIXED pay-",
    ];

    #[test]
    fn by_default_it_is_what_mirror_maker_copies_and_nothing_about_topics_that_cannot_be() {
        let policy = Policy::default_named("src", ".");
        let expected = [
            "ALLOW READ alice LITERAL src.orders",
            "ALLOW READ bob LITERAL src.orders",
            "DENY ALL eve LITERAL src.orders",
            "DENY WRITE eve LITERAL src.pay-in",
        ];
        assert_eq!(asked(&policy, Extent::Topics, &SOURCE), expected);
    }

    #[test]
    fn in_full_beginnings_get_the_alias_and_all_topics_become_those_of_the_source() {
        let policy = Policy::default_named("src", ".");
        let expected = [
            "ALLOW READ alice LITERAL src.orders",
            "ALLOW READ alice PREFIXED src.pay-",
            "ALLOW READ bob LITERAL src.orders",
            "ALLOW READ bob PREFIXED src.pay-",
            "DENY ALL eve LITERAL src.orders",
            "DENY READ eve PREFIXED src.",
            "DENY WRITE eve LITERAL src.pay-in",
        ];
        assert_eq!(sorted(asked(&policy, Extent::Full, &SOURCE)), expected);
    }

    #[test]
    fn names_that_stay_keep_their_beginnings_and_all_topics_are_left_alone() {
        let policy = Policy::identity("src", ".");
        let expected = [
            "ALLOW READ alice LITERAL orders",
            "ALLOW READ alice PREFIXED pay-",
            "ALLOW READ bob LITERAL orders",
            "ALLOW READ bob PREFIXED pay-",
            "DENY ALL eve LITERAL orders",
            "DENY WRITE eve LITERAL pay-in",
        ];
        assert_eq!(sorted(asked(&policy, Extent::Full, &SOURCE)), expected);
    }

    #[test]
    fn a_topic_that_comes_from_the_target_takes_no_rules_back() {
        let policy = Policy::default_named("src", ".");
        let filter = TopicFilter::new(&[".*".to_owned()], &[], true).unwrap();
        let naming = Naming { policy: &policy, filter: &filter, target_alias: "dst", extent: Extent::Topics };
        let source =
            BTreeSet::from([rule("ALLOW READ alice LITERAL dst.orders"), rule("ALLOW READ alice LITERAL __own")]);
        assert!(naming.asked_for(&source, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn a_topic_that_is_gone_justifies_its_rules_as_long_as_the_source_has_them() {
        let policy = Policy::default_named("src", ".");
        let filter = TopicFilter::new(&[], &[], false).unwrap();
        let naming = Naming { policy: &policy, filter: &filter, target_alias: "dst", extent: Extent::Full };
        let source = rules(&["ALLOW READ alice LITERAL orders", "ALLOW READ alice PREFIXED pay-"]);
        assert!(naming.asked_for(&source, &BTreeSet::new()).is_empty());
        assert_eq!(naming.justified(&source).len(), 2);
    }

    fn sorted(mut texts: Vec<String>) -> Vec<String> {
        texts.sort();
        texts
    }
}
