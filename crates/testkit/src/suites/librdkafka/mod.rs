//! librdkafka's own test suite: what the C client and all that stand on it (Python, Go, .NET, PHP, ...) expect of brokers.
//!
//! Picture: for each group protocol, three brokers of ours and then three of Apache Kafka's, set up as the suite's own
//! scenarios want it (four partitions and three replicas by default, one rack a broker, topics made on first use); tests
//! of the scenario `noautocreate` on brokers without that. Every test that needs a broker runs, a few processes at a
//! time. What did not end as its line in `judges/librdkafka/PROTOCOL.txt` says runs once more, alone: the suite has time
//! limits, and the machine has other things to do. Both tries are told and held against the line.
//!
//! Invariants: no test is left out by us; one that leaves itself out, or fails, has a reason in the list, and one that
//! passes at Kafka hides neither behind a skip nor behind a failure of both.

mod run; // processes and what they print

use std::path::PathBuf;

use run::Course;

use super::list::{List, Outcome, Verdict};
use super::report::{Outcomes, Report, add_second_try};
use crate::cluster::{Cluster, ClusterOptions};
use crate::faults::Subject;
use crate::folder::Folder;
use crate::peer::{self, Kafka, LibrdkafkaTest, LibrdkafkaTests};

const BROKERS: usize = 3;
const TOPIC_COMMAND: &str = "org.apache.kafka.tools.TopicCommand";
const ACL_COMMAND: &str = "org.apache.kafka.tools.AclCommand";

/// By which members of groups talk to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Classic,
    /// KIP-848.
    Consumer,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Classic, Self::Consumer];

    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }

    fn list(self) -> List {
        List::parse(match self {
            Self::Classic => include_str!("../../../judges/librdkafka/classic.txt"),
            Self::Consumer => include_str!("../../../judges/librdkafka/consumer.txt"),
        })
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    /// The folder `librdkafka` of the crate `rdkafka-sys`.
    pub sources: PathBuf,
    pub protocols: Vec<Protocol>,
    pub with_ours: bool,
    pub with_kafka: bool,
    /// Only tests whose name begins with one of these; all if there is none.
    pub only: Vec<String>,
    /// How many run at the same time.
    pub jobs: usize,
    /// By what the suite multiplies its time limits.
    pub patience: f64,
}

/// Runs the suite and prints what is to be said; whether ours did what the lists say.
pub async fn run(options: &Options) -> bool {
    let suite = peer::librdkafka_tests(&options.sources);
    let kafka = peer::kafka();
    let folder = Folder::new();
    let mut good = true;
    for protocol in &options.protocols {
        let judge = Judge { options, suite: &suite, kafka: &kafka, folder: &folder, protocol: *protocol };
        good &= judge.run().await;
    }
    if !good {
        folder.keep();
    }
    good
}

/// One protocol on both sides.
struct Judge<'a> {
    options: &'a Options,
    suite: &'a LibrdkafkaTests,
    kafka: &'a Kafka,
    folder: &'a Folder,
    protocol: Protocol,
}

/// Whose brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Kafka,
}

