//! How a command tells that it failed: the cause, what was tried, and the next command.
//!
//! ```text
//! error: cannot reach a broker at 127.0.0.1:9092: connection refused
//!   tried: the metadata of all topics, for 10 s
//!   next:  start one with `twinstream quickstart`, or name yours with -b HOST:PORT
//! ```

use std::fmt::Display;
use std::process::ExitCode;

use crate::output;
use crate::suggest;

#[derive(Debug)]
pub(crate) struct Failure {
    cause: String,
    tried: Option<String>,
    next: Option<String>,
    code: u8,
}

impl Failure {
    pub(crate) fn new(cause: impl Display) -> Self {
        Self { cause: cause.to_string(), tried: None, next: None, code: 1 }
    }

    /// The command line is wrong.
    pub(crate) fn usage(cause: impl Display) -> Self {
        Self { code: 2, ..Self::new(cause) }
    }

    /// What the command names does not exist.
    pub(crate) fn not_found(cause: impl Display) -> Self {
        Self { code: 3, ..Self::new(cause) }
    }

    /// It took longer than it may.
    pub(crate) fn timed_out(cause: impl Display) -> Self {
        Self { code: 4, ..Self::new(cause) }
    }

    /// The same, for another reason.
    pub(crate) fn coded(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Names what was probably meant.
    pub(crate) fn did_you_mean(mut self, wrong: &str, known: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        if let Some(nearest) = suggest::nearest(wrong, known) {
            self.cause.push_str(&format!("; did you mean `{nearest}`?"));
        }
        self
    }

    /// Whoever read our stdout closed it (`| head`): the command ends, without a word.
    pub(crate) fn reader_left() -> Self {
        Self { code: 0, ..Self::new("") }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.code == 3
    }

    pub(crate) fn is_reader_gone(&self) -> bool {
        self.code == 0
    }

    /// The cause with its whole chain of sources on one line.
    pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(chain(error))
    }

    pub(crate) fn tried(mut self, tried: impl Display) -> Self {
        self.tried = Some(tried.to_string());
        self
    }

    pub(crate) fn next(mut self, next: impl Display) -> Self {
        self.next = Some(next.to_string());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    pub(crate) fn print(&self) {
        if self.code != 0 {
            output::talk(&self.text());
        }
    }

    /// For clap, which puts `error: ` before it.
    pub(crate) fn text_for_clap(&self) -> String {
        self.text().replacen("error: ", "", 1) + "\n"
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}", self.cause);
        if let Some(tried) = &self.tried {
            text.push_str(&format!("\n  tried: {tried}"));
        }
        if let Some(next) = &self.next {
            text.push_str(&format!("\n  next:  {next}"));
        }
        text
    }
}

/// An error and its sources, each once: many errors already print their source in their own text.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
