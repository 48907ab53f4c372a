//! `cargo xtask faults` and `cargo xtask judge`: builds the binary under test, then starts testkit's program `trials`, which
//! knows the scenarios and the judges. Nothing is decided here but names and defaults.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::command::{cargo, say, source_folder};

/// Tells testkit which binary to try.
const VARIABLE: &str = "TWINSTREAM_BIN";
const MINUTES: u64 = 10;
/// The package that brings librdkafka.
const SOURCES_OF: &str = "rdkafka-sys";

#[derive(Args)]
pub(crate) struct Faults {
    /// One scenario after the other until so many minutes are over, at least one; 10, or with --only just once.
    #[arg(long)]
    minutes: Option<u64>,
    /// Chooses scenarios, victims and pauses; a random one is printed if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this scenario.
    #[arg(long, value_name = "SCENARIO")]
    only: Option<String>,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Subcommand)]
pub(crate) enum Judge {
    /// How long writers wait when brokers die or hang, and whether anything is lost.
    Failover(Failover),
    /// Ends and added partitions of transactions that the network held, in both protocols, with what readers saw.
    LateRequests(LateRequests),
    /// Batches of idempotent producers that are sent again because their answers were lost.
    RepeatedBatches(RepeatedBatches),
    /// One group with members of both protocols, in processes that are killed, while it is migrated there and back.
    Churn(Churn),
    /// A compacted topic with transactions and tombstones whose brokers are restarted, held against a model.
    Compaction(Compaction),
    /// Transactions of both protocols, applications that transform in them and Kafka's copier, while brokers are killed; the
    /// checker judges the history of a mixed load beside them.
    Transactions(Timed),
    /// What groups have committed when the broker that coordinates them is killed again and again.
    Coordinators(Coordinators),
    /// Kafka's VerifiableProducer and VerifiableConsumer while brokers are killed.
    Verifiable(Timed),
    /// A link between two clusters while its worker and brokers of both are killed and its ways cut: an aligned one must be a
    /// prefix of its source at any moment, byte for byte; a generic one must have everything in order.
    Links(Links),
    /// librdkafka's own test suite against our brokers and Apache Kafka's, held against the lists of the repository.
    Librdkafka(Librdkafka),
    /// kafka-python's integration tests, likewise.
    KafkaPython(KafkaPython),
    /// confluent-kafka's integration tests from a checkout of its repository, and what its users rely on, likewise.
    ConfluentKafka(ConfluentKafka),
    /// Kafka Streams, MirrorMaker 2 and Kafka Connect, exactly once, while they and the brokers are killed.
    Applications(Applications),
}

#[derive(Args)]
pub(crate) struct Failover {
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// How often all brokers are killed at once.
    #[arg(long, default_value_t = 10)]
    restarts: u64,
    /// What to measure: kills, hung, restart, throttle.
    #[arg(long, value_delimiter = ',', default_value = "kills,hung,restart,throttle")]
    parts: Vec<String>,
    /// Whom to measure.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct LateRequests {
    /// How long producers work through proxies that hold requests by chance, in each protocol.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    seeded: Seeded,
}

#[derive(Args)]
pub(crate) struct RepeatedBatches {
    /// How many leaders are lost while answers are cut by chance.
    #[arg(long, default_value_t = 12)]
    rounds: u64,
    #[command(flatten)]
    seeded: Seeded,
}

#[derive(Args)]
pub(crate) struct Churn {
    /// How often members are killed, five at a time.
    #[arg(long, default_value_t = 8)]
    rounds: u64,
    #[command(flatten)]
    seeded: Seeded,
}

#[derive(Args)]
pub(crate) struct Compaction {
    /// How often a leader is killed or stopped.
    #[arg(long, default_value_t = 20)]
    restarts: u64,
    #[command(flatten)]
    seeded: Seeded,
}

