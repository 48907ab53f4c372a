//! The metadata of a worker in its group, as Kafka Connect lays it out: version, URL, offset of the config topic.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Kafka Connect's first version; every version starts with the same fields.
const VERSION: i16 = 0;

pub(super) fn metadata(url: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    bytes.put_i16(i16::try_from(url.len()).unwrap_or(0));
    bytes.put_slice(url.as_bytes().get(..usize::from(i16::MAX as u16).min(url.len())).unwrap_or_default());
    bytes.put_i64(-1); // nobody is assigned anything by it
    bytes.freeze()
}

/// The URL in a member's metadata, Java's or ours; `host` when the bytes are not to be read.
pub(crate) fn url_of(metadata: &[u8], host: &str) -> String {
    let url = || {
        let length = i16::from_be_bytes(metadata.get(2..4)?.try_into().ok()?);
        let url = metadata.get(4..)?.get(..usize::try_from(length).ok()?)?;
        std::str::from_utf8(url).ok().filter(|url| url.contains("://")).map(str::to_owned)
    };
    url().unwrap_or_else(|| format!("host {host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_metadata_reads_back() {
        assert_eq!(url_of(&metadata("http://a:8083/"), "x"), "http://a:8083/");
        assert_eq!(metadata("http://a:1/")[..4], [0, 0, 0, 11]);
    }

    #[test]
    fn bytes_that_are_no_metadata_name_the_host() {
        for bytes in [&b""[..], b"\0", b"\0\0\0\x05", b"\0\0\xff\xff", b"\0\0\0\x02\xff\xff"] {
            assert_eq!(url_of(bytes, "/10.0.0.1"), "host /10.0.0.1");
        }
    }
}
