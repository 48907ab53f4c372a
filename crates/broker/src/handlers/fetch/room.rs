//! Room for long polls that name many partitions.
//!
//! Picture: a poll holds some hundred bytes for each partition while it waits, beyond what the memory of requests counts.
//! Polls of few partitions are bounded by the number of connections; those of many share [`WAITING_MAX`] partitions.
//!
//! Invariant: who finds no room is answered at once with what there is, as if its wait was over.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Polls of fewer partitions need no room: a connection costs as much.
const FEW: usize = 1_000;

/// Partitions of all waiting polls that name more; five consumers of 50,000 each, or 100 MB.
const WAITING_MAX: usize = 250_000;

#[derive(Debug)]
pub(crate) struct WaitRoom(Semaphore);

/// A poll's place, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl Default for WaitRoom {
    fn default() -> Self {
        Self(Semaphore::new(WAITING_MAX))
    }
}

impl WaitRoom {
    /// A place for a poll of so many partitions, if there is one.
    pub(super) fn enter(&self, partitions: usize) -> Option<Place<'_>> {
        if partitions <= FEW {
            return Some(Place { _permit: None });
        }
        let permit = self.0.try_acquire_many(u32::try_from(partitions).ok()?).ok()?;
        Some(Place { _permit: Some(permit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_of_many_partitions_share_the_room_and_small_ones_need_none() {
        let room = WaitRoom::default();
        let many = room.enter(WAITING_MAX - FEW).unwrap();
        assert!(room.enter(FEW + 1).is_none() && room.enter(usize::MAX).is_none());
        let few = room.enter(FEW).unwrap();
        drop((many, few));
        assert!(room.enter(WAITING_MAX).is_some());
    }
}