/// What judges have in common that draw by a seed what they do.
#[derive(Args)]
struct Seeded {
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    /// Chooses what is held, cut, killed and written; a random one is printed if absent.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct Timed {
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    /// How long brokers are killed, on each side.
    #[arg(long, default_value_t = MINUTES)]
    minutes: u64,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct Coordinators {
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    /// How often the coordinator is killed, on each side.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct Links {
    /// Which link: ours (aligned, between clusters of ours), generic (between clusters of Apache Kafka), both.
    #[arg(long, default_value = "both")]
    of: String,
    /// How long there is trouble, on each link.
    #[arg(long, default_value_t = MINUTES)]
    minutes: u64,
    /// Chooses what is killed and cut; a random one is printed if absent.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct Librdkafka {
    /// How members of groups talk to the coordinator: classic, consumer.
    #[arg(long, value_delimiter = ',', default_value = "classic,consumer")]
    protocols: Vec<String>,
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    /// Only tests whose names begin so, as 0081 or 0045,0113; otherwise all.
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    /// How many run at the same time.
    #[arg(long, default_value_t = 4)]
    jobs: u64,
    /// By what the suite multiplies its time limits.
    #[arg(long, default_value_t = 2)]
    patience: u64,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct Applications {
    /// How often a process of the application is killed, and as often a broker.
    #[arg(long, default_value_t = 10)]
    kills: u64,
    /// Which: streams, mirror, connect.
    #[arg(long, value_delimiter = ',', default_value = "streams,mirror,connect")]
    parts: Vec<String>,
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct KafkaPython {
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    /// Only these files or tests, as test_admin_integration.py::test_elect_leaders; otherwise all.
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Args)]
pub(crate) struct ConfluentKafka {
    /// A checkout of confluent-kafka-python at the version that the lists name; its tests are in no package.
    #[arg(long, value_name = "FOLDER", required_unless_present = "only_behaviours")]
    sources: Option<PathBuf>,
    /// Our tests of what users of the client rely on, and not its own.
    #[arg(long, conflicts_with = "sources")]
    only_behaviours: bool,
    /// How members of groups talk to the coordinator: classic, consumer.
    #[arg(long, value_delimiter = ',', default_value = "classic,consumer")]
    protocols: Vec<String>,
    /// Whose brokers.
    #[arg(long, value_delimiter = ',', default_value = "ours,kafka")]
    of: Vec<String>,
    /// Only these files or tests, as test_groups.py, or consumer/test_consumer_error.py of a checkout; otherwise all.
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    #[command(flatten)]
    subject: Subject,
}

/// The binary under test; a debug build if nothing is said.
#[derive(Args)]
struct Subject {
    /// Build and try a release.
    #[arg(long, conflicts_with = "binary")]
    release: bool,
    /// Try this one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Faults {
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        let seed = told(self.seed);
        let minutes = self.minutes.unwrap_or(if self.only.is_some() { 0 } else { MINUTES });
        let mut arguments = vec!["faults".to_owned(), seed.to_string(), minutes.to_string()];
        arguments.extend(self.only.clone());
        self.subject.trials(root, &arguments)
    }
}

impl Judge {
    pub(crate) fn run(&self, root: &Path) -> Result<bool> {
        match self {
            Self::Failover(failover) => failover.run(root),
            Self::LateRequests(judge) => judge.seeded.run(root, "late-requests", judge.seconds),
            Self::RepeatedBatches(judge) => judge.seeded.run(root, "repeated-batches", judge.rounds),
            Self::Churn(judge) => judge.seeded.run(root, "churn", judge.rounds),
            Self::Compaction(judge) => judge.seeded.run(root, "compaction", judge.restarts),
            Self::Transactions(judge) => judge.run(root, "transactions"),
            Self::Coordinators(judge) => judge.run(root),
            Self::Verifiable(judge) => judge.run(root, "verifiable"),
            Self::Links(links) => links.run(root),
            Self::Librdkafka(librdkafka) => librdkafka.run(root),
            Self::KafkaPython(suite) => suite.run(root),
            Self::ConfluentKafka(suite) => suite.run(root),
            Self::Applications(applications) => applications.run(root),
        }
    }
}

impl Failover {
    fn run(&self, root: &Path) -> Result<bool> {
        let arguments = [
            "failover".to_owned(),
            self.parts.join(","),
            self.kills.to_string(),
            self.restarts.to_string(),
            self.of.join(","),
        ];
        self.subject.trials(root, &arguments)
    }
}

impl Seeded {
    /// A judge that takes one size beside the seed.
    fn run(&self, root: &Path, judge: &str, size: u64) -> Result<bool> {
        let seed = told(self.seed);
        self.subject.trials(root, &[judge.to_owned(), self.of.join(","), size.to_string(), seed.to_string()])
    }
}

impl Timed {
    fn run(&self, root: &Path, judge: &str) -> Result<bool> {
        let arguments = [judge.to_owned(), self.of.join(","), self.minutes.to_string()];
        self.subject.trials(root, &arguments)
    }
}

impl Coordinators {
    fn run(&self, root: &Path) -> Result<bool> {
        let arguments = ["coordinators".to_owned(), self.of.join(","), self.kills.to_string()];
        self.subject.trials(root, &arguments)
    }
}

impl Links {
    fn run(&self, root: &Path) -> Result<bool> {
        let seed = told(self.seed);
        let arguments = ["links".to_owned(), self.of.clone(), self.minutes.to_string(), seed.to_string()];
        self.subject.trials(root, &arguments)
    }
}

impl Librdkafka {
    fn run(&self, root: &Path) -> Result<bool> {
        let sources = source_folder(root, SOURCES_OF)?.join("librdkafka");
        let mut arguments = vec![
            "librdkafka".to_owned(),
            sources.display().to_string(),
            self.protocols.join(","),
            self.of.join(","),
            self.jobs.to_string(),
            self.patience.to_string(),
        ];
        arguments.extend(self.tests.iter().cloned());
        self.subject.trials(root, &arguments)
    }
}

impl Applications {
    fn run(&self, root: &Path) -> Result<bool> {
        let arguments = ["applications".to_owned(), self.parts.join(","), self.kills.to_string(), self.of.join(",")];
        self.subject.trials(root, &arguments)
    }
}

impl KafkaPython {
    fn run(&self, root: &Path) -> Result<bool> {
        let mut arguments = vec!["kafka-python".to_owned(), self.of.join(",")];
        arguments.extend(self.tests.iter().cloned());
        self.subject.trials(root, &arguments)
    }
}

impl ConfluentKafka {
    fn run(&self, root: &Path) -> Result<bool> {
        let checkout = match &self.sources {
            Some(folder) => folder.canonicalize().with_context(|| folder.display().to_string())?.display().to_string(),
            None => String::new(),
        };
        let mut arguments = vec!["confluent-kafka".to_owned(), checkout, self.protocols.join(","), self.of.join(",")];
        arguments.extend(self.tests.iter().cloned());
        self.subject.trials(root, &arguments)
    }
}

impl Subject {
    fn trials(&self, root: &Path, arguments: &[String]) -> Result<bool> {
        let mut run = cargo(root, &["run", "--quiet", "-p", "twinstream-testkit", "--example", "trials", "--"]);
        match &self.binary {
            Some(binary) => _ = run.env(VARIABLE, binary.canonicalize().with_context(|| binary.display().to_string())?),
            None => {
                let mut build = cargo(root, &["build", "--quiet", "-p", "twinstream"]);
                if !build.args(self.release.then_some("--release")).status()?.success() {
                    return Ok(false);
                }
                let profile = if self.release { "release" } else { "debug" };
                let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
                run.env(VARIABLE, target.join(profile).join("twinstream"));
            }
        }
        Ok(run.args(arguments).status()?.success())
    }
}

/// This seed or a random one, printed. Random ones are small, so that a person can type them.
fn told(seed: Option<u64>) -> u64 {
    let any = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) / 1_000
    };
    let seed = seed.unwrap_or_else(any);
    say(format!("seed {seed}"));
    seed
}
