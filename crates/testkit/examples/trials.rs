//! What `cargo xtask faults` and `cargo xtask judge` start: trials on clusters of real processes.
//!
//! `trials faults SEED MINUTES [SCENARIO]`, `trials failover PARTS KILLS RESTARTS SUBJECTS`, `trials late-requests SUBJECTS
//! SECONDS SEED`, `trials repeated-batches|churn SUBJECTS ROUNDS SEED`, `trials compaction SUBJECTS RESTARTS SEED`, `trials
//! applications PARTS KILLS SUBJECTS`, `trials transactions|verifiable SUBJECTS MINUTES`, `trials coordinators SUBJECTS
//! KILLS`, `trials links WHICH MINUTES SEED`, and `trials librdkafka` and `trials` of the Python suites; xtask has the names and the defaults. A program of its
//! own, because xtask knows none of our crates. Members of `churn` and rivals of `faults` are this program, too.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use twinstream_testkit::Program;
use twinstream_testkit::faults::judge::{self, Options, Part};
use twinstream_testkit::faults::{Dice, SCENARIOS, Scenario, by_name};
use twinstream_testkit::faults::{churn, compaction, late, repeats};
use twinstream_testkit::ledger::{Side, commits, transactions, verifiable};
use twinstream_testkit::links;
use twinstream_testkit::load::be_rival_if_told;
use twinstream_testkit::suites::applications;
use twinstream_testkit::suites::librdkafka::{self, Protocol};
use twinstream_testkit::suites::python::{self, Suite};

