//! One run: a cluster under load, steps that break and heal it, and the report.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::deeds::Deeds;
use super::progress::Progress;
use super::watch::Watch;
use super::{Dice, Subject, story};
use crate::checker::{self, Verdict};
use crate::folder::Folder;
use crate::history::{Event, Recorder, Value, What};
use crate::load::{Load, LoadOptions, TransactionLoad, last_reading, probe_all};
use crate::nemesis::files;
use crate::operator::{Operator, PartitionState, SETTLES_WITHIN};
use crate::program::Program;
use crate::wait::{wait_until, wait_until_some};

/// The topic that load goes to.
pub(super) const TOPIC: &str = "faults";
/// Begins what must not be.
pub(super) const COMPLAINT: &str = "COMPLAINT";
/// Load runs for so many acknowledged records before anything breaks.
const WARM: u64 = 100;
/// A step that never becomes writable again ends the trial.
const WRITABLE_MAX: Duration = Duration::from_secs(90);
/// How often somebody looks whether all is well.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What a coordinator may take beyond the time that a transaction has.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A cluster under load. Verbs break it, [`Trial::heal`] mends it, [`Trial::finish`] judges.
pub struct Trial {
    pub subject: Subject,
    pub operator: Operator,
    pub dice: Dice,
    pub options: LoadOptions,
    /// What clients in processes of their own are.
    pub program: Program,
    recorder: Recorder,
    load: Option<Load>,
    watch: Watch,
    down: BTreeSet<usize>,
    paused: BTreeSet<usize>,
    name: String,
    complaints: Vec<String>,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    pub verdict: Verdict,
    /// What a scenario required beyond the checker, and did not get.
    pub complaints: Vec<String>,
    pub history: PathBuf,
    pub took: Duration,
    /// Stays when a test panics over the report.
    folder: Folder,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.verdict.is_clean() && self.complaints.is_empty()
    }

    /// Leaves history, logs and data behind for whoever looks into what went wrong.
    pub fn keep(&self) {
        self.folder.keep();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_good() { "ok    " } else { "FAILED" };
        write!(f, "{mark} {} ({:.0} s): {}", self.name, self.took.as_secs_f64(), self.verdict)?;
        for complaint in &self.complaints {
            write!(f, "\n  {complaint}")?;
        }
        if !self.is_good() {
            write!(f, "\n  history: {}", self.history.display())?;
        }
        Ok(())
    }
}

impl Trial {
    /// Makes the topic, three replicas of which two must be in sync (one, where there are no three brokers), and starts the
    /// load.
    pub async fn start(name: &str, subject: Subject, seed: u64, options: LoadOptions) -> Self {
        let history = subject.folder().path().join("history.jsonl");
        let recorder = Recorder::create(&history).unwrap_or_else(|error| panic!("{error}"));
        let operator = Operator::connect(&subject.bootstrap(), subject.size()).await;
        let (replicas, in_sync) = if subject.size() < 3 { (1, "1") } else { (3, "2") };
        operator.create_topic(&options.topic, options.partitions, replicas, &[("min.insync.replicas", in_sync)]).await;
        let load = Load::start(&subject.bootstrap(), &recorder, &options);
        let watch = Watch::start(operator.clone());
        let trial = Self {
            subject,
            operator,
            dice: Dice::new(seed),
            options,
            program: Program::this(&[]),
            recorder,
            load: Some(load),
            watch,
            down: BTreeSet::new(),
            paused: BTreeSet::new(),
            name: name.to_owned(),
            complaints: Vec::new(),
        };
        trial.wait_acknowledged(WARM).await;
        trial
    }

    /// Tells a step, in the history and to whoever looks on.
    pub fn step(&self, text: impl fmt::Display) {
        let text = text.to_string();
        story::tell(format!("{:8.2} s  {text}", self.recorder.elapsed().as_secs_f64()));
        self.recorder.fault(text);
    }

