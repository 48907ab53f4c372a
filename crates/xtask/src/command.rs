//! Starts cargo with this workspace as its folder, and talks on the terminal.
#![expect(clippy::print_stdout, reason = "xtask speaks to a person")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(arguments);
    command
}

pub(crate) fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// Where cargo keeps the sources of a package that the lock file names.
pub(crate) fn source_folder(root: &Path, package: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        manifest_path: PathBuf,
    }
    let mut metadata = cargo(root, &["metadata", "--format-version", "1", "--locked"]);
    let output = metadata.stderr(Stdio::inherit()).output().context("start cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata ended with {}", output.status);
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("read what cargo metadata says")?;
    let found = metadata.packages.into_iter().find(|found| found.name == package);
    let found = found.with_context(|| format!("{package} is not in the lock file"))?;
    Ok(found.manifest_path.parent().context("a manifest lies in a folder")?.to_path_buf())
}
