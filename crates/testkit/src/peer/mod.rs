//! Judges: software that is not ours and whose word counts.
//!
//! Picture: a test asks for a judge ([`kafka`], [`open_search`], [`python`], [`kcat`], [`promtool`], [`prometheus()`]) and gets it, or the test ends
//! there. Versions are pinned in this crate (`peers/*/pom.xml`, [`python`]); what has to be fetched goes once into the
//! cache folder (`TWINSTREAM_CACHE`, else `~/.cache/twinstream`), under a lock, so that tests that run side by side fetch
//! once, and later runs need no network.
//!
//! A judge that is missing fails its test with "judge did not run: ...", so that nothing passes unjudged. When
//! `TWINSTREAM_JUDGES_FILE` is set, by `cargo xtask test`, a line `executable, test, judge, what to install` (by tabs) is
//! appended to it first; `xtask` then counts the test as skipped, unless `CI=true`.

mod ansible;
mod cache;
mod hosts_tree;
mod java;
mod kafka;
mod kafka_tools;
mod kcat;
mod librdkafka;
mod open_search;
mod prometheus;
mod python;
mod python_tests;

use std::fs::OpenOptions;
use std::io::Write;

pub use ansible::{Ansible, ansible};
pub use hosts_tree::{HostsTree, hosts_tree};
pub use kafka::{Kafka, KafkaCluster, kafka};
pub use kafka_tools::{KafkaTools, Printed};
pub use kcat::{Kcat, kcat};
pub use librdkafka::{LibrdkafkaTest, LibrdkafkaTests, librdkafka_tests};
pub use open_search::{OpenSearch, OpenSearchNode, open_search};
pub use prometheus::{Prometheus, Promtool, prometheus, promtool};
pub use python::{Python, python};
pub use python_tests::{PythonTests, check_confluent_checkout, confluent_kafka_tests, kafka_python_tests};

const VARIABLE: &str = "TWINSTREAM_JUDGES_FILE";

/// Says which judge did not run and ends the test.
pub fn missing(judge: &str, install: &str) -> ! {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let executable = std::env::current_exe().expect("path of the running test");
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("main");
        let install = install.replace(['\n', '\t'], " ");
        let line = format!("{}\t{test}\t{judge}\t{install}\n", executable.display());
        let file = OpenOptions::new().append(true).create(true).open(&path);
        // One write of one short line: lines of tests that run side by side do not mix.
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("append to {}: {error}", path.display()));
    }
    panic!("judge did not run: {judge}: {install}");
}
