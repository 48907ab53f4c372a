//! Both clusters as verification sees them: which partitions have a copy, how it was made, and the offset map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracing::warn;
use twinstream_client::raw::TopicInfo;
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

use super::walk::{Pair, Sides};
use crate::aligned::marks::{Marking, TopicMode};
use crate::config::Settings;
use crate::figures::Mode;
use crate::offset_map::{OffsetMap, place};
use crate::provenance::Path;
use crate::returns::{self, Names};
use crate::syncs::read_chunk;
use crate::syncs::topic_log::{Read, TopicLog};
use crate::topics::changed_configs;

pub(super) struct World {
    pub sides: Sides,
    settings: Settings,
    log: TopicLog,
    maps: HashMap<TopicPartition, OffsetMap>,
}

/// What there is to compare, and what not and why.
pub(super) struct Found {
    pub pairs: Vec<Pair>,
    pub left_out: BTreeMap<TopicName, String>,
}

impl World {
    /// `patient`: questions about a partition that has no leader are asked again for a while.
    pub(super) async fn connect(settings: Settings, patient: bool) -> Result<World, ClientError> {
        let (source, target) = tokio::join!(RawClient::connect(&settings.source), RawClient::connect(&settings.target));
        let (source, target) = (source?, target?);
        let log = TopicLog::new(target.clone(), settings.syncs.map_topic.clone());
        // Without ids nothing is copied that could be compared.
        let path = settings.provenance.then(|| Path::between(source.cluster_id(), target.cluster_id()).ok()).flatten();
        let sides = Sides { source, target, read_committed: settings.fetch.read_committed, path, patient };
        Ok(World { sides, settings, log, maps: HashMap::new() })
    }

    pub(super) fn map(&self, there: &TopicPartition) -> Option<&OffsetMap> {
        self.maps.get(there)
    }

    /// Takes in what was written to the map since the last time.
    pub(super) async fn read_map(&mut self) -> Result<(), ClientError> {
        let maps = &mut self.maps;
        let take = |read: Read<'_>| match read {
            Read::Anew => maps.clear(),
            Read::Record { key, .. } if place::is_key(key) => {}
            Read::Record { key, value } => match read_chunk(key, value) {
                Ok((name, first, runs)) => maps.entry(name).or_default().replay(first, runs),
                Err(cause) => warn!(%cause, "a record of the offset map is left out"),
            },
        };
        // A link that begins has just made the topic.
        if self.sides.patient { self.log.read_all(take).await } else { self.log.read(take).await }
    }

    /// The partitions that the link copies.
    pub(super) async fn look(&self, wanted: impl Fn(&TopicName) -> bool) -> Result<Found, ClientError> {
        let Settings { filter, policy, target_alias, source_alias, link_mode, .. } = &self.settings;
        let Sides { source, target, .. } = &self.sides;
        let view = source.refresh_all().await?;
        let names = match self.settings.returns {
            false => Names::new(),
            true => {
                let topics: Vec<TopicName> = view.topics.keys().cloned().collect();
                let marks = source.mirror_marks(&topics).await?;
                returns::coming_home(&marks, target.cluster_id().as_deref(), filter, policy).0
            }
        };
        let copies = |topic: &TopicName| match self.settings.returns {
            true => names.contains_key(topic),
            false => filter.copies(topic.as_str(), policy, target_alias),
        };
        let mut found = Found { pairs: Vec::new(), left_out: BTreeMap::new() };
        let mut sources: BTreeMap<TopicName, TopicName> = BTreeMap::new();
        for topic in view.topics.values().filter(|topic| !topic.internal && wanted(&topic.name)) {
            if !copies(&topic.name) {
                continue;
            }
            let remote = names.get(&topic.name).cloned().map_or_else(|| policy.remote_topic(&topic.name), Ok);
            match remote {
                Ok(remote) => _ = sources.insert(remote, topic.name.clone()),
                Err(cause) => _ = found.left_out.insert(topic.name.clone(), cause.to_string()),
            }
        }
        let names: Vec<TopicName> = sources.keys().cloned().collect();
        let copies = if names.is_empty() { target.view() } else { target.refresh(&names).await? };
        let present: BTreeMap<TopicName, TopicName> = sources
            .iter()
            .filter(|(remote, _)| copies.topics.contains_key(*remote))
            .map(|(r, s)| (r.clone(), s.clone()))
            .collect();
        let marking = Marking::learn(*link_mode, (source_alias, target_alias), target).await?;
        let modes = marking.modes(target, &present).await?;
        let compacted = self.compacted(&present).await;
        for (remote, topic) in sources {
            let mode = match modes.get(&remote) {
                Some(TopicMode::Aligned(_)) => Ok(Mode::Aligned),
                Some(TopicMode::Generic(_)) => Ok(Mode::Generic),
                Some(TopicMode::Promoted) => {
                    Err(format!("its mirror {remote} was promoted, it has records of its own now"))
                }
                Some(TopicMode::Refused(why)) => Err(format!("{remote} on the target: {why}")),
                None => Err(format!("{remote} is not on the target yet")),
            };
            let mode = match mode {
                Ok(mode) => mode,
                Err(why) => {
                    found.left_out.insert(topic, why);
                    continue;
                }
            };
            let partitions = |topics: &BTreeMap<TopicName, Arc<TopicInfo>>, name: &TopicName| {
                topics.get(name).map(|topic| topic.partitions.keys().copied().collect::<Vec<PartitionIndex>>())
            };
            let here = partitions(&copies.topics, &remote).unwrap_or_default();
            let there = partitions(&view.topics, &topic).unwrap_or_default();
            let compacted = compacted.contains(&remote);
            for index in there.into_iter().filter(|index| here.contains(index)) {
                found.pairs.push(Pair {
                    there: TopicPartition::new(topic.clone(), index),
                    here: TopicPartition::new(remote.clone(), index),
                    mode,
                    compacted,
                });
            }
        }
        Ok(found)
    }

    /// Of the target's topics those that either side compacts. A side that does not tell its settings is taken to compact, as
    /// that only makes the comparison milder; it is logged.
    async fn compacted(&self, topics: &BTreeMap<TopicName, TopicName>) -> Vec<TopicName> {
        let (remotes, sources): (Vec<_>, Vec<_>) = topics.iter().map(|(r, s)| (r.clone(), s.clone())).unzip();
        let Sides { source, target, .. } = &self.sides;
        let (here, there) =
            tokio::join!(changed_configs(target, &remotes, None), changed_configs(source, &sources, None));
        let (here, there) = match (here, there) {
            (Ok(here), Ok(there)) => (here, there),
            (Err(cause), _) | (_, Err(cause)) => {
                warn!(
                    cause = trace_of(&cause),
                    "settings of topics are not known, records that one side lacks are not told"
                );
                return remotes;
            }
        };
        let compacts = |configs: Option<&BTreeMap<String, String>>| {
            configs.and_then(|configs| configs.get("cleanup.policy")).is_some_and(|policy| policy.contains("compact"))
        };
        let is_compacted =
            |(remote, source): &(&TopicName, &TopicName)| compacts(here.get(*remote)) || compacts(there.get(*source));
        topics.iter().filter(is_compacted).map(|(remote, _)| remote.clone()).collect()
    }
}
