//! The two writers beside a source task: of the offset map, and of MirrorMaker's offset-syncs.
//!
//! Each tries again what it could not write, says once that it fails and once that it works again, and ends after a last
//! round when the task closes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_model::TopicName;

use super::settings::SyncSettings;
use super::topic_log::TopicLog;
use super::{FLUSH_EVERY, Kept, Records};
use crate::checkpoint::metrics;

/// Every so many rounds also syncs that are less than `offset.lag.max` behind, and places that only moved: 5 seconds.
const FULL_EVERY: u32 = 20;
/// After so many rounds a topic that could not be made is tried again: 30 seconds.
const MAKE_AFTER: u32 = 120;

pub(super) struct MapWriter {
    pub(super) kept: Arc<Kept>,
    pub(super) log: TopicLog,
}

impl MapWriter {
    pub(super) async fn run(self) {
        let mut trouble = Trouble::of("the offset map", self.log.topic());
        let mut round = 0_u32;
        loop {
            let closing = wait(&self.kept).await;
            round = round.wrapping_add(1);
            let (taken, records) = self.kept.take_changes(closing || round.is_multiple_of(FULL_EVERY));
            let written = self.log.append(&records).await;
            if written.is_err() {
                self.kept.not_written(taken);
            }
            trouble.tell(written.err());
            if closing {
                return;
            }
        }
    }
}

/// Where offset-syncs go.
pub(super) enum SyncsAt {
    /// The source, which was not reached yet.
    Away(ClientSettings),
    /// A cluster that was reached; whether the topic is there is not known.
    Known(TopicLog),
    Ready(TopicLog),
}

pub(super) struct SyncWriter {
    kept: Arc<Kept>,
    settings: SyncSettings,
    at: SyncsAt,
    round: u32,
    /// Not before this round is the topic made again.
    make_from: u32,
}

impl SyncWriter {
    pub(super) fn new(kept: Arc<Kept>, settings: SyncSettings, at: SyncsAt) -> Self {
        Self { kept, settings, at, round: 0, make_from: 0 }
    }

    pub(super) async fn run(mut self) {
        let mut trouble = Trouble::of("offset-syncs", &self.settings.syncs_topic);
        loop {
            let closing = wait(&self.kept).await;
            self.round = self.round.wrapping_add(1);
            if self.round >= self.make_from {
                let (taken, records) = self.kept.take_syncs(closing || self.round.is_multiple_of(FULL_EVERY));
                let written = self.write(&records).await;
                if written.is_err() {
                    self.kept.syncs_not_written(taken);
                }
                trouble.tell(written.err());
            }
            if closing {
                return;
            }
        }
    }

    async fn write(&mut self, records: &Records) -> Result<(), ClientError> {
        if records.is_empty() {
            return Ok(());
        }
        self.make_from = self.round.saturating_add(MAKE_AFTER);
        if let SyncsAt::Away(source) = &self.at {
            let client = RawClient::connect(source).await?;
            self.at = SyncsAt::Known(TopicLog::new(client, self.settings.syncs_topic.clone()));
        }
        if let SyncsAt::Known(log) = &self.at {
            log.ensure(self.settings.replicas, &[]).await?;
            let client = log.client();
            self.at = SyncsAt::Ready(TopicLog::new(client, self.settings.syncs_topic.clone()));
        }
        self.make_from = 0;
        match &self.at {
            SyncsAt::Ready(log) => log.append(records).await,
            SyncsAt::Away(_) | SyncsAt::Known(_) => Ok(()),
        }
    }
}

/// Until the next round; whether it is the last.
async fn wait(kept: &Kept) -> bool {
    let woken = kept.wake.notified();
    if !kept.closing.load(Ordering::Acquire) {
        tokio::select! {
            () = tokio::time::sleep(FLUSH_EVERY) => {}
            () = woken => {}
        }
    }
    kept.closing.load(Ordering::Acquire)
}

/// What is told of writes that fail: once when it begins, once when it is over.
struct Trouble {
    what: &'static str,
    topic: TopicName,
    fails: bool,
}

impl Trouble {
    fn of(what: &'static str, topic: &TopicName) -> Self {
        Self { what, topic: topic.clone(), fails: false }
    }

    fn tell(&mut self, error: Option<ClientError>) {
        let (what, topic) = (self.what, &self.topic);
        match error {
            Some(cause) => {
                metrics::not_written(topic);
                if !std::mem::replace(&mut self.fails, true) {
                    let cause = trace_of(&cause);
                    warn!(%topic, cause, "{what} cannot be written, which is tried again; records are copied on");
                }
            }
            None if std::mem::take(&mut self.fails) => info!(%topic, "{what} can be written again"),
            None => {}
        }
    }
}
