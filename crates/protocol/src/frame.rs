//! Request and response headers, and the bound on a frame.
//!
//! A frame is a 4-byte length and that many bytes; the bytes begin with a header whose form depends on
//! the API and its version. Two oddities are settled here and nowhere else: the client id is a classic
//! string even in flexible headers, and an ApiVersions response always has the old header, because the
//! client does not know yet what we speak (KIP-511).

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use thiserror::Error;

use crate::varint;

/// Largest request frame by default (`socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Length of the prefix that tells how long a frame is.
pub const LENGTH_PREFIX_BYTES: usize = 4;

/// API keys from here on are our own, between our nodes; all of them have flexible headers.
pub const INTERNAL_API_KEY_MIN: i16 = 30_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("frame length {0} is negative, is the client speaking the kafka protocol?")]
    NegativeLength(i32),
    #[error("frame of {len} bytes is larger than socket.request.max.bytes ({max})")]
    TooLarge { len: usize, max: usize },
    #[error("request header ends early")]
    Truncated,
    #[error("header of the answer ends early")]
    AnswerTruncated,
    #[error("api key {0} is not known")]
    UnknownApi(i16),
    #[error("client id is not valid utf-8")]
    ClientIdNotUtf8,
}

/// Checks the length prefix of a frame against the bound.
pub fn frame_len(prefix: [u8; LENGTH_PREFIX_BYTES], max: usize) -> Result<usize, FrameError> {
    let len = i32::from_be_bytes(prefix);
    let len = usize::try_from(len).map_err(|_| FrameError::NegativeLength(len))?;
    if len > max {
        return Err(FrameError::TooLarge { len, max });
    }
    Ok(len)
}

