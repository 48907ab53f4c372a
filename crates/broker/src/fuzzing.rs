//! The decoders of this crate as functions of bytes, for the fuzz targets in `crates/fuzz`. No part of its face.

use bytes::Bytes;
use twinstream_metadata::codec::Reader;
use twinstream_protocol::frame;
use twinstream_protocol::shape::DecodeError;

use crate::controller::messages::{self, Envelope, Forwarded, Hello, HelloAnswer, Join, Joined, QuorumPlace};
use crate::handlers;

/// A frame of a client or a node, without its length: header, row of the table, shape, codec.
pub fn request(bytes: &[u8]) {
    let mut body = Bytes::copy_from_slice(bytes);
    let Ok(header) = frame::decode_request_header(&mut body) else { return };
    let Some(row) = handlers::served(header.api_key) else { return };
    if !(row.min..=row.max).contains(&header.api_version) {
        return;
    }
    if handlers::is_internal(header.api_key) {
        peer_request(&body);
    } else {
        let error = handlers::decode_error(header.api_key, header.api_version, body);
        assert!(!matches!(error, Some(DecodeError::Parted { .. })), "{error:?}");
    }
}

/// The body of a node's request.
pub fn peer_request(bytes: &[u8]) {
    let start = || Reader::new("request of a node", bytes);
    let mut reader = start();
    if Envelope::read(&mut reader).is_err() {
        return;
    }
    let left = reader.left();
    let Ok(body) = reader.take(left) else { return };
    let start = || Reader::new("request of a node", body);
    if let Ok(sent) = messages::read_raft(&mut start()) {
        assert!(sent.iter().map(|message| message.len() + 4).sum::<usize>() <= body.len());
    }
    Join::read(&mut start()).ok();
    Hello::read(&mut start()).ok();
    Forwarded::read(&mut start()).ok();
    messages::read_heartbeat(&mut start()).ok();
    messages::read_isr_changes(&mut start()).ok();
    messages::read_offline(&mut start()).ok();
    messages::read_copy_moves(&mut start()).ok();
    messages::read_epoch_raises(&mut start()).ok();
}

/// What a node answers.
pub fn peer_answer(bytes: &[u8]) {
    let Ok(Ok(payload)) = messages::read_answer(bytes) else { return };
    Joined::read(payload).ok();
    HelloAnswer::read(payload).ok();
    QuorumPlace::read(payload).ok();
    messages::read_heartbeat_answer(payload).ok();
    messages::read_producer_ids(payload).ok();
    messages::read_isr_outcomes(payload).ok();
    messages::read_reported(payload).ok();
    messages::read_forwarded_answer(payload).ok();
}

/// Whether clients may send this API.
pub fn serves(api_key: i16) -> bool {
    !handlers::is_internal(api_key) && handlers::served(api_key).is_some()
}
