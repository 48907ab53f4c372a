//! Partitions move to other brokers while brokers die.

use super::{DEAD_WITHIN, Steps};
use crate::faults::Trial;
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

pub(super) fn reassignment(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        let topic = trial.options.topic.clone();
        for round in 0..5 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let before = trial.operator.partition(&topic, partition).await;
            // Three others, then all four, then three again.
            let count = if round % 3 == 1 { 4 } else { 3 };
            let target: Vec<usize> = trial.dice.shuffled(&all).into_iter().take(count).collect();
            trial.step(format!("partition {partition} moves from {:?} to {target:?}", before.replicas));
            trial.operator.reassign(&topic, partition, Some(&target)).await;
            let mut dead = None;
            match round % 5 {
                1 | 3 => dead = Some(trial.leader(partition).await),
                2 => dead = target.iter().find(|id| !before.replicas.contains(id)).copied(),
                4 => {
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
            settled(trial).await;
            let after = trial.operator.partition(&topic, partition).await;
            let moved = same(&after.replicas, &target);
            let stayed = round % 5 == 4 && same(&after.replicas, &before.replicas);
            if !moved && !stayed {
                trial.complain(format!("partition {partition} is at {:?} in the end", after.replicas));
            }
        }
    })
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