/// Takes the header off a frame (without its length prefix); `frame` is left at the body.
pub fn decode_request_header(frame: &mut Bytes) -> Result<RequestHeader, FrameError> {
    if frame.remaining() < 8 {
        return Err(FrameError::Truncated);
    }
    let api_key = frame.get_i16();
    let api_version = frame.get_i16();
    let correlation_id = frame.get_i32();
    let flexible = request_is_flexible(api_key, api_version)?;
    let client_id = decode_client_id(frame)?;
    if flexible {
        skip_tagged_fields(frame)?;
    }
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

/// Takes the header off an answer, whose tagged fields nobody needs, and gives its correlation id.
pub fn decode_response_header(frame: &mut Bytes, is_flexible: bool) -> Result<i32, FrameError> {
    if frame.remaining() < 4 {
        return Err(FrameError::AnswerTruncated);
    }
    let correlation_id = frame.get_i32();
    if is_flexible {
        skip_tagged_fields(frame).map_err(|_| FrameError::AnswerTruncated)?;
    }
    Ok(correlation_id)
}

fn request_is_flexible(api_key: i16, api_version: i16) -> Result<bool, FrameError> {
    if api_key >= INTERNAL_API_KEY_MIN {
        return Ok(true);
    }
    let key = ApiKey::try_from(api_key).map_err(|_| FrameError::UnknownApi(api_key))?;
    Ok(key.request_header_version(api_version) >= 2)
}

fn decode_client_id(frame: &mut Bytes) -> Result<Option<String>, FrameError> {
    if frame.remaining() < 2 {
        return Err(FrameError::Truncated);
    }
    let Ok(len) = usize::try_from(frame.get_i16()) else {
        return Ok(None);
    };
    if frame.remaining() < len {
        return Err(FrameError::Truncated);
    }
    let bytes = frame.split_to(len);
    let text = std::str::from_utf8(&bytes).map_err(|_| FrameError::ClientIdNotUtf8)?;
    Ok(Some(text.to_owned()))
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), FrameError> {
    let count = take_varint(frame)?;
    for _ in 0..count {
        take_varint(frame)?; // tag
        let len = take_varint(frame)? as usize;
        if frame.remaining() < len {
            return Err(FrameError::Truncated);
        }
        frame.advance(len);
    }
    Ok(())
}

fn take_varint(frame: &mut Bytes) -> Result<u32, FrameError> {
    let (value, len) = varint::read_unsigned(frame).ok_or(FrameError::Truncated)?;
    frame.advance(len);
    Ok(value)
}

/// Whether the response header of an API version carries tagged fields.
pub fn response_is_flexible(api_key: i16, api_version: i16) -> bool {
    if api_key == ApiKey::ApiVersions as i16 {
        return false;
    }
    match ApiKey::try_from(api_key) {
        Ok(key) => key.response_header_version(api_version) >= 1,
        Err(_) => api_key >= INTERNAL_API_KEY_MIN,
    }
}

/// Appends the response header for a request of this API version.
pub fn encode_response_header(out: &mut Vec<u8>, api_key: i16, api_version: i16, correlation_id: i32) {
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if response_is_flexible(api_key, api_version) {
        out.push(0); // no tagged fields
    }
}

/// Appends a request header for an API version.
pub fn encode_request_header(out: &mut Vec<u8>, header: &RequestHeader) -> Result<(), FrameError> {
    out.extend_from_slice(&header.api_key.to_be_bytes());
    out.extend_from_slice(&header.api_version.to_be_bytes());
    out.extend_from_slice(&header.correlation_id.to_be_bytes());
    match &header.client_id {
        None => out.extend_from_slice(&(-1i16).to_be_bytes()),
        Some(id) => {
            let len =
                i16::try_from(id.len()).map_err(|_| FrameError::TooLarge { len: id.len(), max: i16::MAX as usize })?;
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(id.as_bytes());
        }
    }
    if request_is_flexible(header.api_key, header.api_version)? {
        out.push(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(api_key: i16, api_version: i16, client_id: Option<&str>) -> RequestHeader {
        RequestHeader { api_key, api_version, correlation_id: 7, client_id: client_id.map(str::to_owned) }
    }

    fn round_trip(header: &RequestHeader) -> (RequestHeader, Bytes) {
        let mut out = Vec::new();
        encode_request_header(&mut out, header).unwrap();
        out.extend_from_slice(b"body");
        let mut frame = Bytes::from(out);
        (decode_request_header(&mut frame).unwrap(), frame)
    }

    #[test]
    fn classic_flexible_and_internal_headers_leave_the_body() {
        for case in [
            header(ApiKey::Produce as i16, 3, Some("rdkafka")),
            header(ApiKey::Produce as i16, 9, Some("")),
            header(ApiKey::Metadata as i16, 12, None),
            header(INTERNAL_API_KEY_MIN, 0, Some("node-1")),
        ] {
            assert_eq!(round_trip(&case), (case.clone(), Bytes::from_static(b"body")));
        }
    }

    #[test]
    fn api_versions_response_keeps_the_old_header() {
        assert!(!response_is_flexible(ApiKey::ApiVersions as i16, 3));
        assert!(response_is_flexible(ApiKey::Metadata as i16, 9));
        assert!(!response_is_flexible(ApiKey::Metadata as i16, 8));
        assert!(response_is_flexible(INTERNAL_API_KEY_MIN + 3, 0));
    }

    #[test]
    fn api_versions_of_an_unknown_version_still_has_a_readable_header() {
        let future = header(ApiKey::ApiVersions as i16, 99, Some("new-client"));
        assert_eq!(round_trip(&future).0, future);
    }

    #[test]
    fn garbage_headers_are_errors() {
        let decode = |bytes: &'static [u8]| decode_request_header(&mut Bytes::from_static(bytes));
        assert_eq!(decode(b"GET"), Err(FrameError::Truncated));
        assert_eq!(decode(b"GET / HTTP/1.1"), Err(FrameError::UnknownApi(0x4745)));
        assert_eq!(decode(b"\0\x03\0\x01\0\0\0\x01\0\x09abc"), Err(FrameError::Truncated));
        assert_eq!(decode(b"\0\x03\0\x01\0\0\0\x01\0\x01\xff"), Err(FrameError::ClientIdNotUtf8));
        assert_eq!(decode(b"\0\x03\0\x0c\0\0\0\x01\xff\xff\x01\x00\x7f"), Err(FrameError::Truncated));
    }

    #[test]
    fn header_of_an_answer_is_skipped_with_whatever_tags_it_has() {
        let decode = |bytes: &'static [u8], is_flexible| {
            let mut frame = Bytes::from_static(bytes);
            decode_response_header(&mut frame, is_flexible).map(|id| (id, frame.to_vec()))
        };
        assert_eq!(decode(b"\0\0\0\x07body", false), Ok((7, b"body".to_vec())));
        assert_eq!(decode(b"\0\0\0\x07\0body", true), Ok((7, b"body".to_vec())));
        assert_eq!(decode(b"\0\0\0\x07\x01\x05\x02xybody", true), Ok((7, b"body".to_vec())));
        assert_eq!(decode(b"\0\0\0\x07\x01\x05\x7fxy", true), Err(FrameError::AnswerTruncated));
        assert_eq!(decode(b"\0\0\0", false), Err(FrameError::AnswerTruncated));
    }

    #[test]
    fn frame_length_is_bounded() {
        assert_eq!(frame_len([0, 0, 0, 9], 9), Ok(9));
        assert_eq!(frame_len([0, 0, 0, 9], 8), Err(FrameError::TooLarge { len: 9, max: 8 }));
        assert_eq!(frame_len([0xff; 4], 8), Err(FrameError::NegativeLength(-1)));
    }
}
