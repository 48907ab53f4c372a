//! The coordinator of a transaction dies at each step of its end.
//!
//! No part of the broker is made for this. Three brokers have the log of the coordinators, two others the partitions of the
//! transaction. Whoever of them must not go on is stopped (SIGSTOP), what the others do is read from their logs, and the
//! coordinator is killed when its step is there: before it decides; when only it knows its decision; when all know it and the
//! producer was told, with no marker, with one of two, with both but without a replica of the last record; and after it.
//! Each step is played in both protocols, for a commit and for an abort.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use twinstream_model::{PartitionIndex, TopicPartition};

use super::state_log::{STATE, Status, Tail, partition_of};
use super::{MENDED_WITHIN, Steps};
use crate::checker;
use crate::faults::Trial;
use crate::faults::trial::ENDS_WITHIN;
use crate::history::Recorder;
use crate::load::{Author, LoadOptions, Protocol, Refusal, Transactor, last_reading};
use crate::operator::SETTLES_WITHIN;
use crate::records::topic_name;
use crate::wait::wait_until;

/// Brokers that are stopped for a moment are not to be fenced.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[("transaction.state.log.num.partitions", "3"), ("broker.session.timeout.ms", "9000")];
const STATE_PARTITIONS: i32 = 3;
const TOPIC: &str = "steps";
/// Those that have the log of coordinators, and those that lead the two partitions of the topic.
const COORDINATORS: [usize; 3] = [1, 2, 3];
const LEADERS: [usize; 2] = [4, 5];
const TIMEOUT: Duration = Duration::from_secs(20);
/// After the kill, whatever the coordinator was doing.
const OVER_WITHIN: Duration = TIMEOUT.saturating_add(ENDS_WITHIN);
const RECORDS: u64 = 3;
/// How long a step may take to be seen in a log.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// For a request to reach a process that does not answer.
const ARRIVES_WITHIN: Duration = Duration::from_millis(200);

/// When the coordinator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    BeforePrepare,
    PrepareOnlyHere,
    NoMarker,
    OneMarker,
    CompleteOnlyHere,
    Complete,
}

const ALL: [At; 6] =
    [At::BeforePrepare, At::PrepareOnlyHere, At::NoMarker, At::OneMarker, At::CompleteOnlyHere, At::Complete];

/// One death of a coordinator.
#[derive(Clone, Copy, Debug)]
struct Play {
    protocol: Protocol,
    at: At,
    commit: bool,
}

impl Play {
    fn all() -> Vec<Self> {
        let plays = Protocol::ALL.into_iter().flat_map(|protocol| ALL.map(|at| (protocol, at)));
        plays.flat_map(|(protocol, at)| [true, false].map(|commit| Self { protocol, at, commit })).collect()
    }
}

pub(super) fn quiet(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        trial.wait_acknowledged(1_500).await;
        trial.nobody_is_stuck(super::GO_ON_WITHIN).await;
    })
}

pub(super) fn killed_at_each_step(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        set_up(trial).await;
        let history = trial.subject.folder().path().join("steps.jsonl");
        let recorder = Recorder::create(&history).unwrap_or_else(|error| panic!("{error}"));
        for (number, played) in trial.dice.shuffled(&Play::all()).into_iter().enumerate() {
            kill_at(trial, &recorder, number + 1, played).await;
        }
        trial.heal().await;
        trial.nothing_hangs(TOPIC, OVER_WITHIN).await;
        let options = LoadOptions::transactional(TOPIC, 2);
        last_reading(&trial.subject.bootstrap(), &recorder, &options).await;
        let verdict = checker::judge(&recorder.events());
        trial.tell(format!("the transactions of {TOPIC}: {verdict}"));
        if !verdict.is_clean() {
            trial.complain(format!("the transactions of {TOPIC}: {verdict}; see {}", recorder.flushed().display()));
        }
    })
}

