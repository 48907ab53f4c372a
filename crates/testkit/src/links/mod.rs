//! Links: two clusters of three brokers, a worker that mirrors from the one to the other, and all that can befall them.
//!
//! Picture: load of every kind upstream ([`load`], [`open`]); again and again the worker or a broker of either side is killed,
//! or a way between them is cut ([`trouble`], [`world`]), and ended again. Of an *aligned* link between clusters of ours the
//! target must at any moment be a prefix of the source, byte for byte ([`compare`]): batches with their offsets, gaps, epochs,
//! producers and markers; in the end it is all of it, what producers were told upstream holds downstream, and transactions
//! that are open there are open here. Of a *generic* link between clusters of Apache Kafka the target must have every
//! committed record, in order; what came twice is counted ([`copies`]).
//!
//! Invariants: a run in which one kind of trouble did not come, or nothing was copied, is no good one; what does not recover
//! within its time is a fault; a bad run keeps its folders.
//!
//! Not here: promotion, fail-over and fail-back, which have tests of their own.

pub mod compare; // two logs that must be the same
pub mod copies; // a log that must have all
mod load; // what is written
mod log; // what a leader has
pub mod mirrored; // both leaders asked, and compared
mod open; // transactions that nobody ends
mod still; // how long nothing moved
mod trouble; // what breaks
mod world; // clusters and worker

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use twinstream_model::{Offset, TopicPartition};

use crate::apart::apart;
use crate::faults::Dice;
use crate::ledger::Report;
use crate::reading::{Isolation, Reading, read_partition};
use crate::records::topic_name;
use crate::wait::wait_until_some;
use load::Writing;
use open::{Book, OpenEnds};
use still::Watch;
use trouble::Deck;
use world::World;

const PARTITIONS: i32 = 3;
const OPEN_TOPIC: &str = "links-open";
const CALM_MS: (u64, u64) = (500, 2_500);
/// All that was there when trouble ended is mirrored within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(120);
/// What a comparison of one partition may take while brokers are dead.
const COMPARED_WITHIN: Duration = Duration::from_secs(60);
/// Longer troubles are for longer runs.
const LONG_RUN: Duration = Duration::from_secs(180);

/// Which link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Aligned, between clusters of ours.
    Ours,
    /// Between clusters of Apache Kafka.
    Generic,
}

impl Of {
    pub const ALL: [Self; 2] = [Self::Ours, Self::Generic];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Generic => "generic",
        }
    }

    /// `ours`, `generic`, or `both`. Panics at any other name: a judge of nobody is not green.
    pub fn named(name: &str) -> Vec<Self> {
        let found: Vec<Self> = Self::ALL.into_iter().filter(|of| name == "both" || name == of.name()).collect();
        assert!(!found.is_empty(), "no link `{name}`; there are ours, generic and both");
        found
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Ours => "aligned link between clusters of Twinstream",
            Self::Generic => "generic link between clusters of Apache Kafka 4.3.1",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub of: Vec<Of>,
    /// How long there is trouble; each kind comes at least once, whatever that takes.
    pub time: Duration,
    pub seed: u64,
}

/// All that was asked for, one after the other; whether all are good.
pub async fn run(options: &Options) -> bool {
    let mut reports = Vec::new();
    for of in options.of.iter().copied() {
        let own = options.clone();
        let judged = apart(async move { judge(of, own.time, own.seed).await }).await;
        let broken = |fault| Report { subject: of.subject(), faults: vec![fault], ..Report::default() };
        reports.push(judged.unwrap_or_else(broken));
    }
    eprintln!("\nlinks while everything is killed and cut; seed {}", options.seed);
    reports.iter().for_each(|report| eprintln!("{report}"));
    !reports.is_empty() && reports.iter().all(Report::is_good)
}

/// One run.
pub async fn judge(of: Of, time: Duration, seed: u64) -> Report {
    let mut report = Report { subject: of.subject(), ..Report::default() };
    let mut trial = Trial::start(of, seed).await;
    trial.trouble(time, seed, &mut report).await;
    trial.finish(&mut report).await;
    report
}

