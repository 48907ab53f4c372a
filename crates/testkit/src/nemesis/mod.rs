//! What breaks things: the network between brokers, their clocks, and files of a stopped broker.
//!
//! Signals are sent by [`crate::Process`]; what to break when, and how to judge it, is [`crate::faults`].

mod clock; // wall clocks that jump
pub mod files; // damage to what lies on disk
mod network; // links that can be cut

pub use clock::Clock;
pub(crate) use clock::now;
pub use network::{End, Network};
