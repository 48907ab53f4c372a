//! Partitions move to other brokers while brokers die.
//!
//! Movements are throttled until what breaks has broken: else they would be over before it. A movement that is over
//! nevertheless is a complaint, since the scenario would not have tried what it says.

use super::{DEAD_WITHIN, Steps};
use crate::faults::Trial;
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

/// Bytes a second: for as little as this load writes, many seconds.
const SLOW: u64 = 500;
const FAST: u64 = 1 << 30;

pub(super) fn reassignment(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        let topic = trial.options.topic.clone();
        for side in ["leader", "follower"] {
            trial.operator.set_topic_config(&topic, &format!("{side}.replication.throttled.replicas"), "*").await;
        }
        for round in 0..5 {
            throttle(trial, SLOW).await;
            trial.breathe().await;
            let partition = trial.any_partition();
            let before = trial.operator.partition(&topic, partition).await;
            // Three others, then all four, then three again.
            let count = if round % 3 == 1 { 4 } else { 3 };
            let target: Vec<usize> = trial.dice.shuffled(&all).into_iter().take(count).collect();
            trial.step(format!("partition {partition} moves from {:?} to {target:?}", before.replicas));
            trial.operator.reassign(&topic, partition, Some(&target)).await;
            let has_newcomers = target.iter().any(|id| !before.replicas.contains(id));
            if has_newcomers && trial.operator.is_reassigning().await != Some(true) {
                trial.complain(format!("the movement of partition {partition} was over before anything broke"));
            }
            let mut dead = None;
            match round % 5 {
                1 | 3 => dead = Some(trial.leader(partition).await),
                2 => dead = target.iter().find(|id| !before.replicas.contains(id)).copied(),
                4 if has_newcomers => {
                    trial.step("the movement is cancelled");
                    trial.operator.reassign(&topic, partition, None).await;
                }
                _ => {}
            }
            if let Some(id) = dead {
                trial.kill(id);
                trial.all_writable(DEAD_WITHIN).await;
                trial.start_broker(id).await;
            }
            throttle(trial, FAST).await;
            settled(trial).await;
            let after = trial.operator.partition(&topic, partition).await;
            let is_cancelled = round % 5 == 4 && has_newcomers;
            let wanted = if is_cancelled { &before.replicas } else { &target };
            if !same(&after.replicas, wanted) {
                trial.complain(format!("partition {partition} is at {:?} in the end", after.replicas));
            }
        }
    })
}

/// Bytes a second that movements may take, on every broker.
async fn throttle(trial: &Trial, rate: u64) {
    for id in 1..=trial.subject.size() {
        for side in ["leader", "follower"] {
            trial
                .operator
                .set_broker_config(id, &format!("{side}.replication.throttled.rate"), &rate.to_string())
                .await;
        }
    }
}

/// No movement is under way, and all replicas are in sync.
async fn settled(trial: &Trial) {
    wait_until("movements end", SETTLES_WITHIN, || async {
        trial.operator.is_reassigning().await == Some(false) //
    })
    .await;
    trial.whole().await;
}

fn same(one: &[usize], other: &[usize]) -> bool {
    let sorted = |ids: &[usize]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    sorted(one) == sorted(other)
}
