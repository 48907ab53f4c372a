//! How a connector or task tells the worker that it cannot go on.
//!
//! There are two answers only, because the worker can do two things only: try the same call again, or mark the task
//! FAILED and show the cause chain in its status. A *bad record* is neither: a sink gives it to
//! [`crate::SinkTaskContext::report`], which applies the connector's `errors.tolerance`.

use std::error::Error;
use std::time::Duration;

/// Any error that may stand as a cause.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// Why a call of a connector or task did not succeed.
///
/// `Display` is the first line only; [`TaskError::trace`] adds the causes. The message is a fragment that names the thing
/// and the way out ("index 'quakes' refuses writes: free disk space on the search cluster").
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The same call may succeed later: the worker waits (`retry_after`, else its own backoff) and repeats it.
    #[error("{message}")]
    Retriable {
        message: String,
        retry_after: Option<Duration>,
        #[source]
        source: Option<BoxError>,
    },
    /// Repeating does not help: the worker stops the task and marks it FAILED.
    #[error("{message}")]
    Fatal {
        message: String,
        #[source]
        source: Option<BoxError>,
    },
}

impl TaskError {
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal { message: message.into(), source: None }
    }

    pub fn retriable(message: impl Into<String>) -> Self {
        Self::Retriable { message: message.into(), retry_after: None, source: None }
    }

    /// The same error with its cause; shown as a `Caused by:` line in the task's trace.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<BoxError>) -> Self {
        match &mut self {
            Self::Retriable { source, .. } | Self::Fatal { source, .. } => *source = Some(cause.into()),
        }
        self
    }

    /// When a retriable call should be repeated; no effect on a fatal error.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        if let Self::Retriable { retry_after, .. } = &mut self {
            *retry_after = Some(delay);
        }
        self
    }

    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Retriable { .. })
    }

    pub fn message(&self) -> &str {
        match self {
            Self::Retriable { message, .. } | Self::Fatal { message, .. } => message,
        }
    }

    /// First line plain, then one `Caused by:` line per cause, as shown in `status`.
    pub fn trace(&self) -> String {
        trace_of(self)
    }
}

/// The cause chain of any error: first line plain, then one `Caused by:` line for each source.
///
/// A cause whose text the line above already ends with is left out (many libraries print their source themselves).
pub fn trace_of(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !last.ends_with(&line) {
            text.push_str("\nCaused by: ");
            text.push_str(&line);
        }
        last = line;
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_starts_with_the_plain_message_and_lists_causes() {
        let io = std::io::Error::other("connection refused");
        let error = TaskError::fatal("cannot reach http://search:9200").caused_by(io);
        assert_eq!(error.trace(), "cannot reach http://search:9200\nCaused by: connection refused");
    }

    #[test]
    fn a_cause_already_printed_is_not_repeated() {
        let error = TaskError::fatal("write: disk full").caused_by("disk full");
        assert_eq!(error.trace(), "write: disk full");
    }

    #[test]
    fn retry_after_belongs_to_retriable_errors_only() {
        let delay = Duration::from_secs(3);
        assert!(matches!(
            TaskError::retriable("busy").retry_after(delay),
            TaskError::Retriable { retry_after: Some(d), .. } if d == delay
        ));
        assert!(!TaskError::fatal("broken").retry_after(delay).is_retriable());
    }
}
