//! Newtypes for the numbers and short strings of Kafka's protocol.
//!
//! The wrapped value is public: these types prevent mix-ups, they do not hide anything. The constants
//! name the magic values of the protocol (-1 for "none").

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> $inner {
                value.0
            }
        }
    };
}

number! {
    /// A partition's number within its topic, from 0.
    PartitionIndex(i32)
}
number! {
    /// The position of a record in a partition's log, from 0.
    Offset(i64)
}
number! {
    /// Counts the leaderships of a partition; never goes back.
    LeaderEpoch(i32)
}
number! {
    /// `node.id` of a broker or controller.
    NodeId(i32)
}
number! {
    /// Identifies an idempotent or transactional producer.
    ProducerId(i64)
}
number! {
    /// Counts the incarnations of one [`ProducerId`]; an older one is fenced.
    ProducerEpoch(i16)
}

impl Offset {
    /// "No offset", for answers that have none.
    pub const NONE: Offset = Offset(-1);

    /// The offset after this one.
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl LeaderEpoch {
    /// "No epoch": the client does not know or does not care.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl NodeId {
    /// "No node", for instance a partition without a leader.
    pub const NONE: NodeId = NodeId(-1);
}

impl ProducerId {
    /// Marks records of a producer without idempotence.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl ProducerEpoch {
    /// Goes with [`ProducerId::NONE`].
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

/// A topic's identity: survives as long as the topic, a topic of the same name created later differs.
///
/// Displayed as Kafka does: 22 characters of url-safe base64 without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// "No id", what older protocol versions send.
    pub const NONE: TopicId = TopicId(Uuid::nil());

    /// Whether this is [`TopicId::NONE`].
    pub fn is_none(self) -> bool {
        self.0.is_nil()
    }

    /// Reads Kafka's form of an id, `None` if the text is not 22 characters of url-safe base64.
    pub fn parse(text: &str) -> Option<TopicId> {
        uuid_from_base64(text).map(TopicId)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&uuid_to_base64(self.0))
    }
}

impl From<Uuid> for TopicId {
    fn from(id: Uuid) -> TopicId {
        TopicId(id)
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text! {
    /// `group.id` of a consumer group. May be empty: old clients commit offsets under the empty id.
    GroupId
}
text! {
    /// `transactional.id` of a producer: survives its restarts, so that a new instance fences the one before it.
    TransactionalId
}
text! {
    /// The identity of a cluster, usually 22 characters of url-safe base64.
    ClusterId
}

impl ClusterId {
    /// A new id in Kafka's form from 128 random bits of the caller.
    pub fn from_uuid(id: Uuid) -> ClusterId {
        ClusterId(uuid_to_base64(id).into())
    }

    /// The bits of an id in Kafka's form; `None` when somebody chose another text.
    pub fn to_uuid(&self) -> Option<Uuid> {
        uuid_from_base64(self.as_str())
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const UUID_BASE64_LEN: usize = 22; // 128 bits at 6 per character

fn uuid_to_base64(id: Uuid) -> String {
    let bits = id.as_u128();
    (0..UUID_BASE64_LEN)
        .map(|i| {
            // The last character carries only the 2 lowest bits, followed by 4 zero bits.
            let index = match i {
                21 => (bits & 0b11) << 4,
                _ => bits >> (122 - 6 * i),
            };
            BASE64_URL[(index & 63) as usize] as char
        })
        .collect()
}

fn uuid_from_base64(text: &str) -> Option<Uuid> {
    if text.len() != UUID_BASE64_LEN {
        return None;
    }
    let mut bits = 0u128;
    for (i, byte) in text.bytes().enumerate() {
        let value = BASE64_URL.iter().position(|b| *b == byte)? as u128;
        bits |= match i {
            21 if value & 0b1111 != 0 => return None,
            21 => value >> 4,
            _ => value << (122 - 6 * i),
        };
    }
    Some(Uuid::from_u128(bits))
}
