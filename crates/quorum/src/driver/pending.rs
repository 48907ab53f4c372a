//! Proposals that wait for their entry to be committed.

use std::collections::BTreeMap;

use super::{Reply, answer};
use crate::ProposeError;

/// Who waits for the entry at an index, and in which term it was proposed.
#[derive(Default)]
pub(super) struct Pending {
    waiting: BTreeMap<u64, (u64, Reply)>,
}

impl Pending {
    pub(super) fn add(&mut self, index: u64, term: u64, reply: Reply) {
        if let Some((_, older)) = self.waiting.insert(index, (term, reply)) {
            answer(older, Err(ProposeError::Superseded));
        }
    }

    /// An entry was committed; if it is of another term, the one that was waited for is lost.
    pub(super) fn committed(&mut self, index: u64, term: u64) {
        let Some((proposed_in, reply)) = self.waiting.remove(&index) else { return };
        let outcome = if proposed_in == term { Ok(index) } else { Err(ProposeError::Superseded) };
        answer(reply, outcome);
    }

    pub(super) fn fail_all(&mut self, error: &ProposeError) {
        for (_, (_, reply)) in std::mem::take(&mut self.waiting) {
            answer(reply, Err(error.clone()));
        }
    }
}
