//! What a service manager hears of a role: that it serves now, and that it is about to stop (sd_notify(3)).
//!
//! Nobody listens unless systemd started the process with `Type=notify`; then nothing happens here. Several roles in one process
//! share one unit: the first that serves speaks for all.

use sd_notify::NotifyState;

/// The role takes requests.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The role was told to stop and has begun to.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told how this process stands");
    }
}
