//! Log levels that change while the process runs.
//!
//! Picture: a process has a filter from its start. On top of it single loggers get another level: `root` is everything
//! that nothing else is said about, another name is a part of the program and all that is below it, such as
//! `twinstream_broker::controller`. What is changed is forgotten at the next start, as in Kafka (KIP-412).
//!
//! Invariants: at most [`CHANGED_MAX`] loggers differ from the start; a name that could be read as more than a name is
//! refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

pub use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;

/// The logger of everything that nothing else is said about.
pub const ROOT: &str = "root";

const CHANGED_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 200;

/// Why a level was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    #[error("log levels of this process cannot change, because its log was set up by somebody else")]
    NotOurs,
    #[error("log level {0} is not known: use FATAL, ERROR, WARN, INFO, DEBUG or TRACE")]
    UnknownLevel(String),
    #[error("logger {0} cannot exist: use root, or a part of the program such as twinstream_broker::controller")]
    BadName(String),
    #[error("{CHANGED_MAX} loggers have a level of their own already, reset one first")]
    TooMany,
    #[error("the level of the root logger cannot be removed, set it")]
    Root,
    #[error("log filter was not taken: {0}")]
    NotTaken(String),
}

/// A change of one logger; `None` goes back to what the process was started with.
pub type Change<'a> = (&'a str, Option<&'a str>);

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

struct Levels {
    at_start: String,
    changed: Mutex<BTreeMap<String, LevelFilter>>,
    reload: Reload,
}

static LEVELS: OnceLock<Levels> = OnceLock::new();

pub(super) fn reload_with(reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) -> Reload {
    Box::new(reload)
}

pub(super) fn install(at_start: String, reload: Reload) {
    // A second subscriber was refused before it came here.
    LEVELS.get_or_init(|| Levels { at_start, changed: Mutex::default(), reload });
}

/// The loggers of which something is said, `root` among them, and these parts of the program, each with the level that is
/// in force. Kafka's tool changes only loggers that are listed.
pub fn all(parts: &[&str]) -> Vec<(String, LevelFilter)> {
    let mut said = match LEVELS.get() {
        None => BTreeMap::from([(ROOT.to_owned(), LevelFilter::current())]),
        Some(levels) => {
            let mut said = said_in(&levels.at_start);
            said.extend(levels.changed.lock().unwrap_or_else(PoisonError::into_inner).clone());
            said
        }
    };
    let inherited: Vec<_> = parts.iter().map(|part| ((*part).to_owned(), in_force(&said, part))).collect();
    said.extend(inherited);
    said.into_iter().collect()
}

/// What is said about the part itself, else about the nearest part above it, else about everything.
fn in_force(said: &BTreeMap<String, LevelFilter>, part: &str) -> LevelFilter {
    let mut name = part;
    loop {
        if let Some(level) = said.get(name) {
            return *level;
        }
        match name.rsplit_once("::") {
            Some((above, _)) => name = above,
            None => return said.get(ROOT).copied().unwrap_or(LevelFilter::ERROR),
        }
    }
}

/// Changes all of these, or none. With `dry`, only checks whether it could.
pub fn change(changes: &[Change<'_>], dry: bool) -> Result<(), LevelError> {
    let levels = LEVELS.get().ok_or(LevelError::NotOurs)?;
    let mut changed = levels.changed.lock().unwrap_or_else(PoisonError::into_inner);
    let next = with(&changed, changes)?;
    if dry {
        return Ok(());
    }
    let filter = EnvFilter::try_new(text(&levels.at_start, &next)).map_err(|e| LevelError::NotTaken(e.to_string()))?;
    (levels.reload)(filter).map_err(|e| LevelError::NotTaken(e.to_string()))?;
    *changed = next;
    Ok(())
}

fn with(
    changed: &BTreeMap<String, LevelFilter>,
    changes: &[Change<'_>],
) -> Result<BTreeMap<String, LevelFilter>, LevelError> {
    let mut next = changed.clone();
    for (name, level) in changes {
        match level {
            Some(level) => next.insert(checked(name)?.to_owned(), parse(level)?),
            None if *name == ROOT => return Err(LevelError::Root),
            None => next.remove(checked(name)?),
        };
    }
    if next.len() > CHANGED_MAX { Err(LevelError::TooMany) } else { Ok(next) }
}

/// The name, if it is one: a filter's text has other signs with a meaning.
fn checked(name: &str) -> Result<&str, LevelError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_name);
    if fits { Ok(name) } else { Err(LevelError::BadName(name.chars().take(NAME_BYTES_MAX).collect())) }
}

fn parse(level: &str) -> Result<LevelFilter, LevelError> {
    match level {
        "FATAL" | "ERROR" => Ok(LevelFilter::ERROR),
        "WARN" => Ok(LevelFilter::WARN),
        "INFO" => Ok(LevelFilter::INFO),
        "DEBUG" => Ok(LevelFilter::DEBUG),
        "TRACE" => Ok(LevelFilter::TRACE),
        other => Err(LevelError::UnknownLevel(other.to_owned())),
    }
}

/// The text of the whole filter: of two words about the same part, the later one counts.
fn text(at_start: &str, changed: &BTreeMap<String, LevelFilter>) -> String {
    let mut text = at_start.to_owned();
    for (name, level) in changed {
        text += &match name.as_str() {
            ROOT => format!(",{level}"),
            name => format!(",{name}={level}"),
        };
    }
    text
}

/// What a filter says about whole parts of the program. Words about spans and fields are left out.
fn said_in(filter: &str) -> BTreeMap<String, LevelFilter> {
    let mut said = BTreeMap::from([(ROOT.to_owned(), LevelFilter::ERROR)]);
    for word in filter.split(',').map(str::trim) {
        let (name, level) = word.split_once('=').unwrap_or((ROOT, word));
        if let (Ok(name), Ok(level)) = (checked(name), level.parse()) {
            said.insert(name.to_owned(), level);
        }
    }
    said
}

#[cfg(test)]
mod tests;
