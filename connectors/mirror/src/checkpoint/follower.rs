//! The rounds of a task: read the map, ask the groups, translate, tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};
use twinstream_client::raw::GroupListing;
use twinstream_client::{ClientError, CommitOffset, RawClient};
use twinstream_connect_api::TaskError;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{GroupId, Offset, TopicName, TopicPartition};

use super::identity::Identity;
use super::metrics::LinkMetrics;
use super::settings::CheckpointSettings;
use super::sync::GroupSync;
use super::translate::Followed;
use crate::assignment::fnv1a;
use crate::away::{Absence, may_pass};
use crate::figures;
use crate::groups::ask;
use crate::groups::decide::is_news;
use crate::syncs::formats::Checkpoint;
use crate::syncs::settings::Location;
use crate::syncs::topic_log::{Read, TopicLog, now_ms};

/// What a task hears of its follower.
pub(super) enum Told {
    Found(Found),
    /// The clusters have not answered for a while; after `None` they do again.
    Away(Option<TaskError>),
    /// It cannot go on.
    Failed(TaskError),
}

/// What one round found.
pub(super) struct Found {
    pub checkpoints: Vec<Checkpoint>,
    pub read_at: i64,
}

/// One partition of one group, by the target's name.
pub(super) type Place = (GroupId, TopicPartition);

pub(super) struct Follower {
    settings: CheckpointSettings,
    source: RawClient,
    share: (usize, usize),
    connector: String,
    followed: Followed,
    identity: Identity,
    checkpoints: TopicLog,
    groups: Vec<GroupListing>,
    looked_at: Option<Instant>,
    emitted_at: Option<Instant>,
    /// (upstream, downstream) of the last checkpoint.
    emitted: HashMap<Place, (Offset, Offset)>,
    sync: Option<GroupSync>,
    is_loaded: bool,
}

impl Follower {
    pub(super) fn new(
        settings: CheckpointSettings,
        source: RawClient,
        target: RawClient,
        share: (usize, usize),
        connector: &str,
    ) -> Self {
        let exact = TopicLog::new(target.clone(), settings.syncs.map_topic.clone());
        let at = if settings.syncs.location == Location::Source { &source } else { &target };
        let syncs = TopicLog::new(at.clone(), settings.syncs.syncs_topic.clone());
        let metrics = LinkMetrics::new(&settings.source_alias, &settings.target_alias);
        let aliases = (settings.source_alias.as_str(), settings.target_alias.as_str());
        let sync = settings.sync_every.map(|every| GroupSync::new(target.clone(), every, aliases, metrics));
        Self {
            identity: Identity::new(source.clone(), target.clone()),
            checkpoints: TopicLog::new(target, settings.topic.clone()),
            followed: Followed::new(exact, syncs, TopicLog::new(source.clone(), settings.opposite_map.clone())),
            connector: connector.to_owned(),
            settings,
            source,
            share,
            groups: Vec::new(),
            looked_at: None,
            emitted_at: None,
            emitted: HashMap::new(),
            sync,
            is_loaded: false,
        }
    }

    /// Rounds until nobody listens any more, or until one fails for good.
    pub(super) async fn run(mut self, told: mpsc::Sender<Told>) {
        let every =
            self.settings.sync_every.map_or(self.settings.emit_every, |sync| sync.min(self.settings.emit_every));
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (began, mut away) = (Instant::now(), Absence::default());
        loop {
            rounds.tick().await;
            let done = self.round(&told).await;
            let now = began.elapsed();
            let tell = match done {
                Ok(()) => {
                    let was_shown = away.shown(now).is_some();
                    if let Some(away) = away.answered(now) {
                        info!(connector = self.connector, away_ms = away.as_millis(), "groups are followed again");
                    }
                    was_shown.then_some(Told::Away(None))
                }
                Err(cause) if !may_pass(&cause) => {
                    let text = "groups cannot be followed; mend the cause, then restart the task";
                    Some(Told::Failed(TaskError::fatal(text).caused_by(cause)))
                }
                Err(cause) => {
                    // Coordinators may have moved.
                    self.looked_at = None;
                    if away.failed(now, trace_of(&cause)) {
                        warn!(connector = self.connector, cause = trace_of(&cause), "groups cannot be followed now");
                    }
                    away.shown(now).map(|(by_now, cause)| {
                        let text = format!("groups have not been followed for {} s", by_now.as_secs());
                        Told::Away(Some(TaskError::retriable(text).caused_by(cause.to_owned())))
                    })
                }
            };
            let is_last = matches!(tell, Some(Told::Failed(_)));
            if let Some(tell) = tell
                && (told.send(tell).await.is_err() || is_last)
            {
                return;
            }
        }
    }

