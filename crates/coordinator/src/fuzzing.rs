//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use twinstream_model::TopicName;

use crate::group::consumer::embedded;
use crate::group::regex::TopicPattern;
use crate::group::subscription::subscribed_topics;

/// What a consumer says that it wants to read.
pub fn subscription(bytes: &[u8]) {
    embedded::subscription(bytes);
    embedded::assignment(bytes);
    if let Some(topics) = subscribed_topics(bytes) {
        assert!(topics.iter().map(|topic| topic.len()).sum::<usize>() <= bytes.len());
    }
}

/// A regular expression by which a member subscribes.
pub fn topic_pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(pattern) = TopicPattern::parse(&text.into()) else { return };
    let topics = ["orders.eu", "__consumer_offsets", "A-1"].map(TopicName::parse);
    let matched = topics.iter().flatten().filter(|topic| pattern.matches(topic)).count();
    assert!(matched <= topics.len());
}
