//! Machines lose their power, and disks fail.
//!
//! A power cut takes the page cache along ([`crate::nemesis::Disk`]), so it tells what was flushed from what was not. One
//! machine of three may lose it at any time: the others have in memory what was acknowledged. When all lose it at once only
//! `twinstream.flush=ack` keeps the promise; then not one acknowledged record may be missing.

use super::{DEAD_WITHIN, RESTARTED_WITHIN, SILENT_WITHIN, Steps};
use crate::faults::Trial;
use crate::nemesis::Rule;
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

pub(super) fn of_a_leader(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.cut_power(&[leader]);
            trial.all_writable(DEAD_WITHIN).await;
            trial.start_broker(leader).await;
            trial.whole().await;
        }
    })
}

pub(super) fn of_all(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..3 {
            trial.breathe().await;
            trial.cut_power(&[1, 2, 3]);
            (1..=3).for_each(|id| trial.spawn(id));
            trial.all_writable(RESTARTED_WITHIN).await;
            trial.whole().await;
        }
    })
}

pub(super) fn of_the_only_one(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..5 {
            trial.breathe().await;
            trial.cut_power(&[1]);
            trial.start_broker(1).await;
            trial.all_writable(RESTARTED_WITHIN).await;
        }
    })
}

pub(super) fn while_a_follower_hangs(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let topic = trial.options.topic.clone();
            let followers = trial.operator.partition(&topic, partition).await.followers();
            let (leader, hung) = (trial.leader(partition).await, *trial.dice.pick(&followers));
            trial.pause(hung);
            trial.breathe().await;
            trial.cut_power(&[leader]);
            trial.breathe().await;
            trial.resume(hung);
            // One of the two that are left was hung and has to notice what it missed.
            trial.all_writable(SILENT_WITHIN).await;
            trial.start_broker(leader).await;
            trial.whole().await;
        }
    })
}

pub(super) fn fsync_fails(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        trial.breathe().await;
        let partition = trial.any_partition();
        let leader = trial.leader(partition).await;
        trial.step(format!("flushes of {leader} fail"));
        trial.subject.shim(leader).begin(Rule::FsyncFails);
        // All of its log directories are gone with this one, so it must not stay.
        let what = format!("broker {leader} ends by itself");
        let mut running = true;
        while running {
            running = trial.subject.process(leader).is_running();
            trial.run_for(std::time::Duration::from_millis(50)).await;
        }
        trial.tell(what);
        let failed = trial.subject.shim(leader).count(Rule::FsyncFails);
        trial.ended(leader);
        trial.subject.shim(leader).end(Rule::FsyncFails);
        if failed == 0 {
            trial.complain(format!("broker {leader} ended before a flush failed"));
        }
        trial.all_writable(DEAD_WITHIN).await;
        trial.start_broker(leader).await;
        trial.whole().await;
    })
}

pub(super) fn writes_fail(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for rule in [Rule::WritesShort, Rule::WritesFull] {
            trial.breathe().await;
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.step(format!("{rule:?} on {leader}"));
            trial.subject.shim(leader).begin(rule);
            let what = "writes meet the fault";
            wait_until(what, SETTLES_WITHIN, || {
                let met = trial.subject.shim(leader).count(rule) >= 20;
                async move { met }
            })
            .await;
            trial.subject.shim(leader).end(rule);
            trial.step(format!("{rule:?} on {leader} is over"));
            trial.all_writable(DEAD_WITHIN).await;
            trial.whole().await;
            if !trial.subject.process(leader).is_running() {
                trial.complain(format!("broker {leader} did not survive {rule:?}"));
            }
        }
    })
}
