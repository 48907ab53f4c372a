//! What decisions do to leaders, told to the log and counted once they are committed.

use twinstream_metadata::controller::Effects;
use twinstream_model::{NodeId, TopicPartition};

use crate::metrics::Elections;

/// Partitions that one line of the log names.
const NAMED_MAX: usize = 10;

pub(super) fn note(effects: &Effects, elections: &Elections) {
    if !effects.unclean.is_empty() {
        elections.unclean.inc_by(effects.unclean.len() as u64);
        tracing::warn!(
            count = effects.unclean.len(),
            partitions = with_leaders(&effects.unclean),
            "unclean leader election: records that were acknowledged may be lost, as unclean.leader.election.enable allows"
        );
    }
    if !effects.last_known.is_empty() {
        tracing::warn!(
            count = effects.last_known.len(),
            partitions = with_leaders(&effects.last_known),
            "the last leader leads again because no replica is known to have more; its last records may be gone"
        );
    }
    if !effects.offline.is_empty() {
        tracing::error!(
            count = effects.offline.len(),
            partitions = names(effects.offline.iter()),
            "partitions have no leader: every replica that may lead is down. Start one of them; if they are lost for good, \
             kafka-leader-election --election-type unclean elects one that may lack records"
        );
    }
    if effects.leaders_changed > 0 || effects.isr_shrunk > 0 {
        tracing::info!(
            leaders = effects.leaders_changed,
            isrs = effects.isr_shrunk,
            "leaders or in-sync replicas changed"
        );
    }
}

fn with_leaders(partitions: &[(TopicPartition, NodeId)]) -> String {
    let texts = partitions.iter().take(NAMED_MAX).map(|(at, leader)| format!("{at} to node {leader}"));
    joined(texts, partitions.len())
}

fn names<'a>(partitions: impl ExactSizeIterator<Item = &'a TopicPartition>) -> String {
    let count = partitions.len();
    joined(partitions.take(NAMED_MAX).map(ToString::to_string), count)
}

fn joined(texts: impl Iterator<Item = String>, count: usize) -> String {
    let mut text = texts.collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX {
        text.push_str(&format!(" and {} more", count - NAMED_MAX));
    }
    text
}
