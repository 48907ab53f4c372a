//! Asking again from where to read, when librdkafka has given up on the answer.
//!
//! Picture: a partition without a start offset begins where its group has committed, which librdkafka asks the coordinator
//! with OffsetFetch. An answer that fails as a whole (NOT_COORDINATOR: the coordinator has just moved) is reported once,
//! the new coordinator is looked for, but the question is never asked again: the partition stays in librdkafka's list
//! `assignment.queried`, and no other question is asked as long as something is in that list. The member keeps its
//! partitions, sends heartbeats, and reads nothing (librdkafka issue 5586, in 2.12.1 `rd_kafka_assignment_apply_offsets`;
//! likewise a lost answer while the assignment changes, `rd_kafka_assignment_handle_OffsetFetch`). Taking the partitions
//! away and giving them back inside librdkafka, which the group does not hear of, empties the list and asks anew.
//!
//! Invariants: only partitions are asked for again that begin where the group has committed, of which no record has come and
//! which nobody has moved by a seek: nothing is read twice or left out. All of this happens on the polling thread.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as NativeOffset, TopicPartitionList};
use twinstream_model::TopicPartition;

use super::plain_list;
use super::thread::GroupContext;

/// Until librdkafka has found the new coordinator; asked too early, the old one refuses again.
const PAUSE: Duration = Duration::from_millis(250);

/// The partitions that begin where the group has committed, and from which nothing has come yet.
#[derive(Default)]
pub(super) struct Starts(Mutex<BTreeSet<TopicPartition>>);

impl Starts {
    pub(super) fn begin(&self, partitions: &[TopicPartition]) {
        self.0.lock().extend(partitions.iter().cloned());
    }

    pub(super) fn replace(&self, partitions: &[TopicPartition]) {
        *self.0.lock() = partitions.iter().cloned().collect();
    }

    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        self.0.lock().retain(|partition| !partitions.contains(partition));
    }

    pub(super) fn began(&self, partition: &TopicPartition) {
        let mut open = self.0.lock();
        if !open.is_empty() {
            open.remove(partition);
        }
    }

    fn open(&self) -> Vec<TopicPartition> {
        self.0.lock().iter().cloned().collect()
    }
}

/// When to ask again, if at all.
#[derive(Default)]
pub(super) struct AskAgain(Option<Instant>);

impl AskAgain {
    /// Looks whether this may be the error of a question that is not asked again.
    pub(super) fn notice(&mut self, error: &KafkaError) {
        let KafkaError::MessageConsumption(code) = error else { return };
        if is_about_the_coordinator(*code) {
            self.0.get_or_insert_with(|| Instant::now() + PAUSE);
        }
    }

    pub(super) fn if_due(&mut self, client: &BaseConsumer<GroupContext>) {
        if self.0.take_if(|due| *due <= Instant::now()).is_none() {
            return;
        }
        let open = client.context().starts.open();
        if open.is_empty() {
            return;
        }
        tracing::debug!(partitions = open.len(), "asking the coordinator again where to start");
        if let Err(error) = ask(client, &open) {
            // Most likely a rebalance is under way, after which some are asked for anyway.
            tracing::debug!(%error, "cannot ask where to start, trying again");
            self.0 = Some(Instant::now() + PAUSE);
        }
    }
}

fn is_about_the_coordinator(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::NotCoordinator
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::BrokerTransportFailure
    )
}

/// With the older (eager) protocol librdkafka takes only whole assignments; the others then go on where they are.
fn ask(client: &BaseConsumer<GroupContext>, open: &[TopicPartition]) -> KafkaResult<()> {
    if matches!(client.rebalance_protocol(), RebalanceProtocol::Eager) {
        return client.assign(&whole(client, open)?);
    }
    let list = plain_list(open);
    client.incremental_unassign(&list)?;
    client.incremental_assign(&list)
}

fn whole(client: &BaseConsumer<GroupContext>, open: &[TopicPartition]) -> KafkaResult<TopicPartitionList> {
    let mut list = client.position()?;
    for partition in open {
        list.set_partition_offset(partition.topic.as_str(), partition.partition.0, NativeOffset::Stored)?;
    }
    Ok(list)
}