struct Trial {
    of: Of,
    world: World,
    writing: Writing,
    open: Option<OpenEnds>,
    watch: Watch,
    partitions: Vec<TopicPartition>,
    /// Up to where the target is known to be a prefix, and how often something new was compared.
    verified: BTreeMap<TopicPartition, Offset>,
    comparisons: usize,
}

impl Trial {
    async fn start(of: Of, seed: u64) -> Self {
        let world = World::start(of).await;
        let mut topics = Writing::topics(of);
        if of == Of::Ours {
            topics.push(OPEN_TOPIC);
        }
        for topic in &topics {
            world.source.create(topic, PARTITIONS).await;
        }
        let mut writing = Writing::start(of, &world.source, world.folder().path());
        let open = (of == Of::Ours).then(|| OpenEnds::start(&world.source.bootstrap, OPEN_TOPIC, PARTITIONS, seed));
        let more = match of {
            Of::Ours => ("twinstream.link.mode", "aligned"),
            Of::Generic => ("source.consumer.isolation.level", "read_committed"),
        };
        world.link("links-.*", &[more]).await;
        for topic in topics.iter().copied() {
            world.until_made(topic).await;
        }
        if of == Of::Ours {
            writing.read_along(&world.target);
        }
        let partition = |topic: &str, index| TopicPartition::new(topic_name(topic), index);
        let partitions: Vec<TopicPartition> =
            topics.iter().flat_map(|topic| (0..PARTITIONS).map(|index| partition(topic, index))).collect();
        let watch = Watch::start(&world.source.bootstrap, &world.target.bootstrap, &partitions);
        let verified = partitions.iter().map(|partition| (partition.clone(), Offset(0))).collect();
        Self { of, world, writing, open, watch, partitions, verified, comparisons: 0 }
    }

    /// One trouble after the other, until the time is over and each kind has come.
    async fn trouble(&mut self, time: Duration, seed: u64, report: &mut Report) {
        let (mut deck, mut dice) = (Deck::default(), Dice::new(seed));
        let until = Instant::now() + time;
        while report.faults.is_empty() && (Instant::now() < until || !deck.has_shown_all()) {
            self.calm(&mut dice).await;
            let draw = deck.draw(&mut dice, time >= LONG_RUN);
            let told = self.world.strike(&draw, &mut dice);
            self.writing.note(&told);
            let look_meanwhile = dice.coin();
            if look_meanwhile {
                tokio::time::sleep(draw.lasts / 2).await;
                self.is_prefix(report).await;
                tokio::time::sleep(draw.lasts / 2).await;
            } else {
                tokio::time::sleep(draw.lasts).await;
            }
            self.world.heal().await;
            self.until_recovered(report).await;
            if !look_meanwhile {
                self.is_prefix(report).await;
            }
        }
        report.tell(deck.to_string());
        if !deck.has_shown_all() {
            report.faults.push("not every kind of trouble came".to_owned());
        }
    }

    /// A moment of load by chance; the time is part of what a run is.
    async fn calm(&self, dice: &mut Dice) {
        tokio::time::sleep(Duration::from_millis(dice.between(CALM_MS.0, CALM_MS.1))).await;
    }

    /// Waits until the link moves again, of a mirror until it has all that the source has now.
    async fn until_recovered(&mut self, report: &mut Report) {
        let began = Instant::now();
        let recovered = match self.of {
            Of::Ours => self.until_mirrored(RECOVERS_WITHIN).await,
            Of::Generic => self.until_moving(RECOVERS_WITHIN).await,
        };
        let took = began.elapsed().as_secs_f64();
        match recovered {
            Ok(last) => self.world.tell(&format!("the link has recovered after {took:.1} s{last}")),
            Err(fault) => report.faults.push(fault),
        }
    }

