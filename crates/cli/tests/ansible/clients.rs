//! Clients that are not ours: confluent-kafka, in processes of their own.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use twinstream_testkit::{die_with_test, peer};

use crate::sites::{Sites, UPSTREAM};

const PRODUCE_AVRO: &str = include_str!("produce_avro.py");
const READ_AVRO: &str = include_str!("read_avro.py");
const PRODUCE: &str = include_str!("produce.py");
const READ: &str = include_str!("read.py");
/// Acknowledged numbers that wait to be heard; then the producer waits.
const ACKNOWLEDGED_MAX: usize = 1_000_000;
/// For what a client does at its end: it sends what it holds.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Produces so many records with Avro values, and registers their schema.
pub(crate) fn produce_avro(sites: &Sites, topic: &str, count: usize) {
    let arguments = [&sites.bootstrap(&UPSTREAM), &sites.registry(), topic, &count.to_string()];
    peer::python().text(PRODUCE_AVRO, &arguments);
}

/// Reads until it has so many different Avro values, each as it was written.
pub(crate) fn wait_avro(sites: &Sites, bootstrap: &str, topic: &str, count: usize, within: Duration) {
    let within = within.as_secs().to_string();
    peer::python().text(READ_AVRO, &[bootstrap, &sites.registry(), topic, &count.to_string(), &within]);
}

/// The values of a topic, read from its begin to its end; waits until there are at least so many different ones.
pub(crate) fn values(bootstrap: &str, topic: &str, at_least: usize) -> BTreeSet<u64> {
    read(bootstrap, topic, at_least, Duration::ZERO)
}

/// Waits until all of these are there.
pub(crate) fn wait_values(bootstrap: &str, topic: &str, wanted: &BTreeSet<u64>, within: Duration) {
    let found = read(bootstrap, topic, wanted.len(), within);
    let missing: Vec<&u64> = wanted.difference(&found).take(10).collect();
    assert!(missing.is_empty(), "{topic} at {bootstrap} lacks {missing:?} and perhaps more; it has {}", found.len());
}

fn read(bootstrap: &str, topic: &str, at_least: usize, within: Duration) -> BTreeSet<u64> {
    let arguments = [bootstrap, topic, &at_least.to_string(), &within.as_secs().to_string()];
    let text = peer::python().text(READ, &arguments);
    text.split_whitespace().map(|value| value.parse().expect("a value that was produced")).collect()
}

/// A producer with acks=all that goes on until it is stopped.
pub(crate) struct Producer {
    child: Child,
    // Closed, it ends the producer.
    stdin: Option<ChildStdin>,
    told: Receiver<u64>,
    acknowledged: BTreeSet<u64>,
}

impl Producer {
    pub(crate) fn start(bootstrap: &str, topic: &str) -> Self {
        let mut command = peer::python().command(PRODUCE);
        command.args([bootstrap, topic]).stdin(Stdio::piped()).stdout(Stdio::piped());
        die_with_test(&mut command);
        let mut child = command.spawn().expect("start a producer");
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
        let (sender, told) = sync_channel(ACKNOWLEDGED_MAX);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = line.parse().unwrap_or_else(|_| panic!("the producer says {line:?}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, told, acknowledged: BTreeSet::new() }
    }

    /// Waits until so many more are acknowledged, counted from now.
    pub(crate) async fn goes_on(&mut self, more: usize, within: Duration) {
        self.hear();
        let wanted = self.acknowledged.len() + more;
        let began = Instant::now();
        while self.acknowledged.len() < wanted {
            assert!(began.elapsed() < within, "{} of {wanted} were acknowledged", self.acknowledged.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.hear();
        }
    }

    /// What was acknowledged, as far as it was heard.
    pub(crate) fn acknowledged(&self) -> &BTreeSet<u64> {
        &self.acknowledged
    }

    /// Ends it; all that were acknowledged.
    pub(crate) fn stop(mut self) -> BTreeSet<u64> {
        drop(self.stdin.take());
        while let Ok(value) = self.told.recv_timeout(ENDS_WITHIN) {
            self.acknowledged.insert(value);
        }
        let status = self.child.wait().expect("the end of a producer");
        assert!(status.success(), "the producer ended with {status}");
        self.acknowledged
    }

    fn hear(&mut self) {
        self.acknowledged.extend(self.told.try_iter());
    }
}
