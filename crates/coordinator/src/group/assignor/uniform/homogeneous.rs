//! Everybody wants the same topics: quotas.
//!
//! With P partitions and M members, P mod M members get one more than the others. Those who have more than the
//! others' quota anyway come first, because what they keep does not move.

use std::collections::VecDeque;

use super::super::board::{Board, Seat};

pub(super) fn share(board: &mut Board<'_>) {
    if board.members.is_empty() {
        return;
    }
    let quotas = quotas(board);
    release_surplus(board, &quotas);
    deal(board, &quotas);
}

fn quotas(board: &Board<'_>) -> Vec<usize> {
    let members = board.members.len();
    let least = board.partitions() / members;
    let odd = board.partitions() % members;
    let mut seats: Vec<Seat> = (0..members).collect();
    seats.sort_by_key(|seat| board.loads[*seat] <= least); // stable: those with more, then the others
    let mut quotas = vec![least; members];
    for seat in seats.into_iter().take(odd) {
        quotas[seat] += 1;
    }
    quotas
}

/// Takes from each member what is over its quota.
fn release_surplus(board: &mut Board<'_>, quotas: &[usize]) {
    let mut owned: Vec<Vec<Owned>> = vec![Vec::new(); quotas.len()];
    for (topic, facts) in board.topics.iter().enumerate() {
        for (partition, owner) in facts.owners.iter().enumerate() {
            let Some(seat) = owner.filter(|seat| board.loads[*seat] > quotas[*seat]) else { continue };
            let last = owned[seat].last().filter(|last| last.topic == topic);
            let rank = last.map_or(0, |last| last.rank + 1);
            owned[seat].push(Owned { rank, topic, partition });
        }
    }
    for (seat, mut owned) in owned.into_iter().enumerate() {
        owned.sort_unstable();
        for surplus in owned.iter().skip(quotas[seat]) {
            board.take(surplus.topic, surplus.partition);
        }
    }
}

/// Ordered by rank within the topic first: who must give up gives a share of every topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    rank: usize,
    topic: usize,
    partition: usize,
}

/// Gives what is free to those below their quota, one by one around the table.
fn deal(board: &mut Board<'_>, quotas: &[usize]) {
    let hungry = (0..quotas.len()).filter(|seat| board.loads[*seat] < quotas[*seat]);
    let mut table: VecDeque<Seat> = hungry.collect();
    for topic in 0..board.topics.len() {
        for partition in board.topics[topic].unowned() {
            let Some(seat) = table.pop_front() else { return };
            board.give(topic, partition, seat);
            if board.loads[seat] < quotas[seat] {
                table.push_back(seat);
            }
        }
    }
}