    async fn round(&mut self, told: &mpsc::Sender<Told>) -> Result<(), ClientError> {
        if !self.is_loaded {
            self.load().await?;
        }
        self.look().await?;
        // Offsets first: the map that is read afterwards knows at least what was copied before they were committed.
        let read_at = now_ms();
        let listed: Vec<&GroupListing> = self.groups.iter().collect();
        let answers = ask::committed(&self.source, &listed).await?;
        if let Some((group, code)) = answers.failed.iter().next() {
            tracing::debug!(%group, ?code, groups = answers.failed.len(), "some groups cannot be asked now");
            self.looked_at = None;
        }
        self.followed.follow().await?;
        let positions = answers.offsets.values().flatten().map(|(partition, commit)| (partition, commit.offset));
        self.identity.learn(positions, &self.settings).await?;
        let translated = self.translate(answers.offsets);
        if self.emitted_at.is_none_or(|at| at.elapsed() >= self.settings.emit_every) {
            let checkpoints = self.news(&translated);
            self.emitted_at = Some(Instant::now());
            if !checkpoints.is_empty() && told.send(Told::Found(Found { checkpoints, read_at })).await.is_err() {
                return Ok(());
            }
        }
        match &mut self.sync {
            Some(sync) => sync.run(&translated, read_at).await,
            None => Ok(()),
        }
    }

    /// What was told before this task began: neither written again nor taken for somebody else's.
    async fn load(&mut self) -> Result<(), ClientError> {
        let (emitted, mut unreadable) = (&mut self.emitted, 0);
        self.checkpoints
            .read(|read| match read {
                Read::Anew => emitted.clear(),
                Read::Record { value: None, .. } => {}
                Read::Record { key, value: Some(value) } => match Checkpoint::read(key, value) {
                    Ok(old) => _ = emitted.insert((old.group, old.partition), (old.upstream, old.downstream)),
                    Err(_) => unreadable += 1,
                },
            })
            .await?;
        if unreadable > 0 {
            warn!(topic = %self.checkpoints.topic(), records = unreadable, "checkpoints that cannot be read are left out");
        }
        let share = self.share;
        emitted.retain(|(group, _), _| is_mine(group, share));
        if let Some(sync) = &mut self.sync {
            sync.load(emitted);
        }
        self.is_loaded = true;
        Ok(())
    }

    /// Looks for groups, when it is time to.
    async fn look(&mut self) -> Result<(), ClientError> {
        let due = match (self.looked_at, self.settings.refresh_every) {
            (None, _) => true,
            (Some(at), Some(every)) => at.elapsed() >= every,
            (Some(_), None) => false,
        };
        if !due {
            return Ok(());
        }
        let (filter, share) = (&self.settings.groups, self.share);
        let (mut groups, silent) = self.source.list_groups_now().await?;
        // Groups of a coordinator that does not answer now are not gone.
        let found: BTreeSet<GroupId> = groups.iter().map(|listing| listing.group.clone()).collect();
        let kept =
            self.groups.iter().filter(|old| silent.contains_key(&old.coordinator) && !found.contains(&old.group));
        groups.extend(kept.cloned());
        groups.retain(|listing| {
            let consumes = matches!(listing.protocol_type.as_str(), "consumer" | "");
            consumes && filter.follows(listing.group.as_str()) && is_mine(&listing.group, share)
        });
        if groups.len() != self.groups.len() {
            info!(connector = self.connector, groups = groups.len(), task = share.0, "groups are followed");
        }
        let present: BTreeSet<&GroupId> = groups.iter().map(|listing| &listing.group).collect();
        for gone in self.groups.iter().filter(|old| !present.contains(&old.group)) {
            figures::link(&self.settings.source_alias, &self.settings.target_alias).group_gone(&gone.group);
        }
        self.emitted.retain(|(group, _), _| present.contains(group));
        if let Some(sync) = &mut self.sync {
            sync.keep(&present);
        }
        self.groups = groups;
        self.looked_at = Some(Instant::now());
        Ok(())
    }

