//! Partitions that a limit holds back are not fetched, so nobody would hear where they end: they are asked for that alone, so that
//! what is told of a lag, and of what a fail-over would lose, stays true while they wait.
//!
//! Invariant: an answer that does not come changes nothing, so that the silence of a source is told as such.

use std::time::Duration;

use tokio::time::Instant;
use twinstream_client::RawClient;
use twinstream_model::{Offset, TopicPartition};

use super::{ASKED_AT_ONCE, Copying, Event};
use crate::engine::At;
use crate::engine::standing::{Begin, Standing};
use crate::questions::{self, Answered, Refused};

/// Well below what counts as silence.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// Questions of this kind.
pub(super) struct Ends {
    under_way: usize,
    next: Instant,
}

impl Ends {
    pub(super) fn new(now: Instant) -> Ends {
        Ends { under_way: 0, next: now }
    }
}

impl Copying {
    pub(super) fn ask_ends(&mut self, client: &RawClient) {
        let now = Instant::now();
        if self.ends.under_way > 0 || now < self.ends.next || !self.pace.holds() {
            return;
        }
        let all = self.pace.whole_link_waits().is_some();
        let is_held = |at: &At| (all || self.pace.is_waiting(*at)) && self.engine.standing(*at) == Standing::Copying;
        let held: Vec<(At, TopicPartition)> =
            self.engine.present().filter(|(_, at)| is_held(at)).map(|(name, at)| (at, name.clone())).collect();
        for some in held.chunks(ASKED_AT_ONCE) {
            let (client, some) = (client.clone(), some.to_vec());
            self.ends.under_way += 1;
            let asking = async move { Event::Ends(questions::beginnings(client, some, Begin::Latest).await) };
            self.under_way.spawn(asking);
        }
        self.ends.next = now + ASKED_EVERY;
    }

    pub(super) fn learn_ends(&mut self, answer: Answered<Result<Offset, Refused>>) {
        self.ends.under_way = self.ends.under_way.saturating_sub(1);
        for (at, end) in answer.result.into_iter().flatten() {
            if let (Ok(end), Some(partition)) = (end, self.observer.partition(at)) {
                partition.metrics.ends_at(end);
            }
        }
    }
}
