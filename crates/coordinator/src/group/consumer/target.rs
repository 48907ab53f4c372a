//! The target assignment: asking an assignor, and storing what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinstream_model::{TopicId, TopicName};

use super::super::Event;
use super::super::assignor::{ASSIGNORS, Assignor, GroupSpec, MemberSpec, TopicSpec, assignor};
use super::super::request::MemberId;
use super::heartbeat::Beat;
use super::record::{ConsumerRecord, Epoch, MemberValue, Partitions, TargetValue};
use super::state::{Consumer, ConsumerGroup};

/// Names and expression of a member; most members of a group have the same.
type Subscription<'a> = (&'a BTreeSet<Arc<str>>, Option<&'a Arc<str>>);

impl Beat<'_> {
    /// The target after this heartbeat, as far as the member is concerned.
    pub(super) fn update_target(&mut self, epoch: Epoch) -> (Epoch, Arc<Partitions>) {
        let target = &self.group.target;
        if epoch <= target.epoch || self.must_wait() {
            return (target.epoch, self.former_target());
        }
        let chosen = self.preferred_assignor();
        let assignment = chosen.assign(&self.group_spec());
        let mine = assignment.get(&self.id).cloned().unwrap_or_default();
        for (member, partitions) in assignment {
            let former = match member == self.id {
                true => self.replaced.as_ref().or(Some(&self.id)).and_then(|id| self.group.target.members.get(id)),
                false => self.group.target.members.get(&member),
            };
            if former.is_some_and(|former| Arc::ptr_eq(former, &partitions) || *former == partitions) {
                continue;
            }
            let value = Some(Partitions::clone(&partitions));
            self.records.push(ConsumerRecord::TargetMember { group: self.group_id(), member, value });
        }
        let value = Some(TargetValue { epoch, timestamp_ms: self.now.wall_ms });
        self.records.push(ConsumerRecord::Target { group: self.group_id(), value });
        let members = self.others().count() + 1;
        self.events.push(Event::NewTarget { group: self.group_id(), epoch, members, assignor: chosen.name() });
        (epoch, mine)
    }

    /// The target assignment before is too young (KIP-1263). The first one of a group never waits; neither does a
    /// classic member, which would join again and again until it is told something new.
    fn must_wait(&self) -> bool {
        let target = &self.group.target;
        let age_ms = self.now.wall_ms.saturating_sub(target.timestamp_ms);
        let interval_ms = self.heartbeat.overrides.assignment_interval_ms;
        let interval_ms = interval_ms.unwrap_or(self.config.assignment_interval_ms);
        target.epoch > Epoch(0) && self.classic.is_none() && (0..interval_ms).contains(&age_ms)
    }

    /// What most members name; a tie goes to what stands first in the configuration, as does a group that names none.
    fn preferred_assignor(&self) -> &'static (dyn Assignor + Sync) {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let me = std::iter::once(&self.after);
        for name in self.others().map(|(_, other)| other).chain(me).filter_map(|m| m.value.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        preferred(&votes, &self.config.assignors)
    }

    fn group_spec(&self) -> GroupSpec {
        let mut spec = GroupSpec::default();
        let mut subscriptions: BTreeMap<Subscription<'_>, Arc<BTreeSet<TopicId>>> = BTreeMap::new();
        let me = (&self.id, &self.after);
        for (id, member) in self.others().chain(std::iter::once(me)) {
            let MemberValue { topics, regex, .. } = &member.value;
            let subscribed = subscriptions
                .entry((topics, regex.as_ref()))
                .or_insert_with(|| Arc::new(self.add_topics(&mut spec.topics, &member.value)));
            let assigned = self.target_of(id);
            let (instance, rack) = (member.value.instance.clone(), member.value.rack.clone());
            let member = MemberSpec { instance, rack, subscribed: subscribed.clone(), assigned };
            spec.members.insert(id.clone(), member);
        }
        spec
    }

    fn target_of(&self, id: &MemberId) -> Arc<Partitions> {
        if *id == self.id {
            return self.former_target();
        }
        self.group.target.members.get(id).cloned().unwrap_or_default()
    }

    fn add_topics(&self, topics: &mut BTreeMap<TopicId, TopicSpec>, value: &MemberValue) -> BTreeSet<TopicId> {
        let mut subscribed = BTreeSet::new();
        for name in ConsumerGroup::topics_of(value, &self.regexes) {
            let Some(facts) = self.heartbeat.cluster.topic(name) else { continue };
            let Ok(name) = TopicName::parse(name) else { continue };
            subscribed.insert(facts.id);
            let spec = || TopicSpec { name, partitions: facts.partitions, racks: facts.racks };
            topics.entry(facts.id).or_insert_with(spec);
        }
        subscribed
    }
}

fn preferred(votes: &BTreeMap<&str, usize>, configured: &[Arc<str>]) -> &'static (dyn Assignor + Sync) {
    let votes_of = |name: &str| votes.get(name).copied().unwrap_or(0);
    // The first of several maxima: `max_by_key` takes the last.
    let best = configured.iter().rev().max_by_key(|name| votes_of(name));
    best.and_then(|name| assignor(name)).unwrap_or(ASSIGNORS[0])
}

/// The assignor that a group would use now.
pub(super) fn assignor_name(group: &ConsumerGroup, configured: &[Arc<str>]) -> &'static str {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for name in group.members.values().filter_map(|member: &Consumer| member.value.assignor.as_deref()) {
        *votes.entry(name).or_default() += 1;
    }
    preferred(&votes, configured).name()
}
