//! Which brokers get a new partition.
//!
//! Picture: the brokers that are up stand in a ring, dealt out by rack (first one of each rack, then the second of each, ...). The
//! leader of each next partition is the next one in the ring, so leaders spread evenly; its followers are the next ones after it,
//! with a gap that grows by one each time around, so that the partitions of one broker have their followers everywhere. Followers
//! come from racks that the partition is not in yet, as long as there are any.
//!
//! As Kafka's `StripedReplicaPlacer` does, a factor is possible when that many brokers are registered. Those that are not up get a
//! follower only when there are too few others: while one of three brokers restarts, topics with three replicas can be made.
//! Brokers whose directories are all cordoned get nothing and are not counted (KIP-1066).
//! Unlike Kafka's, the ring begins where the cluster's number of partitions points and not at random: many small topics spread as
//! evenly as a large one, and the same image gives the same answer.

use std::collections::{BTreeMap, BTreeSet};

use twinstream_model::NodeId;

use super::TopicError;
use crate::image::{BrokerImage, Image};

/// A broker with the number of its rack.
#[derive(Clone, Copy)]
struct Seat {
    node: NodeId,
    rack: usize,
}

/// Replicas for `count` new partitions, the leader first.
pub(super) fn place(
    image: &Image,
    cordoned: &BTreeSet<NodeId>,
    count: usize,
    factor: usize,
) -> Result<Vec<Vec<NodeId>>, TopicError> {
    let usable = || image.brokers().map(|broker| &**broker).filter(|broker| !cordoned.contains(&broker.node_id));
    let registered = usable().count();
    let mut racks = BTreeMap::new();
    let up = ring(usable().filter(|broker| broker.is_eligible()), &mut racks);
    if up.is_empty() {
        return Err(TopicError::NoLiveBroker { fenced: registered });
    }
    if factor > registered {
        return Err(TopicError::TooFewBrokers { wanted: factor, registered });
    }
    let down = ring(usable().filter(|broker| !broker.is_eligible()), &mut racks);
    let start = image.partition_count();
    Ok((start..start + count).map(|turn| replicas(&up, &down, racks.len(), turn, factor)).collect())
}

/// Brokers dealt out by rack. Brokers without a rack share one.
fn ring<'a>(brokers: impl Iterator<Item = &'a BrokerImage>, racks: &mut BTreeMap<Option<&'a str>, usize>) -> Vec<Seat> {
    let mut dealt: BTreeMap<Option<&str>, Vec<NodeId>> = BTreeMap::new();
    for broker in brokers {
        dealt.entry(broker.rack.as_deref()).or_default().push(broker.node_id);
    }
    let mut seats = Vec::new();
    for (name, nodes) in dealt {
        let next = racks.len();
        let rack = *racks.entry(name).or_insert(next);
        seats.extend(nodes.into_iter().enumerate().map(|(round, node)| (round, Seat { node, rack })));
    }
    seats.sort_by_key(|(round, seat)| (*round, seat.rack));
    seats.into_iter().map(|(_, seat)| seat).collect()
}

fn replicas(up: &[Seat], down: &[Seat], racks: usize, turn: usize, factor: usize) -> Vec<NodeId> {
    let leader = turn % up.len();
    let mut taken = vec![up[leader]];
    let mut in_rack = vec![0; racks];
    in_rack[up[leader].rack] = 1;
    let mut others = others(up, leader, turn / up.len());
    while taken.len() < factor {
        if others.is_empty() {
            others = down.iter().copied().filter(|seat| taken.iter().all(|known| known.node != seat.node)).collect();
        }
        // The first of those whose rack has the fewest.
        let Some(at) = (0..others.len()).min_by_key(|at| in_rack[others[*at].rack]) else { break };
        let seat = others.remove(at);
        in_rack[seat.rack] += 1;
        taken.push(seat);
    }
    taken.into_iter().map(|seat| seat.node).collect()
}

/// The seats after the leader, beginning with the one after a gap.
fn others(up: &[Seat], leader: usize, gap: usize) -> Vec<Seat> {
    let rest = up.len() - 1;
    (0..rest).map(|at| up[(leader + 1 + (gap + at) % rest) % up.len()]).collect()
}

#[cfg(test)]
mod tests;
