//! The one place that writes to stdout and stderr.
//!
//! Invariants: data to stdout, talk to stderr; a reader that went away (`| head`) ends the command quietly; no colour
//! and no drawing when stdout is no terminal or `NO_COLOR` is set.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::arguments::OutputFormat;
use crate::failure::Failure;

/// Writes data and ends it with a newline.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")))
}

/// Writes data as it is.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes))
}

pub(crate) fn flush() -> Result<(), Failure> {
    written(io::stdout().lock().flush())
}

/// Writes to whoever sits in front of the screen. When stderr is gone there is nobody left to tell.
pub(crate) fn talk(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(format!("cannot print JSON: {error}")))?;
    line(&text)
}

pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Rows with a header; aligned columns without frames, so that `awk` reads them too.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> Result<(), Failure> {
    line(&table_text(header, rows))
}

/// The same as text.
pub(crate) fn table_text<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(str::to_uppercase));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    profile: &'static str,
}

pub(crate) fn version(format: OutputFormat) -> Result<ExitCode, Failure> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let version = Version { version: env!("CARGO_PKG_VERSION"), profile };
    match format {
        OutputFormat::Json => json(&version)?,
        OutputFormat::Table => line(&format!("twinstream {} ({})", version.version, version.profile))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::reader_left()),
        Err(error) => Err(Failure::new(format!("cannot write to stdout: {error}"))),
    }
}

#[cfg(test)]
mod tests;
