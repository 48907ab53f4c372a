//! The program that clients in processes of their own are: usually the very one that runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;

#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// This very program, with arguments that lead it to where it asks whether it was told to be a client.
    pub fn this(arguments: &[&str]) -> Self {
        let path = std::env::current_exe().expect("path of this program");
        Self { path, arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
    }

    /// Starts it; this variable says to it what it is told to be.
    pub(crate) fn start(&self, name: &str, (variable, told): (&str, &str), log: &Path) -> Process {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env(variable, told);
        Process::spawn(name, command, log)
    }
}
