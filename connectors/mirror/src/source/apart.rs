//! Topics that do not follow their source in everything, and why: promoted ones, which belong to the target, and those whose
//! settings one side does not tell or does not take. Pure.
//!
//! Invariants: such a topic stops no other. What is told anew is a topic that was not there before, or a cause that differs;
//! all of them are judged anew in each look, so that one that follows again leaves by itself.

use std::collections::BTreeMap;

use twinstream_model::TopicName;

/// By the topics' names at the source.
type Causes = BTreeMap<TopicName, String>;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Apart {
    promoted: Causes,
    settings: Causes,
}

impl Apart {
    /// These are promoted now. Returns those of which this is news, and whether one is promoted no longer.
    pub(super) fn promoted(&mut self, found: Causes) -> (Vec<(TopicName, String)>, bool) {
        let is_over = self.promoted.keys().any(|topic| !found.contains_key(topic));
        (replaced(&mut self.promoted, found), is_over)
    }

    /// Settings of these do not follow now. Returns those of which this is news.
    pub(super) fn settings(&mut self, found: Causes) -> Vec<(TopicName, String)> {
        replaced(&mut self.settings, found)
    }

    pub(super) fn is_promoted(&self, topic: &TopicName) -> bool {
        self.promoted.contains_key(topic)
    }

    pub(super) fn promoted_ones(&self) -> Vec<TopicName> {
        self.promoted.keys().cloned().collect()
    }

    /// All of them; of one that is promoted that is the cause.
    pub(super) fn causes(&self) -> Causes {
        let mut all = self.settings.clone();
        all.extend(self.promoted.clone());
        all
    }
}

fn replaced(known: &mut Causes, found: Causes) -> Vec<(TopicName, String)> {
    let is_news = |(topic, cause): &(&TopicName, &String)| known.get(*topic) != Some(*cause);
    let news = found.iter().filter(is_news).map(|(topic, cause)| (topic.clone(), cause.clone())).collect();
    *known = found;
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(topics: &[(&str, &str)]) -> Causes {
        let parse = |name: &str| TopicName::parse(name).unwrap();
        topics.iter().map(|(name, cause)| (parse(name), (*cause).to_owned())).collect()
    }

    fn names(news: &[(TopicName, String)]) -> Vec<&str> {
        news.iter().map(|(topic, _)| topic.as_str()).collect()
    }

    #[test]
    fn a_topic_whose_settings_cannot_be_read_is_told_once_and_leaves_when_they_can() {
        let mut apart = Apart::default();
        assert_eq!(names(&apart.settings(causes(&[("a", "denied"), ("b", "denied")]))), ["a", "b"]);
        assert!(apart.settings(causes(&[("a", "denied"), ("b", "denied")])).is_empty());
        assert_eq!(names(&apart.settings(causes(&[("a", "refused"), ("b", "denied")]))), ["a"]);
        assert!(apart.settings(causes(&[("b", "denied")])).is_empty());
        assert_eq!(apart.causes(), causes(&[("b", "denied")]));
        assert_eq!(names(&apart.settings(causes(&[("a", "refused")]))), ["a"], "it is news again");
    }

    #[test]
    fn a_promoted_topic_stays_apart_until_its_mark_says_otherwise() {
        let mut apart = Apart::default();
        let (news, is_over) = apart.promoted(causes(&[("a", "promoted")]));
        assert!(names(&news) == ["a"] && !is_over);
        apart.settings(causes(&[("a", "denied"), ("b", "denied")]));
        assert_eq!(apart.causes(), causes(&[("a", "promoted"), ("b", "denied")]));
        assert!(apart.is_promoted(&TopicName::parse("a").unwrap()));
        assert_eq!(apart.promoted_ones().len(), 1);
        let (news, is_over) = apart.promoted(Causes::new());
        assert!(news.is_empty() && is_over, "its partitions are dealt out anew");
    }
}
