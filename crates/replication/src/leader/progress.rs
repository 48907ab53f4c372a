//! What the leader knows of one follower.

use std::time::{Duration, Instant};

use twinstream_model::Offset;

use super::{ReplicaFetch, Standing};

#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) standing: Option<Standing>,
    /// It has everything below, as we have it. `None` until it has fetched in this leader epoch.
    pub(super) log_end: Option<Offset>,
    pub(super) log_start: Option<Offset>,
    /// When it fetched last, or when we began to wait for it.
    heard: Instant,
    /// When it was last known to have all that we had at that moment; `None` if that was not in this epoch.
    caught_up: Option<Instant>,
    /// When it fetched last and where our log ended then.
    last_fetch: Option<(Instant, Offset)>,
}

impl Progress {
    /// An in-sync follower has its full time to show up; any other has to show first that it can keep up.
    pub(super) fn new(in_isr: bool, now: Instant) -> Progress {
        Progress {
            standing: None,
            log_end: None,
            log_start: None,
            heard: now,
            caught_up: in_isr.then_some(now),
            last_fetch: None,
        }
    }

    /// Takes over what the image says; true if the broker is another run than before.
    pub(super) fn set_standing(&mut self, standing: Option<Standing>) -> bool {
        let epoch = |standing: Option<Standing>| standing.map(|standing| standing.broker_epoch);
        let other = epoch(self.standing) != epoch(standing);
        self.standing = standing;
        other
    }

    /// Forgets what an earlier run of the broker had. Its time in the ISR does not begin anew.
    pub(super) fn start_over(&mut self, in_isr: bool) {
        self.log_end = None;
        self.log_start = None;
        self.last_fetch = None;
        if !in_isr {
            self.caught_up = None;
        }
    }

    pub(super) fn fetched(&mut self, fetch: &ReplicaFetch, leader_end: Offset, now: Instant) {
        if fetch.offset >= leader_end {
            self.caught_up = Some(now);
        } else if let Some((then, end_then)) = self.last_fetch
            && fetch.offset >= end_then
        {
            // It has now all that we had when it asked the time before: it was caught up then (Kafka's
            // lastCaughtUpTimeMs). A follower of a busy leader is never at the end, only shortly behind.
            self.caught_up = self.caught_up.max(Some(then));
        }
        self.last_fetch = Some((now, leader_end));
        self.heard = now;
        self.log_end = Some(fetch.offset);
        self.log_start = Some(fetch.log_start);
    }

    pub(super) fn is_eligible(&self) -> bool {
        self.standing.is_some_and(|standing| standing.eligible)
    }

    /// Whether it is at our end, or was within `lag_max`.
    pub(super) fn is_caught_up(&self, leader_end: Offset, lag_max: Duration, now: Instant) -> bool {
        self.log_end == Some(leader_end)
            || self.caught_up.is_some_and(|then| now.saturating_duration_since(then) <= lag_max)
    }

    pub(super) fn is_silent(&self, silence_max: Duration, awake_since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(self.heard.max(awake_since)) > silence_max
    }
}
