//! What members subscribe to, resolved against the cluster: expressions, the metadata hash, the group's epoch.
//!
//! Kafka resolves expressions in another thread and lets the member wait a heartbeat for them; here it is part of
//! the heartbeat, for it is a matter of milliseconds even with thousands of topics, and at most once in
//! [`REGEX_REFRESH_MIN_MS`] unless a member brings an expression that nobody had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinstream_model::{ErrorCode, TopicId, TopicName};

use super::super::Event;
use super::super::regex::TopicPattern;
use super::super::request::MemberId;
use super::super::topic_hash::{group_hash, topic_hash};
use super::super::topics::Topics;
use super::heartbeat::Beat;
use super::record::{ConsumerRecord, Epoch, GroupValue, MemberValue, RegexValue};
use super::request::Refusal;
use super::state::{Consumer, ConsumerGroup};

/// New topics are looked for in expressions at most this often; Kafka's bound.
const REGEX_REFRESH_MIN_MS: u64 = 10_000;

impl Beat<'_> {
    /// Drops expressions that nobody has any more, and resolves new ones, and all of them when topics have changed.
    /// `true` if that changes what anybody is subscribed to.
    pub(super) fn update_regexes(&mut self) -> Result<bool, Refusal> {
        let (old, new) = (self.before.value.regex.clone(), self.after.value.regex.clone());
        let is_replaced = old != new;
        if !is_replaced && !self.is_refresh_due() {
            return Ok(false);
        }
        if let Some(regex) = new.as_ref().filter(|regex| is_replaced && !self.regexes.contains_key(*regex)) {
            TopicPattern::parse(regex)
                .map_err(|error| Refusal::new(ErrorCode::InvalidRegularExpression, error.to_string()))?;
        }
        let wanted: BTreeSet<Arc<str>> =
            self.others().filter_map(|(_, other)| other.value.regex.clone()).chain(new).collect();
        let has_dropped = self.drop_unwanted(&wanted);
        let is_one_missing = wanted.iter().any(|regex| !self.regexes.contains_key(regex));
        let has_resolved = (is_one_missing || self.is_refresh_due()) && self.resolve(&wanted);
        Ok(is_replaced || has_dropped || has_resolved)
    }

    fn is_refresh_due(&self) -> bool {
        let age_ms = self.seen.regexes_at_ms.map(|at| self.now.monotonic_ms.saturating_sub(at));
        let has_news = self.seen.regexes_version != Some(self.heartbeat.cluster.version());
        let is_due = age_ms.is_none_or(|age| {
            (has_news && age >= REGEX_REFRESH_MIN_MS) || age >= self.config.regex_refresh_interval_ms
        });
        !self.regexes.is_empty() && is_due
    }

    fn drop_unwanted(&mut self, wanted: &BTreeSet<Arc<str>>) -> bool {
        let unwanted: Vec<Arc<str>> = self.regexes.keys().filter(|regex| !wanted.contains(*regex)).cloned().collect();
        for regex in &unwanted {
            self.regexes.to_mut().remove(regex);
            let (group, regex) = (self.group_id(), regex.clone());
            self.records.push(ConsumerRecord::Regex { group, regex, value: None });
        }
        !unwanted.is_empty()
    }

    fn resolve(&mut self, wanted: &BTreeSet<Arc<str>>) -> bool {
        let cluster = self.heartbeat.cluster.clone();
        self.seen.regexes_at_ms = Some(self.now.monotonic_ms);
        self.seen.regexes_version = Some(cluster.version());
        let mut has_news = false;
        for (regex, topics) in resolve(wanted, &*cluster) {
            if self.regexes.get(&regex).is_some_and(|known| known.topics == topics) {
                continue;
            }
            has_news = true;
            let version = cluster.version() as i64;
            let value = RegexValue { topics, version, timestamp_ms: self.now.wall_ms };
            self.regexes.to_mut().insert(regex.clone(), value.clone());
            let group = self.group_id();
            self.records.push(ConsumerRecord::Regex { group, regex, value: Some(value) });
        }
        has_news
    }

    /// The group's epoch after this heartbeat. It is raised when a subscription changed, and when the topics behind the
    /// subscriptions did.
    pub(super) fn update_epoch(&mut self, has_new_subscription: bool) -> Epoch {
        let must_bump = has_new_subscription || self.group.epoch == Epoch::UNBORN;
        let version = self.heartbeat.cluster.version();
        if !must_bump && self.seen.version == Some(version) {
            return self.group.epoch;
        }
        let me = std::iter::once((&self.id, &self.after));
        let metadata_hash = metadata_hash(self.others().chain(me), &self.regexes, &*self.heartbeat.cluster);
        self.seen.version = Some(version);
        if !must_bump && metadata_hash == self.group.metadata_hash {
            return self.group.epoch;
        }
        let epoch = self.group.epoch.next();
        let group = self.group_id();
        let value = Some(GroupValue { epoch, metadata_hash });
        self.records.push(ConsumerRecord::Group { group: group.clone(), value });
        self.events.push(Event::NewGroupEpoch { group, epoch, members: self.others().count() + 1 });
        epoch
    }

    /// The topics of a subscription that exist.
    pub(super) fn subscribed_ids(&self, value: &MemberValue) -> BTreeSet<TopicId> {
        let names = ConsumerGroup::topics_of(value, &self.regexes);
        names.filter_map(|name| self.heartbeat.cluster.id(name)).collect()
    }
}

fn resolve(regexes: &BTreeSet<Arc<str>>, cluster: &dyn Topics) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
    let mut resolved: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> =
        regexes.iter().map(|regex| (regex.clone(), BTreeSet::new())).collect();
    // One that another release took and this one does not matches nothing.
    let patterns: Vec<TopicPattern> = regexes.iter().filter_map(|regex| TopicPattern::parse(regex).ok()).collect();
    cluster.for_each_name(&mut |name: &TopicName| {
        for pattern in patterns.iter().filter(|pattern| pattern.matches(name)) {
            if let Some(topics) = resolved.get_mut(pattern.text()) {
                topics.insert(Arc::from(name.as_str()));
            }
        }
    });
    resolved
}

fn hash_of(name: &str, cluster: &dyn Topics) -> Option<i64> {
    let (name, facts) = TopicName::parse(name).ok().zip(cluster.topic(name))?;
    Some(topic_hash(&name, &facts))
}

/// The hash of every topic that anybody subscribes to and that exists (KIP-1101).
pub(super) fn metadata_hash<'a>(
    members: impl Iterator<Item = (&'a MemberId, &'a Consumer)>,
    regexes: &'a BTreeMap<Arc<str>, RegexValue>,
    cluster: &dyn Topics,
) -> i64 {
    let names: BTreeSet<&Arc<str>> =
        members.flat_map(|(_, member)| ConsumerGroup::topics_of(&member.value, regexes)).collect();
    group_hash(names.into_iter().filter_map(|name| hash_of(name, cluster)))
}
