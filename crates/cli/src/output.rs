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

impl OutputFormat {
    /// For people, or for `awk`.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// A value as JSON or YAML; as JSON for formats that have no other shape for it.
pub(crate) fn data(format: OutputFormat, value: &impl Serialize) -> Result<(), Failure> {
    if format != OutputFormat::Yaml {
        return json(value);
    }
    let text = serde_yaml_ng::to_string(value).map_err(|error| Failure::new(format!("cannot print YAML: {error}")))?;
    // A line that begins a document lets a reader of many (`--watch`) tell them apart.
    raw(format!("---\n{text}").as_bytes())
}

/// Items in the format that was asked for. A column with a `+` before its name is shown with `-o wide`; the first cell of a
/// row is the name of the item.
pub(crate) fn listing<T: Serialize>(
    format: OutputFormat,
    items: &[T],
    columns: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => data(format, &items),
        OutputFormat::Name => {
            let mut last = None;
            for name in items.iter().filter_map(|item| row(item).into_iter().next()) {
                if last.as_ref() != Some(&name) {
                    line(&name)?;
                }
                last = Some(name);
            }
            Ok(())
        }
        OutputFormat::Table | OutputFormat::Wide => {
            let rows = items.iter().map(|item| {
                let cells = row(item);
                debug_assert_eq!(cells.len(), columns.len(), "{columns:?}");
                columns.iter().zip(cells).filter(|(name, _)| shows(format, name)).map(|(_, cell)| cell).collect()
            });
            let header = columns.iter().filter(|name| shows(format, name));
            line(&emphasized(&grid(
                header.map(|name| name.trim_start_matches('+').to_owned()).collect(),
                rows.collect(),
            )))
        }
    }
}

fn shows(format: OutputFormat, column: &str) -> bool {
    format == OutputFormat::Wide || !column.starts_with('+')
}

/// What a change came to: a sentence, an object, or the names of what was changed.
pub(crate) fn done(
    format: OutputFormat,
    object: &impl Serialize,
    names: &[impl AsRef<str>],
    text: &str,
) -> Result<(), Failure> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => data(format, object),
        OutputFormat::Name => names.iter().try_for_each(|name| line(name.as_ref())),
        OutputFormat::Table | OutputFormat::Wide => line(text),
    }
}

/// The header stands out where somebody looks.
fn emphasized(table: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    match table.split_once('\n') {
        Some((header, rows)) if stdout_is_terminal() && !plain => format!("\u{1b}[1m{header}\u{1b}[0m\n{rows}"),
        _ => table.to_owned(),
    }
}

pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Rows with a header; aligned columns without frames, so that `awk` reads them too.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> Result<(), Failure> {
    line(&emphasized(&table_text(header, rows)))
}

/// The same as text.
pub(crate) fn table_text<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    grid(header.map(str::to_owned).to_vec(), rows.into_iter().map(Vec::from).collect())
}

fn grid(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
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
        OutputFormat::Json | OutputFormat::Yaml => data(format, &version)?,
        OutputFormat::Name => line(version.version)?,
        OutputFormat::Table | OutputFormat::Wide => {
            line(&format!("twinstream {} ({})", version.version, version.profile))?
        }
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