#[tokio::main]
async fn main() -> ExitCode {
    be_rival_if_told().await;
    if churn::be_member_if_told().await {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = match arguments[..] {
        ["faults", seed, minutes] => faults(number(seed), number(minutes), None).await,
        ["faults", seed, minutes, name] => faults(number(seed), number(minutes), Some(by_name(name))).await,
        ["failover", parts, kills, restarts, subjects] => {
            let parts = parts.split(',').map(part).collect();
            let (kills, restarts) = (number(kills) as usize, number(restarts) as usize);
            let (with_ours, with_kafka) = ours_and_kafka(subjects);
            judge::run(&Options { parts, kills, restarts, with_ours, with_kafka }).await
        }
        ["compaction", subjects, restarts, seed] => {
            let size = compaction::Size { restarts: number(restarts) as usize, ..compaction::Size::LONG };
            compaction::run(&compaction::Options { of: of(subjects), size, seed: number(seed) }).await
        }
        ["churn", subjects, rounds, seed] => {
            let size = churn::Size { rounds: number(rounds) as usize, ..churn::Size::LONG };
            let settles_within = Duration::from_secs(10);
            let options = churn::Options { of: of(subjects), size, settles_within, seed: number(seed) };
            churn::run(&options, &Program::this(&[])).await
        }
        ["repeated-batches", subjects, rounds, seed] => {
            let options = repeats::Options { of: of(subjects), rounds: number(rounds) as usize, seed: number(seed) };
            repeats::run(&options).await
        }
        ["late-requests", subjects, seconds, seed] => {
            let options =
                late::Options { of: of(subjects), storm: Duration::from_secs(number(seconds)), seed: number(seed) };
            late::run(&options).await
        }
        ["applications", parts, kills, subjects] => {
            let (with_ours, with_kafka) = ours_and_kafka(subjects);
            let (parts, kills) = (parts.split(',').map(application).collect(), number(kills) as usize);
            applications::run(&applications::Options { parts, kills, with_ours, with_kafka }).await
        }
        ["transactions", subjects, minutes] => {
            let options = transactions::Options { time: Duration::from_secs(number(minutes) * 60), with_copiers: true };
            transactions::run(&Side::named(subjects), &options).await
        }
        ["coordinators", subjects, kills] => {
            let options = commits::Options { kills: number(kills) as usize, only: Vec::new() };
            commits::run(&Side::named(subjects), &options).await
        }
        ["links", which, minutes, seed] => {
            let time = Duration::from_secs(number(minutes) * 60);
            links::run(&links::Options { of: links::Of::named(which), time, seed: number(seed) }).await
        }
        ["verifiable", subjects, minutes] => {
            let time = Duration::from_secs(number(minutes) * 60);
            verifiable::run(&Side::named(subjects), &verifiable::Options { time, producers: 2, members: 3 }).await
        }
        ["librdkafka", sources, protocols, subjects, jobs, patience, ref only @ ..] => {
            let (with_ours, with_kafka) = ours_and_kafka(subjects);
            let options = librdkafka::Options {
                sources: sources.into(),
                protocols: protocols.split(',').map(protocol).collect(),
                with_ours,
                with_kafka,
                only: only.iter().map(|name| (*name).to_owned()).collect(),
                jobs: number(jobs) as usize,
                patience: number(patience) as f64,
            };
            librdkafka::run(&options).await
        }
        ["kafka-python", subjects, ref only @ ..] => python_suites(vec![Suite::KafkaPython], subjects, only).await,
        ["confluent-kafka", checkout, protocols, subjects, ref only @ ..] => {
            let protocols = protocols.split(',').map(protocol);
            python_suites(python::confluent(checkout, protocols), subjects, only).await
        }
        _ => panic!("start it as `cargo xtask faults` or `cargo xtask judge`"),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

fn of(names: &str) -> Vec<late::Of> {
    let of = |side: Side| match side {
        Side::Ours => late::Of::Ours,
        Side::Kafka => late::Of::Kafka,
    };
    Side::named(names).into_iter().map(of).collect()
}

/// Whether these names have them.
fn ours_and_kafka(names: &str) -> (bool, bool) {
    let sides = Side::named(names);
    (sides.contains(&Side::Ours), sides.contains(&Side::Kafka))
}

fn part(name: &str) -> Part {
    let found = Part::ALL.into_iter().find(|part| part.name() == name);
    found.unwrap_or_else(|| panic!("no part `{name}`; there are {}", Part::ALL.map(Part::name).join(", ")))
}

fn application(name: &str) -> applications::Part {
    let all = applications::Part::ALL;
    let found = all.into_iter().find(|part| part.name() == name);
    found.unwrap_or_else(|| panic!("no application `{name}`; there are {}", all.map(|part| part.name()).join(", ")))
}

fn protocol(name: &str) -> Protocol {
    let found = Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
    found.unwrap_or_else(|| panic!("no protocol `{name}`; there are {}", Protocol::ALL.map(Protocol::name).join(", ")))
}

async fn python_suites(suites: Vec<Suite>, subjects: &str, only: &[&str]) -> bool {
    let (with_ours, with_kafka) = ours_and_kafka(subjects);
    let only = only.iter().map(|name| (*name).to_owned()).collect();
    python::run(&python::Options { suites, with_ours, with_kafka, only }).await
}

/// One scenario after the other until the time is over, at least one; the first one that fails ends it.
async fn faults(seed: u64, minutes: u64, only: Option<&'static Scenario>) -> bool {
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let mut dice = Dice::new(seed);
    let mut order: Vec<&'static Scenario> = Vec::new();
    // The first trial of one scenario has the seed itself, so that it can be repeated by it.
    let mut next_seed = seed;
    let mut trials = 0;
    loop {
        if order.is_empty() {
            order = match only {
                Some(scenario) => vec![scenario],
                None => dice.shuffled(&SCENARIOS.iter().collect::<Vec<_>>()),
            };
        }
        let scenario = order.pop().expect("was just filled");
        if only.is_none() || trials > 0 {
            next_seed = dice.between(1, 1_000_000_000);
        }
        trials += 1;
        // A task of its own, because what goes wrong in there panics.
        let trial = tokio::spawn(scenario.run(next_seed)).await;
        let good = match &trial {
            Ok(report) => {
                eprintln!("{report}");
                if !report.is_good() {
                    report.keep();
                }
                report.is_good()
            }
            Err(error) => {
                eprintln!("FAILED {}: {error}", scenario.name);
                false
            }
        };
        if !good {
            eprintln!("repeat: cargo xtask faults --seed {next_seed} --only {}", scenario.name);
            return false;
        }
        if Instant::now() >= until {
            eprintln!("{trials} trials, all good; seed {seed}");
            return true;
        }
    }
}
