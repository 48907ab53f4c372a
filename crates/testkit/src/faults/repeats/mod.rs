//! Repeated batches: what an idempotent producer is promised when its answers get lost (KIP-98).
//!
//! Picture: a batch is sent again, on another connection, to another leader, to a broker that has lost what it had written
//! down of its producers, across the end of the numbers. [`scenes`] plays each with one partition, and knows at which offset
//! every answer must point; [`storm`] cuts answers by chance under the load of the other faults, whose checker judges.
//!
//! Against our brokers and Apache Kafka's, by the same script.

mod producer; // an idempotent producer whose batches can be sent again
mod scenes; // one after the other
mod storm; // by chance

use std::fmt;

use super::Subject;
use super::late::{Of, Stage};
use crate::apart::apart;

pub use scenes::{SCENES, Scene};
pub use storm::storm;

/// One line of the judge's table.
#[derive(Clone, Debug)]
pub struct Row {
    pub subject: &'static str,
    pub what: String,
    pub faults: Vec<String>,
    pub note: String,
}

impl Row {
    /// In the place of those that there would be if the run had come to its end.
    fn broken(of: Of, what: &str, fault: String) -> Self {
        Self { subject: of.name(), what: what.to_owned(), faults: vec![fault], note: String::new() }
    }

    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_good() { "ok    " } else { "FAILED" };
        write!(f, "{mark} {:<18} {:<66} {}", self.subject, self.what, self.note)?;
        for fault in &self.faults {
            write!(f, "\n         {fault}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub of: Vec<Of>,
    /// Of the storm.
    pub rounds: usize,
    pub seed: u64,
}

/// All scenes and a storm; whether nothing is wrong with ours.
pub async fn run(options: &Options) -> bool {
    let mut rows = Vec::new();
    for of in &options.of {
        let scenes = apart(play(*of, 3)).await;
        rows.extend(scenes.unwrap_or_else(|fault| vec![Row::broken(*of, "scenes", fault)]));
        let storm = apart(storm(*of, options.rounds, options.seed)).await;
        rows.push(storm.unwrap_or_else(|fault| Row::broken(*of, "storm", fault)));
    }
    eprintln!("\nrepeated batches of idempotent producers");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().filter(|row| row.subject == Subject::OURS).all(Row::is_good)
}

/// A scene or storm that did not do a single time what it is there for.
fn nothing_tried(count: usize, what: &str) -> Option<String> {
    (count == 0).then(|| format!("no {what}: nothing was tried"))
}

/// All scenes that so many brokers are enough for.
pub async fn play(of: Of, brokers: usize) -> Vec<Row> {
    let mut stage = Stage::start(of, brokers).await;
    let mut rows = Vec::new();
    for scene in SCENES.iter().filter(|scene| scene.brokers <= brokers) {
        rows.push(scene.play(&mut stage).await);
    }
    rows
}