    /// Whom it waited for at last.
    async fn until_mirrored(&self, within: Duration) -> Result<String, String> {
        let (deadline, mut last) = (Instant::now() + within, String::new());
        for partition in &self.partitions {
            let wanted = log::end(&self.world.source.raw, partition, within).await?;
            while log::end(&self.world.target.raw, partition, within).await? < wanted {
                self.still_has_time(deadline, || format!("{partition} has not all up to {wanted}")).await?;
                last = format!(", {partition} last");
            }
        }
        Ok(last)
    }

    async fn until_moving(&self, within: Duration) -> Result<String, String> {
        let (deadline, before) = (Instant::now() + within, self.watch.seen().moves());
        while self.watch.seen().moves() <= before + 1 {
            self.still_has_time(deadline, || "nothing is copied any more".to_owned()).await?;
        }
        Ok(String::new())
    }

    /// A pause, or what has not come true.
    async fn still_has_time(&self, deadline: Instant, what: impl Fn() -> String) -> Result<(), String> {
        if let Some(trace) = self.world.failure().await {
            return Err(format!("the link has failed: {trace}"));
        }
        if Instant::now() >= deadline {
            return Err(format!("the link has not recovered in time: {}", what()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }

    /// Compares what the target has beyond what is verified already. A copy with offsets of its own is compared in the end.
    async fn is_prefix(&mut self, report: &mut Report) {
        if self.of == Of::Generic {
            return;
        }
        for (partition, from) in &mut self.verified {
            match mirrored::prefix(&self.world.source.raw, &self.world.target.raw, partition, *from).await {
                Ok(next) if next > *from => {
                    *from = next;
                    self.comparisons += 1;
                }
                Ok(_) => {}
                Err(fault) => report.faults.push(fault),
            }
        }
    }

    async fn finish(mut self, report: &mut Report) {
        self.world.heal().await;
        let acknowledged = self.writing.acknowledged();
        self.writing.stop(&self.world.source).await;
        let book = match self.open.take() {
            Some(open) => Some(open.stop().await),
            None => None,
        };
        report.tell(format!("{acknowledged} records acknowledged upstream while things broke"));
        match self.of {
            Of::Ours => self.judge_mirror(book.unwrap_or_default(), report).await,
            Of::Generic => self.judge_copies(report).await,
        }
        let still = self.watch.seen();
        let longest = still.longest().as_secs_f64();
        report.tell(format!("the target stood still for {longest:.1} s at most while the source had more"));
        if still.moves() < 10 {
            report.faults.push(format!("no verdict: the target moved {} times", still.moves()));
        }
        if !report.is_good() {
            self.world.keep();
        }
    }

    async fn judge_mirror(&mut self, book: Book, report: &mut Report) {
        if let Err(fault) = self.until_mirrored(RECOVERS_WITHIN).await {
            report.faults.push(fault);
            return;
        }
        self.is_prefix(report).await;
        let (mut bytes, mut batches) = (0, 0);
        for partition in &self.partitions {
            match mirrored::same(&self.world.source.raw, &self.world.target.raw, partition).await {
                Ok(size) => (bytes, batches) = (bytes + size.bytes, batches + size.batches),
                Err(fault) => report.faults.push(fault),
            }
        }
        let records: i64 = self.verified.values().map(|offset| offset.0).sum();
        report.tell(format!(
            "{} offsets, {batches} batches and {bytes} bytes are the same on both sides; {} comparisons of parts on the way",
            records, self.comparisons
        ));
        if batches == 0 || self.comparisons == 0 {
            report.faults.push("no verdict: nothing was compared".to_owned());
        }
        report.faults.extend(open_ends(&self.world, &book).await);
        report.tell(format!(
            "transactions that stayed open: records of {} committed, {} aborted, {} still open",
            book.committed.len(),
            book.aborted.len(),
            book.open.len()
        ));
        let (figures, faults) = self.writing.judge(&self.world.target).await;
        figures.into_iter().for_each(|figure| report.tell(figure));
        report.faults.extend(faults);
    }

    async fn judge_copies(&mut self, report: &mut Report) {
        let (mut records, mut repeated, mut restarts) = (0, 0, 0);
        for partition in &self.partitions {
            let (fault, copies) = copy(&self.world, partition).await;
            records += copies.records;
            repeated += copies.repeated;
            restarts += copies.restarts;
            report.faults.extend(fault);
            report.faults.extend(copies.faults.iter().map(|fault| format!("{partition}: {fault}")));
        }
        report.tell(format!("{records} records copied, {repeated} of them again, in {restarts} goes back"));
        // What is upstream is the measure of the copy; this judges the measure.
        let (figures, faults) = self.writing.judge(&self.world.source).await;
        figures.into_iter().for_each(|figure| report.tell(figure));
        report.faults.extend(faults);
    }
}

/// What readers of committed records, and of all, find of transactions that stayed open.
async fn open_ends(world: &World, book: &Book) -> Vec<String> {
    let (mut committed, mut stable, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..PARTITIONS {
        let partition = TopicPartition::new(topic_name(OPEN_TOPIC), index);
        committed.extend(values(&reading(&world.target, &partition, Isolation::Committed).await));
        let mut found = reading(&world.target, &partition, Isolation::All).await;
        all.extend(values(&found));
        found.records.retain(|offset, _| *offset < found.last_stable);
        stable.extend(values(&found));
    }
    let due: BTreeSet<String> = stable.into_iter().filter(|value| book.committed.contains(value)).collect();
    let mut faults = Vec::new();
    let mut expect = |values: &BTreeSet<String>, found: &[String], times: usize, what: &str| {
        let wrong = values.iter().filter(|value| found.iter().filter(|other| other == value).count() != times);
        let wrong: Vec<&String> = wrong.collect();
        if let Some(first) = wrong.first() {
            faults.push(format!("{OPEN_TOPIC}: {} values {what}, as {first}", wrong.len()));
        }
    };
    expect(&book.aborted, &committed, 0, "of aborted transactions are shown as committed");
    expect(&book.open, &committed, 0, "of open transactions are shown as committed");
    expect(&due, &committed, 1, "of committed transactions are not shown once as committed");
    for (values, what) in [(&book.committed, "committed"), (&book.aborted, "aborted"), (&book.open, "open")] {
        expect(values, &all, 1, &format!("of {what} transactions are not there once"));
    }
    if book.open.is_empty() {
        faults.push("no verdict: no transaction was left open".to_owned());
    }
    faults
}

/// Committed records of a partition upstream held against all downstream, when there is nothing more to come.
async fn copy(world: &World, partition: &TopicPartition) -> (Option<String>, copies::Copies) {
    let source = values(&reading(&world.source, partition, Isolation::Committed).await);
    let deadline = Instant::now() + RECOVERS_WITHIN;
    loop {
        let target = values(&reading(&world.target, partition, Isolation::All).await);
        let copies = copies::compare(&source, &target);
        if copies.faults.is_empty() || Instant::now() > deadline {
            let fault = world.failure().await.map(|trace| format!("the link has failed: {trace}"));
            return (fault, copies);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn reading(site: &world::Site, partition: &TopicPartition, isolation: Isolation) -> Reading {
    let what = format!("{partition} is read");
    wait_until_some(&what, COMPARED_WITHIN, || async {
        let leader = site.leader(partition).await;
        read_partition(&site.raw, leader, partition, isolation).await.ok()
    })
    .await
}

/// In the order of offsets.
fn values(reading: &Reading) -> Vec<String> {
    reading.records.values().filter_map(|record| record.value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::Of;

    #[test]
    fn links_are_asked_for_by_name() {
        assert_eq!(Of::named("ours"), [Of::Ours]);
        assert_eq!(Of::named("generic"), [Of::Generic]);
        assert_eq!(Of::named("both"), Of::ALL);
    }

    #[test]
    #[should_panic(expected = "no link `nobody`")]
    fn a_judge_of_nobody_is_not_green() {
        Of::named("nobody");
    }
}