    /// Something that must not be, beside what the checker finds.
    pub fn complain(&mut self, text: impl fmt::Display) {
        let text = text.to_string();
        story::tell(format!("{:8.2} s  {COMPLAINT}: {text}", self.recorder.elapsed().as_secs_f64()));
        self.complaints.push(text);
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: usize) {
        self.step(format!("SIGKILL {id}"));
        self.subject.kill(id);
        self.down.insert(id);
        self.paused.remove(&id);
    }

    /// SIGKILL of all, as close to each other as it gets.
    pub fn kill_all(&mut self) {
        for id in 1..=self.subject.size() {
            if !self.down.contains(&id) {
                self.kill(id);
            }
        }
    }

    /// The power of these brokers' machines goes: what their disks were not told to keep is gone. The processes are frozen
    /// first: a machine without power answers nobody, and a flush that is under way may seem to end well when its file
    /// system is shut down.
    pub fn cut_power(&mut self, ids: &[usize]) {
        self.step(format!("power cut of {ids:?}"));
        ids.iter().for_each(|id| self.subject.process(*id).freeze());
        ids.iter().for_each(|id| self.subject.disk(*id).cut_power());
        for id in ids {
            self.subject.kill(*id);
            self.down.insert(*id);
        }
        ids.iter().for_each(|id| self.subject.disk(*id).mount_again());
    }

    /// A broker has ended by itself.
    pub fn ended(&mut self, id: usize) {
        self.step(format!("{id} has ended"));
        self.subject.kill(id);
        self.down.insert(id);
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, id: usize) {
        self.step(format!("SIGTERM {id}"));
        self.subject.stop(id).await;
        self.down.insert(id);
    }

    /// Starts a broker that is down, and waits until it listens.
    pub async fn start_broker(&mut self, id: usize) {
        self.spawn(id);
        self.subject.wait_for_port(id).await;
    }

    /// Starts a broker that is down, without waiting.
    pub fn spawn(&mut self, id: usize) {
        self.step(format!("start {id}"));
        self.subject.spawn(id);
        self.down.remove(&id);
    }

    pub fn pause(&mut self, id: usize) {
        self.step(format!("SIGSTOP {id}"));
        self.subject.process(id).pause();
        self.paused.insert(id);
    }

    /// SIGSTOP, and the process does nothing any more when this returns.
    pub fn freeze(&mut self, id: usize) {
        self.step(format!("SIGSTOP {id}"));
        self.subject.process(id).freeze();
        self.paused.insert(id);
    }

    pub fn resume(&mut self, id: usize) {
        self.step(format!("SIGCONT {id}"));
        self.subject.process(id).resume();
        self.paused.remove(&id);
    }

    /// Brokers that run and are not paused.
    pub fn up(&self) -> Vec<usize> {
        (1..=self.subject.size()).filter(|id| !self.down.contains(id) && !self.paused.contains(id)).collect()
    }

    /// A partition by chance.
    pub fn any_partition(&mut self) -> i32 {
        let last = u64::try_from(self.options.partitions - 1).expect("partitions");
        i32::try_from(self.dice.between(0, last)).expect("an index")
    }

    /// Who leads a partition.
    pub async fn leader(&self, partition: i32) -> usize {
        self.operator.leader(&self.options.topic, partition).await
    }

    /// Who leads a partition of any topic.
    pub async fn leader_of(&self, topic: &str, partition: i32) -> usize {
        self.operator.leader(topic, partition).await
    }

    /// Who follows in a partition.
    pub async fn followers(&self, partition: i32) -> Vec<usize> {
        self.operator.partition(&self.options.topic, partition).await.followers()
    }

    /// Lets load run for a while; the time is part of what a scenario is.
    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// A moment of load by chance, so that what breaks next meets the cluster in any state.
    pub async fn breathe(&mut self) {
        let time = self.dice.between(100, 1_500);
        self.run_for(Duration::from_millis(time)).await;
    }

