//! Subscriptions by regular expression (KIP-848): Kafka's dialect on our engine.
//!
//! Picture: Kafka's coordinator compiles `SubscribedTopicRegex` with RE2/J. RE2 and the `regex` crate match
//! alike (linear time, no backreferences, no look-around), but they do not *read* alike: `\Q..\E`, octal
//! escapes and a lone `{` are RE2's, `(?x)`, nested classes and `&&` inside brackets are Rust's. So a pattern
//! is first read by RE2's rules and written down again in the other dialect ([`translate`]).
//!
//! Invariants: X1 what RE2/J refuses is refused, for the same reason. X2 a topic matches when the pattern
//! matches its whole name. X3 the size of a compiled pattern is bounded.
//!
//! Not here: which topics a principal may see; when a pattern is resolved again.

mod translate;

use std::sync::Arc;

use thiserror::Error;
use twinstream_model::TopicName;

pub use translate::Fault;
use translate::translate;

/// How large a compiled pattern may become: an alternation of a thousand long names takes a quarter of it, and to find
/// that a pattern needs more takes some milliseconds of the shard.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A pattern of topic names that was read and understood.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    text: Arc<str>,
    regex: regex::Regex,
}

/// A pattern that is none; the text is what Kafka tells the client with INVALID_REGULAR_EXPRESSION.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {fault}.")]
pub struct InvalidPattern {
    pub pattern: Arc<str>,
    pub fault: Fault,
}

impl TopicPattern {
    pub fn parse(text: &Arc<str>) -> Result<TopicPattern, InvalidPattern> {
        let regex = compile(text).map_err(|fault| InvalidPattern { pattern: text.clone(), fault })?;
        Ok(TopicPattern { text: text.clone(), regex })
    }

    /// The pattern as the client wrote it.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether the whole name matches.
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.regex.is_match(topic.as_str())
    }
}

/// Our engine's form of a pattern that matches as a whole.
pub(crate) fn compile(text: &str) -> Result<regex::Regex, Fault> {
    // In a group of its own, so that a flag that is set inside does not outlive it.
    regex::RegexBuilder::new(&format!(r"\A(?:{})\z", translate(text)?))
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|_| Fault::TooLarge)
}

#[cfg(test)]
mod tests;
