//! Changes of in-sync sets on their way to the controller.
//!
//! Picture: a set of partitions whose leader, this broker, wants another ISR. One task takes the whole set, asks the
//! controller about all of them in one request, and hands each partition its answer. What is proposed meanwhile goes
//! with the next request, so that a thousand followers that fall out together cost a few requests.
//!
//! Invariants: one request at a time; a partition is in the set at most once, and what it asks for is read when the
//! request is written, so that it is never older than the partition's own state; a proposal is settled by its answer
//! or by a later image, whichever comes first, and until then counts for the high watermark (KIP-497).
//!
//! Not here: which ISR is right (`twinstream_replication`), what the controller allows (`twinstream_metadata`).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use twinstream_metadata::PartitionImage;
use twinstream_metadata::controller::IsrChange;
use twinstream_model::{ErrorCode, TopicPartition};
use twinstream_replication::leader::Answer;

use crate::context::Broker;
use crate::partitions::Partition;

/// Partitions in one request.
const CHANGES_MAX: usize = 1_000;
/// Pause after a request that no controller answered.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The set of partitions that want another ISR.
#[derive(Default)]
pub(crate) struct IsrChanges {
    wanted: Mutex<BTreeSet<TopicPartition>>,
    bell: Notify,
}

impl IsrChanges {
    /// Notes that a partition wants another ISR.
    pub(crate) fn propose(&self, partition: &TopicPartition) {
        self.wanted.lock().insert(partition.clone());
        self.bell.notify_one();
    }

    fn take(&self) -> BTreeSet<TopicPartition> {
        let mut wanted = self.wanted.lock();
        let rest = match wanted.iter().nth(CHANGES_MAX).cloned() {
            Some(first_left) => wanted.split_off(&first_left),
            None => BTreeSet::new(),
        };
        std::mem::replace(&mut *wanted, rest)
    }
}

/// Runs until the broker stops.
pub(super) async fn run(broker: Arc<Broker>) {
    let changes = &broker.replication.isr;
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        let taken = changes.take();
        if taken.is_empty() {
            tokio::select! {
                () = changes.bell.notified() => continue,
                () = broker.shutdown.cancelled() => return,
            }
        }
        let is_answered = tokio::select! {
            is_answered = ask(&broker, taken) => is_answered,
            () = broker.shutdown.cancelled() => return,
        };
        if is_answered {
            pause = RETRY_PAUSE_MIN;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_PAUSE_MAX),
            () = broker.shutdown.cancelled() => return,
        }
    }
}

/// One partition's change on its way.
struct Asked {
    partition: Arc<Partition>,
    proposal: u64,
    change: IsrChange,
}

/// Asks the controller about these partitions; false if some of it is to be tried again.
async fn ask(broker: &Arc<Broker>, wanted: BTreeSet<TopicPartition>) -> bool {
    let asked: Vec<Asked> = wanted.iter().filter_map(|at| asked(broker, at)).collect();
    if asked.is_empty() {
        return true;
    }
    let changes = asked.iter().map(|asked| asked.change.clone()).collect();
    let answers = match broker.controller.alter_partitions(changes).await {
        Ok(answers) => answers.into_iter().map(answer_of).collect(),
        Err(error) => {
            tracing::debug!(%error, partitions = asked.len(), "in-sync replicas were not altered, trying on");
            vec![(Answer::Unknown, None); asked.len()]
        }
    };
    let mut is_settled = true;
    for (asked, (answer, refused)) in asked.iter().zip(answers) {
        is_settled &= settle(broker, asked, answer, refused);
    }
    is_settled
}

fn asked(broker: &Broker, at: &TopicPartition) -> Option<Asked> {
    let partition = broker.partitions.get(at)?;
    let (proposal, mut change) = partition.isr_change()?;
    // A leader speaks for itself under its own registration.
    let own = broker.controller.broker_epoch().unwrap_or(-1);
    let node = broker.settings.node.id;
    change.isr.iter_mut().filter(|(member, _)| *member == node).for_each(|(_, epoch)| *epoch = own);
    Some(Asked { partition, proposal, change })
}

/// Hands an answer to its partition; false if the change is to be sent again.
fn settle(broker: &Broker, asked: &Asked, answer: Answer, refused: Option<ErrorCode>) -> bool {
    let Asked { partition, proposal, change } = asked;
    let isr: Vec<i32> = change.isr.iter().map(|(node, _)| node.0).collect();
    let epoch = change.leader_epoch.0;
    match (&answer, refused) {
        (Answer::Decided { isr: decided, .. }, _) => {
            count(broker, asked, decided.len());
            tracing::info!(partition = %partition.id(), epoch, ?isr, "in-sync replicas altered");
        }
        (_, code) => {
            broker.metrics.replication.failed_isr_updates.inc();
            let code = code.map_or("no answer", ErrorCode::name);
            tracing::debug!(partition = %partition.id(), epoch, ?isr, code, "in-sync replicas not altered");
        }
    }
    let again = partition.isr_answered(*proposal, change.leader_epoch, answer, Instant::now());
    if again {
        broker.replication.isr.propose(partition.id());
    }
    !again
}

fn count(broker: &Broker, asked: &Asked, now: usize) {
    let before = asked.partition.isr_len();
    match now.cmp(&before) {
        Ordering::Less => broker.metrics.replication.isr_shrinks.inc(),
        Ordering::Greater => broker.metrics.replication.isr_expands.inc(),
        Ordering::Equal => {}
    }
}

/// The controller's words in those of the rules.
fn answer_of(answer: Result<PartitionImage, ErrorCode>) -> (Answer, Option<ErrorCode>) {
    let code = match answer {
        Ok(PartitionImage { leader_epoch, partition_epoch, isr, .. }) => {
            return (Answer::Decided { leader_epoch, partition_epoch, isr }, None);
        }
        Err(code) => code,
    };
    let answer = match code {
        ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted | ErrorCode::InvalidRequest => {
            Answer::NotApplied
        }
        ErrorCode::FencedLeaderEpoch
        | ErrorCode::InvalidUpdateVersion
        | ErrorCode::NewLeaderElected
        | ErrorCode::NotLeaderOrFollower
        | ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::StaleBrokerEpoch => Answer::Outdated,
        _ => Answer::Unknown,
    };
    (answer, Some(code))
}
