//! All brokers are killed at once and started again: every record is there, and every partition is writable soon.

use std::time::Duration;

use super::{Options, Row, Start, subjects};
use crate::faults::Trial;
use crate::load::{LoadOptions, probe_all};

const PARTITIONS: i32 = 1_000;
/// librdkafka sends one partition in a request, and a broker answers a connection's requests one after the other.
const RATE: u32 = 25;
const WRITABLE: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(5);

pub(super) async fn run(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for start in subjects(options).await {
        rows.push(row(start, options.restarts).await);
    }
    rows
}

async fn row(start: Start, restarts: usize) -> Row {
    let subject = start.cluster().await;
    let name = subject.name();
    let what = format!("SIGKILL of all, {PARTITIONS} partitions");
    eprintln!("--- {name}: {what}");
    let load = LoadOptions {
        native_rate: RATE,
        raw: false,
        readers: false, // a reader a partition would be the load, not the measure
        ..LoadOptions::new("failover", PARTITIONS)
    };
    let mut trial = Trial::start(&what, subject, 1, load).await;
    let mut times = Vec::new();
    for _ in 0..restarts {
        trial.run_for(STEADY).await;
        trial.kill_all();
        for id in 1..=trial.subject.size() {
            trial.spawn(id);
        }
        let took = probe_all(&trial.subject.bootstrap(), trial.recorder(), &trial.options).await;
        trial.tell(format!("all {PARTITIONS} partitions took a record after {:.2} s", took.as_secs_f64()));
        times.push(took);
        trial.whole().await;
    }
    let report = trial.finish().await;
    eprintln!("{report}");
    if !report.is_good() {
        report.keep();
    }
    Row {
        subject: name,
        what,
        times,
        note: String::new(),
        verdict: report.verdict.to_string().lines().next().unwrap_or_default().to_owned(),
        clean: report.is_good(),
        limit: start.limit(WRITABLE, WRITABLE),
    }
}