/// Puts the logs of coordinators on three brokers, and the partitions of the topic on one each of the others.
async fn set_up(trial: &mut Trial) {
    let bootstrap = trial.subject.bootstrap();
    let mut first = Transactor::new(&bootstrap, "steps-0", Protocol::Second, TIMEOUT);
    first.init().await.unwrap_or_else(|refusal| panic!("{refusal}"));
    let operator = &trial.operator;
    operator.create_topic(TOPIC, 2, 1, &[]).await;
    let mut wanted = Vec::new();
    for (index, leader) in (0..).zip(LEADERS) {
        wanted.push((TOPIC, index, vec![leader]));
    }
    for (index, turn) in (0..STATE_PARTITIONS).zip(0..) {
        let mut replicas = COORDINATORS;
        replicas.rotate_left(turn);
        wanted.push((STATE, index, replicas.to_vec()));
    }
    for (topic, index, replicas) in &wanted {
        operator.reassign(topic, *index, Some(replicas)).await;
    }
    for (topic, index, replicas) in &wanted {
        wait_until(&format!("{topic}-{index} is on {replicas:?}"), SETTLES_WITHIN, || async {
            let state = operator.partition(topic, *index).await;
            state.replicas == *replicas && state.is_whole() && state.leader.is_some_and(|id| replicas.contains(&id))
        })
        .await;
    }
    trial.step(format!("brokers {COORDINATORS:?} coordinate, {LEADERS:?} lead {TOPIC}"));
}

/// The transaction that is about to end, and who has what of it.
struct Scene {
    id: String,
    state_partition: i32,
    coordinator: usize,
    followers: Vec<usize>,
    /// The log of coordinators by broker.
    states: Vec<(usize, Tail)>,
    /// The logs of the topic's partitions.
    markers: Vec<Tail>,
    producer: twinstream_model::ProducerId,
}

type Ending = JoinHandle<(Author, Result<(), Refusal>)>;

async fn kill_at(trial: &mut Trial, recorder: &Recorder, number: usize, Play { protocol, at, commit }: Play) {
    trial.operator.wait_whole(STATE, STATE_PARTITIONS).await;
    trial.operator.wait_whole(TOPIC, 2).await;
    let id = format!("{TOPIC}-{number}");
    let transactor = Transactor::new(&trial.subject.bootstrap(), &id, protocol, TIMEOUT);
    let mut author = Author::new(transactor, recorder);
    author.transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal}"));
    write(&mut author).await;
    let scene = Scene::of(trial, id, author.transactor.identity().id).await;
    let verb = if commit { "commit" } else { "abort" };
    trial.step(format!("{verb} of {} in the {protocol:?} protocol; {at:?}", scene.id));

    let (ending, killed) = scene.act(trial, author, commit, at).await;
    let (mut author, told) = ending.await.expect("a producer that does not panic");
    if let Err(refusal) = told {
        trial.complain(format!("{at:?}, {protocol:?}: the end of {} was refused: {refusal}", scene.id));
        author.transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }
    trial.nothing_hangs(TOPIC, OVER_WITHIN.saturating_sub(killed.elapsed())).await;
    let took = killed.elapsed();
    trial.tell(format!("the transaction is over {:.2} s after the kill", took.as_secs_f64()));
    if took > OVER_WITHIN {
        trial.complain(format!("{at:?}, {protocol:?}: {} is over {took:.1?} after the kill", scene.id));
    }
    // The producer goes on, so nothing of its last transaction holds it up.
    write(&mut author).await;
    if let Err(refusal) = author.end(true).await {
        trial.complain(format!("{at:?}, {protocol:?}: {} could not go on: {refusal}", scene.id));
    }
    trial.nothing_hangs(TOPIC, OVER_WITHIN).await;
    trial.tell(format!("all is stable {:.2} s after the kill", killed.elapsed().as_secs_f64()));
    trial.start_broker(scene.coordinator).await;
    trial.all_writable(MENDED_WITHIN).await;
}

/// A transaction in both partitions.
async fn write(author: &mut Author) {
    author.begin();
    for index in 0..2 {
        let partition = TopicPartition::new(topic_name(TOPIC), PartitionIndex(index));
        author.send(&partition, RECORDS).await.unwrap_or_else(|refusal| panic!("{refusal}"));
    }
}

/// Asks for the end, and goes on asking whoever coordinates.
fn ask(mut author: Author, commit: bool) -> Ending {
    tokio::spawn(async move {
        let told = author.end(commit).await;
        (author, told)
    })
}

impl Scene {
    async fn of(trial: &Trial, id: String, producer: twinstream_model::ProducerId) -> Self {
        let state_partition = partition_of(&id, STATE_PARTITIONS);
        let coordinator = trial.operator.leader(STATE, state_partition).await;
        let followers = COORDINATORS.into_iter().filter(|id| *id != coordinator).collect();
        let tail = |id: usize, topic, index| Tail::new(&trial.subject.log_dir(id, topic, index), topic, index);
        let states = COORDINATORS.into_iter().map(|id| (id, tail(id, STATE, state_partition))).collect();
        let markers = (0..).zip(LEADERS).map(|(index, id)| tail(id, TOPIC, index)).collect();
        Self { id, state_partition, coordinator, followers, states, markers, producer }
    }

