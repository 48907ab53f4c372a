//! What the user gave: a properties file, the environment, the command line; later ones win.
//!
//! The environment spells a name in capitals with underscores behind `TWINSTREAM_`: `TWINSTREAM_LOG_DIRS` is
//! `log.dirs`. Only variables that match a known name count, because other parts of Twinstream have variables too;
//! for our own settings the prefix is not doubled: `TWINSTREAM_METRICS_LISTENER` is `twinstream.metrics.listener`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::table;
use super::values::SettingsError;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    File(PathBuf),
    Environment(String),
    CommandLine,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Environment(variable) => write!(f, "in the environment variable {variable}"),
            Self::CommandLine => f.write_str("on the command line"),
        }
    }
}

/// One given value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenValue {
    pub(crate) text: String,
    pub(crate) provenance: Provenance,
}

/// All given values by name.
pub(crate) type Given = BTreeMap<String, GivenValue>;

const ENVIRONMENT_PREFIX: &str = "TWINSTREAM_";

/// Gathers file, environment and command line.
pub(crate) fn gather(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<Given, SettingsError> {
    let mut given = Given::new();
    if let Some(path) = file {
        read_properties(path, &mut given)?;
    }
    for (variable, text) in environment {
        if let Some(name) = name_of_variable(&variable) {
            given.insert(name.to_owned(), GivenValue { text, provenance: Provenance::Environment(variable) });
        }
    }
    for (name, text) in overrides {
        let value = GivenValue { text: text.clone(), provenance: Provenance::CommandLine };
        given.insert(name.trim().to_owned(), value);
    }
    Ok(given)
}

fn read_properties(path: &Path, given: &mut Given) -> Result<(), SettingsError> {
    let unreadable = |reason: String| SettingsError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let pairs = java_properties::read(BufReader::new(file)).map_err(|error| unreadable(error.to_string()))?;
    for (name, text) in pairs {
        given.insert(name, GivenValue { text, provenance: Provenance::File(path.to_owned()) });
    }
    Ok(())
}

fn name_of_variable(variable: &str) -> Option<&'static str> {
    let rest = variable.strip_prefix(ENVIRONMENT_PREFIX)?;
    table::all().map(|setting| setting.name).find(|name| {
        let own = name.strip_prefix("twinstream.").unwrap_or(name);
        as_variable(own) == rest
    })
}

fn as_variable(name: &str) -> String {
    name.chars().map(|c| if c == '.' || c == '-' { '_' } else { c.to_ascii_uppercase() }).collect()
}

#[cfg(test)]
mod tests;
