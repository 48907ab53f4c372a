//! Consumer groups of the newer protocol (KIP-848): the coordinator assigns, members only follow.
//!
//! Picture: three numbers chase each other. A change of members, subscriptions or topics raises the *group's epoch*.
//! A new *target assignment* is computed for it, by an assignor on the server. Each member walks to its part of the
//! target at the pace of its own heartbeats: it gives partitions back first, and is given new ones as soon as
//! nobody owns them; then its *member epoch* is that of the target. Nobody ever waits for everybody.
//!
//! ```text
//! heartbeat ─▶ the member as it is now ─▶ group epoch ─▶ target ─▶ one step of the member ─▶ records, answer
//!  (heartbeat)      (heartbeat)          (subscription)  (target)        (reconcile)
//! ```
//!
//! A heartbeat is one decision on what is stored; its records are replayed when the log has them. They are ordered
//! so that any prefix of them is a sound group: members before the epoch that they caused, the parts of a target
//! before its epoch, what a member owns last.
//!
//! Invariants: U1 a partition has at most one owner, and who must give it back owns it until it says otherwise or is
//! removed. U2 epochs never go back: neither the group's, nor the target's, nor a member's while it is in.
//! U3 every member has a session deadline. U4 when nothing changes any more, every member reaches the target.
//!
//! Not here: how partitions are shared (`assignor`), bytes (`consumer_codec`), what expressions mean (`regex`).

mod classic; // members that speak the classic protocol
mod config;
mod describe;
pub(crate) mod embedded; // what such members say of topics
mod heartbeat;
mod leave; // and being removed
mod migrate; // from the classic protocol and back
mod offsets; // who may commit and fetch
mod reconcile;
pub(crate) mod record;
mod request;
mod shard; // the doors of the group shard
mod state;
mod subscription; // expressions, and what is known of topics
mod target;

pub use config::{ConsumerGroupConfig, MigrationPolicy};
pub use record::{
    ClassicMember, ConsumerRecord, CurrentValue, Epoch, GroupValue, MemberState, MemberValue, OwnedPartitions,
    Partitions, RegexValue, TargetValue,
};
pub use request::{
    ConsumerDescription, ConsumerGroupState, ConsumerHeartbeat, ConsumerHeartbeatAnswer, DescribedConsumer,
    GroupOverrides,
};
pub(crate) use shard::Look;
pub(crate) use state::ConsumerGroup;
