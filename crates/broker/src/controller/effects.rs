//! What decisions do to brokers, leaders, ISRs and mirrors, told to the log and counted once they are committed.
//!
//! Partitions without a leader are an error only when they stay so: while a whole cluster restarts, each broker that registers leaves
//! the ISRs for the moment until it serves again, and nobody needs to act on that.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use twinstream_metadata::controller::Effects;
use twinstream_metadata::{Image, Record};
use twinstream_model::{LeaderEpoch, NodeId, TopicPartition};
use uuid::Uuid;

use crate::metrics::Elections;

/// Partitions that one line of the log names.
const NAMED_MAX: usize = 10;
/// How long partitions may be without a leader before somebody is asked to act. A process that crashed is back within this time if a
/// supervisor starts it.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(5);

/// What is worth a line once a decision is committed. Brokers that are fenced because they are gone are told where that is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Serves(NodeId),
    HandsOver(NodeId),
    /// A topic is no mirror any more.
    Promoted {
        source: String,
        link: Uuid,
        epoch: LeaderEpoch,
    },
}

impl News {
    pub(super) fn tell(&self) {
        match self {
            Self::Serves(node) => tracing::info!(%node, "broker serves"),
            Self::HandsOver(node) => tracing::info!(%node, "broker hands over and stops"),
            Self::Promoted { source, link, epoch } => {
                tracing::info!(source, %link, epoch = epoch.0, "mirror is promoted, producers may write to it and its link may not")
            }
        }
    }
}

pub(super) fn news(records: &[Record]) -> Vec<News> {
    let one = |record: &Record| match record {
        Record::FenceBroker { node_id, fenced: false, shutting_down: false, .. } => Some(News::Serves(*node_id)),
        Record::FenceBroker { node_id, fenced: false, shutting_down: true, .. } => Some(News::HandsOver(*node_id)),
        Record::Mirror { mirror, .. } => {
            let (source, link) = (format!("{} of cluster {}", mirror.topic, mirror.cluster), mirror.link);
            mirror.promoted_in().map(|epoch| News::Promoted { source, link, epoch })
        }
        _ => None,
    };
    records.iter().filter_map(one).collect()
}

pub(super) fn note(effects: Effects, elections: &Elections, image: Arc<ArcSwap<Image>>, shutdown: CancellationToken) {
    if !effects.unclean.is_empty() {
        elections.unclean.inc_by(effects.unclean.len() as u64);
        tracing::warn!(
            count = effects.unclean.len(),
            partitions = with_leaders(&effects.unclean),
            "unclean leader election: records that were acknowledged may be lost, as unclean.leader.election.enable or a command allowed"
        );
    }
    if !effects.last_known.is_empty() {
        tracing::warn!(
            count = effects.last_known.len(),
            partitions = with_leaders(&effects.last_known),
            "the last leader leads again because no replica is known to have more; its last records may be gone"
        );
    }
    if let Some(number) = effects.min_isr_adopted {
        tracing::info!(
            number,
            "min.insync.replicas is a default of the cluster from now on, the largest that any broker had, and no setting of brokers"
        );
    }
    if effects.leaders_changed > 0 || effects.isr_shrunk > 0 {
        tracing::info!(
            leaders = effects.leaders_changed,
            isrs = effects.isr_shrunk,
            "leaders or in-sync replicas changed"
        );
    }
    if !effects.offline.is_empty() {
        tracing::warn!(
            count = effects.offline.len(),
            partitions = names(&effects.offline),
            "partitions lost their leader, and no replica that may lead is up at the moment"
        );
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(OFFLINE_PATIENCE) => tell_offline(still_offline(effects.offline, &image.load())),
                () = shutdown.cancelled() => {}
            }
        });
    }
}

fn still_offline(mut partitions: Vec<TopicPartition>, image: &Image) -> Vec<TopicPartition> {
    partitions.retain(|at| {
        let partition = image.topic(&at.topic).and_then(|topic| topic.partition(at.partition));
        partition.is_some_and(|partition| partition.leader.is_none())
    });
    partitions
}

fn tell_offline(partitions: Vec<TopicPartition>) {
    if !partitions.is_empty() {
        tracing::error!(
            count = partitions.len(),
            partitions = names(&partitions),
            "partitions have no leader: every replica that may lead is down. Start one of them; if they are lost for good, \
             kafka-leader-election --election-type unclean elects one that may lack records"
        );
    }
}

fn with_leaders(partitions: &[(TopicPartition, NodeId)]) -> String {
    let texts = partitions.iter().take(NAMED_MAX).map(|(at, leader)| format!("{at} to node {leader}"));
    joined(texts, partitions.len())
}

fn names(partitions: &[TopicPartition]) -> String {
    joined(partitions.iter().take(NAMED_MAX).map(ToString::to_string), partitions.len())
}

fn joined(texts: impl Iterator<Item = String>, count: usize) -> String {
    let mut text = texts.collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX {
        text.push_str(&format!(" and {} more", count - NAMED_MAX));
    }
    text
}

#[cfg(test)]
mod tests;
