//! Sets up the log output of a process.
//!
//! Picture: events go to stderr in one of three shapes. `compact` is for eyes (colours, short), `plain` for files and
//! journald (one line, no escapes), `json` for log collectors. `auto` picks `compact` on a terminal, `plain` elsewhere.
//! The filter comes from the flag, else from [`FILTER_VARIABLE`], else it is [`DEFAULT_FILTER`]. While the process runs,
//! [`levels`] changes the level of single parts on top of it.
//!
//! Not here: rotation. A process that writes to stderr leaves files to whoever started it.

pub mod levels; // changed while the process runs

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// Environment variable with a filter such as `info,twinstream_broker=debug`.
pub const FILTER_VARIABLE: &str = "TWINSTREAM_LOG";

/// State changes of our own crates; libraries speak only when something is wrong.
pub const DEFAULT_FILTER: &str = "info,tantivy=warn,hyper=warn,reqwest=warn,librdkafka=warn,rdkafka=warn";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `Compact` on a terminal, else `Plain`.
    #[default]
    Auto,
    Compact,
    Plain,
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "auto" => Ok(Self::Auto),
            "compact" => Ok(Self::Compact),
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            other => Err(LogError::UnknownFormat(other.to_owned())),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub format: LogFormat,
    /// A filter in the syntax of `tracing-subscriber`; `None` asks the environment.
    pub filter: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("unknown log format `{0}`: use auto, compact, plain or json")]
    UnknownFormat(String),
    #[error(
        "log filter `{filter}` is not valid ({reason}): use a level (error, warn, info, debug, trace) or `info,twinstream_broker=debug`"
    )]
    Filter { filter: String, reason: String },
    #[error("logging was set up twice in this process")]
    Twice,
}

/// Installs the subscriber of this process. Called once, before the first event.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let text = filter_text(options.filter.as_deref());
    let filter = filter(&text)?;
    let terminal = io::stderr().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let (installed, reload) = match settled(options.format, terminal) {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), levels::reload_with(move |filter| handle.reload(filter)))
        }
        LogFormat::Compact => {
            let builder = builder.compact().with_ansi(colours).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), levels::reload_with(move |filter| handle.reload(filter)))
        }
        LogFormat::Plain | LogFormat::Auto => {
            let builder = builder.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), levels::reload_with(move |filter| handle.reload(filter)))
        }
    };
    installed.map_err(|_| LogError::Twice)?;
    levels::install(text, reload);
    Ok(())
}

fn settled(format: LogFormat, terminal: bool) -> LogFormat {
    match format {
        LogFormat::Auto if terminal => LogFormat::Compact,
        LogFormat::Auto => LogFormat::Plain,
        chosen => chosen,
    }
}

fn filter_text(flag: Option<&str>) -> String {
    let from_environment = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    flag.map(str::to_owned).or(from_environment).unwrap_or_else(|| DEFAULT_FILTER.to_owned())
}

fn filter(text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(text).map_err(|error| LogError::Filter { filter: text.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
