//! Responses: from a handler's answer to bytes and file ranges on a socket.
//!
//! A response body is a list of parts. Most answers are one encoded message; a Fetch answer interleaves encoded
//! pieces with ranges of segment files, which `send` brings to the socket, the large ones without a copy.
//!
//! Not here: what a handler answers.

mod send; // parts on their way to a socket

use std::fs::File;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion};

pub(crate) use self::send::{SendError, send};
pub(crate) use super::promise::Promise;
use crate::context::RequestContext;

/// A range of an open file, sent without a copy through user space.
#[derive(Clone, Debug)]
pub(crate) struct FileRange {
    pub(crate) file: Arc<File>,
    pub(crate) position: u64,
    pub(crate) length: usize,
}

/// One piece of a response body.
#[derive(Clone, Debug)]
pub(crate) enum ResponsePart {
    Bytes(Bytes),
    File(FileRange),
}

impl ResponsePart {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(range) => range.length,
        }
    }
}

/// What goes back to the client for one request.
#[derive(Debug)]
pub(crate) enum Response {
    /// The body after the response header, whose version the API's rule gives.
    Body { header_version: i16, parts: Vec<ResponsePart> },
    /// Nothing is sent, the connection goes on (Produce with acks=0).
    Silent,
    /// Nothing is sent and the connection is closed (a failed Produce with acks=0 has no other way to say so).
    Close,
    /// The request has had its effect and its answer is not known yet.
    Later(Promise<Response>),
}

/// A typed answer that may also be withheld, or come later.
#[derive(Debug)]
pub(crate) enum Reply<M> {
    Send(M),
    Silent,
    Close,
    Later(Promise<Reply<M>>),
}

/// Anything that a handler may answer with. The error is the codec's text.
pub(crate) trait IntoResponse {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String>;
}

impl<M: Encodable + HeaderVersion> IntoResponse for M {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String> {
        let body = encode(&self, ctx.api_version)?;
        let header_version = M::header_version(ctx.api_version);
        Ok(Response::Body { header_version, parts: vec![ResponsePart::Bytes(body)] })
    }
}

impl<M: Encodable + HeaderVersion + Send + 'static> IntoResponse for Reply<M> {
    fn into_response(self, ctx: &RequestContext) -> Result<Response, String> {
        match self {
            Self::Send(message) => message.into_response(ctx),
            Self::Silent => Ok(Response::Silent),
            Self::Close => Ok(Response::Close),
            Self::Later(promise) => {
                let ctx = ctx.clone();
                Ok(Response::Later(Promise::new(async move { promise.await?.into_response(&ctx) })))
            }
        }
    }
}

impl IntoResponse for Response {
    fn into_response(self, _ctx: &RequestContext) -> Result<Response, String> {
        Ok(self)
    }
}

/// Encodes one message at one version into a buffer of exactly its size.
pub(crate) fn encode<M: Encodable>(message: &M, version: i16) -> Result<Bytes, String> {
    let size = message.compute_size(version).map_err(|error| error.to_string())?;
    let mut buffer = BytesMut::with_capacity(size);
    message.encode(&mut buffer, version).map_err(|error| error.to_string())?;
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests;
