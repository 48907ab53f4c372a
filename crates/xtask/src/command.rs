//! Starts cargo with this workspace as its folder, and talks on the terminal.
#![expect(clippy::print_stdout, reason = "xtask speaks to a person")]

use std::path::Path;
use std::process::Command;

pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(arguments);
    command
}

pub(crate) fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}
