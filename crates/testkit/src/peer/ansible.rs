//! Ansible, as who provisions has it, and the linter of its playbooks.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::{ENVIRONMENT, install};
use super::{cache, missing};

const PINS: [&str; 2] = ["ansible-core==2.19.14", "ansible-lint==26.10.1"];
const JUDGE: &str = "Ansible (ansible-core 2.19.14, ansible-lint 26.10.1)";
const INSTALL: &str = "Python 3.11 or newer with venv (Debian: python3-venv), and a network for the first run";

#[derive(Clone, Debug)]
pub struct Ansible {
    programs: PathBuf,
}

/// Ansible, or the end of the test.
pub fn ansible() -> Ansible {
    match cache::entry(&PINS.join("-").replace("==", "-"), |folder| install(folder, &PINS)) {
        Ok(folder) => Ansible { programs: folder.join(ENVIRONMENT).join("bin") },
        Err(reason) => missing(JUDGE, &format!("{INSTALL}; {reason}")),
    }
}

impl Ansible {
    /// One of its programs, to run in a folder with playbooks.
    pub fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.programs.display())).current_dir(folder);
        command.env("ANSIBLE_CONFIG", folder.join("ansible.cfg")).env("ANSIBLE_NOCOLOR", "1").env("NO_COLOR", "1");
        command
    }
}
