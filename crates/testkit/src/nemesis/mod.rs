//! What breaks things: the network between brokers, their clocks, their disks, and files of a stopped broker.
//!
//! Signals are sent by [`crate::Process`]; what to break when, and how to judge it, is [`crate::faults`].

mod clock; // wall clocks that jump
mod disk; // file systems that lose power or are full
pub mod files; // damage to what lies on disk
mod network; // links that can be cut
mod proxy; // requests that are held, answers that are cut
mod relay; // one way in that can be cut, beside others
mod shim; // writes and flushes that fail

pub use clock::Clock;
pub(crate) use clock::now;
pub use disk::Disk;
pub use network::{End, Network};
pub use proxy::{Act, Asked, Proxy};
pub use relay::Relay;
pub use shim::{Rule, Shim};
