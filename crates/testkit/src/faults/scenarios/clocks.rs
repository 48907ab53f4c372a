//! The wall clock of one broker jumps.
//!
//! Nothing of a cluster may depend on it: sessions, lag times and elections go by the monotonic clock. So it is not enough
//! that nothing is lost. Nobody may even be fenced, and every partition and the quorum keep their leader and epoch.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::{DEAD_WITHIN, Steps};
use crate::faults::Trial;
use crate::nemesis::now;
use crate::operator::{PartitionState, SETTLES_WITHIN};
use crate::wait::wait_until_some;

const HOUR_S: i64 = 3_600;
/// Who goes by a clock that was put forward notices at once that a time is over, ...
const FORWARD: Duration = Duration::from_millis(1_000);
/// ... and by one that was put back does nothing for an hour: this is more than `broker.session.timeout.ms`, and more than
/// followers may be silent.
const BACK: Duration = Duration::from_millis(2_500);
const STROBES: usize = 20;
const STROBE_EVERY: Duration = Duration::from_millis(50);

pub(super) fn clock_jumps(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for leads_quorum in [false, true] {
            let (victim, partition) = victim(trial, leads_quorum).await;
            if leads_quorum {
                // Brokers stamp records now, so their time index and retention meet times that go back and forth.
                let topic = trial.options.topic.clone();
                trial.operator.set_topic_config(&topic, "message.timestamp.type", "LogAppendTime").await;
            }
            trial.whole().await;
            let before = Standing::of(trial).await;
            jump(trial, victim, HOUR_S, &before).await;
            if leads_quorum {
                has_stamped_ahead(trial, partition).await;
            }
            jump(trial, victim, -HOUR_S, &before).await;
            strobe(trial, victim, &before).await;
            jump(trial, victim, 0, &before).await;
        }
    })
}

/// A broker that leads the quorum, or one that does not; it leads this partition.
async fn victim(trial: &mut Trial, leads_quorum: bool) -> (usize, i32) {
    let partition = trial.any_partition();
    let controller = trial.operator.controller().await;
    let leader = trial.leader(partition).await;
    if (leader == controller) == leads_quorum {
        return (leader, partition);
    }
    let victim = if leads_quorum {
        controller
    } else {
        let followers = trial.followers(partition).await;
        *trial.dice.pick(&followers)
    };
    trial.step(format!("broker {victim} gets partition {partition}; {controller} leads the quorum"));
    trial.operator.lead_by(&trial.options.topic, partition, victim).await;
    (victim, partition)
}

async fn jump(trial: &mut Trial, victim: usize, seconds: i64, before: &Standing) {
    trial.step(format!("the clock of {victim} jumps to {seconds:+} s"));
    trial.subject.clock(victim).turn(seconds);
    trial.all_writable(DEAD_WITHIN).await;
    trial.run_for(if seconds < 0 { BACK } else { FORWARD }).await;
    before.compare(trial, &format!("the clock of {victim} at {seconds:+} s")).await;
}

async fn strobe(trial: &mut Trial, victim: usize, before: &Standing) {
    trial.step(format!("the clock of {victim} jumps back and forth"));
    for _ in 0..STROBES {
        let seconds = *trial.dice.pick(&[HOUR_S, -HOUR_S, 1, -1, 0]);
        trial.subject.clock(victim).turn(seconds);
        trial.run_for(STROBE_EVERY).await;
    }
    trial.all_writable(DEAD_WITHIN).await;
    before.compare(trial, &format!("the strobing clock of {victim}")).await;
}

/// The broker did live by the clock: else the scenario would not have tried what it says.
async fn has_stamped_ahead(trial: &mut Trial, partition: i32) {
    let half_an_hour_ahead = now() + Duration::from_secs(1_800);
    if !trial.operator.has_record_after(&trial.options.topic, partition, half_an_hour_ahead).await {
        trial.complain(format!("no record of partition {partition} is from the hour to come, so no clock jumped"));
    }
}

/// What a wall clock must not change.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    partitions: BTreeMap<i32, PartitionState>,
    quorum_leader: Option<usize>,
    quorum_epoch: i32,
    fenced: usize,
}

impl Standing {
    async fn of(trial: &Trial) -> Self {
        let operator = &trial.operator;
        let quorum = wait_until_some("brokers tell of the quorum", SETTLES_WITHIN, || operator.quorum()).await;
        Self {
            partitions: operator.partitions(&trial.options.topic).await,
            quorum_leader: quorum.leader,
            quorum_epoch: quorum.epoch,
            fenced: (1..=trial.subject.size()).map(|id| times_fenced(trial, id)).sum(),
        }
    }

    async fn compare(&self, trial: &mut Trial, what: &str) {
        let after = Self::of(trial).await;
        if *self != after {
            trial.complain(format!("{what} changed {self:?} to {after:?}"));
        }
    }
}

/// How often a broker, as leader of the quorum, told that it fenced another one.
fn times_fenced(trial: &Trial, broker: usize) -> usize {
    let log = trial.subject.folder().path().join(format!("broker-{broker}.log"));
    let text = fs::read(&log).unwrap_or_else(|error| panic!("read {}: {error}", log.display()));
    String::from_utf8_lossy(&text).lines().filter(|line| line.contains(", fenced")).count()
}
