//! The integration tests of kafka-python and confluent-kafka: what users of the two Python clients rely on.
//!
//! Picture: pytest runs a suite against one broker of ours and then against one of Apache Kafka, set up as the suites'
//! own fixtures would (node 0, four partitions by default, short sessions allowed); a schema registry of ours stands
//! beside either of them. What did not end as its line in `judges/SUITE/` says runs once more, alone, because the machine
//! has other things to do; both tries are told and held against its line. Apache Kafka has an authorizer here, as in
//! kafka-python's own fixtures, so that its count is what is to be reached.
//!
//! Invariants: what the judge does not run stands in the list with a reason; a test that passes at Kafka does not hide
//! behind a skip.

mod broker; // one broker, of whom it may be
mod run; // pytest and what it tells

use std::path::PathBuf;

use broker::{Broker, Settings};
use run::Course;

use super::librdkafka::Protocol;
use super::list::{Expectation, List, Outcome, Verdict};
use super::report::{Outcomes, Report, add_second_try};
use crate::folder::Folder;
use crate::peer::{self, Kafka, PythonTests};
use crate::server::Registry;

const BEHAVIOURS: [(&str, &str); 6] = [
    ("conftest.py", include_str!("../../../judges/confluent-kafka/behaviours/conftest.py")),
    ("test_admin.py", include_str!("../../../judges/confluent-kafka/behaviours/test_admin.py")),
    ("test_configs.py", include_str!("../../../judges/confluent-kafka/behaviours/test_configs.py")),
    ("test_groups.py", include_str!("../../../judges/confluent-kafka/behaviours/test_groups.py")),
    ("test_records.py", include_str!("../../../judges/confluent-kafka/behaviours/test_records.py")),
    ("test_transactions.py", include_str!("../../../judges/confluent-kafka/behaviours/test_transactions.py")),
];

#[derive(Clone, Debug)]
pub enum Suite {
    /// kafka-python's own tests, from its source distribution.
    KafkaPython,
    /// What confluent-kafka's users rely on, as tests of ours.
    Behaviours(Protocol),
    /// Confluent's own tests, from a checkout of their repository.
    Confluent { checkout: PathBuf, protocol: Protocol },
}

#[derive(Clone, Debug)]
pub struct Options {
    pub suites: Vec<Suite>,
    pub with_ours: bool,
    pub with_kafka: bool,
    /// Only these files or tests, as `test_admin_integration.py::test_elect_leaders`; all if there is none.
    pub only: Vec<String>,
}

/// What there is to run with confluent-kafka: our tests, and its own unless no checkout of its repository is named, which
/// is for who asks for ours only.
pub fn confluent(checkout: &str, protocols: impl Iterator<Item = Protocol>) -> Vec<Suite> {
    let of = |protocol| {
        let own = (!checkout.is_empty()).then(|| Suite::Confluent { checkout: PathBuf::from(checkout), protocol });
        [Some(Suite::Behaviours(protocol)), own]
    };
    match checkout {
        "" => eprintln!("left out, as asked: Confluent's own tests"),
        folder => peer::check_confluent_checkout(folder.as_ref()).unwrap_or_else(|error| panic!("{error}")),
    }
    protocols.flat_map(of).flatten().collect()
}

/// Runs the suites and prints what is to be said; whether ours did what the lists say.
pub async fn run(options: &Options) -> bool {
    let kafka = options.with_kafka.then(peer::kafka);
    let folder = Folder::new();
    let mut good = true;
    for (suite, only) in chosen(options) {
        good &= Judge { options, suite, only, kafka: kafka.as_ref(), folder: &folder }.run().await;
    }
    if !good {
        folder.keep();
    }
    good
}

/// What is to run, with the names that each suite has. Panics where there is nothing: a judge that ran nothing is not green.
fn chosen(options: &Options) -> Vec<(&Suite, Vec<String>)> {
    if options.only.is_empty() {
        return options.suites.iter().map(|suite| (suite, Vec::new())).collect();
    }
    let names_of =
        |suite: &Suite| -> Vec<String> { options.only.iter().filter(|name| suite.may_have(name)).cloned().collect() };
    let suites = options.suites.iter().map(|suite| (suite, names_of(suite)));
    let chosen: Vec<(&Suite, Vec<String>)> = suites.filter(|(_, only)| !only.is_empty()).collect();
    let is_anywhere = |name: &String| chosen.iter().any(|(_, only)| only.contains(name));
    let nowhere = options.only.iter().find(|name| !is_anywhere(name));
    assert!(nowhere.is_none(), "no suite that was asked for has {}", nowhere.map_or("", String::as_str));
    chosen
}

impl Suite {
    /// Only of our own tests we know the names; pytest tells of the others.
    fn may_have(&self, name: &str) -> bool {
        let file = name.split("::").next().unwrap_or(name);
        let is_ours = BEHAVIOURS.iter().any(|(known, _)| *known == file);
        match self {
            Self::KafkaPython => true,
            Self::Behaviours(_) => is_ours,
            Self::Confluent { .. } => !is_ours,
        }
    }

    fn title(&self) -> String {
        match self {
            Self::KafkaPython => "kafka-python's tests".to_owned(),
            Self::Behaviours(protocol) => format!("confluent-kafka's behaviours, {} protocol", protocol.name()),
            Self::Confluent { protocol, .. } => format!("Confluent's own tests, {} protocol", protocol.name()),
        }
    }

