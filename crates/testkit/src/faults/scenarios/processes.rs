//! Processes die, hang, and are restarted.

use std::time::Duration;

use super::{DEAD_WITHIN, RESTARTED_WITHIN, SILENT_WITHIN, Steps};
use crate::faults::Trial;
use crate::history::What;
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

pub(super) fn quiet(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        trial.wait_acknowledged(3_000).await;
    })
}

pub(super) fn leader_killed(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for round in 0..4 {
            trial.breathe().await;
            let partition = trial.any_partition();
            if round % 2 == 1 {
                let controller = trial.operator.controller().await;
                trial.step(format!("broker {controller}, which leads the quorum, gets partition {partition}"));
                trial.operator.lead_by(&trial.options.topic, partition, controller).await;
            }
            let leader = trial.leader(partition).await;
            trial.kill(leader);
            trial.all_writable(DEAD_WITHIN).await;
            trial.start_broker(leader).await;
            trial.whole().await;
        }
    })
}

pub(super) fn all_killed(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..3 {
            trial.breathe().await;
            trial.kill_all();
            for id in 1..=trial.subject.size() {
                trial.spawn(id);
            }
            trial.all_writable(RESTARTED_WITHIN).await;
            trial.whole().await;
        }
    })
}

pub(super) fn leader_hung(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.pause(leader);
            trial.all_writable(SILENT_WITHIN).await;
            let next = trial.leader(partition).await;
            if next == leader {
                trial.complain(format!(
                    "broker {leader} hangs, and partition {partition} is writable without another leader"
                ));
            }
            let more = trial.dice.between(0, 3_000);
            trial.run_for(Duration::from_millis(more)).await;
            trial.resume(leader);
            trial.all_writable(SILENT_WITHIN).await;
            trial.whole().await;
        }
    })
}

pub(super) fn controller_hung(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let controller = trial.operator.controller().await;
            trial.pause(controller);
            trial.all_writable(SILENT_WITHIN).await;
            let next = trial.operator.controller().await;
            trial.tell(format!("broker {next} leads the quorum"));
            if next == controller {
                trial
                    .complain(format!("broker {controller} hangs, and brokers still call it the leader of the quorum"));
            }
            trial.resume(controller);
            trial.all_writable(SILENT_WITHIN).await;
            trial.whole().await;
        }
    })
}

pub(super) fn rolling_restart(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for id in 1..=trial.subject.size() {
            trial.breathe().await;
            trial.stop(id).await;
            trial.start_broker(id).await;
            trial.all_writable(DEAD_WITHIN).await;
            trial.whole().await;
        }
        let errors = trial.recorder().events().into_iter().filter_map(|event| match event.what {
            What::Failed { reason, .. } | What::Unknown { reason, .. } => Some(reason),
            _ => None,
        });
        for reason in errors.collect::<Vec<_>>() {
            trial.complain(format!("a restart reached a client: {reason}"));
        }
        let topic = trial.options.topic.clone();
        wait_until("preferred leaders lead again", SETTLES_WITHIN, || async {
            let states = trial.operator.partitions(&topic).await;
            !states.is_empty() && states.values().all(|state| state.leader == state.replicas.first().copied())
        })
        .await;
    })
}

pub(super) fn last_replica(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let all: Vec<usize> = (1..=trial.subject.size()).collect();
            for id in trial.dice.shuffled(&all) {
                trial.kill(id);
                let pause = trial.dice.between(0, 1_500);
                trial.run_for(Duration::from_millis(pause)).await;
            }
            for id in trial.dice.shuffled(&all) {
                trial.start_broker(id).await;
                let pause = trial.dice.between(0, 1_500);
                trial.run_for(Duration::from_millis(pause)).await;
            }
            trial.all_writable(RESTARTED_WITHIN).await;
            trial.whole().await;
        }
    })
}
