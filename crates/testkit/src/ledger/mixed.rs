//! The load of our own harness beside clients that are not ours, on a topic of its own, through the same kills.
//!
//! Those clients keep books of transactions; this load keeps a history of every single step, which the checker judges:
//! producers of both protocols of transactions, groups of both protocols of groups, readers of both isolation levels.

use std::time::{Duration, Instant};

use super::Report;
use super::scene::{BROKERS, Scene, Victim};
use crate::checker::{Verdict, judge};
use crate::history::Recorder;
use crate::load::{Load, LoadOptions, TransactionLoad, last_reading, probe_all};
use crate::operator::Operator;

const TOPIC: &str = "mixed";
const PARTITIONS: i32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Mixed {
    options: LoadOptions,
    recorder: Recorder,
    load: Load,
    operator: Operator,
}

impl Mixed {
    /// Transactions last `timeout` at most.
    pub(super) async fn start(scene: &Scene, timeout: Duration) -> Self {
        scene.create(TOPIC, PARTITIONS).await;
        // One producer in each protocol: the machine has other clients to run.
        let transactions = Some(TransactionLoad { producers: 1, timeout, members: 2 });
        let options = LoadOptions { transactions, ..LoadOptions::transactional(TOPIC, PARTITIONS) };
        let history = scene.subject.folder().path().join("mixed.jsonl");
        let recorder = Recorder::create(&history).unwrap_or_else(|error| panic!("{error}"));
        let operator = Operator::connect(&scene.bootstrap, BROKERS).await;
        let load = Load::start(&scene.bootstrap, &recorder, &options);
        Self { options, recorder, load, operator }
    }

    /// Whom this load misses most.
    pub(super) fn victims() -> [Victim; 2] {
        let (id, group) = (format!("{TOPIC}-0"), format!("{TOPIC}-consumer"));
        [Victim::TransactionCoordinator(id), Victim::GroupCoordinator(group)]
    }

    /// A kill that is about to happen, for whoever reads the history.
    pub(super) fn note(&self, victim: &Victim) {
        self.recorder.fault(format!("SIGKILL: {victim:?}"));
    }

    /// Ends the load when all brokers are back, reads everything once more, and lets the checker judge. Nothing may be open
    /// for longer than `settles_within`.
    pub(super) async fn end(self, scene: &Scene, settles_within: Duration, report: &mut Report) {
        probe_all(&scene.bootstrap, &self.recorder, &self.options).await;
        self.load.stop().await;
        scene.until_in_sync().await;
        report.faults.extend(still_open(&self.operator, settles_within).await);
        last_reading(&scene.bootstrap, &self.recorder, &self.options).await;
        let history = self.recorder.flushed().display().to_string();
        let events = self.recorder.events();
        // A long history takes a while, and the others have timers.
        let verdict = tokio::task::spawn_blocking(move || judge(&events)).await.expect("a checker");
        report.tell(format!("mixed load, as the checker sees it: {verdict}"));
        let load = self.options.transactions.expect("a load of transactions");
        let faults = faults(&verdict, load);
        report.faults.extend(faults.into_iter().map(|fault| format!("mixed load: {fault}; see {history}")));
    }
}

/// What is open of transactions after this time.
async fn still_open(operator: &Operator, within: Duration) -> Option<String> {
    let began = Instant::now();
    loop {
        let open = operator.open_transactions(TOPIC, BROKERS).await;
        if open.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        if began.elapsed() > within {
            let open = open.map_or_else(|| "not all brokers and leaders answer".to_owned(), |open| open.join("; "));
            return Some(format!("mixed load: after {within:?} transactions hang: {open}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn faults(verdict: &Verdict, load: TransactionLoad) -> Vec<String> {
    let mut faults = Vec::new();
    for kind in verdict.kinds().into_iter().filter(|kind| !kind.is_allowed()) {
        let first =
            verdict.anomalies.iter().find(|anomaly| anomaly.kind == kind).map(|anomaly| anomaly.detail.as_str());
        faults.push(format!("{} x {}: {}", verdict.count(kind), kind.name(), first.unwrap_or_default()));
    }
    faults.extend(load.missing(&verdict.counts));
    faults
}

#[cfg(test)]
mod tests;
