//! kcat, the client of the command line.

use std::process::{Command, Output};

use super::missing;
use crate::process::die_with_test;

#[derive(Clone, Debug)]
pub struct Kcat;

/// kcat, or the end of the test.
pub fn kcat() -> Kcat {
    match Command::new("kcat").arg("-V").output() {
        Ok(_) => Kcat,
        Err(error) => missing("kcat", &format!("kcat (Debian: apt-get install kcat); {error}")),
    }
}

impl Kcat {
    /// Runs it to its end with this text on its stdin.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("stdin");
        std::fs::write(&file, input).expect("write the input of kcat");
        let mut command = Command::new("kcat");
        // `cargo test` puts the librdkafka that we build in front of the one that kcat was built for.
        command.env_remove("LD_LIBRARY_PATH");
        command.args(arguments).stdin(std::fs::File::open(&file).expect("open the input of kcat"));
        die_with_test(&mut command);
        command.output().unwrap_or_else(|error| panic!("start kcat: {error}"))
    }

    /// Runs it; it must succeed; its stdout.
    pub fn text(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kcat {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }
}