impl Judge<'_> {
    async fn run(&self) -> bool {
        let ours = if self.options.with_ours { Some(self.side(Side::Ours).await) } else { None };
        let kafka = if self.options.with_kafka { Some(self.side(Side::Kafka).await) } else { None };
        self.report(ours.as_ref(), kafka.as_ref())
    }

    fn tests(&self) -> Vec<&LibrdkafkaTest> {
        chosen(&self.suite.tests, &self.options.only)
    }

    async fn side(&self, side: Side) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for auto_create in [true, false] {
            let tests: Vec<&str> = self
                .tests()
                .into_iter()
                .filter(|test| test.without_auto_create != auto_create)
                .map(|test| test.name.as_str())
                .collect();
            if !tests.is_empty() {
                outcomes.extend(self.scenario(side, auto_create, &tests).await);
            }
        }
        outcomes
    }

    async fn scenario(&self, side: Side, auto_create: bool, tests: &[&str]) -> Outcomes {
        let scenario = if auto_create { "default" } else { "noautocreate" };
        let cluster = self.cluster(side, auto_create).await;
        let bootstrap = cluster.bootstrap();
        eprintln!("{}, {} protocol, scenario {scenario}:", cluster.name(), self.protocol.name());
        let course = Course {
            suite: self.suite,
            bootstrap: &bootstrap,
            protocol: self.protocol,
            scenario,
            scripts: &self.scripts(),
            folder: self.folder.sub(&format!("{}-{side:?}-{scenario}", self.protocol.name())),
            patience: self.options.patience,
        };
        tokio::task::block_in_place(|| {
            let mut outcomes = course.run(tests, self.options.jobs);
            let again: Vec<&str> = tests.iter().copied().filter(|name| self.is_odd(name, side, &outcomes)).collect();
            if !again.is_empty() {
                eprintln!("  once more, alone:");
                add_second_try(&mut outcomes, course.run(&again, 1));
            }
            outcomes
        })
    }

    /// Whether a test ended otherwise than is to be expected, and so should have a second try.
    fn is_odd(&self, name: &str, side: Side, outcomes: &Outcomes) -> bool {
        let Some(outcome) = outcomes.get(name) else { return false };
        match side {
            Side::Ours => {
                let is_wrong = matches!(self.protocol.list().judge(name, outcome, None), Verdict::Wrong(_));
                is_wrong && *outcome != Outcome::Passed
            }
            Side::Kafka => matches!(outcome, Outcome::Failed(_)),
        }
    }

    /// What the suite's own scenarios ask for.
    async fn cluster(&self, side: Side, auto_create: bool) -> Subject {
        let settings = [
            ("num.partitions", "4"),
            ("default.replication.factor", "3"),
            ("auto.create.topics.enable", if auto_create { "true" } else { "false" }),
            ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
        ];
        match side {
            Side::Ours => {
                let mut options = ClusterOptions::replicated().set("min.insync.replicas", "1");
                for (name, value) in settings {
                    options = options.set(name, value);
                }
                for id in 1..=BROKERS {
                    options = options.set_on(id, "broker.rack", format!("RACK{id}"));
                }
                Subject::Ours(Cluster::start_with(BROKERS, options).await)
            }
            Side::Kafka => {
                let settings = [&settings[..], &[("broker.rack", "RACK{id}")]].concat();
                Subject::Kafka(self.kafka.cluster(BROKERS, &settings).await)
            }
        }
    }

    /// A folder with Kafka's scripts as far as tests call them.
    fn scripts(&self) -> PathBuf {
        let scripts = self.folder.sub("kafka");
        let bin = self.folder.sub("kafka/bin");
        for (name, class) in [("kafka-topics.sh", TOPIC_COMMAND), ("kafka-acls.sh", ACL_COMMAND)] {
            self.kafka.write_script(&bin.join(name), class);
        }
        scripts
    }

    fn report(&self, ours: Option<&Outcomes>, kafka: Option<&Outcomes>) -> bool {
        let tests: Vec<&str> = self.tests().into_iter().map(|test| test.name.as_str()).collect();
        let known: Vec<&str> = self.suite.tests.iter().map(|test| test.name.as_str()).collect();
        let title = format!("librdkafka's tests, {} protocol", self.protocol.name());
        let list = self.protocol.list();
        Report { title: &title, list: &list, tests: &tests, known: &known, ours, kafka }.print()
    }
}

/// Tests that need a broker and that the suite runs unasked; of these what was asked for. Panics where there is nothing: a
/// judge that ran nothing is not green.
fn chosen<'a>(suite: &'a [LibrdkafkaTest], only: &[String]) -> Vec<&'a LibrdkafkaTest> {
    let tests: Vec<&LibrdkafkaTest> = suite.iter().filter(|test| !test.is_local && !test.is_left_out).collect();
    let nobody = only.iter().find(|start| !tests.iter().any(|test| test.name.starts_with(*start)));
    assert!(nobody.is_none(), "no test that needs a broker begins with `{}`", nobody.map_or("", String::as_str));
    assert!(!tests.is_empty(), "the suite has no test that needs a broker");
    let is_chosen = |test: &&LibrdkafkaTest| only.is_empty() || only.iter().any(|start| test.name.starts_with(start));
    tests.into_iter().filter(is_chosen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Vec<String> {
        let test = |name: &str, is_local| LibrdkafkaTest {
            name: name.to_owned(),
            is_local,
            is_left_out: name.starts_with('8'),
            without_auto_create: false,
        };
        let suite =
            [test("0000_unit", true), test("0045_one", false), test("0045_two", false), test("8000_idle", false)];
        let only: Vec<String> = only.iter().map(|start| (*start).to_owned()).collect();
        chosen(&suite, &only).iter().map(|test| test.name.clone()).collect()
    }

    #[test]
    fn tests_are_chosen_by_how_their_names_begin() {
        assert_eq!(names(&[]), ["0045_one", "0045_two"]);
        assert_eq!(names(&["0045_t"]), ["0045_two"]);
    }

    #[test]
    #[should_panic(expected = "no test that needs a broker begins with `0999`")]
    fn a_name_that_no_test_has_is_no_success() {
        names(&["0045", "0999"]);
    }

    #[test]
    #[should_panic(expected = "begins with `0000`")]
    fn a_test_that_the_judge_does_not_run_is_no_success() {
        names(&["0000"]);
    }

    #[test]
    fn the_lists_can_be_read() {
        assert!(Protocol::ALL.iter().all(|protocol| !protocol.list().names().is_empty()));
    }
}
