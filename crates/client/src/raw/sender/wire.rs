//! Bodies of Produce requests as lists of parts, so that records travel from the fetched answer to the socket uncopied.
//!
//! Picture: names, lengths and rewritten batch headers are written into one buffer; between its pieces stand the records,
//! as they were given. Versions 3 to 12; from 13 on topics have ids only. Not here: what is to be sent.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use twinstream_model::{ErrorCode, NodeId, Offset};
use twinstream_protocol::batch::{HEADER_BYTES, restamped, restamped_in_transaction};
use twinstream_protocol::mirror::{self, SourceRange};

use super::core::{Answer, PartitionAnswer, Piece, Request};

/// The last version that names topics by name.
pub(super) const VERSION_MAX: i16 = 12;
/// From the next version on a batch joins its transaction by itself where the cluster has `transaction.version` 2, and the
/// epoch grows with each transaction (KIP-890). One way to do it for all brokers is enough.
pub(super) const VERSION_MAX_IN_TRANSACTION: i16 = 11;
/// The first version with compact lengths and tagged fields.
const FLEXIBLE_SINCE: i16 = 9;
/// Fewer bytes than this are copied: a part of its own costs more, in the kernel and here.
const INLINE_BELOW: usize = 512;

/// What does not depend on the batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'e> {
    /// Whose transaction the batches are part of.
    pub(super) transactional_id: Option<&'e str>,
    pub(super) version: i16,
    pub(super) acks: i16,
    pub(super) timeout: Duration,
}

/// Writes a body, which goes behind the header of the request.
pub(super) fn encode(request: &Request, envelope: Envelope<'_>) -> Vec<Bytes> {
    let mut out = Parts::new(request.pieces.len(), envelope.version >= FLEXIBLE_SINCE);
    match envelope.transactional_id {
        Some(id) => out.put_text(id),
        None => out.put_null_text(),
    }
    out.is_transactional = envelope.transactional_id.is_some();
    out.put_i16(envelope.acks);
    out.put_i32(super::super::batches::millis(envelope.timeout));
    let of_one_topic = |a: &Piece, b: &Piece| a.at.topic == b.at.topic;
    out.put_count(request.pieces.chunk_by(of_one_topic).count());
    for pieces in request.pieces.chunk_by(of_one_topic) {
        out.put_text(pieces[0].at.topic.as_str());
        out.put_count(pieces.len());
        pieces.iter().for_each(|piece| out.put_piece(piece));
        out.put_tags(None);
    }
    let link = request.link.map(mirror::link_field);
    out.put_tags(link.as_ref().map(|link| &link[..]));
    out.finish()
}

struct Parts {
    buffer: BytesMut,
    parts: Vec<Bytes>,
    is_flexible: bool,
    is_transactional: bool,
}

impl Parts {
    fn new(pieces: usize, is_flexible: bool) -> Self {
        /// A header and its framing, and as much again for a small batch or a name.
        const PIECE_BYTES: usize = 4 * HEADER_BYTES;
        Self {
            buffer: BytesMut::with_capacity((pieces + 1) * PIECE_BYTES),
            parts: Vec::with_capacity(2 * pieces + 1),
            is_flexible,
            is_transactional: false,
        }
    }

    fn put_i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    fn put_i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    fn put_unsigned(&mut self, value: usize) {
        let mut rest = value;
        while rest >= 0x80 {
            self.buffer.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.buffer.put_u8(rest as u8);
    }

    fn put_count(&mut self, count: usize) {
        if self.is_flexible { self.put_unsigned(count + 1) } else { self.put_i32(count as i32) }
    }

    fn put_text(&mut self, text: &str) {
        if self.is_flexible {
            self.put_unsigned(text.len() + 1)
        } else {
            self.put_i16(text.len() as i16)
        }
        self.buffer.put_slice(text.as_bytes());
    }

    fn put_null_text(&mut self) {
        if self.is_flexible { self.put_unsigned(0) } else { self.put_i16(-1) }
    }

    /// No tagged fields, or the one of links.
    fn put_tags(&mut self, of_link: Option<&[u8]>) {
        if !self.is_flexible {
            return;
        }
        let Some(field) = of_link else {
            self.put_unsigned(0);
            return;
        };
        self.put_unsigned(1);
        self.put_unsigned(mirror::TAG as usize);
        self.put_unsigned(field.len());
        self.buffer.put_slice(field);
    }

    fn put_piece(&mut self, piece: &Piece) {
        self.put_i32(piece.at.partition.0);
        self.put_count(piece.bytes.len());
        let Some(aligned) = &piece.aligned else {
            self.put_restamped(piece);
            self.put_tags(None);
            return;
        };
        self.attach(piece.bytes.clone());
        let mut told = PartitionProduceData::default();
        let range = SourceRange {
            from: aligned.from,
            log_start: aligned.log_start,
            high_watermark: aligned.high_watermark,
            leader_epoch: aligned.source_epoch,
            last_epoch: aligned.last_epoch,
            cut: aligned.cut,
        };
        mirror::tell_range(&mut told, &range);
        self.put_tags(told.unknown_tagged_fields.get(&mirror::TAG).map(|field| &field[..]));
    }

    /// A batch under a header of this producer.
    fn put_restamped(&mut self, piece: &Piece) {
        match piece.bytes.first_chunk::<HEADER_BYTES>() {
            Some(header) => {
                let header = match piece.stamp {
                    Some(stamp) if self.is_transactional => restamped_in_transaction(header, stamp),
                    stamp => restamped(header, stamp),
                };
                self.buffer.put_slice(&header);
                self.attach(piece.bytes.slice(HEADER_BYTES..));
            }
            None => self.attach(piece.bytes.clone()), // no batch: the broker says so
        }
    }

    fn attach(&mut self, bytes: Bytes) {
        if bytes.len() < INLINE_BELOW {
            self.buffer.put_slice(&bytes);
            return;
        }
        self.cut();
        self.parts.push(bytes);
    }

    fn cut(&mut self) {
        let written = self.buffer.split();
        if !written.is_empty() {
            self.parts.push(written.freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.cut();
        self.parts
    }
}

/// What an answer says.
pub(super) fn read(answer: ProduceResponse) -> Answer {
    let throttle = Duration::from_millis(u64::try_from(answer.throttle_time_ms).unwrap_or(0));
    let mut partitions = Vec::new();
    for topic in answer.responses {
        let name = topic.name.0;
        partitions.extend(topic.partition_responses.into_iter().map(|response| PartitionAnswer {
            topic: name.clone(),
            index: response.index,
            code: ErrorCode::from_code(response.error_code).unwrap_or(ErrorCode::UnknownServerError),
            detail: detail_of(&response),
            base_offset: Offset(response.base_offset),
            log_start: Offset(response.log_start_offset),
            log_end: mirror::log_end_of(&response),
            leader: Some(NodeId(response.current_leader.leader_id.0)).filter(|leader| leader.0 >= 0),
        }));
    }
    Answer { throttle, partitions }
}

fn detail_of(response: &PartitionProduceResponse) -> Option<String> {
    let of_records = || response.record_errors.iter().find_map(|error| error.batch_index_error_message.as_ref());
    response.error_message.as_ref().or_else(of_records).map(|text| text.to_string())
}

#[cfg(test)]
mod tests;
