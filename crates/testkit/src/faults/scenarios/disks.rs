//! Files of a broker that is down are damaged, lost, or fall behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{DEAD_WITHIN, MENDED_WITHIN, SILENT_WITHIN, Steps};
use crate::faults::Trial;
use crate::nemesis::files;
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

/// Where a broker keeps the log of the metadata quorum, in its data folder.
const QUORUM_FOLDER: &str = "metadata-quorum";

pub(super) fn torn_tail(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let partition = trial.any_partition();
            let topic = trial.options.topic.clone();
            let followers = trial.followers(partition).await;
            let follower = *trial.dice.pick(&followers);
            trial.kill(follower);
            let bytes = trial.dice.between(1, 5_000);
            let segment = files::active_segment(&trial.subject.data(follower), &topic, partition);
            let left = files::cut_tail(&segment.expect("a replica has a segment"), bytes);
            trial.step(format!("the log of partition {partition} on {follower} is cut to {left} bytes"));
            trial.all_writable(DEAD_WITHIN).await;
            trial.start_broker(follower).await;
            trial.whole().await;
        }
    })
}

pub(super) fn metadata_damaged(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            trial.breathe().await;
            let all: Vec<usize> = (1..=trial.subject.size()).collect();
            let victim = *trial.dice.pick(&all);
            trial.kill(victim);
            damage_quorum(trial, victim);
            trial.spawn(victim);
            if refuses(trial, victim).await {
                trial.subject.kill(victim);
                if trial.dice.coin() {
                    trial.step(format!("{victim} refuses to start, so its metadata folder is emptied"));
                    empty(&trial.subject.data(victim).join(QUORUM_FOLDER));
                } else {
                    trial.step(format!("{victim} refuses to start, so its disk is emptied"));
                    empty(&trial.subject.data(victim));
                }
                trial.subject.spawn(victim);
                trial.subject.wait_for_port(victim).await;
            }
            trial.all_writable(SILENT_WITHIN).await;
            trial.whole().await;
        }
    })
}

/// One bit, or the end of a file that is not empty.
fn damage_quorum(trial: &mut Trial, broker: usize) {
    let mut found = files::files_below(&trial.subject.data(broker).join(QUORUM_FOLDER));
    found.retain(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0));
    let file = trial.dice.pick(&found).clone();
    let length = fs::metadata(&file).map_or(1, |metadata| metadata.len());
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = trial.dice.between(0, length - 1);
    if trial.dice.coin() {
        trial.step(format!("a bit of {name} on {broker} is turned, at {at} of {length}"));
        files::flip_bit(&file, at);
    } else {
        trial.step(format!("{name} on {broker} is cut to {at} of {length} bytes"));
        files::cut_tail(&file, length - at);
    }
}

/// Whether the broker ends by itself instead of serving.
async fn refuses(trial: &mut Trial, broker: usize) -> bool {
    let began = std::time::Instant::now();
    while trial.subject.process(broker).is_running() {
        if trial.subject.listens(broker).await && trial.has_all_replicas(broker).await {
            return false;
        }
        assert!(began.elapsed() < SETTLES_WITHIN, "broker {broker} neither serves nor ends");
        trial.run_for(Duration::from_millis(100)).await;
    }
    true
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap_or_else(|error| panic!("empty {}: {error}", folder.display()));
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("create {}: {error}", folder.display()));
}

pub(super) fn voter_wiped(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        for _ in 0..2 {
            trial.breathe().await;
            let order = trial.dice.shuffled(&all);
            let (wiped, other) = (order[0], order[1]);
            trial.kill(wiped);
            trial.step(format!("the disk of {wiped} is emptied"));
            empty(&trial.subject.data(wiped));
            trial.spawn(wiped);
            let pause = trial.dice.between(0, 1_500);
            trial.run_for(Duration::from_millis(pause)).await;
            trial.kill(other);
            // Whether this is writable depends on how far the newcomer got. That nothing is forgotten does not.
            let pause = trial.dice.between(1_000, 4_000);
            trial.run_for(Duration::from_millis(pause)).await;
            trial.start_broker(other).await;
            trial.all_writable(MENDED_WITHIN).await;
            trial.whole().await;
            all_vote(trial).await;
        }
    })
}

/// The newcomer has the vote of the one that it replaces.
async fn all_vote(trial: &Trial) {
    let voters = trial.subject.size();
    wait_until("all voters vote and have the whole log", SETTLES_WITHIN, || async {
        let Some(state) = trial.operator.quorum().await else { return false };
        state.voters.len() == voters && state.voters.values().all(|end| *end >= state.high_watermark)
    })
    .await;
}

/// Changes of a topic's settings: each is one entry of the metadata log; more than it keeps behind a snapshot.
const ENTRIES: usize = 6_000;
const WRITERS: usize = 16;

pub(super) fn voter_behind(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let controller = trial.operator.controller().await;
        let others: Vec<usize> = trial.up().into_iter().filter(|id| *id != controller).collect();
        let behind = *trial.dice.pick(&others);
        trial.kill(behind);
        trial.step(format!("{ENTRIES} changes of settings"));
        let mut changing = JoinSet::new();
        for writer in 0..WRITERS {
            let (operator, topic) = (trial.operator.clone(), trial.options.topic.clone());
            changing.spawn(async move {
                for entry in (writer..ENTRIES).step_by(WRITERS) {
                    let value = (1_000_000_000 + entry).to_string();
                    operator.set_topic_config(&topic, "retention.ms", &value).await;
                }
            });
        }
        changing.join_all().await;
        trial.start_broker(behind).await;
        trial.whole().await;
        all_vote(trial).await;
        let leader = trial.operator.controller().await;
        trial.kill(leader);
        trial.all_writable(DEAD_WITHIN).await;
        trial.start_broker(leader).await;
        trial.whole().await;
    })
}
