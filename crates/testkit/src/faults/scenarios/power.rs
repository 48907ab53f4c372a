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
            let followers = trial.followers(partition).await;
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

/// A broker with a partition of the load's topic that it leads from its second directory, and one that it leads from its
/// first: the first moves, the second stays.
async fn leads_from_both(trial: &Trial) -> (usize, i32, i32) {
    let topic = trial.options.topic.clone();
    let on_second =
        |id: usize, partition: i32| trial.subject.log_dir(id, &topic, partition) == trial.subject.disk(id).path();
    let partitions = trial.operator.partitions(&topic).await;
    for id in 1..=trial.subject.size() {
        let lies = |wanted: bool| partitions.keys().copied().find(|partition| on_second(id, *partition) == wanted);
        if let (Some(second), Some(first)) = (lies(true), lies(false)) {
            trial.operator.lead_by(&topic, second, id).await;
            trial.operator.lead_by(&topic, first, id).await;
            return (id, second, first);
        }
    }
    panic!("no broker has partitions in both of its directories");
}

pub(super) fn directory_fails(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let topic = trial.options.topic.clone();
        trial.breathe().await;
        let (victim, moves, stays) = leads_from_both(trial).await;
        let before = trial.operator.partition(&topic, stays).await;
        trial.step(format!("the second directory of {victim} fails; it leads {moves} there, and {stays} in the first"));
        trial.subject.disk(victim).cut_power();
        trial.all_writable(DEAD_WITHIN).await;
        let after = trial.operator.partition(&topic, moves).await;
        if after.leader == Some(victim) || after.isr.contains(&victim) {
            trial.complain(format!("partition {moves} is still {after:?}, though its disk at {victim} has failed"));
        }
        let kept = trial.operator.partition(&topic, stays).await;
        if (kept.leader, kept.leader_epoch) != (before.leader, before.leader_epoch) {
            trial.complain(format!("partition {stays} moved from {before:?} to {kept:?}, though its disk is well"));
        }
        if !trial.subject.process(victim).is_running() {
            trial.complain(format!("broker {victim} did not survive the end of one of its directories"));
        }
        missing_at_start(trial, victim, moves).await;
    })
}

/// The directory cannot be opened: the broker serves the other one, and makes nothing in place of what it cannot see.
async fn missing_at_start(trial: &mut Trial, victim: usize, hidden: i32) {
    let topic = trial.options.topic.clone();
    trial.stop(victim).await;
    let disk = trial.subject.disk(victim);
    disk.unmount();
    std::fs::remove_dir(disk.path()).expect("an empty mount point");
    std::fs::write(disk.path(), "no directory").expect("a file in its place");
    trial.step(format!("the second directory of {victim} cannot be opened"));
    trial.start_broker(victim).await;
    trial.all_writable(DEAD_WITHIN).await;
    wait_until("the broker is in sync again where it can", SETTLES_WITHIN, || async {
        let states = trial.operator.partitions(&topic).await;
        !states.is_empty()
            && states.iter().all(|(index, state)| {
                let is_there = trial.subject.log_dir(victim, &topic, *index).join(format!("{topic}-{index}")).exists();
                state.isr.contains(&victim) == is_there
            })
    })
    .await;
    if trial.operator.partition(&topic, hidden).await.isr.contains(&victim) {
        trial.complain(format!("partition {hidden} was made anew at {victim}, beside the directory that it is in"));
    }
    trial.kill(victim);
    let disk = trial.subject.disk(victim);
    std::fs::remove_file(disk.path()).expect("the file in its place");
    disk.put_back();
    trial.step(format!("the second directory of {victim} is back"));
    trial.start_broker(victim).await;
    trial.whole().await;
}
