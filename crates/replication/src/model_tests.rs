//! A small world of one partition, in which everything goes wrong at random: the rules must hold all the same.
//!
//! Picture: three brokers with logs in memory, a controller that follows Kafka's rules for leader, ISR and ELR, a network
//! that delays, reorders and loses. Processes crash and come back; one broker at a time loses what it had not flushed,
//! or its whole disk. Images reach each broker whenever chance wants it, so that at times two brokers take themselves
//! for the leader. A seed decides everything: a failure prints it, and the same seed is the same run.
//!
//! After every step:
//! - below any high watermark, every broker has the one committed history (no lost, no reordered, no changed record);
//! - whoever leads the newest epoch has all of that history;
//! - epochs ascend in every log, and one epoch and offset is one record.
//!
//! At the end everything heals: all replicas must be in sync, equal, and committed to their end.
//!
//! The world is checked, too: known bugs are planted one by one, and each must be found.

mod broker; // one broker: log, role, process
mod controller; // leader, ISR, ELR, registrations
mod world; // steps, network, checks

use world::World;

/// A mistake that somebody made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The high watermark is taken over the committed ISR; a member that the controller has just added is not waited for.
    NoMaximalIsr,
    /// A follower joins the ISR without having reached the beginning of the leader's epoch and its high watermark.
    JoinsTooEarly,
    /// A new follower cuts its log at its own high watermark (before KIP-101).
    CutsAtHighWatermark,
    /// The leader takes the fetch offset of a follower for its log end without asking for its last epoch (before KIP-595).
    IgnoresLineage,
    /// The controller accepts the ISR of a leader of any epoch.
    AcceptsOldLeaders,
    /// Fetches count whatever run of the broker sent them (before KIP-903).
    IgnoresBrokerEpochs,
    /// The leader commits alone while the ISR is smaller than the minimum (before KIP-966).
    CommitsBelowMinIsr,
    /// A broker that lost its page cache keeps its place in ISR and ELR (before KIP-966).
    KeepsPlaceAfterPowerLoss,
    /// A new leader takes its whole log for committed.
    TrustsItsOwnTail,
    /// A proposal without an answer is taken for refused.
    ForgetsProposals,
    /// A follower acts on answers to questions that it no longer asks.
    ActsOnLateAnswers,
    /// A broker that has just started takes up the roles of images from before its registration.
    ActsOnOldImages,
}

/// The bugs, each with the seed from which on it is looked for: rare ones would take long from 0.
const BUGS: [(Bug, u64); 12] = [
    (Bug::NoMaximalIsr, 0),
    (Bug::JoinsTooEarly, 0),
    (Bug::CutsAtHighWatermark, 0),
    (Bug::IgnoresLineage, 0),
    (Bug::AcceptsOldLeaders, 0),
    (Bug::IgnoresBrokerEpochs, 630),
    (Bug::CommitsBelowMinIsr, 0),
    (Bug::KeepsPlaceAfterPowerLoss, 0),
    (Bug::TrustsItsOwnTail, 0),
    (Bug::ForgetsProposals, 0),
    (Bug::ActsOnLateAnswers, 0),
    (Bug::ActsOnOldImages, 0),
];

const STEPS: usize = 3_000;
const SEEDS: u64 = 100;
/// Within this many seeds a planted bug has to show.
const SEEDS_FOR_A_BUG: u64 = 1_000;

/// Runs one world; the error says what broke, in which step.
fn run(seed: u64, bug: Option<Bug>) -> Result<World, String> {
    let mut world = World::new(seed, bug);
    for step in 0..STEPS {
        let what = world.step();
        world.check().map_err(|broken| format!("seed {seed}, step {step} ({what}): {broken}"))?;
    }
    world.heal().map_err(|broken| format!("seed {seed}, after healing: {broken}"))?;
    Ok(world)
}

/// `REPLICATION_SEED` repeats one run, `REPLICATION_SEEDS` asks for more of them.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("REPLICATION_SEED"), number("REPLICATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    }
}

#[test]
fn nothing_committed_is_lost_whatever_happens() {
    let (mut committed, mut elections) = (0, 0);
    for seed in seeds() {
        match run(seed, None) {
            Ok(world) => {
                committed += world.committed();
                elections += world.elections();
            }
            Err(broken) => panic!("{broken}; repeat with REPLICATION_SEED={seed}"),
        }
    }
    let runs = seeds().count();
    assert!(committed > 50 * runs && elections > 5 * runs, "too little happened: {committed} and {elections}");
}

#[test]
fn same_seed_is_the_same_run() {
    let trace = |seed| run(seed, None).map(|world| world.trace()).unwrap();
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn planted_bugs_are_found() {
    for (bug, first) in BUGS {
        let found = (first..first + SEEDS_FOR_A_BUG).any(|seed| run(seed, Some(bug)).is_err());
        assert!(found, "{bug:?} was not noticed in {SEEDS_FOR_A_BUG} runs");
    }
}
