//! A cluster of ours, and Kafka's tools aimed at it.

use std::cell::Cell;
use std::process::Output;
use std::time::Duration;

use twinstream_testkit::peer::{self, Kafka};
use twinstream_testkit::{Cluster, ClusterOptions, wait_until};

pub(crate) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
pub(crate) const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// A tool takes a second or two to start, several at once take longer.
const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// A cluster, Kafka's tools, and the option that every tool takes.
pub(crate) struct Bench {
    pub(crate) kafka: Kafka,
    pub(crate) cluster: Cluster,
    pub(crate) bootstrap: String,
}

impl Bench {
    pub(crate) async fn start(brokers: usize) -> Self {
        Self::start_with(brokers, ClusterOptions::default()).await
    }

    pub(crate) async fn start_with(brokers: usize, options: ClusterOptions) -> Self {
        let kafka = peer::kafka();
        let cluster = Cluster::start_with(brokers, options).await;
        let bootstrap = cluster.bootstrap();
        Self { kafka, cluster, bootstrap }
    }

    /// The stdout of a tool that must succeed.
    pub(crate) fn text(&self, class: &str, arguments: &[&str]) -> String {
        self.kafka.text(class, &[&["--bootstrap-server", &self.bootstrap], arguments].concat())
    }

    /// The same for a tool whose first argument is a command.
    pub(crate) fn command(&self, class: &str, command: &str, arguments: &[&str]) -> String {
        self.kafka.text(class, &[&[command, "--bootstrap-server", &self.bootstrap], arguments].concat())
    }

    /// Everything that a tool says, and whether it succeeded.
    pub(crate) fn outcome(&self, class: &str, arguments: &[&str]) -> (bool, String) {
        let output = self.kafka.run(class, &[&["--bootstrap-server", &self.bootstrap], arguments].concat());
        (output.status.success(), said(&output))
    }

    pub(crate) fn text_with_input(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let arguments = [&["--bootstrap-server", &self.bootstrap], arguments].concat();
        let output = self.kafka.run_with_input(class, &arguments, input);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !stderr.contains("ERROR"), "{class} {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The partitions that a description with this filter lists, each as `topic-partition`.
    pub(crate) fn listed(&self, filter: &str) -> Vec<String> {
        let text = self.text(TOPICS, &["--describe", filter]);
        let named = text.lines().filter_map(|line| {
            let mut cells = line.trim().split('\t');
            let topic = cells.next()?.strip_prefix("Topic: ")?;
            Some(format!("{topic}-{}", cells.next()?.strip_prefix("Partition: ")?))
        });
        let mut named: Vec<String> = named.collect();
        named.sort_unstable();
        named
    }

    /// Waits until a description with this filter lists exactly these partitions.
    pub(crate) async fn until_listed(&self, filter: &str, partitions: &[&str]) {
        let what = format!("{filter} lists {partitions:?}");
        let last = Cell::default();
        wait_until(&what, SHOWN_WITHIN, || async {
            let listed = self.listed(filter);
            if last.replace(listed.clone()) != listed {
                eprintln!("{filter} lists {listed:?}");
            }
            listed == partitions
        })
        .await;
    }

    /// The row of a partition in the description of its topic.
    pub(crate) fn row(&self, topic: &str, partition: i32) -> String {
        let text = self.text(TOPICS, &["--describe", "--topic", topic]);
        let start = format!("Topic: {topic}\tPartition: {partition}\t");
        let row = text.lines().find_map(|line| line.trim().strip_prefix(&start));
        row.unwrap_or_else(|| panic!("no partition {partition} in\n{text}")).to_owned()
    }

    /// Waits until the row of a partition is as wanted.
    pub(crate) async fn until_row(&self, topic: &str, partition: i32, what: &str, is: impl Fn(&str) -> bool) {
        wait_until(&format!("{topic}-{partition} {what}"), SHOWN_WITHIN, || async { is(&self.row(topic, partition)) })
            .await;
    }
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A field of a row such as `Leader: 2\tReplicas: 2,3`.
pub(crate) fn field<'a>(row: &'a str, name: &str) -> &'a str {
    let start = format!("{name}: ");
    let value =
        row.split('\t').find_map(|cell| cell.strip_prefix(start.as_str()).or(cell.strip_prefix(start.trim_end())));
    value.unwrap_or_else(|| panic!("no {name} in {row}")).trim()
}