    /// Waits until each of these partitions has acknowledged a value that was sent from now on, and complains when that
    /// takes longer than allowed. How long it took.
    pub async fn writable(&mut self, partitions: &[i32], within: Duration) -> Duration {
        let began = self.recorder.elapsed();
        let mut fresh: BTreeSet<Value> = BTreeSet::new();
        let mut open: BTreeSet<i32> = partitions.iter().copied().collect();
        let mut next = self.recorder.len();
        let what = format!("{}-{partitions:?} is writable", self.options.topic);
        let took = wait_until_some(&what, WRITABLE_MAX, || {
            let events = self.recorder.events_from(next);
            next += events.len();
            for event in &events {
                note_fresh(event, &mut fresh, &mut open);
            }
            let done = open.is_empty().then(|| self.recorder.elapsed() - began);
            async move { done }
        })
        .await;
        self.tell(format!("writable after {:.2} s", took.as_secs_f64()));
        if took > within {
            self.complain(format!("partitions {partitions:?} were writable after {took:.2?}, not within {within:?}"));
        }
        took
    }

    /// All partitions, see [`Trial::writable`].
    pub async fn all_writable(&mut self, within: Duration) -> Duration {
        let all: Vec<i32> = (0..self.options.partitions).collect();
        self.writable(&all, within).await
    }

