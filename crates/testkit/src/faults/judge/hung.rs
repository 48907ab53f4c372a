//! The leader of a partition, and then the leader of the quorum, is stopped with SIGSTOP.
//!
//! Measured with probes, because librdkafka keeps its requests with a broker that hangs until they time out, whoever
//! leads. What it waits is told beside.

use std::time::Duration;

use super::{Options, Row, Start, subjects};
use crate::faults::Trial;
use crate::history::longest_stall;
use crate::load::{LoadOptions, probe};

const STOPS: usize = 5;
const WRITABLE: Duration = Duration::from_secs(3);
const STEADY: Duration = Duration::from_secs(2);
/// What the load may take after SIGCONT, when librdkafka's old requests are answered.
const RESUMED_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn run(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for start in subjects(options).await {
        rows.push(row(start, "SIGSTOP of the leader", false).await);
        rows.push(row(start, "SIGSTOP of the leader of the quorum", true).await);
    }
    rows
}

async fn row(start: Start, what: &str, of_quorum: bool) -> Row {
    let subject = start.cluster().await;
    let name = subject.name();
    eprintln!("--- {name}: {what}");
    let mut trial = Trial::start(what, subject, 1, LoadOptions::new("failover", 1)).await;
    let (mut times, mut windows) = (Vec::new(), Vec::new());
    for _ in 0..STOPS {
        let controller = trial.operator.controller().await;
        if of_quorum {
            // The worst case: it also leads the partition.
            trial.operator.lead_by(&trial.options.topic, 0, controller).await;
        }
        trial.run_for(STEADY).await;
        let victim = trial.leader(0).await;
        let from = trial.recorder().now_us();
        trial.pause(victim);
        let took = probe(&trial.subject.bootstrap(), trial.recorder(), &trial.options, 0).await;
        trial.tell(format!("writable after {:.2} s", took.as_secs_f64()));
        times.push(took);
        trial.run_for(STEADY).await;
        trial.resume(victim);
        trial.all_writable(RESUMED_WITHIN).await;
        trial.whole().await;
        windows.push((from, trial.recorder().now_us()));
    }
    let events = trial.recorder().events();
    let waited = windows.iter().map(|(from, to)| longest_stall(&events, *from, *to)).max().unwrap_or_default();
    let report = trial.finish().await;
    eprintln!("{report}");
    if !report.is_good() {
        report.keep();
    }
    Row {
        subject: name,
        what: what.to_owned(),
        times,
        note: format!("all clients together waited {:.1} s at most;", waited.as_secs_f64()),
        verdict: report.verdict.to_string().lines().next().unwrap_or_default().to_owned(),
        clean: report.is_good(),
        limit: start.limit(WRITABLE, WRITABLE),
    }
}
