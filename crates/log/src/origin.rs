//! Who wrote the records of an append, and what that entitles to.

use crate::VerificationGuard;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: everything is checked. A transactional batch goes into a transaction that is open here, or nowhere.
    Client,
    /// A producer of which its coordinator has said, since the guard was given out, that this partition belongs to its
    /// transaction (KIP-890).
    Verified(VerificationGuard),
    /// A producer whose transaction nobody verified, because that is switched off.
    Unverified,
    /// A coordinator of this broker: may write control batches and several batches at once.
    Coordinator,
    /// The end of a transaction.
    Marker(MarkerEpoch),
}

/// Which producer epochs a marker may have (KIP-1228).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerEpoch {
    /// That of its transaction, or a newer one: transaction versions below 2.
    NotOlder,
    /// A newer one, because each transaction ends with an epoch that its successor has: transaction version 2. Only a
    /// marker that is written once more has the one that is known.
    Newer,
}

impl Origin {
    /// Whether the records are a producer's, of which nothing is taken for granted.
    pub(crate) fn is_client(self) -> bool {
        matches!(self, Origin::Client | Origin::Verified(_) | Origin::Unverified)
    }
}