    /// Lets the end come to this step, and kills the coordinator; everybody else is as before.
    async fn act(&self, trial: &mut Trial, author: Author, commit: bool, at: At) -> (Ending, Instant) {
        let [first, second] = LEADERS;
        match at {
            At::BeforePrepare => {
                trial.freeze(self.coordinator);
                let ending = ask(author, commit);
                trial.run_for(ARRIVES_WITHIN).await;
                let killed = self.kill(trial);
                self.expect(trial, at, !self.knows(self.coordinator, Status::Prepared));
                (ending, killed)
            }
            At::PrepareOnlyHere => {
                self.followers.iter().for_each(|id| trial.freeze(*id));
                let ending = ask(author, commit);
                self.wait_state(trial, at, &[self.coordinator], Status::Prepared).await;
                let killed = self.kill(trial);
                let alone = self.followers.iter().all(|id| !self.knows(*id, Status::Prepared));
                self.expect(trial, at, alone);
                self.followers.iter().for_each(|id| trial.resume(*id));
                (ending, killed)
            }
            At::NoMarker => {
                LEADERS.iter().for_each(|id| trial.freeze(*id));
                let ending = self.acknowledged(ask(author, commit)).await;
                self.wait_state(trial, at, &COORDINATORS, Status::Prepared).await;
                let killed = self.kill(trial);
                self.expect(trial, at, !self.markers[0].has_marker(self.producer) && !self.has_second_marker());
                LEADERS.iter().for_each(|id| trial.resume(*id));
                (ending, killed)
            }
            At::OneMarker => {
                trial.freeze(first);
                let ending = self.acknowledged(ask(author, commit)).await;
                self.wait(trial, at, || self.has_second_marker()).await;
                let killed = self.kill(trial);
                self.expect(trial, at, !self.markers[0].has_marker(self.producer));
                trial.resume(first);
                (ending, killed)
            }
            At::CompleteOnlyHere => {
                trial.freeze(first);
                let ending = self.acknowledged(ask(author, commit)).await;
                self.wait(trial, at, || self.has_second_marker()).await;
                self.followers.iter().for_each(|id| trial.freeze(*id));
                trial.resume(first);
                self.wait_state(trial, at, &[self.coordinator], Status::Completed).await;
                let killed = self.kill(trial);
                let alone = self.followers.iter().all(|id| !self.knows(*id, Status::Completed));
                self.expect(trial, at, alone && self.markers[0].has_marker(self.producer));
                self.followers.iter().for_each(|id| trial.resume(*id));
                (ending, killed)
            }
            At::Complete => {
                trial.tell(format!("nobody is stopped, also not {first} and {second}"));
                let ending = self.acknowledged(ask(author, commit)).await;
                self.wait_state(trial, at, &COORDINATORS, Status::Completed).await;
                (ending, self.kill(trial))
            }
        }
    }

    fn kill(&self, trial: &mut Trial) -> Instant {
        trial.kill(self.coordinator);
        Instant::now()
    }

    /// Waits for the answer, which says that the decision holds.
    async fn acknowledged(&self, ending: Ending) -> Ending {
        let answered = ending.await;
        tokio::spawn(async move { answered.expect("a producer that does not panic") })
    }

    fn has_second_marker(&self) -> bool {
        self.markers[1].has_marker(self.producer)
    }

    /// Whether a broker has this record in its log.
    fn knows(&self, broker: usize, status: Status) -> bool {
        let tail = self.states.iter().find(|(id, _)| *id == broker);
        tail.is_some_and(|(_, tail)| tail.status(&self.id) == Some(status))
    }

    async fn wait_state(&self, trial: &mut Trial, at: At, brokers: &[usize], status: Status) {
        self.wait(trial, at, || brokers.iter().all(|id| self.knows(*id, status))).await;
    }

    async fn wait(&self, trial: &mut Trial, at: At, is_there: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_there() {
            if began.elapsed() > SEEN_WITHIN {
                self.expect(trial, at, false);
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A step that was not met proves nothing.
    fn expect(&self, trial: &mut Trial, at: At, is_met: bool) {
        if !is_met {
            trial.complain(format!("{}-{} did not come to {at:?} of {}", STATE, self.state_partition, self.id));
        }
    }
}
