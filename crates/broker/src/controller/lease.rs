//! How long this broker may think that it still is what the metadata says.
//!
//! Picture: each heartbeat that the active controller answers extends a lease to `broker.session.timeout.ms` after the heartbeat was
//! *sent*. The controller fences a broker that much later than it *heard* of it, so the lease always ends first, whatever the two
//! clocks say: both only measure durations.
//!
//! Invariants: a lease that was lost comes back only by an answered heartbeat or registration; a broker that never registered has none.
//!
//! Not here: what keeps acknowledged records safe. That is the high watermark, which needs the followers; the lease only tells clients
//! sooner that they should look elsewhere.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Extends the lease.
#[derive(Clone, Debug)]
pub(super) struct LeaseHolder {
    length: Duration,
    until: watch::Sender<Option<Instant>>,
}

/// Whether this broker still has its session with the controller. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    lost: watch::Receiver<bool>,
}

/// A lease that is lost until it is first extended. Must be called inside the runtime.
pub(super) fn start(length: Duration, shutdown: CancellationToken) -> (LeaseHolder, Session) {
    let until = watch::Sender::new(None);
    let lost = watch::Sender::new(true);
    let session = Session { lost: lost.subscribe() };
    let ends = until.subscribe();
    tokio::spawn(async move {
        tokio::select! {
            () = keep(ends, lost) => {}
            () = shutdown.cancelled() => {}
        }
    });
    (LeaseHolder { length, until }, session)
}

/// Publishes the end of the lease when it comes.
async fn keep(mut ends: watch::Receiver<Option<Instant>>, lost: watch::Sender<bool>) {
    let mut is_told = false;
    loop {
        let until = *ends.borrow_and_update();
        let is_lost = until.is_none_or(|until| Instant::now() >= until);
        let changed = lost.send_if_modified(|lost| std::mem::replace(lost, is_lost) != is_lost);
        if changed && is_lost && until.is_some() {
            tracing::warn!(
                "no heartbeat was answered within the session, acks=all writes that no follower confirms are sent to look for \
                 another leader until one is"
            );
            is_told = true;
        } else if changed && !is_lost && std::mem::take(&mut is_told) {
            tracing::info!("the session with the controller is held again");
        }
        let end = async {
            match until.filter(|_| !is_lost) {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = ends.changed() => if changed.is_err() { return },
            () = end => {}
        }
    }
}

impl LeaseHolder {
    /// A request that was sent at `sent` has been answered: the controller has heard of this broker since.
    pub(super) fn extend(&self, sent: Instant) {
        let end = sent + self.length;
        self.until.send_if_modified(|until| {
            let later = until.is_none_or(|until| end > until);
            if later {
                *until = Some(end);
            }
            later
        });
    }

    /// The controller says that this broker is fenced or unknown.
    pub(super) fn give_up(&self) {
        self.until.send_replace(None);
    }
}

impl Session {
    /// Whether the controller may have given this broker's partitions to others.
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Returns when the session is lost; at once if it is.
    pub(crate) async fn lost(&mut self) {
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            // The process is going down.
            std::future::pending().await
        }
    }

    /// A session that is never lost.
    #[cfg(test)]
    pub(crate) fn for_ever() -> Session {
        Session { lost: watch::Sender::new(false).subscribe() }
    }

    /// Returns when the session is held; at once if it is.
    #[cfg(test)]
    pub(crate) async fn held(&mut self) {
        if self.lost.wait_for(|lost| !*lost).await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests;
