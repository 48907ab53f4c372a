//! Prometheus, and the tool that checks its rules.

use std::path::Path;
use std::process::Command;

use super::missing;
use crate::process::die_with_test;

#[derive(Clone, Debug)]
pub struct Promtool;

/// promtool, or the end of the test.
pub fn promtool() -> Promtool {
    match Command::new("promtool").arg("--version").output() {
        Ok(_) => Promtool,
        Err(error) => missing("promtool", &format!("Prometheus (Debian: apt-get install prometheus); {error}")),
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
