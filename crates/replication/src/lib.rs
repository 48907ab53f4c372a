//! The rules of partition replication without I/O: what a leader may commit, what a follower must cut.
//!
//! Picture: each partition has one leader per epoch. Followers fetch from it; what a follower asks for tells the
//! leader what that follower has. The leader commits what the whole ISR has and moves the high watermark there. The
//! controller is the only one who changes leader and ISR; a leader proposes, and until it hears the outcome it
//! believes the more careful of both.
//!
//! ```text
//!    follower                     leader                       controller
//!    Ask ───────────────────────▶ LeaderState::fetched
//!                                   ├─ high watermark moves
//!                                   └─ Proposal ─────────────▶ decides, image changes
//!    FollowerState::heard ◀─────  records, or Diverging       ◀─ answer / image_changed
//! ```
//! Invariants: R1 a record below the high watermark is on every member of every ISR that the controller may choose the
//! next leader from. R2 the high watermark of a leadership never goes back. R3 at most one proposal is in flight.
//! R4 a follower only ever cuts what its leader does not have.
//!
//! Not here: files (`log`), who is leader (`metadata`), sockets, clocks, threads (`broker`).

pub mod follower; // what a follower does with an answer
pub mod leader; // what a leader knows of its followers
pub mod throttle; // how much replication traffic may pass

#[cfg(test)]
mod model_tests;
