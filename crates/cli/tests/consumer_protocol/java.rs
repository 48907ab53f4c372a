//! Members of Java: Kafka's verifiable consumer, and what Kafka's group command tells of them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use twinstream_testkit::peer::{self, Kafka};
use twinstream_testkit::records::create_topic;
use twinstream_testkit::{Cluster, ClusterOptions, Process, wait_until};

use crate::{SETTLED_WITHIN, lively};

const MEMBER: &str = "org.apache.kafka.tools.VerifiableConsumer";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
/// The kind of record that is not about members.
const OFFSET_COMMIT: &str = "1";

const PARTITIONS: i32 = 4;

pub(crate) struct Bench {
    kafka: Kafka,
    cluster: Cluster,
    bootstrap: String,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(lively(ClusterOptions::default())).await
    }

    async fn start_with(options: ClusterOptions) -> Self {
        let cluster = Cluster::start_with(1, options).await;
        let bootstrap = cluster.bootstrap();
        create_topic(&bootstrap, "left", PARTITIONS).await;
        Self { kafka: peer::kafka(), cluster, bootstrap }
    }

    /// A verifiable consumer in its own process; what it says goes to a file.
    pub(crate) fn member(&self, name: &str, topic: &str, more: &[&str]) -> Process {
        let common = ["--bootstrap-server", &self.bootstrap, "--group-id", "javas", "--topic", topic];
        let earliest = ["--reset-policy", "earliest", "--verbose"];
        let command = self.kafka.command(MEMBER, &[&common[..], &earliest, more].concat());
        Process::spawn(name, command, &self.cluster.folder().path().join(format!("{name}.log")))
    }

    pub(crate) fn write(&self, topic: &str, count: u32) {
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

    pub(crate) async fn until_assigned(&self, wanted: &[&str]) {
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

    /// The records of the group as Kafka's dump tool reads them: the kind, and the value if there is one.
    fn stored(&self) -> Vec<(String, Option<Value>)> {
        let folders = std::fs::read_dir(self.cluster.data(1)).expect("the data of the broker");
        let folders = folders.map(|entry| entry.expect("an entry").path());
        let logs = folders.filter(|folder| folder.display().to_string().contains("__consumer_offsets-"));
        let logs = logs.map(|folder| folder.join("00000000000000000000.log"));
        let written = logs.filter(|log| log.metadata().is_ok_and(|log| log.len() > 0));
        let texts =
            written.map(|log| self.kafka.text(DUMP, &["--offsets-decoder", "--files", &log.display().to_string()]));
        let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let records = lines.iter().filter_map(|line| line.split_once(" key: ")?.1.split_once(" payload: "));
        let parse = |(key, value): (&str, &str)| {
            let key: Value = serde_json::from_str(key).unwrap_or_else(|error| panic!("{key}: {error}"));
            let value = (value != "<DELETE>").then(|| serde_json::from_str(value).expect("a value in JSON"));
            (key["type"].as_str().expect("a kind").to_owned(), value)
        };
        records.map(parse).filter(|(kind, _)| kind != OFFSET_COMMIT).collect()
    }

    /// How many partitions each member has, in ascending order.
    pub(crate) async fn until_shares(&self, wanted: &[usize]) {
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

/// The records that a member has read, by partition and offset.
fn read(log: &Path) -> BTreeSet<(i64, i64)> {
    let events = events(log).into_iter().filter(|event| event["name"] == "record_data");
    events.filter_map(|event| Some((event["partition"].as_i64()?, event["offset"].as_i64()?))).collect()
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

pub(crate) async fn until_read(members: &[&Process], records: usize) {
    let what = format!("{records} records are read");
    wait_until(&what, SETTLED_WITHIN, || {
        let all: BTreeSet<(i64, i64)> = members.iter().flat_map(|member| read(member.log())).collect();
        async move { all.len() == records }
    })
    .await;
}

pub(crate) const NEW: [&str; 2] = ["--group-protocol", "consumer"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_evenly_and_take_over_from_one_that_dies() {
    // One of them is killed, and then missed for this long.
    let options = lively(ClusterOptions::default()).set("group.consumer.session.timeout.ms", "6000");
    let bench = Bench::start_with(options).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_of_a_group_is_what_kafka_would_have_stored() {
    let mut bench = Bench::start().await;
    let mut only = bench.member("only", "left", &NEW);
    bench.until_assigned(&["left:0,1,2,3"]).await;
    only.stop().await;
    bench.cluster.broker(1).stop().await;
    let stored = bench.stored();
    let kinds: Vec<(&str, bool)> = stored.iter().map(|(kind, payload)| (kind.as_str(), payload.is_some())).collect();
    let joined = [("5", true), ("3", true), ("7", true), ("6", true), ("8", true)];
    let left = [("8", false), ("7", false), ("5", false), ("3", true)];
    assert_eq!(kinds, [&joined[..], &left].concat(), "the kinds of records and their order are Kafka's: {stored:?}");
    let wants = &stored[0].1.as_ref().expect("a value")["data"];
    assert_eq!(wants["subscribedTopicNames"], json!(["left"]));
    assert_eq!((&wants["subscribedTopicRegex"], &wants["serverAssignor"]), (&json!(""), &Value::Null));
    let owns = &stored[4].1.as_ref().expect("a value")["data"];
    assert_eq!((&owns["memberEpoch"], &owns["state"]), (&json!(2), &json!(0)));
    assert_eq!(owns["assignedPartitions"][0]["partitions"], json!([0, 1, 2, 3]));
    assert_eq!(owns["assignedPartitions"][0]["assignmentEpochs"], json!([2, 2, 2, 2]));
}