    fn list(&self) -> List {
        List::parse(match self {
            Self::KafkaPython => include_str!("../../../judges/kafka-python/list.txt"),
            Self::Behaviours(_) => include_str!("../../../judges/confluent-kafka/behaviours.txt"),
            Self::Confluent { protocol: Protocol::Classic, .. } => {
                include_str!("../../../judges/confluent-kafka/classic.txt")
            }
            Self::Confluent { protocol: Protocol::Consumer, .. } => {
                include_str!("../../../judges/confluent-kafka/consumer.txt")
            }
        })
    }

    /// Where the tests are below the folder in which pytest starts.
    fn home(&self) -> &'static str {
        match self {
            Self::KafkaPython => "test/integration/",
            Self::Behaviours(_) => "",
            Self::Confluent { .. } => "tests/integration/",
        }
    }

    /// What brokers are told for it. Confluent's tests look at which settings are not the defaults; ours do not, and so
    /// need not wait for long intervals.
    fn settings(&self) -> Settings {
        match self {
            Self::KafkaPython | Self::Confluent { .. } => &[],
            Self::Behaviours(_) => &[
                ("group.consumer.min.heartbeat.interval.ms", "300"),
                ("group.consumer.heartbeat.interval.ms", "300"),
                ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
            ],
        }
    }

    fn tests(&self, folder: &Folder) -> PythonTests {
        match self {
            Self::KafkaPython => peer::kafka_python_tests(),
            Self::Confluent { checkout, .. } => peer::confluent_kafka_tests(checkout),
            Self::Behaviours(_) => {
                let home = folder.sub("behaviours");
                for (name, text) in BEHAVIOURS {
                    let file = home.join(name);
                    std::fs::write(&file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
                }
                peer::confluent_kafka_tests(&home)
            }
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::KafkaPython => Protocol::Classic,
            Self::Behaviours(protocol) | Self::Confluent { protocol, .. } => *protocol,
        }
    }

    /// How the suites' fixtures find brokers.
    fn environment(&self, bootstrap: &str, registry: &str, folder: &Folder) -> Vec<(&'static str, String)> {
        match self {
            Self::KafkaPython => vec![
                ("KAFKA_URI", format!("kafka://{bootstrap}")),
                ("KAFKA_VERSION", "4.3.1".to_owned()),
                // Kafka's own files, which nothing looks into as long as no broker is started.
                ("KAFKA_ROOT", folder.sub("kafka").display().to_string()),
            ],
            Self::Behaviours(_) | Self::Confluent { .. } => vec![
                ("TWINSTREAM_BOOTSTRAP", bootstrap.to_owned()),
                ("SR_URL", registry.to_owned()),
                ("TEST_CONSUMER_GROUP_PROTOCOL", self.protocol().name().to_owned()),
            ],
        }
    }
}

/// One suite on both sides.
struct Judge<'a> {
    options: &'a Options,
    suite: &'a Suite,
    /// Files or tests; all if there is none.
    only: Vec<String>,
    kafka: Option<&'a Kafka>,
    folder: &'a Folder,
}

impl Judge<'_> {
    async fn run(&self) -> bool {
        let tests = self.suite.tests(self.folder);
        let ours = match self.options.with_ours {
            true => Some(self.side(&tests, Broker::ours(self.folder, self.suite.settings()).await).await),
            false => None,
        };
        let kafka = match self.kafka {
            Some(kafka) => Some(self.side(&tests, Broker::kafka(kafka, self.suite.settings()).await).await),
            None => None,
        };
        let mut names: Vec<&str> = ours.iter().chain(&kafka).flat_map(|all| all.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        let list = self.suite.list();
        // Who ran a part of a suite does not know what else there is.
        let known = if self.only.is_empty() { names.clone() } else { list.names() };
        let (title, ours, kafka) = (self.suite.title(), ours.as_ref(), kafka.as_ref());
        Report { title: &title, list: &list, tests: &names, known: &known, ours, kafka }.print()
    }

    async fn side(&self, tests: &PythonTests, broker: Broker) -> Outcomes {
        let bootstrap = broker.bootstrap();
        let registry = match self.suite {
            Suite::Confluent { .. } => Some(Registry::start(self.folder, &bootstrap).await),
            Suite::KafkaPython | Suite::Behaviours(_) => None,
        };
        let registry_url = registry.as_ref().map_or("", |registry| registry.rest.base());
        eprintln!("{}, {}:", broker.name(), self.suite.title());
        let list = self.suite.list();
        let left_out: Vec<&str> = list.left_out().into_iter().map(|(name, _)| name).collect();
        let course = Course {
            tests,
            home: self.suite.home(),
            environment: self.suite.environment(&bootstrap, registry_url, self.folder),
            left_out: &left_out,
            folder: self.folder.path(),
        };
        tokio::task::block_in_place(|| {
            let mut outcomes = course.run(&self.only);
            let mut again: Vec<String> =
                outcomes.iter().filter(|end| is_odd(&list, &broker, end)).map(function_of).collect();
            again.dedup();
            if !again.is_empty() {
                eprintln!("  once more, alone: {}", again.join(", "));
                add_second_try(&mut outcomes, course.run(&again));
            }
            outcomes
        })
    }
}

/// Whether a test ended otherwise than is to be expected, and so should have a second try.
fn is_odd(list: &List, broker: &Broker, (name, outcome): &(&String, &Outcome)) -> bool {
    match broker {
        Broker::Ours { .. } => {
            **outcome != Outcome::Passed && matches!(list.judge(name, outcome, None), Verdict::Wrong(_))
        }
        Broker::Kafka(_) => {
            let may_pass = matches!(list.of(name), Some(Expectation::Pass | Expectation::Again(_)));
            may_pass && matches!(outcome, Outcome::Failed(_))
        }
    }
}

/// The function of a test, without its parameters, which have characters that pytest does not take back.
fn function_of((name, _): (&String, &Outcome)) -> String {
    name.split('[').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests;
