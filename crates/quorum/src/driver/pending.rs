//! Proposals that wait for their entry to be committed.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::{
    MemberError, ProposeError,
    handle::{MemberReply, Reply},
};

/// Somebody who waits for an entry.
pub(super) enum Waiter {
    Proposal(Reply),
    Members(MemberReply),
}

impl Waiter {
    pub(super) fn tell(self, outcome: Result<u64, ProposeError>) {
        match self {
            Self::Proposal(reply) => answer(reply, outcome),
            Self::Members(reply) => answer(reply, outcome.map_err(MemberError::Proposal)),
        }
    }
}

/// Nobody may be waiting any more, which is fine.
pub(super) fn answer<T>(reply: oneshot::Sender<T>, outcome: T) {
    if reply.send(outcome).is_err() {
        tracing::trace!("nobody waits for this answer of the quorum any more");
    }
}

/// Who waits for the entry at an index, and in which term it was proposed.
#[derive(Default)]
pub(super) struct Pending {
    waiting: BTreeMap<u64, (u64, Waiter)>,
}

impl Pending {
    pub(super) fn add(&mut self, index: u64, term: u64, waiter: Waiter) {
        if let Some((_, older)) = self.waiting.insert(index, (term, waiter)) {
            older.tell(Err(ProposeError::Superseded));
        }
    }

    /// An entry was committed; if it is of another term, the one that was waited for is lost.
    pub(super) fn committed(&mut self, index: u64, term: u64) {
        let Some((proposed_in, waiter)) = self.waiting.remove(&index) else { return };
        waiter.tell(if proposed_in == term { Ok(index) } else { Err(ProposeError::Superseded) });
    }

    pub(super) fn fail_all(&mut self, error: &ProposeError) {
        for (_, (_, waiter)) in std::mem::take(&mut self.waiting) {
            waiter.tell(Err(error.clone()));
        }
    }
}