    /// Waits until every producer of transactions has committed one, and every group has read of every partition, that is
    /// new from now on; complains when that takes longer than allowed. Panics without a load of
    /// transactions.
    pub async fn nobody_is_stuck(&mut self, within: Duration) {
        let load = self.options.transactions.expect("a load of transactions");
        let mut progress = Progress::since(self.recorder.now_us(), self.options.partitions, load);
        let (began, mut next) = (self.recorder.elapsed(), 0);
        loop {
            let events = self.recorder.events_from(next);
            next += events.len();
            events.iter().for_each(|event| progress.take_in(event));
            let (stuck, took) = (progress.stuck(), self.recorder.elapsed() - began);
            if stuck.is_empty() {
                self.tell(format!("everybody goes on after {:.2} s", took.as_secs_f64()));
                return;
            }
            if took > within {
                self.complain(format!("after {within:?}: {}", stuck.join("; ")));
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until no transaction is open in a topic, or at its coordinator; how long it took. Nobody may begin one.
    pub async fn nothing_hangs(&mut self, topic: &str, within: Duration) -> Duration {
        let began = self.recorder.elapsed();
        loop {
            let open = self.operator.open_transactions(topic, self.up().len()).await;
            let took = self.recorder.elapsed() - began;
            if open.as_ref().is_some_and(Vec::is_empty) {
                return took;
            }
            if took > within {
                let open = open.map_or_else(|| "not all brokers and leaders answer".to_owned(), |open| open.join("; "));
                self.complain(format!("after {within:?} transactions hang: {open}"));
                return took;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until so many values more are acknowledged.
    pub async fn wait_acknowledged(&self, more: u64) {
        let goal = self.recorder.acknowledged() + more;
        wait_until("more values are acknowledged", SETTLES_WITHIN, || async { self.recorder.acknowledged() >= goal })
            .await;
    }

    /// Values acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.recorder.acknowledged()
    }

    /// Waits until all replicas are in sync.
    pub async fn whole(&self) {
        self.operator.wait_whole(&self.options.topic, self.options.partitions).await;
        self.tell("all replicas are in sync");
    }

    /// Whether a broker is in sync in all partitions that it has a replica of.
    pub async fn has_all_replicas(&self, broker: usize) -> bool {
        let states = self.operator.partitions(&self.options.topic).await;
        let has = |state: &PartitionState| state.isr.contains(&broker) || !state.replicas.contains(&broker);
        !states.is_empty() && states.values().all(has)
    }

    /// Links work, nobody is paused, everybody runs, all replicas are in sync.
    pub async fn heal(&mut self) {
        if let Subject::Ours(cluster) = &self.subject
            && cluster.has_network()
        {
            cluster.network().heal();
        }
        for id in self.paused.clone() {
            self.resume(id);
        }
        for id in self.down.clone() {
            self.spawn(id);
        }
        for id in 1..=self.subject.size() {
            self.subject.wait_for_port(id).await;
        }
        self.whole().await;
    }

    /// Waits until the load has done as much as a verdict needs, and complains when that never comes.
    async fn until_verdict_has_weight(&mut self, load: TransactionLoad) {
        let (mut deeds, mut next, began) = (Deeds::default(), 0, self.recorder.elapsed());
        loop {
            let events = self.recorder.events_from(next);
            next += events.len();
            events.iter().for_each(|event| deeds.take_in(event));
            let missing = deeds.missing(load);
            if missing.is_empty() {
                return;
            }
            if self.recorder.elapsed() - began > SETTLES_WITHIN {
                return self.complain(missing.join("; "));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Heals, reads everything once more, and judges.
    pub async fn finish(mut self) -> Report {
        self.heal().await;
        let took = probe_all(&self.subject.bootstrap(), &self.recorder, &self.options).await;
        self.tell(format!("every partition took a record after {:.2} s", took.as_secs_f64()));
        if let Some(load) = self.options.transactions {
            self.until_verdict_has_weight(load).await;
        }
        self.load.take().expect("a running load").stop().await;
        self.whole().await;
        if let Some(load) = self.options.transactions {
            let topic = self.options.topic.clone();
            let took = self.nothing_hangs(&topic, load.timeout + ENDS_WITHIN).await;
            self.tell(format!("no transaction is open after {:.2} s", took.as_secs_f64()));
        }
        last_reading(&self.subject.bootstrap(), &self.recorder, &self.options).await;
        self.compare_files().await;
        for conflict in self.watch.conflicts() {
            self.complain(conflict);
        }
        let verdict = checker::judge(&self.recorder.events());
        let (name, complaints) = (self.name.clone(), self.complaints.clone());
        let (history, took) = (self.recorder.flushed().to_path_buf(), self.recorder.elapsed());
        Report { name, verdict, complaints, history, took, folder: self.subject.folder().clone() }
    }

    /// Replicas copy batches as they are, so their files are equal to the byte once all are in sync.
    async fn compare_files(&mut self) {
        for (partition, state) in self.operator.partitions(&self.options.topic).await {
            let mut copies = state.replicas.iter().map(|id| {
                let dir = self.subject.log_dir(*id, &self.options.topic, partition);
                (*id, files::log_bytes(&dir, &self.options.topic, partition))
            });
            let Some((first, expected)) = copies.next() else { continue };
            let differing: Vec<String> = copies
                .filter(|(_, found)| *found != expected)
                .map(|(other, found)| {
                    let at = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
                    let (one, two) = (expected.len(), found.len());
                    format!("the logs of brokers {first} ({one} bytes) and {other} ({two} bytes) part at byte {at}")
                })
                .collect();
            for difference in differing {
                self.complain(format!("partition {partition}: {difference}"));
            }
        }
    }

    /// What the quorum went through: how many epochs were seen.
    pub fn quorum_epochs(&self) -> usize {
        self.watch.epochs()
    }

    /// The history, for those who measure.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// For whoever looks on, and no step.
    pub fn tell(&self, text: impl fmt::Display) {
        story::tell(format!("{:8.2} s    {text}", self.recorder.elapsed().as_secs_f64()));
    }
}

fn note_fresh(event: &Event, fresh: &mut BTreeSet<Value>, open: &mut BTreeSet<i32>) {
    match &event.what {
        What::Send { values, .. } => fresh.extend(values),
        What::Sent { partition, values, .. } if values.iter().any(|value| fresh.contains(value)) => {
            open.remove(partition);
        }
        _ => {}
    }
}
