//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use crate::group::subscription::subscribed_topics;

/// What a consumer says that it wants to read.
pub fn subscription(bytes: &[u8]) {
    if let Some(topics) = subscribed_topics(bytes) {
        assert!(topics.iter().map(|topic| topic.len()).sum::<usize>() <= bytes.len());
    }
}