    fn translate(&self, offsets: BTreeMap<GroupId, ask::Committed>) -> BTreeMap<Place, Translated> {
        let mut translated = BTreeMap::new();
        let mut ways: HashMap<TopicName, Option<Way>> = HashMap::new();
        for (group, committed) in offsets {
            for (partition, CommitOffset { offset, metadata }) in committed {
                let way = ways.entry(partition.topic.clone()).or_insert_with(|| self.way(&partition.topic));
                let maps = &self.followed.maps;
                let (there, downstream) = match way {
                    None => continue,
                    Some(Way::Same(topic)) => {
                        let there = TopicPartition::new(topic.clone(), partition.partition);
                        let at = self.identity.position(&there, offset);
                        (there, at)
                    }
                    // Positions in a topic that was made anew say nothing about the copy of the one before.
                    Some(Way::Copied(_)) if !maps.are_of(&partition, self.identity.id(&partition.topic)) => continue,
                    Some(Way::Copied(remote)) => {
                        let there = TopicPartition::new(remote.clone(), partition.partition);
                        let at = match self.settings.provenance && *remote == partition.topic {
                            true => maps.to_target_of_both(&partition, offset),
                            false => maps.to_target(&partition, offset),
                        };
                        (there, at)
                    }
                    Some(Way::FromTarget(original)) => {
                        let original = TopicPartition::new(original.clone(), partition.partition);
                        if !maps.opposite_is_of(&original, self.identity.id_on_target(&original.topic)) {
                            continue;
                        }
                        let at = maps.to_original(&original, offset);
                        (original, at)
                    }
                };
                if let Some(downstream) = downstream {
                    let is_same = matches!(way, Some(Way::Same(_)));
                    // What the mirror has not yet is what the group cannot have there.
                    let missing = if is_same { offset.0 - downstream.0 } else { 0 };
                    let translated_to =
                        Translated { source: partition, upstream: offset, downstream, missing, metadata };
                    translated.insert((group.clone(), there), translated_to);
                }
            }
        }
        translated
    }

    /// How offsets of a topic of the source become the target's.
    fn way(&self, topic: &TopicName) -> Option<Way> {
        let CheckpointSettings { topics, policy, target_alias, .. } = &self.settings;
        if let Some(same) = self.identity.of(topic) {
            return Some(Way::Same(same.clone()));
        }
        if topics.copies(topic.as_str(), policy, target_alias) {
            return policy.remote_topic(topic).ok().map(Way::Copied);
        }
        let original = policy.upstream_of(topic, target_alias).map(Way::FromTarget);
        original.filter(|_| topics.follows_back(topic.as_str(), policy))
    }

    fn news(&mut self, translated: &BTreeMap<Place, Translated>) -> Vec<Checkpoint> {
        let mut news = Vec::new();
        for (place, at) in translated {
            let now = (at.upstream, at.downstream);
            if is_news(self.emitted.get(place).copied(), now) {
                self.emitted.insert(place.clone(), now);
                let (group, partition) = place.clone();
                let Translated { upstream, downstream, metadata, .. } = at.clone();
                news.push(Checkpoint { group, partition, upstream, downstream, metadata });
            }
        }
        news
    }
}

enum Way {
    /// This topic of the target has the same offsets.
    Same(TopicName),
    /// The topic is copied to this one.
    Copied(TopicName),
    /// The topic is a copy of this one of the target.
    FromTarget(TopicName),
}

/// A group's offset, on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translated {
    pub source: TopicPartition,
    pub upstream: Offset,
    pub downstream: Offset,
    /// Records between the group's place at the source and the farthest place that it can have on the target.
    pub missing: i64,
    pub metadata: String,
}

/// A group's task follows from its name alone.
fn is_mine(group: &GroupId, (index, count): (usize, usize)) -> bool {
    (fnv1a(group.as_str().as_bytes()) % count as u64) as usize == index
}
