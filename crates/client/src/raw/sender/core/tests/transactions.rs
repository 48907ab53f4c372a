//! Transactions against a coordinator that loses requests and answers.

use std::collections::BTreeMap;

use super::super::*;
use super::cases::options;
use super::world::{World, partition};

const PARTITIONS: i32 = 5;

fn transactional() -> Options {
    Options { is_transactional: true, ..options() }
}

/// Steps until the commit that was asked for has ended, if it is not too late for that.
fn until_ended(world: &mut World, ends: usize) {
    let mut steps = 0;
    while world.coordinator.ends.len() < ends {
        world.step();
        steps += 1;
        world.is_calm |= steps > 20_000;
        assert!(steps < 200_000, "the transaction never ends");
    }
}

#[test]
fn every_commit_covers_all_that_was_given_before_it_once_and_in_order() {
    let mut commits = 0;
    for seed in 0..400 {
        let mut world = World::new(seed, transactional(), PARTITIONS);
        // What a reader of committed records must see, by partition.
        let mut promised: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for round in 1..=4 {
            for _ in 0..world.dice.below(25) {
                world.give_anywhere();
                if world.dice.one_in(3) {
                    world.step();
                }
            }
            let given: BTreeMap<TopicPartition, usize> =
                world.given.iter().map(|(at, tickets)| (at.clone(), tickets.len())).collect();
            world.core.commit(world.now);
            // Some of the next transaction comes before this one has ended.
            for _ in 0..world.dice.below(5) {
                world.give_anywhere();
            }
            until_ended(&mut world, round);
            if world.coordinator.ends[round - 1].is_err() {
                break; // what became of it is the successor's to find out
            }
            commits += 1;
            promised = given;
            for (at, count) in &promised {
                assert_eq!(world.logs[at].committed, *count, "{at} of seed {seed} after commit {round}");
            }
        }
        for (at, log) in &world.logs {
            let visible = &log.tickets[..log.committed];
            let given = world.given.get(at).map_or(&[][..], Vec::as_slice);
            assert_eq!(visible, &given[..visible.len()], "{at} of seed {seed}");
            assert!(visible.len() >= promised.get(at).copied().unwrap_or(0), "{at} of seed {seed} lost a commit");
        }
    }
    assert!(commits > 1_200, "{commits} commits are too few to say anything");
}

#[test]
fn a_commit_of_nothing_asks_nobody() {
    let mut world = World::new(1, transactional(), PARTITIONS);
    world.core.commit(world.now);
    until_ended(&mut world, 1);
    assert!(world.coordinator.ends[0].is_ok() && world.coordinator.commits == 0);
    assert!(world.core.is_empty());
}

#[test]
fn after_a_failure_nothing_is_committed_any_more() {
    let mut world = World::new(7, transactional(), PARTITIONS);
    world.is_calm = true;
    world.give(0);
    // More than is allowed: its turn comes and it fails.
    let at = partition(1);
    let bytes = Bytes::from_static(b"no batch");
    world.core.send(world.now, &at, Outgoing { ticket: 0, bytes, records: 1, aligned: None });
    world.core.commit(world.now);
    until_ended(&mut world, 1);
    assert!(world.coordinator.ends[0].is_err());
    world.give(2);
    world.core.commit(world.now);
    until_ended(&mut world, 2);
    assert!(world.coordinator.ends[1].is_err());
    assert_eq!(world.coordinator.commits, 0);
    assert!(world.logs.values().all(|log| log.committed == 0));
    assert!(world.logs[&partition(2)].tickets.is_empty(), "it was given after the failure");
    assert!(world.core.is_empty());
}
