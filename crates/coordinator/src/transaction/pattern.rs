//! The pattern by which ListTransactions chooses ids (KIP-1152), in RE2/J's dialect as everywhere in Kafka.

use std::sync::Arc;

use crate::group::regex::{Fault, compile};

/// A pattern of transactional ids that was read and understood.
#[derive(Clone, Debug)]
pub struct IdPattern(Arc<regex::Regex>);

impl IdPattern {
    /// Fails with what is wrong with the pattern (INVALID_REGULAR_EXPRESSION).
    pub fn parse(text: &str) -> Result<IdPattern, Fault> {
        Ok(IdPattern(Arc::new(compile(text)?)))
    }

    /// Whether the whole id matches.
    pub fn matches(&self, id: &str) -> bool {
        self.0.is_match(id)
    }
}
