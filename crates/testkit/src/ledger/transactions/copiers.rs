//! Kafka's TransactionalMessageCopier, one for each partition of a topic that is fed all the time.
//!
//! Each of them is run again and again: a run copies up to the end that it found, aborts at random, and ends. A run that
//! fails is followed by another one, as an operator would have it, so the last one, when nothing is broken any more, copies
//! whatever is left. That alone says nothing of kills: judged is also that runs which began among the kills came to a good
//! end, and with how many records.

use std::ops::Range;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::read_again;
use crate::ledger::Report;
use crate::ledger::books::faults_of_copy;
use crate::ledger::clients::{Client, Clients};
use crate::ledger::scene::Scene;
use crate::peer::Kafka;

const IN: &str = "in";
const OUT: &str = "out";
const PARTITIONS: i32 = 2;
/// Of fewer records it says nothing that both sides are equal, or that kills did no harm.
const COPIED_MIN: u64 = 100;
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
/// What is copied, a second: enough for a transaction in every run of a copier.
const FED_PER_SECOND: &str = "60";
/// Between two runs of a copier.
const RESTS: Duration = Duration::from_secs(2);

pub(super) struct Copiers {
    feeder: Client,
    stop: Arc<AtomicBool>,
    copiers: Vec<tokio::task::JoinHandle<Copied>>,
}

/// One life of a copier.
#[derive(Clone, Copy, Debug)]
struct Run {
    began: Instant,
    is_good: bool,
    records: u64,
}

/// All lives of a copier, and how the last one failed, if it did.
#[derive(Debug)]
struct Copied {
    id: String,
    runs: Vec<Run>,
    last_fault: Option<String>,
}

impl Copiers {
    pub(super) async fn start(scene: &Scene, clients: &Clients) -> Self {
        scene.create(IN, PARTITIONS).await;
        scene.create(OUT, PARTITIONS).await;
        let settings = scene.subject.folder().path().join("feeder.properties");
        let text = "enable.idempotence=true\nretries=2147483647\nbatch.size=200\n";
        std::fs::write(&settings, text).expect("write the settings of a producer");
        let settings = settings.display().to_string();
        let arguments = ["--topic", IN, "--throughput", FED_PER_SECOND, "--command-config", &settings];
        let feeder = clients.start_tool(scene, "feeder", PRODUCER, &arguments);
        let stop = Arc::new(AtomicBool::new(false));
        let copier = |partition: i32| {
            let (kafka, bootstrap, stop) = (clients.kafka.clone(), scene.bootstrap.clone(), Arc::clone(&stop));
            tokio::task::spawn_blocking(move || copy(&kafka, &bootstrap, partition, &stop))
        };
        let copiers = (0..PARTITIONS).map(copier).collect();
        Self { feeder, stop, copiers }
    }

    /// Lets them copy what is left, and judges what they did meanwhile and in the end.
    pub(super) async fn end(mut self, scene: &Scene, clients: &Clients, kills: &Range<Instant>, report: &mut Report) {
        report.faults.extend(self.feeder.stop().await);
        self.stop.store(true, Ordering::Relaxed);
        for copier in self.copiers {
            let copied = copier.await.expect("a copier");
            report.tell(copied.figures(kills));
            report.faults.extend(copied.faults(kills));
        }
        let from = read_again(scene, clients, IN, "read_committed", report).await;
        let to = read_again(scene, clients, OUT, "read_committed", report).await;
        report.tell(format!("Kafka's copiers: {} of {} records", to.entries.len(), from.entries.len()));
        if (from.entries.len() as u64) < COPIED_MIN {
            report.faults.push(format!("{IN} has {} records, too few for a verdict", from.entries.len()));
        }
        report.faults.extend(faults_of_copy(&from, &to));
    }
}

impl Copied {
    fn among<'a>(&'a self, kills: &'a Range<Instant>, is_good: bool) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| kills.contains(&run.began) && run.is_good == is_good)
    }

    /// What it copied in runs that began among the kills and ended well.
    fn copied_among(&self, kills: &Range<Instant>) -> u64 {
        self.among(kills, true).map(|run| run.records).sum()
    }

    fn figures(&self, kills: &Range<Instant>) -> String {
        let (good, failed) = (self.among(kills, true).count(), self.among(kills, false).count());
        format!("{} among the kills: {good} good runs, {failed} failed, {} records", self.id, self.copied_among(kills))
    }

    fn faults(&self, kills: &Range<Instant>) -> Vec<String> {
        let mut faults: Vec<String> = self.last_fault.iter().cloned().collect();
        let copied = self.copied_among(kills);
        if copied < COPIED_MIN {
            faults.push(format!("{} copied {copied} records among the kills, too few for a verdict", self.id));
        }
        faults
    }
}

/// Runs copiers one after the other, the last one after the stop.
fn copy(kafka: &Kafka, bootstrap: &str, partition: i32, stop: &AtomicBool) -> Copied {
    let (id, partition) = (format!("copier-{partition}"), partition.to_string());
    let from = ["--input-topic", IN, "--input-partition", &partition, "--output-topic", OUT];
    let by = ["--transactional-id", &id, "--consumer-group", "copiers", "--transaction-size", "20"];
    let how = ["--broker-list", bootstrap, "--enable-random-aborts", "--transaction-timeout", "20000"];
    let arguments = [&from[..], &by[..], &how[..]].concat();
    let mut runs = Vec::new();
    loop {
        let (is_last, began) = (stop.load(Ordering::Relaxed), Instant::now());
        let output = kafka.run(COPIER, &arguments);
        let is_good = output.status.success();
        runs.push(Run { began, is_good, records: processed(&output) });
        if is_last {
            let fault = || format!("{id} failed: {}", String::from_utf8_lossy(&output.stderr));
            let last_fault = (!is_good).then(fault);
            return Copied { id, runs, last_fault };
        }
        std::thread::sleep(RESTS);
    }
}

/// Records that a copier says to have copied. It prints how far it is as lines of JSON.
fn processed(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let of_line = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("totalProcessed")?.as_u64();
    text.lines().filter_map(of_line).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn copier_that_copied_only_when_the_kills_were_over_is_a_fault() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let (before, among, after) = (at(0), at(10), at(30));
        let kills = at(5)..at(20);
        let copied = |runs: &[(Instant, bool)]| {
            let run =
                |(began, is_good): &(Instant, bool)| Run { began: *began, is_good: *is_good, records: COPIED_MIN };
            Copied { id: "copier".to_owned(), runs: runs.iter().map(run).collect(), last_fault: None }
        };
        assert_eq!(copied(&[(before, true), (among, true), (after, true)]).faults(&kills), Vec::<String>::new());
        for runs in [&[(before, true), (after, true)][..], &[(among, false), (after, true)]] {
            assert_eq!(copied(runs).faults(&kills).len(), 1, "{runs:?}");
        }
    }

    #[test]
    fn copier_tells_how_many_records_it_copied() {
        let printed = |text: &str| Output {
            status: ExitStatus::from_raw(0),
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
        };
        assert_eq!(processed(&printed("no copy")), 0);
        let lines = "{\"totalProcessed\":20,\"stage\":\"ProcessLoop\"}\n\
                     {\"totalProcessed\":45,\"stage\":\"ShutdownComplete\"}\n";
        assert_eq!(processed(&printed(lines)), 45);
    }
}
