//! Members of Java: Kafka's verifiable consumer, and what Kafka's group command tells of them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use twinstream_testkit::peer::{self, Kafka};
use twinstream_testkit::records::create_topic;
use twinstream_testkit::{Cluster, ClusterOptions, Process, wait_until};

use crate::{SETTLED_WITHIN, lively};

const MEMBER: &str = "org.apache.kafka.tools.VerifiableConsumer";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// Two topics of this size, so that a range of one can be compared with that of the other.
const PARTITIONS: i32 = 4;

struct Bench {
    kafka: Kafka,
    cluster: Cluster,
    bootstrap: String,
}

impl Bench {
    async fn start() -> Self {
        // One of them is killed, and then missed for this long.
        let options = lively(ClusterOptions::default()).set("group.consumer.session.timeout.ms", "6000");
        let cluster = Cluster::start_with(1, options).await;
        let bootstrap = cluster.bootstrap();
        for topic in ["left", "right"] {
            create_topic(&bootstrap, topic, PARTITIONS).await;
        }
        Self { kafka: peer::kafka(), cluster, bootstrap }
    }

    /// A verifiable consumer in its own process; what it says goes to a file.
    fn member(&self, name: &str, topic: &str, more: &[&str]) -> Process {
        let common = ["--bootstrap-server", &self.bootstrap, "--group-id", "javas", "--topic", topic];
        let earliest = ["--reset-policy", "earliest", "--verbose"];
        let command = self.kafka.command(MEMBER, &[&common[..], &earliest, more].concat());
        Process::spawn(name, command, &self.cluster.folder().path().join(format!("{name}.log")))
    }

    fn write(&self, topic: &str, count: u32) {
        let count = count.to_string();
        let arguments = ["--bootstrap-server", &self.bootstrap, "--topic", topic, "--max-messages", &count];
        // Keys, so that every partition gets some.
        let said = self.kafka.text(PRODUCER, &[&arguments[..], &["--acks", "-1", "--repeating-keys", "40"]].concat());
        let sent = said.lines().filter(|line| line.contains("producer_send_success")).count();
        assert_eq!(sent.to_string(), count, "{said}");
    }

    fn describe(&self, more: &[&str]) -> String {
        let arguments = ["--bootstrap-server", &self.bootstrap, "--describe", "--group", "javas"];
        let output = self.kafka.run(GROUPS, &[&arguments[..], more].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The assignment of each member, as the group command shows it.
    fn assignments(&self) -> Vec<String> {
        let text = self.describe(&["--members", "--verbose"]);
        let (mut heads, mut rows) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let cells: Vec<&str> = line.split_whitespace().collect();
            match cells.first() {
                Some(&"GROUP") => heads = cells,
                Some(&"javas") => rows.push(cells),
                _ => {}
            }
        }
        let at = heads.iter().position(|head| *head == "CURRENT-ASSIGNMENT");
        let at = at.or_else(|| heads.iter().position(|head| *head == "ASSIGNMENT"));
        let mut assignments: Vec<String> = rows.iter().filter_map(|row| Some((*row.get(at?)?).to_owned())).collect();
        assignments.sort_unstable();
        assignments
    }

    async fn until_assigned(&self, wanted: &[&str]) {
        let what = format!("members own {wanted:?}");
        let mut last = Vec::new();
        wait_until(&what, SETTLED_WITHIN, || {
            let found = self.assignments();
            if found != last {
                eprintln!("members own {found:?}");
                last.clone_from(&found);
            }
            async move { found == wanted }
        })
        .await;
    }

    /// How many partitions each member has, in ascending order.
    async fn until_shares(&self, wanted: &[usize]) {
        let what = format!("members have {wanted:?} partitions");
        wait_until(&what, SETTLED_WITHIN, || {
            let mut shares: Vec<usize> = self.assignments().iter().map(|owned| count(owned)).collect();
            shares.sort_unstable();
            async move { shares == wanted }
        })
        .await;
    }
}

/// Of an assignment such as `left:0,1;right:2`.
fn count(assignment: &str) -> usize {
    assignment.split(';').filter_map(|topic| topic.split_once(':')).map(|(_, owned)| owned.split(',').count()).sum()
}

/// What a member said of itself, one event a line.
fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How many records a member has read.
fn read(log: &Path) -> u64 {
    events(log).iter().filter(|event| event["name"] == "record_data").count() as u64
}

/// The partitions that a member has been given and has not given back.
fn owned(log: &Path) -> BTreeSet<i64> {
    let mut owned = BTreeSet::new();
    for event in events(log) {
        let partitions = event["partitions"].as_array().into_iter().flatten();
        let partitions = partitions.filter_map(|partition| partition["partition"].as_i64());
        match event["name"].as_str() {
            Some("partitions_assigned") => owned.extend(partitions),
            Some("partitions_revoked" | "partitions_lost") => {
                let gone: BTreeSet<i64> = partitions.collect();
                owned.retain(|partition| !gone.contains(partition));
            }
            _ => {}
        }
    }
    owned
}

async fn until_read(members: &[&Process], records: u64) {
    let what = format!("{records} records are read");
    wait_until(&what, SETTLED_WITHIN, || {
        let total: u64 = members.iter().map(|member| read(member.log())).sum();
        async move { total == records }
    })
    .await;
}

const NEW: [&str; 2] = ["--group-protocol", "consumer"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_evenly_and_take_over_from_one_that_dies() {
    let bench = Bench::start().await;
    let first = bench.member("first", "left", &NEW);
    bench.until_assigned(&["left:0,1,2,3"]).await;
    let mut second = bench.member("second", "left", &NEW);
    bench.until_shares(&[2, 2]).await;
    bench.write("left", 200);
    until_read(&[&first, &second], 200).await;

    let state = bench.describe(&["--state"]);
    assert!(state.contains("Stable") && state.contains("uniform"), "{state}");
    wait_until("everything that was read is committed", SETTLED_WITHIN, || async {
        let offsets = bench.describe(&[]);
        let lags = offsets.lines().filter(|line| line.starts_with("javas")).map(|line| line.split_whitespace().nth(5));
        lags.collect::<Vec<_>>() == [Some("0"); PARTITIONS as usize]
    })
    .await;

    second.kill();
    bench.until_assigned(&["left:0,1,2,3"]).await;
    bench.write("left", 100);
    until_read(&[&first, &second], 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_ask_for_ranges_get_them() {
    let bench = Bench::start().await;
    let range = [&NEW[..], &["--group-remote-assignor", "range"]].concat();
    let mut first = bench.member("first", "left", &range);
    let _second = bench.member("second", "left", &range);
    bench.until_assigned(&["left:0,1", "left:2,3"]).await;
    assert!(bench.describe(&["--state"]).contains("range"));
    // A member that leaves says so: the other does not wait for the end of a session.
    first.stop().await;
    bench.until_assigned(&["left:0,1,2,3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_member_comes_back_to_its_partitions() {
    let bench = Bench::start().await;
    let instance = |name: &'static str| [&NEW[..], &["--group-instance-id", name]].concat();
    let mut first = bench.member("first", "left", &instance("one"));
    bench.until_assigned(&["left:0,1,2,3"]).await;
    let second = bench.member("second", "left", &instance("two"));
    bench.until_shares(&[2, 2]).await;
    let (of_first, of_second) = (owned(first.log()), owned(second.log()));
    first.stop().await;
    let again = bench.member("again", "left", &instance("one"));
    wait_until("the member is back", SETTLED_WITHIN, || async { owned(again.log()) == of_first }).await;
    assert_eq!(owned(second.log()), of_second, "the other member kept what it had");
}
