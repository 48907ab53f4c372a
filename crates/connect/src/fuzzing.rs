//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use twinstream_connect_api::RawConfig;

use crate::converters::{Converter, HeaderConverter, Part};
use crate::group::wire;
use crate::state::Replay;
use crate::state::configs::ConfigState;
use crate::state::offsets::OffsetState;
use crate::state::statuses::StatusState;

/// Records of Connect's three topics, replayed in the order in which they come.
pub fn stored_records<'a>(records: impl Iterator<Item = (u8, &'a [u8], Option<&'a [u8]>)>) {
    let mut configs = ConfigState::default();
    let mut offsets = OffsetState::default();
    let mut statuses = StatusState::default();
    for (topic, key, value) in records {
        let unreadable = match topic % 3 {
            0 => configs.replay(key, value),
            1 => offsets.replay(key, value),
            _ => statuses.replay(key, value),
        };
        if let Err(error) = unreadable {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// A record's bytes for each converter that needs no registry; what was read is written and read again.
pub fn converters(bytes: &[u8]) {
    let classes = [
        "org.apache.kafka.connect.storage.StringConverter",
        "org.apache.kafka.connect.converters.LongConverter",
        "org.apache.kafka.connect.converters.BooleanConverter",
        "org.apache.kafka.connect.json.JsonConverter",
    ];
    let bytes = Bytes::copy_from_slice(bytes);
    for class in classes {
        for schemas in ["true", "false"] {
            let mut config = RawConfig::new();
            config.insert("value.converter".to_owned(), class.to_owned());
            if class.ends_with("JsonConverter") {
                config.insert("value.converter.schemas.enable".to_owned(), schemas.to_owned());
            }
            let Ok(converter) = Converter::from_config(Part::Value, &config) else { continue };
            if let Some(Ok(data)) = at_once(converter.decode(Some(&bytes))) {
                at_once(converter.encode("topic", &data));
            }
        }
    }
    for converter in [HeaderConverter::Simple, HeaderConverter::String, HeaderConverter::Bytes] {
        let headers = converter.to_headers(&[("name".to_owned(), Some(bytes.clone()))]);
        converter.to_bytes(&headers);
    }
}

/// What another worker of the group says about itself.
pub fn group_metadata(bytes: &[u8]) {
    assert!(!wire::url_of(bytes, "host").is_empty());
}

/// The output of a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
