//! A Raft message on its way between nodes: who says it to whom, by directory, in front of Raft's own bytes.
//!
//! Raft numbers its members by node. The directory ids in front keep a node that lost its log from being taken for the member that
//! had it, in both directions: a message for the old directory is not obeyed, an answer of the new one is not counted.

use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use twinstream_model::NodeId;
use uuid::Uuid;

use crate::{MESSAGE_BYTES_MAX, StepError, node_id, raft_id};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 33;

/// A decoded message of a peer.
pub(crate) struct Incoming {
    pub(crate) from: NodeId,
    pub(crate) from_directory: Uuid,
    pub(crate) to_directory: Uuid,
    pub(crate) message: Message,
}

pub(crate) fn encode(from: Uuid, to: Uuid, message: &Message) -> protobuf::ProtobufResult<Vec<u8>> {
    let mut out = Vec::with_capacity(HEAD_BYTES + message.compute_size() as usize);
    out.push(VERSION);
    out.extend_from_slice(from.as_bytes());
    out.extend_from_slice(to.as_bytes());
    message.write_to_vec(&mut out)?;
    Ok(out)
}

/// Decodes a peer's message and refuses those that only the node itself may make.
pub(crate) fn decode(me: NodeId, from: NodeId, bytes: &[u8]) -> Result<Incoming, StepError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(StepError::TooLarge(bytes.len()));
    }
    let (head, body) =
        bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(|| StepError::Malformed("too short".into()))?;
    if head[0] != VERSION {
        return Err(StepError::OtherVersion { found: head[0], known: VERSION });
    }
    let directory = |at: usize| Uuid::from_slice(&head[at..at + 16]).unwrap_or_default();
    let message = Message::parse_from_bytes(body).map_err(|error| StepError::Malformed(error.to_string()))?;
    if node_id(message.from) != Some(from) {
        return Err(StepError::WrongSender { expected: from, found: message.from });
    }
    if message.to != raft_id(me) {
        return Err(StepError::WrongReceiver(message.to));
    }
    let kind = message.get_msg_type();
    if !travels(kind) {
        return Err(StepError::WrongType(format!("{kind:?}")));
    }
    Ok(Incoming { from, from_directory: directory(1), to_directory: directory(17), message })
}

fn travels(kind: MessageType) -> bool {
    is_answer(kind)
        || matches!(
            kind,
            MessageType::MsgAppend
                | MessageType::MsgRequestVote
                | MessageType::MsgRequestPreVote
                | MessageType::MsgSnapshot
                | MessageType::MsgHeartbeat
                | MessageType::MsgTimeoutNow
        )
}

/// Whether the message answers one of the receiver's own, which counts it only from a member.
pub(crate) fn is_answer(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgAppendResponse
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeatResponse
    )
}
