//! Gaps in the sequences of idempotent producers that close by themselves.
//!
//! Picture: a producer has up to five batches under way. When a leader goes, or sends one of them away for a moment, the ones
//! behind it may arrive here first; the one that is missing is on its way again. Kafka answers OUT_OF_ORDER_SEQUENCE_NUMBER all
//! the same, and Kafka's own producer bears that. librdkafka does not: it begins a new producer epoch for all partitions
//! and numbers again what it has no answer for, so that a batch of any partition that was appended, and whose answer was
//! lost with a leader, is written twice (confluentinc/librdkafka#4953). And it makes such gaps itself: it writes to the next
//! leader of a partition when nothing is under way to the old one any more, but batches that come back from there at that very
//! moment are overtaken by those that waited. So a gap that may close is answered with a request to send again.
//!
//! A producer that is not known may begin anywhere: its past may have been forgotten (KIP-360). But where its first batch was
//! refused, because the topic was so new that this broker had not heard of it, the second one must not be taken for the first:
//! librdkafka holds what was sent before an acknowledged batch for acknowledged, too, and the first one would be lost.
//!
//! ```text
//!   a gap of a producer that           is answered with
//!     came from the leader before        NOT_LEADER_OR_FOLLOWER until it has been open for PATIENCE
//!     was sent away here lately          the same
//!     is not known                       the same, then its batch is appended
//!     wrote last before a promotion      the same, then its batch is appended: the link that led back cut the ones between
//!     did none of these                  OUT_OF_ORDER_SEQUENCE_NUMBER
//! ```
//! Invariants: G1 nobody is put off for longer than [`PATIENCE`] without an append of its own or another refusal between. G2 no
//! more than [`PRODUCERS_MAX`] producers are put off at a time; others hear of their gaps at once. Not here: who came from
//! the leader before, which the log knows (`PartitionLog::is_arriving`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use twinstream_model::ProducerId;

/// How long a gap may take to close: several tries of a client that pauses between them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Producers of one partition that are put off at a time.
const PRODUCERS_MAX: usize = 10_000;

/// Where a producer was found with a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// What it had under way with the leader before, or sent before this broker led, may still be missing here.
    Arriving,
    /// Its newest batches were all written here.
    Settled,
}

/// Whether the batches between are missing, rather than that this one comes too late. Sequences wrap from `i32::MAX` to 0.
pub(super) fn is_gap(expected: i32, found: i32) -> bool {
    let ahead = found.wrapping_sub(expected) & i32::MAX;
    (1..=i32::MAX / 2).contains(&ahead)
}

/// Until when gaps may close.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    deadlines: HashMap<ProducerId, Instant>,
}

impl Gaps {
    pub(super) fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// A batch of this producer was sent away, to come again: those behind it have a gap before them.
    pub(super) fn sent_away(&mut self, id: ProducerId, now: Instant) {
        if self.has_room_for(id, now) {
            self.deadlines.insert(id, now + PATIENCE);
        }
    }

    /// A batch of this producer was appended; what is missing behind it is another matter.
    pub(super) fn appended(&mut self, id: ProducerId) {
        self.deadlines.remove(&id);
    }

    /// Whether a gap that was found may close.
    pub(super) fn may_close(&mut self, id: ProducerId, standing: Standing, now: Instant) -> bool {
        if let Some(deadline) = self.deadlines.get(&id) {
            return now < *deadline;
        }
        let may_close = standing == Standing::Arriving && self.has_room_for(id, now);
        if may_close {
            self.deadlines.insert(id, now + PATIENCE);
        }
        may_close
    }

    /// Forgets those whose time is over only when there is no room, so that their time does not begin again.
    fn has_room_for(&mut self, id: ProducerId, now: Instant) -> bool {
        if self.deadlines.len() >= PRODUCERS_MAX && !self.deadlines.contains_key(&id) {
            self.deadlines.retain(|_, deadline| now < *deadline);
            return self.deadlines.len() < PRODUCERS_MAX;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ProducerId = ProducerId(1);

    #[test]
    fn sequence_that_went_back_is_no_gap() {
        assert!(is_gap(5, 6) && is_gap(0, 1) && is_gap(i32::MAX, 0) && is_gap(i32::MAX - 1, 3));
        assert!(!is_gap(5, 5) && !is_gap(6, 5) && !is_gap(1, 0) && !is_gap(0, i32::MAX) && !is_gap(3, i32::MAX - 1));
    }

    #[test]
    fn gap_of_a_producer_that_arrives_may_close_for_a_while() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        assert!(gaps.may_close(ONE, Standing::Arriving, now));
        assert!(gaps.may_close(ONE, Standing::Arriving, now + PATIENCE / 2));
        assert!(!gaps.may_close(ONE, Standing::Arriving, now + PATIENCE));
        assert!(!gaps.may_close(ONE, Standing::Arriving, now + PATIENCE * 9), "its time began again");
    }

    #[test]
    fn gap_of_a_producer_that_is_at_home_is_its_own_unless_it_was_sent_away() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        assert!(!gaps.may_close(ONE, Standing::Settled, now));
        assert!(gaps.is_empty());
        gaps.sent_away(ONE, now);
        assert!(gaps.may_close(ONE, Standing::Settled, now + PATIENCE / 2));
        assert!(!gaps.may_close(ProducerId(2), Standing::Settled, now));
        gaps.sent_away(ONE, now + PATIENCE / 2);
        assert!(gaps.may_close(ONE, Standing::Settled, now + PATIENCE));
        gaps.appended(ONE);
        assert!(!gaps.may_close(ONE, Standing::Settled, now + PATIENCE));
    }

    #[test]
    fn next_gap_has_its_own_time() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        assert!(gaps.may_close(ONE, Standing::Arriving, now));
        gaps.appended(ONE);
        assert!(gaps.may_close(ONE, Standing::Arriving, now + PATIENCE));
    }

    #[test]
    fn full_house_puts_nobody_else_off_until_times_are_over() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        (0..PRODUCERS_MAX as i64).for_each(|id| gaps.sent_away(ProducerId(id), now));
        let other = ProducerId(-2);
        assert!(!gaps.may_close(other, Standing::Arriving, now));
        gaps.sent_away(other, now);
        assert!(!gaps.may_close(other, Standing::Settled, now));
        assert!(gaps.may_close(ONE, Standing::Settled, now), "who is put off stays so");
        assert!(gaps.may_close(other, Standing::Arriving, now + PATIENCE));
        assert_eq!(gaps.deadlines.len(), 1);
    }
}
