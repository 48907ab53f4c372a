//! Voters of the metadata quorum go and come while parts of it are broken.
//!
//! Five voters, so that there is a majority without the one that goes and the leader that dies while it goes. All the time
//! topics are made: each that was acknowledged must be known to every broker in the end, whatever became of the leader
//! that acknowledged it. Topics and not settings, because a request that was delayed may be repeated without harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{MENDED_WITHIN, SILENT_WITHIN, Steps};
use crate::faults::Trial;
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::wait::{wait_until, wait_until_some};

const CHANGE_EVERY: Duration = Duration::from_millis(250);

/// How a voter is lost before its vote is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Cut,
    Killed,
    /// It leads the quorum, and does not hear that it does not any more.
    LeaderCut,
}

pub(super) fn voters_change(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all = voters(trial, trial.subject.size()).await;
        let changes = Changes::start(trial.operator.clone());
        for loss in [Loss::Cut, Loss::Killed, Loss::LeaderCut] {
            trial.breathe().await;
            let (victim, leader) = lose(trial, loss).await;
            remove_while_leader_dies(trial, victim, all[&victim], leader).await;
            next_leader(trial, leader).await;
            let mut rest = all.clone();
            rest.remove(&victim);
            wait_until("the other voters vote without it", SETTLES_WITHIN, || async {
                trial.operator.quorum().await.is_some_and(|state| state.directories == rest)
            })
            .await;
            let more = trial.dice.between(0, 2_000);
            trial.run_for(Duration::from_millis(more)).await;
            let leader_first = trial.dice.coin();
            if leader_first {
                trial.start_broker(leader).await;
            }
            if loss == Loss::Killed {
                trial.start_broker(victim).await;
            } else {
                trial.step("all links work");
                trial.subject.network().heal();
            }
            trial.step(format!("{victim} is asked to vote again"));
            trial.operator.add_voter(victim, all[&victim]).await;
            if !leader_first {
                trial.start_broker(leader).await;
            }
            trial.all_writable(MENDED_WITHIN).await;
            trial.whole().await;
            agree_on_voters(trial, &all).await;
        }
        let acknowledged = changes.stop().await;
        trial.tell(format!("{} topics were made meanwhile", acknowledged.len()));
        agree_on_metadata(trial, &acknowledged).await;
    })
}

/// Loses a voter; which, and who leads the others.
async fn lose(trial: &mut Trial, loss: Loss) -> (usize, usize) {
    let controller = trial.operator.controller().await;
    let others: Vec<usize> = trial.up().into_iter().filter(|id| *id != controller).collect();
    let victim = if loss == Loss::LeaderCut { controller } else { *trial.dice.pick(&others) };
    if loss == Loss::Killed {
        trial.kill(victim);
        return (victim, controller);
    }
    trial.step(format!("cut {victim} from all brokers; {controller} leads the quorum"));
    let links = trial.subject.network().links_to_brokers(victim);
    trial.subject.network().cut(&links);
    let leader = if loss == Loss::LeaderCut { next_leader(trial, victim).await } else { controller };
    (victim, leader)
}

/// The leader dies before, while or after it takes the vote away; whoever follows it finishes that.
async fn remove_while_leader_dies(trial: &mut Trial, victim: usize, directory: Uuid, leader: usize) {
    trial.step(format!("{victim} loses its vote"));
    let operator = trial.operator.clone();
    let removing = tokio::spawn(async move { operator.remove_voter(victim, directory).await });
    let pause = trial.dice.between(0, 60);
    trial.run_for(Duration::from_millis(pause)).await;
    trial.kill(leader);
    removing.await.expect("the vote is taken away");
}

/// Waits for a leader of the quorum after this one.
async fn next_leader(trial: &mut Trial, gone: usize) -> usize {
    let began = Instant::now();
    let operator = &trial.operator;
    let next = wait_until_some("the quorum has another leader", SETTLES_WITHIN, || async {
        operator.quorum().await?.leader.filter(|leader| *leader != gone)
    })
    .await;
    let took = began.elapsed();
    trial.tell(format!("broker {next} leads the quorum after {:.2} s", took.as_secs_f64()));
    if took > SILENT_WITHIN {
        trial.complain(format!("the quorum had a leader after {took:.2?}, not within {SILENT_WITHIN:?}"));
    }
    next
}

/// So many voters with their directories.
async fn voters(trial: &Trial, count: usize) -> BTreeMap<usize, Uuid> {
    wait_until_some("all voters vote", SETTLES_WITHIN, || async {
        let directories = trial.operator.quorum().await?.directories;
        (directories.len() == count).then_some(directories)
    })
    .await
}

/// Each broker tells of the same voters, and these have the whole log.
async fn agree_on_voters(trial: &Trial, all: &BTreeMap<usize, Uuid>) {
    let brokers = trial.subject.size();
    wait_until("all brokers agree on the voters", SETTLES_WITHIN, || async {
        let states = trial.operator.quorum_by_broker().await;
        states.len() == brokers
            && states
                .values()
                .all(|state| state.directories == *all && state.voters.values().all(|end| *end >= state.high_watermark))
    })
    .await;
    trial.tell("all brokers agree on the voters");
}

/// Each broker has the same metadata, and nothing that was acknowledged is missing.
async fn agree_on_metadata(trial: &mut Trial, acknowledged: &BTreeSet<String>) {
    let brokers = trial.subject.size();
    let operator = &trial.operator;
    let topics = wait_until_some("all brokers have the same metadata", SETTLES_WITHIN, || async {
        let answers = operator.metadata_by_broker().await;
        let first = answers.values().next()?;
        (answers.len() == brokers && answers.values().all(|other| other == first)).then(|| first.topic_names())
    })
    .await;
    for lost in acknowledged.difference(&topics) {
        trial.complain(format!("the making of topic {lost} was acknowledged, and no broker knows it"));
    }
}

/// Makes one topic after the other.
struct Changes {
    over: Arc<AtomicBool>,
    task: JoinHandle<BTreeSet<String>>,
}

impl Changes {
    fn start(operator: Operator) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(make_topics(operator, Arc::clone(&over)));
        Self { over, task }
    }

    /// The names of all topics whose making was acknowledged.
    async fn stop(self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.expect("topics are made")
    }
}

async fn make_topics(operator: Operator, over: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    while !over.load(Ordering::Relaxed) {
        let name = format!("change-{}", acknowledged.len());
        operator.make_topic(&name, 1, 1, &[]).await;
        acknowledged.insert(name);
        tokio::time::sleep(CHANGE_EVERY).await;
    }
    acknowledged
}
