//! Topics that the target does not take, and when each is tried again. Pure.
//!
//! Invariants: a topic that is refused stops no other; it is tried again after [`FIRST_PAUSE`], and after twice as long each
//! time up to [`PAUSE_MAX`], for as long as it is refused. What is told anew is a topic that was not refused before, or a
//! cause that differs.

use std::collections::BTreeMap;
use std::time::Duration;

use twinstream_model::TopicName;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    cause: String,
    pause: Duration,
    due: Duration,
}

/// By the topics' names at the source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals(BTreeMap<TopicName, Refusal>);

impl Refusals {
    /// All topics were tried and these were refused. Returns those of which this is news.
    pub(super) fn tried(&mut self, refused: BTreeMap<TopicName, String>, now: Duration) -> Vec<(TopicName, String)> {
        self.0.retain(|topic, _| refused.contains_key(topic));
        let mut news = Vec::new();
        for (topic, cause) in refused {
            let before = self.0.get(&topic);
            if before.is_none_or(|before| before.cause != cause) {
                news.push((topic.clone(), cause.clone()));
            }
            // Tried before its time, because another topic came: the pause does not grow.
            let pause = match before {
                None => FIRST_PAUSE,
                Some(before) if now < before.due => before.pause,
                Some(before) => (before.pause * 2).min(PAUSE_MAX),
            };
            self.0.insert(topic, Refusal { cause, pause, due: now + pause });
        }
        news
    }

    /// One of them is to be tried again.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.0.values().any(|refusal| refusal.due <= now)
    }

    pub(super) fn causes(&self) -> BTreeMap<TopicName, String> {
        self.0.iter().map(|(topic, refusal)| (topic.clone(), refusal.cause.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn refused(topics: &[(&str, &str)]) -> BTreeMap<TopicName, String> {
        topics.iter().map(|(name, cause)| (topic(name), (*cause).to_owned())).collect()
    }

    #[test]
    fn a_refused_topic_is_tried_again_with_pauses_that_end_growing() {
        let (mut refusals, mut now, mut pauses) = (Refusals::default(), Duration::ZERO, Vec::new());
        for _ in 0..6 {
            refusals.tried(refused(&[("a", "policy")]), now);
            let waited = (0..).find(|seconds| refusals.is_due(now + Duration::from_secs(*seconds))).unwrap();
            pauses.push(waited);
            now += Duration::from_secs(waited);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        refusals.tried(refused(&[]), now);
        assert!(!refusals.is_due(now + PAUSE_MAX * 10), "it was taken");
    }

    #[test]
    fn trying_all_topics_for_another_ones_sake_does_not_lengthen_the_pause() {
        let mut refusals = Refusals::default();
        refusals.tried(refused(&[("a", "policy")]), Duration::ZERO);
        for second in 1..4 {
            refusals.tried(refused(&[("a", "policy")]), Duration::from_secs(second));
        }
        assert!(refusals.is_due(Duration::from_secs(3 + 5)) && !refusals.is_due(Duration::from_secs(3 + 4)));
    }

    #[test]
    fn only_what_changed_is_news() {
        let mut refusals = Refusals::default();
        let mut news = |topics: &[(&str, &str)]| -> Vec<String> {
            refusals.tried(refused(topics), Duration::ZERO).into_iter().map(|(topic, _)| topic.to_string()).collect()
        };
        assert_eq!(news(&[("a", "policy"), ("b", "name")]), ["a", "b"]);
        assert!(news(&[("a", "policy"), ("b", "name")]).is_empty());
        assert_eq!(news(&[("a", "too many partitions"), ("b", "name")]), ["a"]);
        assert!(news(&[("a", "too many partitions")]).is_empty());
        assert_eq!(news(&[("a", "too many partitions"), ("b", "name")]), ["b"], "refused again");
    }
}
