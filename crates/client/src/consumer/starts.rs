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
//! With the older (eager) protocol librdkafka takes whole assignments only, so all partitions are taken away and given back,
//! and the others have to go on where they are. librdkafka forgets where that is when a partition is moved or given back,
//! until the next record: what was sought, or given back, is remembered here until then.
//!
//! Invariants: only partitions are asked for again that begin where the group has committed, of which no record has come and
//! which nobody has moved by a seek: nothing is read twice or left out. Paused ones stay paused. Offsets that wait for the
//! next automatic commit are committed when their partition is taken away. All of this happens on the polling thread.
//!
//! Not here: the end of a partition as an offset. Without a record, a partition that begins at the end, by a seek or because
//! its group has committed nothing, is given back at what is the end then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset as NativeOffset;
use twinstream_model::TopicPartition;

use super::thread::GroupContext;
use super::{plain_list, topic_partition};

/// Until librdkafka has found the new coordinator; asked too early, the old one refuses again.
const PAUSE: Duration = Duration::from_millis(250);

/// Where partitions begin from which nothing has come yet.
#[derive(Default)]
pub(super) struct Starts(Mutex<Unread>);

#[derive(Default)]
struct Unread {
    /// Where the group has committed, whatever librdkafka has found out of it.
    committed: BTreeSet<TopicPartition>,
    /// Where a seek has moved them, or where they were when all of them were given back.
    placed: BTreeMap<TopicPartition, NativeOffset>,
}

impl Starts {
    pub(super) fn begin(&self, partitions: &[TopicPartition]) {
        let mut unread = self.0.lock();
        unread.forget(partitions);
        unread.committed.extend(partitions.iter().cloned());
    }

    pub(super) fn replace(&self, partitions: &[TopicPartition]) {
        *self.0.lock() = Unread { committed: partitions.iter().cloned().collect(), placed: BTreeMap::new() };
    }

    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        self.0.lock().forget(partitions);
    }

    pub(super) fn sought(&self, partition: &TopicPartition, to: NativeOffset) {
        let mut unread = self.0.lock();
        unread.committed.remove(partition);
        unread.placed.insert(partition.clone(), to);
    }

    /// A record has come: librdkafka knows by itself where the partition goes on.
    pub(super) fn began(&self, partition: &TopicPartition) {
        let mut unread = self.0.lock();
        if !unread.committed.is_empty() {
            unread.committed.remove(partition);
        }
        if !unread.placed.is_empty() {
            unread.placed.remove(partition);
        }
    }

    pub(super) fn open(&self) -> Vec<TopicPartition> {
        self.0.lock().committed.iter().cloned().collect()
    }

    /// Where to go on with a partition whose position librdkafka gives.
    fn place_of(&self, partition: &TopicPartition, position: NativeOffset) -> NativeOffset {
        let unread = self.0.lock();
        match unread.placed.get(partition) {
            Some(placed) => *placed,
            None if unread.committed.contains(partition) => NativeOffset::Stored,
            None => position,
        }
    }

    fn given_back(&self, places: BTreeMap<TopicPartition, NativeOffset>) {
        let mut unread = self.0.lock();
        for (partition, place) in places {
            if place.to_raw().is_some_and(|raw| raw >= 0) {
                unread.placed.insert(partition, place);
            }
        }
    }
}

impl Unread {
    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.committed.remove(partition);
            self.placed.remove(partition);
        }
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

pub(super) fn ask(client: &BaseConsumer<GroupContext>, open: &[TopicPartition]) -> KafkaResult<()> {
    if matches!(client.rebalance_protocol(), RebalanceProtocol::Eager) {
        return give_all_back(client);
    }
    let list = plain_list(open);
    client.incremental_unassign(&list)?;
    client.incremental_assign(&list)
}

fn give_all_back(client: &BaseConsumer<GroupContext>) -> KafkaResult<()> {
    let starts = &client.context().starts;
    let mut list = client.position()?;
    let mut places = BTreeMap::new();
    for element in list.elements() {
        if let Some(partition) = topic_partition(element.topic(), element.partition()) {
            let place = starts.place_of(&partition, element.offset());
            places.insert(partition, place);
        }
    }
    for (partition, place) in &places {
        list.set_partition_offset(partition.topic.as_str(), partition.partition.0, *place)?;
    }
    client.assign(&list)?;
    starts.given_back(places);
    Ok(())
}
