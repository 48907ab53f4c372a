//! The assignor `uniform`: everybody gets the same number of partitions, and as many as possible stay.
//!
//! Members with equal subscriptions are the common case and are solved exactly: each member has a quota, gives up
//! what is over it, and what is free is dealt around ([`homogeneous`]). Otherwise free partitions go to the least
//! loaded subscriber and then partitions move from more to less loaded subscribers of each topic
//! ([`heterogeneous`]).
//!
//! Invariants: U1 with equal subscriptions the loads of two members differ by one at most, and no assignment that
//! is as balanced moves fewer partitions. U2 otherwise, no single move within a topic makes the loads of two of
//! its subscribers more equal (unless the bound on rounds was hit).
//!
//! Differs from Kafka, within what KIP-848 promises: the odd partitions go to members that have them already, and
//! free partitions are dealt one by one instead of in blocks, so that members share each topic and not only the
//! sum. Racks are not looked at, as in Kafka.

use super::board::{Board, is_same_subscription};
use super::{Assignment, Assignor, GroupSpec};

mod heterogeneous;
mod homogeneous;

/// Kafka's default.
pub struct Uniform;

impl Assignor for Uniform {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn assign(&self, spec: &GroupSpec) -> Assignment {
        let mut board = Board::new(spec);
        if has_one_subscription(spec) {
            homogeneous::share(&mut board);
        } else {
            heterogeneous::share(&mut board);
        }
        board.into_assignment()
    }
}

fn has_one_subscription(spec: &GroupSpec) -> bool {
    let mut subscriptions = spec.members.values().map(|member| &member.subscribed);
    let Some(first) = subscriptions.next() else { return true };
    subscriptions.all(|other| is_same_subscription(first, other))
}
