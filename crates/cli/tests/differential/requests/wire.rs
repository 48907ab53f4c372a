//! One connection: a request in a version, and the answer, decoded or not at all.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use twinstream_client::raw::kafka_protocol::messages::{RequestHeader, ResponseHeader};
use twinstream_client::raw::kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// A broker that says nothing for so long hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const CLIENT: &str = "differential";

pub(crate) struct Wire {
    address: String,
    stream: Option<TcpStream>,
    correlation: i32,
}

impl Wire {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, correlation: 0 }
    }

    /// `None` when this version of the request cannot carry what it says.
    pub(crate) fn encode<R: Request>(&mut self, request: &R, version: i16) -> Option<Bytes> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version)).ok()?;
        request.encode(&mut frame, version).ok()?;
        Some(frame.freeze())
    }

    /// The answer to a request that was encoded before; an error says why there is none.
    pub(crate) fn ask<R: Request<Response: Debug>>(
        &mut self,
        frame: &[u8],
        version: i16,
    ) -> Result<R::Response, String> {
        let mut answer = self.exchange(frame)?;
        let header = R::Response::header_version(version);
        ResponseHeader::decode(&mut answer, header).map_err(|error| format!("header that cannot be read: {error}"))?;
        let body = R::Response::decode(&mut answer, version).map_err(|error| format!("cannot be read: {error}"))?;
        if answer.is_empty() { Ok(body) } else { Err(format!("{} bytes behind {body:#?}", answer.len())) }
    }

    /// The bytes that answer these bytes; an error when the broker closes the connection instead.
    pub(crate) fn exchange(&mut self, frame: &[u8]) -> Result<Bytes, String> {
        let answer = self.try_exchange(frame);
        if answer.is_err() {
            self.stream = None; // the next request gets a connection of its own
        }
        answer.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => "connection closed".to_owned(),
            _ => error.to_string(),
        })
    }

    fn try_exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(&self.address)?),
        };
        let mut message = BytesMut::with_capacity(frame.len() + 4);
        message.put_u32(u32::try_from(frame.len()).expect("a small frame"));
        message.put_slice(frame);
        stream.write_all(&message)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}
