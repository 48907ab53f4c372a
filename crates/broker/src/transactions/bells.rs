//! Tells those who wait for the end of a producer's last transaction that it is over.
//!
//! Picture: a row of bells. A transactional id belongs to one of them, together with some others; who hears its bell looks
//! again whether it was meant.
//!
//! Why: a producer begins its next transaction right after it ended one, while the markers are still on their way. Told
//! to come again it would pause for 20 ms or more; the markers take a few.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use twinstream_model::TransactionalId;

/// Enough that producers of one broker seldom hear each other's.
const BELLS: usize = 64;

pub(super) struct Bells {
    row: [Notify; BELLS],
}

impl Default for Bells {
    fn default() -> Self {
        Bells { row: std::array::from_fn(|_| Notify::new()) }
    }
}

impl Bells {
    fn of(&self, id: &TransactionalId) -> &Notify {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        &self.row[hasher.finish() as usize % BELLS]
    }

    /// A transaction of the id is over.
    pub(super) fn ring(&self, id: &TransactionalId) {
        self.of(id).notify_waiters();
    }

    /// Resolves when the bell of the id rings after this call.
    pub(super) fn hear(&self, id: &TransactionalId) -> Pin<Box<Notified<'_>>> {
        let mut rung = Box::pin(self.of(id).notified());
        rung.as_mut().enable();
        rung
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn bell_that_rings_before_somebody_waits_is_heard_and_an_earlier_one_is_not() {
        let (bells, id) = (Bells::default(), TransactionalId::from("t"));
        bells.ring(&id);
        let mut late = bells.hear(&id);
        assert!(late.as_mut().now_or_never().is_none());
        bells.ring(&id);
        assert!(late.as_mut().now_or_never().is_some());
    }
}
