//! Producers with one transactional id in processes of their own: one hangs or dies in the middle, another one takes over.
//!
//! Nobody wakes as anything but a zombie: whatever it had noted to do next, and had not asked for yet when it was frozen, is
//! refused, also when its coordinator has moved meanwhile. What it had asked for may have been done before it lost the name.

use std::time::Duration;

use super::state_log::STATE;
use super::{GO_ON_WITHIN, Steps};
use crate::faults::Trial;
use crate::history::{Moment, Outcome, What};
use crate::load::{Protocol, Rival, RivalEnd, Rivalry};
use crate::wait::wait_until_some;

/// Longer than any scene: what the older one left open is ended by whoever takes its name, not by time.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Transactions that each of them commits undisturbed.
const UNDISTURBED: usize = 2;

/// What becomes of the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It hangs before it does what it has just noted.
    HangsBefore,
    /// It hangs a moment later: its request may be under way.
    HangsAmid,
    Dies,
}

impl Fate {
    const ALL: [Self; 3] = [Self::HangsBefore, Self::HangsAmid, Self::Dies];
}

#[derive(Clone, Copy, Debug)]
struct Scene {
    older: Protocol,
    newer: Protocol,
    moment: Moment,
    fate: Fate,
    /// The coordinator dies before the newer one comes.
    coordinator_dies: bool,
}

pub(super) fn take_over(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for (number, scene) in scenes(trial).into_iter().enumerate() {
            play(trial, number, scene).await;
        }
        trial.all_writable(GO_ON_WITHIN).await;
        trial.wait_acknowledged(500).await;
    })
}

/// Each pair of protocols, at each moment, with a fate that is thrown; in each pair everything happens at least once.
fn scenes(trial: &mut Trial) -> Vec<Scene> {
    let mut scenes = Vec::new();
    for older in Protocol::ALL {
        for newer in Protocol::ALL {
            let moments = trial.dice.shuffled(&Moment::ALL);
            let one_more = *trial.dice.pick(&Fate::ALL);
            let fates = trial.dice.shuffled(&[&Fate::ALL[..], &[one_more]].concat());
            for (moment, fate) in moments.into_iter().zip(fates) {
                scenes.push(Scene { older, newer, moment, fate, coordinator_dies: false });
            }
        }
    }
    for older in Protocol::ALL {
        let (newer, moment) = (*trial.dice.pick(&Protocol::ALL), *trial.dice.pick(&Moment::ALL));
        scenes.push(Scene { older, newer, moment, fate: Fate::HangsBefore, coordinator_dies: true });
    }
    scenes
}

async fn play(trial: &mut Trial, number: usize, scene: Scene) {
    let Scene { older, newer, moment, fate, .. } = scene;
    let rivalry = Rivalry {
        bootstrap: trial.subject.bootstrap(),
        topic: trial.options.topic.clone(),
        partitions: trial.options.partitions,
        transactional_id: format!("{}-zombie-{number}", trial.options.topic),
        timeout: TIMEOUT,
    };
    trial.step(format!("{number}: {older:?} {fate:?} {moment:?}, then comes {newer:?}"));
    let mut old = start(trial, &rivalry, &format!("{number}-older"), older);
    commits(&old, 0, UNDISTURBED).await;
    assert!(old.desk.stop_at(moment).await, "a rival has ended before it could hang");
    let lets_go_first = fate == Fate::HangsAmid;
    if lets_go_first {
        old.desk.go_on();
    }
    if fate == Fate::Dies {
        old.process.kill()
    } else {
        old.process.freeze()
    }
    let frozen_at = old.desk.said().len();
    if !lets_go_first {
        old.desk.go_on();
    }
    let down = if scene.coordinator_dies { Some(trial.leader_of(STATE, 0).await) } else { None };
    if let Some(broker) = down {
        trial.kill(broker);
    }
    let new = start(trial, &rivalry, &format!("{number}-newer"), newer);
    commits(&new, 0, UNDISTURBED).await;
    if fate == Fate::Dies {
        old.desk.closed().await;
    } else {
        wake(trial, number, fate, old, frozen_at).await;
    }
    let before = new.desk.said().len();
    commits(&new, before, UNDISTURBED).await;
    leave(trial, number, new).await;
    if let Some(broker) = down {
        trial.start_broker(broker).await;
        trial.whole().await;
    }
}

fn start(trial: &Trial, rivalry: &Rivalry, name: &str, protocol: Protocol) -> Rival {
    let folder = trial.subject.folder().path();
    let rival = rivalry.start(&trial.program, name, protocol, folder, trial.recorder());
    rival.unwrap_or_else(|error| panic!("start {name}: {error}"))
}

/// Waits until the rival has committed so many more than it had when it had said so much.
async fn commits(rival: &Rival, since: usize, count: usize) {
    let committed = rival.desk.until(|said| said[since..].iter().filter(|what| is_committed(what)).count() >= count);
    let in_time = tokio::time::timeout(GO_ON_WITHIN, committed).await;
    assert!(in_time == Ok(true), "who has the name commits nothing: {in_time:?}; {}", rival.process.log_tail());
}

fn is_committed(what: &What) -> bool {
    *what == What::Ended { outcome: Outcome::Committed }
}

/// The older one wakes, and must find out that it has lost its name before it does anything.
async fn wake(trial: &mut Trial, number: usize, fate: Fate, mut old: Rival, frozen_at: usize) {
    old.process.resume();
    let what = format!("{number}: the zombie ends");
    let process = &mut old.process;
    let status = wait_until_some(&what, GO_ON_WITHIN, || {
        let ended = process.ended();
        async move { ended }
    })
    .await;
    let end = RivalEnd::from(status);
    if end != RivalEnd::Fenced {
        trial.complain(format!("{number}: the zombie was not fenced, but {end:?}: {}", old.process.log_tail()));
    }
    let said = old.desk.closed().await;
    let answers = answers_after(&said, frozen_at, fate == Fate::HangsAmid);
    if !answers.is_empty() {
        trial.complain(format!("{number}: the zombie was told {answers:?}"));
    }
}

/// What succeeded after the process had been frozen. The answer to what was under way may be one of them.
fn answers_after(said: &[What], frozen_at: usize, was_under_way: bool) -> Vec<&What> {
    let is_answer = |what: &&What| matches!(what, What::Sent { .. }) || is_committed(what);
    let mut after = said[frozen_at..].iter();
    if was_under_way {
        // Whatever stands first was asked for before; if it is no answer, then nothing was under way.
        after.next();
    }
    after.filter(is_answer).collect()
}

async fn leave(trial: &mut Trial, number: usize, mut new: Rival) {
    let end = RivalEnd::from(new.process.stop().await);
    if end != RivalEnd::Done {
        trial.complain(format!("{number}: who has the name ended as {end:?}: {}", new.process.log_tail()));
    }
    new.desk.closed().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Value, Worker};

    #[test]
    fn only_what_was_under_way_may_succeed_after_a_freeze() {
        let values = vec![Value { worker: Worker(1), number: 0 }];
        let sent = What::Sent { partition: 0, values, offset: 7 };
        let committed = What::Ended { outcome: Outcome::Committed };
        let said = [What::Begin, sent, What::Ending { commit: true }, committed];
        assert_eq!(answers_after(&said, 1, false).len(), 2);
        assert_eq!(answers_after(&said, 1, true).len(), 1);
        assert_eq!(answers_after(&said, 4, true).len(), 0);
        let aborted = [What::Ended { outcome: Outcome::Aborted }];
        assert_eq!(answers_after(&aborted, 0, false).len(), 0);
    }
}
