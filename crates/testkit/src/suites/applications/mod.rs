//! Kafka's own applications on our clusters and on Apache Kafka's, while they and the brokers are killed.
//!
//! Picture: each part starts clusters, lets an application of Kafka 4.3.1 work there as its users would run it, and kills
//! in every round one process of the application, and one broker where there are three. At the end it holds what came out
//! against what went in. Nothing of these applications is ours, not even their code: [`streams`] runs the word count of
//! Kafka's examples, [`mirror`] MirrorMaker 2 in dedicated mode, [`connect`] two distributed workers with the connectors
//! for files.
//!
//! Invariants: input is written with acknowledgements of all replicas, and what was not acknowledged is not counted; what
//! is promised once is read as committed and may neither lack nor be there twice. What goes wrong panics with the reason.
//!
//! Not here: our own worker and connectors, which have tests of their own.

mod connect; // two workers, a source and a sink
mod follower; // output as it comes
mod input; // what goes in
mod mirror; // from one cluster to another
mod program; // a process that is killed and started again
mod site; // a cluster
mod streams; // words are counted

use std::time::Duration;

pub use site::Side;

/// For whatever an application does by itself: sessions of 6 s and transactions of 10 s may have to run out, and Kafka's
/// client waits up to 30 s for an answer before it looks elsewhere.
const WORKS_WITHIN: Duration = Duration::from_secs(120);

/// The application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Streams,
    Mirror,
    Connect,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Streams, Self::Mirror, Self::Connect];

    pub fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Mirror => "mirror",
            Self::Connect => "connect",
        }
    }

    /// Runs it on clusters of this side; what it did and how long it stood still at most.
    pub async fn run(self, side: Side, effort: Effort) -> String {
        let figures = match self {
            Self::Streams => streams::run(side, effort).await,
            Self::Mirror => mirror::run(side, effort).await,
            Self::Connect => connect::run(side, effort).await,
        };
        format!("{:<18} {:<8} {} kills: {figures}", side.name(), self.name(), effort.kills)
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Brokers of a cluster. With one of them alone, brokers are not killed.
    pub brokers: usize,
    /// How often a process of the application is killed, and as often a broker.
    pub kills: usize,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub parts: Vec<Part>,
    pub kills: usize,
    pub with_ours: bool,
    pub with_kafka: bool,
}

/// Runs the parts and prints a line for each; whether all went well with ours.
pub async fn run(options: &Options) -> bool {
    let sides = [(Side::Ours, options.with_ours), (Side::Kafka, options.with_kafka)];
    let effort = Effort { brokers: 3, kills: options.kills };
    let (mut lines, mut good) = (Vec::new(), true);
    for part in &options.parts {
        for side in sides.iter().filter(|(_, wanted)| *wanted).map(|(side, _)| *side) {
            // A task of its own, because what goes wrong in there panics.
            let line = tokio::spawn(part.run(side, effort)).await;
            good &= line.is_ok() || side == Side::Kafka;
            lines.push(line.unwrap_or_else(|error| format!("{:<18} {:<8} FAILED: {error}", side.name(), part.name())));
        }
    }
    eprintln!("\napplications of Kafka 4.3.1; exactly once, three brokers, acks=all");
    for line in &lines {
        eprintln!("  {line}");
    }
    good
}
