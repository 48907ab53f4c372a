//! A client's request on its way to the active controller, and the answer on its way back.

use bytes::Bytes;
use twinstream_metadata::codec::{DecodeError, Reader, Writer};

/// A client's request that another node received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) api_key: i16,
    pub(crate) api_version: i16,
    pub(crate) client_id: Option<String>,
    pub(crate) principal_kind: String,
    pub(crate) principal_name: String,
    /// The listener that the client came over.
    pub(crate) listener: String,
    pub(crate) body: Bytes,
}

impl Forwarded {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.u16(self.api_key as u16);
        out.u16(self.api_version as u16);
        out.text_option(self.client_id.as_deref());
        out.text(&self.principal_kind);
        out.text(&self.principal_name);
        out.text(&self.listener);
        out.bytes.extend_from_slice(&self.body);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            api_key: reader.u16()? as i16,
            api_version: reader.u16()? as i16,
            client_id: reader.text_option()?,
            principal_kind: reader.text()?,
            principal_name: reader.text()?,
            listener: reader.text()?,
            body: {
                let left = reader.left();
                Bytes::copy_from_slice(reader.take(left)?)
            },
        })
    }
}

/// The answer to a forwarded request: how far the asker must have replayed to see its effect, then the response body.
pub(crate) fn write_forwarded_answer(applied: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.i64(applied as i64);
    out.bytes.extend_from_slice(body);
    out.bytes
}

pub(crate) fn read_forwarded_answer(payload: &[u8]) -> Result<(u64, Bytes), DecodeError> {
    let mut reader = Reader::new("answer to a forwarded request", payload);
    let applied = reader.i64()? as u64;
    let left = reader.left();
    Ok((applied, Bytes::copy_from_slice(reader.take(left)?)))
}
