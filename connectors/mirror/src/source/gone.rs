//! Topics that were copied, and that the source does not show any more: deleted there, or hidden from the link. Pure.
//!
//! Invariants: a topic leaves when the source shows it again, or when its copy is gone as well, so that nobody is reminded for ever of
//! what was deleted on purpose. Not here: topics that went while no connector ran; what is done about copies (`deletions`).

use std::collections::BTreeMap;

use twinstream_model::TopicName;

use super::Topics;

/// Since when, as Unix time, by the topics' names at the source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gone(BTreeMap<TopicName, i64>);

impl Gone {
    /// The source showed these topics, and those before.
    pub(super) fn looked(&mut self, before: &Topics, found: &Topics, now_ms: i64) {
        for topic in before.keys().filter(|topic| !found.contains_key(*topic)) {
            self.0.entry(topic.clone()).or_insert(now_ms);
        }
        self.0.retain(|topic, _| !found.contains_key(topic));
    }

    /// Keeps those whose copy is there.
    pub(super) fn keep(&mut self, has_copy: impl Fn(&TopicName) -> bool) {
        self.0.retain(|topic, _| has_copy(topic));
    }

    pub(super) fn topics(&self) -> &BTreeMap<TopicName, i64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> Topics {
        names.iter().map(|name| (TopicName::parse(name).unwrap(), 1)).collect()
    }

    fn named(gone: &Gone) -> Vec<(&str, i64)> {
        gone.topics().iter().map(|(topic, since)| (topic.as_str(), *since)).collect()
    }

    #[test]
    fn a_topic_is_gone_since_it_was_missed_first_until_it_or_its_copy_says_otherwise() {
        let mut gone = Gone::default();
        gone.looked(&topics(&[]), &topics(&["a", "b", "c"]), 1);
        assert!(gone.topics().is_empty(), "the first look");
        gone.looked(&topics(&["a", "b", "c"]), &topics(&["a"]), 2);
        gone.looked(&topics(&["a"]), &topics(&["a"]), 3);
        assert_eq!(named(&gone), [("b", 2), ("c", 2)]);
        gone.looked(&topics(&["a"]), &topics(&["a", "b"]), 4);
        assert_eq!(named(&gone), [("c", 2)]);
        gone.keep(|topic| topic.as_str() != "c");
        assert!(gone.topics().is_empty());
    }
}
