//! The leader of one partition is killed with SIGKILL, again and again, under 1,000 records a second.
//!
//! The stall of a kill is the longest silence between acknowledgements from the kill until the killed broker is back in
//! sync, so what its return costs counts, too. Every third victim leads the metadata quorum as well.

use std::time::Duration;

use super::{Options, Row, Start, subjects};
use crate::checker::Kind;
use crate::faults::{Subject, Trial};
use crate::history::longest_stall;
use crate::load::{LoadOptions, quick_settings};
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

const RATE: u32 = 1_000;
const MEDIAN: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_millis(1_500);
/// Steady load between two kills.
const STEADY: Duration = Duration::from_secs(2);
/// With librdkafka's defaults the pause before it connects to a broker again doubles at each failure up to 10 s, and
/// starts over only when the last failure is longer ago than that. Kills in quicker succession would measure that pause.
const STEADY_BY_DEFAULT: Duration = Duration::from_secs(12);
/// Kafka's defaults need more than ten seconds; this only ends a run that hangs.
const STALL_MAX: Duration = Duration::from_secs(80);

pub(super) async fn run(options: &Options) -> Vec<Row> {
    let quick = quick_settings().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let plain = [("acks", "all"), ("enable.idempotence", "true")];
    let plain = plain.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut rows = Vec::new();
    for start in subjects(options).await {
        rows.push(row(start, "SIGKILL of the leader, librdkafka tuned", &quick, options.kills, STEADY).await);
        let what = "SIGKILL of the leader, librdkafka's defaults";
        rows.push(row(start, what, &plain, options.kills, STEADY_BY_DEFAULT).await);
    }
    rows
}

async fn row(start: Start, what: &str, client: &[(String, String)], kills: usize, steady: Duration) -> Row {
    let subject = start.cluster().await;
    let name = subject.name();
    eprintln!("--- {name}: {what}");
    let load = LoadOptions {
        native_rate: RATE,
        native_settings: client.to_vec(),
        raw: false,
        readers: false,
        ..LoadOptions::new("failover", 1)
    };
    let mut trial = Trial::start(what, subject, 1, load).await;
    let mut windows = Vec::new();
    let mut controllers = 0;
    for kill in 0..kills {
        let controller = trial.operator.controller().await;
        if kill % 3 == 0 {
            trial.operator.lead_by(&trial.options.topic, 0, controller).await;
        }
        trial.run_for(steady).await;
        let (leader, controller) = (trial.leader(0).await, trial.operator.controller().await);
        controllers += usize::from(leader == controller);
        trial.tell(format!("broker {leader} leads the partition, {controller} the quorum"));
        let from = trial.recorder().now_us();
        trial.kill(leader);
        trial.all_writable(STALL_MAX).await;
        trial.start_broker(leader).await;
        trial.whole().await;
        quorum_whole(&trial).await;
        windows.push((from, trial.recorder().now_us()));
    }
    let events = trial.recorder().events();
    let times: Vec<Duration> = windows.iter().map(|(from, to)| longest_stall(&events, *from, *to)).collect();
    let report = trial.finish().await;
    let count = |kind| report.verdict.count(kind);
    let (lost, duplicates) = (count(Kind::LostWrite) + count(Kind::Unseen), count(Kind::Duplicate));
    let reordered = count(Kind::Reordered) + count(Kind::NonmonotonicSend);
    eprintln!("{report}");
    if !report.is_good() {
        report.keep();
    }
    Row {
        subject: name,
        what: what.to_owned(),
        times,
        note: format!("{controllers} led the quorum, kills after {} s of calm;", steady.as_secs()),
        verdict: format!("{lost} lost, {duplicates} duplicates, {reordered} reordered"),
        clean: report.is_good() && (start == Start::Kafka || controllers >= kills / 4),
        limit: start.limit(MEDIAN, MAX),
    }
}

/// All voters have the whole metadata log again.
async fn quorum_whole(trial: &Trial) {
    let voters = trial.subject.size();
    let whole = || async {
        let Some(state) = trial.operator.quorum().await else { return false };
        // Kafka's log grows all the time by no-ops, so a voter that is a few entries behind is with it.
        let near = if matches!(trial.subject, Subject::Kafka(_)) { 20 } else { 0 };
        state.voters.len() == voters && state.voters.values().all(|end| end + near >= state.high_watermark)
    };
    wait_until("all voters have the whole metadata log", SETTLES_WITHIN, whole).await;
}
