//! Ledgers: what clients were told, held against what the brokers have, while brokers are killed.
//!
//! Picture: clients that are not ours (librdkafka, Kafka's own client, Kafka's verifiable programs) do transactions,
//! commits or plain writes and keep books of every answer. A [`Scene`](scene::Scene) kills the brokers that matter most
//! for them, one after the other, with SIGKILL. At the end everything is read back and compared entry by entry. The same
//! script runs against our brokers and against Apache Kafka's.
//!
//! - [`transactions`]: transactions of both protocols, and applications that read, transform and write in them.
//! - [`commits`]: offsets that groups commit while the broker that coordinates them is killed.
//! - [`verifiable`]: Kafka's VerifiableProducer and VerifiableConsumer.
//!
//! Invariants: an answer that a client did not get is an outcome of its own (unknown), and is never counted as either;
//! a program that ends in another way than it should is a fault; what a judge finds is a line of [`Report::faults`], and
//! a report without figures is no good report.
//!
//! Not here: the anomalies of histories (`checker`, which also judges the history of our own load that runs beside
//! [`transactions`]); how long writers wait (`faults::judge`).

mod books; // transactions: told and seen
mod clients; // programs that keep books
pub mod commits; // coordinators of groups are killed
mod mixed; // our own load beside them
mod scene; // a cluster whose brokers are killed
pub mod transactions; // transactions under kills
pub mod verifiable; // Kafka's own programs for it

use std::fmt;
use std::future::Future;
use std::time::Duration;

pub use scene::Side;

/// What one run against one cluster came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub subject: &'static str,
    /// Figures, one a line.
    pub figures: Vec<String>,
    pub faults: Vec<String>,
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && !self.figures.is_empty()
    }

    pub(crate) fn tell(&mut self, figure: String) {
        eprintln!("{}: {figure}", self.subject);
        self.figures.push(figure);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FAULTS_SHOWN: usize = 20;
        writeln!(f, "{}: {}", self.subject, if self.is_good() { "ok" } else { "FAILED" })?;
        for figure in &self.figures {
            writeln!(f, "  {figure}")?;
        }
        for fault in self.faults.iter().take(FAULTS_SHOWN) {
            writeln!(f, "  FAULT {fault}")?;
        }
        if self.faults.len() > FAULTS_SHOWN {
            writeln!(f, "  and {} faults more", self.faults.len() - FAULTS_SHOWN)?;
        }
        Ok(())
    }
}

/// One run as a task of its own: what goes wrong in there panics, and must not keep the other side from being judged.
async fn apart(side: Side, run: impl Future<Output = Report> + Send + 'static) -> Report {
    let broken = |fault| Report { subject: side.name(), faults: vec![fault], ..Report::default() };
    crate::apart::apart(run).await.unwrap_or_else(broken)
}

/// Prints the reports of all sides together; whether those of ours are good. What fails at Kafka is shown, not judged.
fn conclude(name: &str, reports: &[(Side, Report)]) -> bool {
    eprintln!("\n{name}");
    for (_, report) in reports {
        eprintln!("{report}");
    }
    reports.iter().all(|(side, report)| *side == Side::Kafka || report.is_good())
}

/// Median and maximum, as `0.31 s / 1.20 s`.
fn median_and_max(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let seconds =
        |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |t| format!("{:.2} s", t.as_secs_f64()));
    format!("{} / {}", seconds(times.get(times.len() / 2)), seconds(times.last()))
}
