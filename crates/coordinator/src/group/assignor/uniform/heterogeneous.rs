//! Members want different topics: least loaded first, then moves that even out.
//!
//! Topics with many partitions per subscriber come first, because there the choice is small; what comes later
//! levels the rest. A move from a member with at least two partitions more to one with fewer always lowers the sum
//! of squares of the loads, so the rounds end by themselves; a bound makes the time known.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::super::board::{Board, Seat, Topic};

/// Each round about halves what is left to even out, so this is as good as any number; Kafka's as well.
const ROUNDS_MAX: usize = 16;

pub(super) fn share(board: &mut Board<'_>) {
    let mut order: Vec<usize> = (0..board.topics.len()).collect();
    order.sort_by(|a, b| scarcest_first(&board.topics[*a], &board.topics[*b]));
    let before: Vec<Vec<Option<Seat>>> = board.topics.iter().map(|topic| topic.owners.clone()).collect();
    for topic in &order {
        fill(board, *topic);
    }
    for _ in 0..ROUNDS_MAX {
        let moved = order.iter().fold(false, |moved, topic| level(board, *topic, &before[*topic]) | moved);
        if !moved {
            return;
        }
    }
}

/// Most partitions per subscriber first; then fewest subscribers; then as they come.
fn scarcest_first(a: &Topic, b: &Topic) -> Ordering {
    let (a_share, b_share) = (a.owners.len() * b.subscribers.len(), b.owners.len() * a.subscribers.len());
    b_share.cmp(&a_share).then(a.subscribers.len().cmp(&b.subscribers.len()))
}

/// Gives what is free to whoever has least.
fn fill(board: &mut Board<'_>, topic: usize) {
    let free = board.topics[topic].unowned();
    if free.is_empty() {
        return;
    }
    let subscribers = board.topics[topic].subscribers.iter();
    let mut by_load: BinaryHeap<Reverse<(usize, Seat)>> =
        subscribers.map(|seat| Reverse((board.loads[*seat], *seat))).collect();
    for partition in free {
        let Some(Reverse((load, seat))) = by_load.pop() else { return };
        board.give(topic, partition, seat);
        by_load.push(Reverse((load + 1, seat)));
    }
}

/// Moves partitions of one topic from its most to its least loaded subscribers; whether any moved.
fn level(board: &mut Board<'_>, topic: usize, before: &[Option<Seat>]) -> bool {
    let subscribers = &board.topics[topic].subscribers;
    let mut receivers: BTreeSet<(usize, Seat)> = subscribers.iter().map(|seat| (board.loads[*seat], *seat)).collect();
    let most = receivers.last().map_or(0, |(load, _)| *load);
    if receivers.first().is_none_or(|(least, _)| most <= least + 1) {
        return false;
    }
    let mut offers = offers(&board.topics[topic], before);
    let mut givers: BTreeSet<(usize, Seat)> = offers.keys().map(|seat| (board.loads[*seat], *seat)).collect();
    let mut moved = false;
    while let (Some((least, to)), Some((most, from))) = (receivers.first().copied(), givers.last().copied()) {
        if most <= least + 1 {
            break;
        }
        givers.remove(&(most, from));
        let Some(partition) = offers.get_mut(&from).and_then(Vec::pop) else { continue }; // has none left to give
        board.give(topic, partition, to);
        receivers.remove(&(most, from));
        receivers.insert((most - 1, from));
        givers.insert((most - 1, from));
        receivers.remove(&(least, to));
        receivers.insert((least + 1, to));
        if givers.remove(&(least, to)) {
            givers.insert((least + 1, to));
        }
        moved = true;
    }
    moved
}

/// What each owner has of the topic, in the order in which it would give it up from behind: what it has just been
/// given goes before what it had.
fn offers(topic: &Topic, before: &[Option<Seat>]) -> BTreeMap<Seat, Vec<usize>> {
    let mut offers: BTreeMap<Seat, Vec<usize>> = BTreeMap::new();
    for had in [true, false] {
        for (partition, owner) in topic.owners.iter().enumerate() {
            if let Some(seat) = owner.filter(|_| (before[partition] == *owner) == had) {
                offers.entry(seat).or_default().push(partition);
            }
        }
    }
    offers
}
