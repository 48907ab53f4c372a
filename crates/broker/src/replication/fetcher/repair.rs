//! Logs of followers that must be cut, or begun anew, before they can go on.
//!
//! File work that may take long, so it runs where blocking is allowed, all partitions of one answer in one go. The
//! task waits for it: nothing is appended to a log between its cut and the checkpoint that tells of it.

use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName as WireTopicName};
use kafka_protocol::protocol::StrBytes;
use twinstream_log::Checkpoint;
use twinstream_model::{ErrorCode, Offset};
use twinstream_replication::follower::{Ask, Step};

use super::{Fetcher, Leftovers};
use crate::partitions::{Followed, Partition};
use crate::replication::connection::FetchError;
use crate::replication::session::Key;

const LIST_OFFSETS_VERSION: i16 = 10;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

impl Fetcher {
    /// Asks the leader where the logs of these partitions begin and end. What that calls for joins the repairs.
    pub(super) async fn ask_bounds(&mut self, left: &mut Leftovers) {
        for (key, partition, ask) in std::mem::take(&mut left.bounds) {
            let bounds = match self.bounds(&partition, &ask).await {
                Ok(bounds) => bounds,
                Err(error) => return self.outage(&error).await,
            };
            let followed = match bounds {
                Some((start, end)) => partition.heard_bounds(&ask, start, end),
                None => Followed::Pause,
            };
            match followed {
                Followed::Repair(step) => left.repairs.push((key, partition, ask, step)),
                followed => self.settle(key, followed),
            }
        }
    }

    /// `None` if the leader refuses for now.
    async fn bounds(&mut self, partition: &Partition, ask: &Ask) -> Result<Option<(Offset, Offset)>, FetchError> {
        let start = self.list_offset(partition, ask, EARLIEST).await?;
        let end = self.list_offset(partition, ask, LATEST).await?;
        Ok(start.zip(end))
    }

    async fn list_offset(&mut self, partition: &Partition, ask: &Ask, at: i64) -> Result<Option<Offset>, FetchError> {
        let Some(mut connection) = self.connection.take() else { return Ok(None) };
        let id = partition.id();
        let asked = ListOffsetsPartition::default()
            .with_partition_index(id.partition.0)
            .with_current_leader_epoch(ask.leader_epoch.0)
            .with_timestamp(at);
        let topic = ListOffsetsTopic::default()
            .with_name(WireTopicName(StrBytes::from_string(id.topic.as_str().to_owned())))
            .with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(self.broker.settings.node.id.0))
            .with_topics(vec![topic]);
        let response = connection.ask(&request, LIST_OFFSETS_VERSION).await?;
        self.connection = Some(connection);
        let found = response.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.filter(|found| found.error_code == ErrorCode::None.code() && found.offset >= 0);
        Ok(found.map(|found| Offset(found.offset)))
    }

    /// Cuts logs. The checkpoints of log starts and of recovery points are written before, if one begins earlier then; that of
    /// recovery points after, if flushed records went.
    pub(super) async fn repair(&mut self, repairs: Vec<(Key, Arc<Partition>, Ask, Step)>) {
        if repairs.is_empty() {
            return;
        }
        let partitions = Arc::clone(&self.broker.partitions);
        let work = tokio::task::spawn_blocking(move || {
            let repair =
                |(key, partition, ask, step): &(Key, Arc<Partition>, Ask, Step)| (*key, partition.repair(ask, *step));
            let earlier: Vec<&Partition> = repairs
                .iter()
                .filter(|(_, partition, _, step)| partition.begins_earlier(step))
                .map(|(_, partition, ..)| &**partition)
                .collect();
            if !earlier.is_empty() {
                partitions.write_checkpoints(Checkpoint::RecoveryPoint);
                partitions.write_checkpoints(Checkpoint::LogStart);
            }
            let done: Vec<(Key, Followed)> = repairs.iter().map(repair).collect();
            earlier.iter().for_each(|partition| partition.log().cut_is_over());
            if done.iter().any(|(_, followed)| *followed == Followed::Checkpoint) {
                partitions.write_checkpoints(Checkpoint::RecoveryPoint);
            }
            done
        });
        match work.await {
            Ok(done) => done.into_iter().for_each(|(key, followed)| self.settle(key, followed)),
            Err(error) => tracing::error!(%error, "cutting logs panicked"),
        }
    }
}
