//! Waiting until what was appended with acks=all is committed.
//!
//! Picture: all partitions of a request are appended first; what is not committed by then waits here, together, for
//! the high watermarks. Nobody polls: a high watermark that reaches what a request waits for rings its bell.
//!
//! Invariants: a partition is answered as committed only while this broker leads it in the epoch in which it appended;
//! a wait ends at the latest with the request's time limit. A broker that has lost its session with the controller goes
//! on committing as long as its followers do; when they do not, it sends clients away instead of letting them wait
//! for a leadership that may be elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use twinstream_model::{ErrorCode, LeaderEpoch, Offset};

use crate::context::Broker;
use crate::partitions::{Commitment, Interest, Partition, Wait};

/// How long a broker without a session waits for followers: those that live answer within milliseconds.
const PATIENCE_WITHOUT_SESSION: Duration = Duration::from_millis(500);

/// Records that were appended and are on their way to being committed.
pub(in crate::handlers) struct Pending {
    pub(in crate::handlers) partition: Arc<Partition>,
    pub(in crate::handlers) epoch: LeaderEpoch,
    /// Behind the last record.
    pub(in crate::handlers) end: Offset,
    /// `None` until it is known.
    pub(in crate::handlers) outcome: Option<ErrorCode>,
}

impl Pending {
    pub(in crate::handlers) fn new(partition: Arc<Partition>, epoch: LeaderEpoch, last_offset: Offset) -> Pending {
        let mut pending = Pending { partition, epoch, end: last_offset.next(), outcome: None };
        pending.look();
        pending
    }

    /// Whether it waits on.
    fn look(&mut self) -> bool {
        self.outcome = match self.partition.commitment(self.epoch, self.end) {
            Commitment::Committed => Some(ErrorCode::None),
            Commitment::TooFew => Some(ErrorCode::NotEnoughReplicasAfterAppend),
            Commitment::Lost => Some(ErrorCode::NotLeaderOrFollower),
            Commitment::Waiting => None,
        };
        self.outcome.is_none()
    }
}

pub(in crate::handlers) fn are_settled(pending: &[&mut Pending]) -> bool {
    pending.iter().all(|pending| pending.outcome.is_some())
}

/// Waits until each has an outcome, at most until `deadline`.
pub(in crate::handlers) async fn settle(broker: &Broker, pending: &mut [&mut Pending], deadline: Instant) {
    if are_settled(pending) {
        return;
    }
    let wait = bell(pending);
    let mut session = broker.controller.session();
    let sent_away = async {
        session.lost().await;
        tokio::time::sleep(PATIENCE_WITHOUT_SESSION).await;
    };
    tokio::pin!(sent_away);
    // Again, because the high watermark may have moved before the bell was hung up.
    while look(pending) {
        let given_up = tokio::select! {
            () = wait.rung() => continue,
            () = tokio::time::sleep_until(deadline) => ErrorCode::RequestTimedOut,
            () = &mut sent_away => ErrorCode::NotLeaderOrFollower,
            () = broker.shutdown.cancelled() => ErrorCode::NotLeaderOrFollower,
        };
        pending.iter_mut().for_each(|pending| pending.outcome = pending.outcome.or(Some(given_up)));
        return;
    }
}

fn bell(pending: &[&mut Pending]) -> Wait {
    let open = pending.iter().filter(|pending| pending.outcome.is_none());
    Wait::on(open.map(|pending| (Arc::clone(&pending.partition), Interest::committed(pending.end))))
}

/// Whether any waits on.
fn look(pending: &mut [&mut Pending]) -> bool {
    let mut waits = false;
    for pending in pending.iter_mut().filter(|pending| pending.outcome.is_none()) {
        waits |= pending.look();
    }
    waits
}
