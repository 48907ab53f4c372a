//! Prometheus, and the tool that checks its rules.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::missing;
use crate::folder::Folder;
use crate::ports::free_port;
use crate::process::{Process, die_with_test};
use crate::rest::{Answer, Rest};
use crate::wait::wait_until;

const START_TIME_MAX: Duration = Duration::from_secs(60);
const INSTALL: &str = "Prometheus (Debian: apt-get install prometheus)";

#[derive(Clone, Debug)]
pub struct Promtool;

/// promtool, or the end of the test.
pub fn promtool() -> Promtool {
    match Command::new("promtool").arg("--version").output() {
        Ok(_) => Promtool,
        Err(error) => missing("promtool", &format!("{INSTALL}; {error}")),
    }
}

impl Promtool {
    /// Runs it in this folder; it must be content; what it says.
    pub fn text(&self, folder: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("promtool");
        command.args(arguments).current_dir(folder);
        die_with_test(&mut command);
        let output = command.output().unwrap_or_else(|error| panic!("start promtool: {error}"));
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {arguments:?}: {}\n{text}", output.status);
        text
    }
}

/// A Prometheus that runs.
#[derive(Debug)]
pub struct Prometheus {
    rest: Rest,
    process: Process,
    // Last, so that the process is dead before its folder goes.
    _folder: Folder,
}

/// A Prometheus with this configuration, or the end of the test.
pub async fn prometheus(configuration: &str) -> Prometheus {
    if let Err(error) = Command::new("prometheus").arg("--version").output() {
        missing("prometheus", &format!("{INSTALL}; {error}"));
    }
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, configuration).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let process = Process::spawn("prometheus", command, &folder.path().join("prometheus.log"));
    let rest = Rest::new(format!("http://127.0.0.1:{port}"));
    let mut prometheus = Prometheus { rest, process, _folder: folder };
    let Prometheus { rest, process, .. } = &mut prometheus;
    wait_until("Prometheus is ready", START_TIME_MAX, || {
        assert!(process.is_running(), "Prometheus ended while it started:\n{}", process.log_tail());
        async { rest.try_get("/-/ready").await.is_some_and(|answer| answer.is_good()) }
    })
    .await;
    prometheus
}

impl Prometheus {
    /// What an expression gives now, series by series, or what Prometheus has against it.
    pub async fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let asked: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let Answer { status, body } = self.rest.get(&format!("/api/v1/query?query={asked}")).await;
        if status != 200 {
            return Err(body.to_string());
        }
        let result = &body["data"]["result"];
        if body["data"]["resultType"] == "scalar" {
            return Ok(vec![number(&result[1])]);
        }
        let series = result.as_array().unwrap_or_else(|| panic!("a vector: {body}"));
        Ok(series.iter().map(|series| number(&series["value"][1])).collect())
    }
}

/// Prometheus writes numbers as text, because JSON knows no NaN.
fn number(value: &Value) -> f64 {
    let text = value.as_str().unwrap_or_else(|| panic!("a number as text: {value}"));
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}
