//! Members of groups that read what is committed, and commit how far they are after each poll.
//!
//! A member starts where the group is, which only the cluster knows; it notes each assignment, so that what it polls is
//! compared with what it polled before only as long as it has had the partition all the time. What the group may skip
//! between one member and the next is seen from the commits, which are noted as well.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use twinstream_client::{ClientError, CommitOffset, Consumer, ConsumerEvent};
use twinstream_model::TopicPartition;

use super::{GroupProtocol, Place, Polls, goes_on};
use crate::history::{Recorder, What, Worker};
use crate::records::client_settings;

const POLL: Duration = Duration::from_millis(100);

/// Joins, reads and commits; one that died of a fatal error is replaced.
pub(super) async fn read(place: Place, protocol: GroupProtocol, recorder: Recorder, running: watch::Receiver<bool>) {
    while goes_on(&running) {
        let worker = recorder.worker();
        recorder.note(worker, What::Member { group: protocol.group(&place.options.topic) });
        let member =
            Member { worker, recorder: &recorder, consumer: join(&place, protocol).await, at: BTreeMap::new() };
        member.live(&running).await;
    }
}

async fn join(place: &Place, protocol: GroupProtocol) -> Consumer {
    let group = protocol.group(&place.options.topic);
    let mut settings = vec![
        ("group.id", group.as_str()),
        ("group.protocol", protocol.name()),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("librdkafka.reconnect.backoff.ms", "20"),
        ("librdkafka.reconnect.backoff.max.ms", "100"),
        ("librdkafka.topic.metadata.refresh.interval.ms", "1000"),
        ("librdkafka.socket.timeout.ms", "10000"),
    ];
    if protocol == GroupProtocol::Classic {
        settings.push(("session.timeout.ms", "10000"));
        settings.push(("partition.assignment.strategy", "cooperative-sticky"));
    }
    let consumer = Consumer::new(&client_settings(&place.bootstrap, &settings));
    let consumer = consumer.unwrap_or_else(|error| panic!("{error}"));
    consumer.subscribe(std::slice::from_ref(&place.options.topic)).await.unwrap_or_else(|error| panic!("{error}"));
    consumer
}

struct Member<'a> {
    worker: Worker,
    recorder: &'a Recorder,
    consumer: Consumer,
    /// What is to be committed.
    at: BTreeMap<TopicPartition, CommitOffset>,
}

impl Member<'_> {
    /// Until it is told to end, or cannot go on.
    async fn live(mut self, running: &watch::Receiver<bool>) {
        while goes_on(running) {
            if let Err(error) = self.poll().await {
                tracing::debug!(%error, "a member gives up");
                break;
            }
            self.commit().await;
        }
        // A group that has no coordinator now forgets the member when its session is over.
        self.consumer.close().await.ok();
    }

    async fn poll(&mut self) -> Result<(), ClientError> {
        let mut polls = Polls::default();
        for event in self.consumer.next_batch(POLL).await {
            match event {
                ConsumerEvent::Record(record) => {
                    let (partition, offset) = (record.partition.0, record.offset.0);
                    polls.take(self.recorder, self.worker, partition, offset, record.value.as_deref());
                    self.at.insert(record.topic_partition(), record.offset.next().into());
                }
                ConsumerEvent::Assigned(partitions) => {
                    polls.note(self.recorder, self.worker);
                    let partitions = partitions.iter().map(|partition| (partition.partition.0, -1)).collect();
                    self.recorder.note(self.worker, What::Assigned { partitions });
                }
                ConsumerEvent::Revoked(revocation) => {
                    polls.note(self.recorder, self.worker);
                    if revocation.lost {
                        revocation.partitions.iter().for_each(|partition| _ = self.at.remove(partition));
                    }
                    self.commit().await;
                }
                ConsumerEvent::Error { error, fatal: true } => {
                    polls.note(self.recorder, self.worker);
                    return Err(error);
                }
                ConsumerEvent::Error { fatal: false, .. } | ConsumerEvent::EndOfPartition(_) => {}
            }
        }
        polls.note(self.recorder, self.worker);
        Ok(())
    }

    /// One that is refused comes too late, or comes again with the next poll.
    async fn commit(&mut self) {
        if self.at.is_empty() || self.consumer.commit(&self.at).await.is_err() {
            return;
        }
        let at = std::mem::take(&mut self.at).into_iter();
        let partitions = at.map(|(partition, commit)| (partition.partition.0, commit.offset.0)).collect();
        self.recorder.note(self.worker, What::Committed { partitions });
    }
}
