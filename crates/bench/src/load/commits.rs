//! Offset commits of many groups, one request in flight on each connection, over plain sockets.
//!
//! Each connection commits for a group of its own, which has no members, so that nothing but committing is measured. It
//! talks to the group's coordinator as consumers do.

use anyhow::Result;
use twinstream_client::protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use twinstream_client::protocol::kafka_protocol::messages::{GroupId, OffsetCommitRequest};
use twinstream_client::protocol::kafka_protocol::protocol::StrBytes;
use twinstream_model::TopicName;

use super::coordinator::{self, Kind, accepted};
use super::lanes::{Lane, drive};
use super::topics::Topics;
use super::{Run, Target};
use crate::wire::{Wire, frame};

const COMMIT_VERSION: i16 = 8;

#[derive(Clone, Copy, Debug)]
pub struct Commits {
    pub commits: u64,
    /// Each is the only one of a group.
    pub connections: usize,
    /// Connections are dealt out among so many threads.
    pub threads: usize,
    /// Of each commit: it names so many partitions of the topic, or all of them.
    pub partitions: usize,
}

impl Commits {
    pub fn run(&self, target: &Target, brokers: &[u32]) -> Result<Run> {
        let leaders = Topics::connect(&target.settings)?.leaders(&target.topic, 1)?;
        let partitions = self.partitions.clamp(1, leaders.len());
        let lane = |number: usize| lane(&leaders[0], &format!("load-{number}"), &target.topic, partitions);
        let lanes = (0..self.connections.max(1)).map(lane).collect::<Result<Vec<Lane>>>()?;
        let (latencies, took) = drive(lanes, self.threads, self.commits, brokers)?;
        let records = latencies.len() as u64;
        let bytes = records * (partitions * size_of::<i64>()) as u64;
        Ok(Run::of_requests(records, bytes, took, latencies))
    }
}

/// A connection to the coordinator of a group, which has taken a first commit.
fn lane(bootstrap: &str, group: &str, topic: &TopicName, partitions: usize) -> Result<Lane> {
    let commit = frame(&commit(group, topic, partitions), COMMIT_VERSION)?;
    let (wire, ()) = coordinator::ask(bootstrap, Kind::Group, group, |wire| {
        wire.send(&commit)?;
        committed(wire)
    })?;
    Ok(Lane::new(wire, commit, committed))
}

fn commit(group: &str, topic: &TopicName, partitions: usize) -> OffsetCommitRequest {
    let partition = |index: usize| {
        OffsetCommitRequestPartition::default().with_partition_index(index as i32).with_committed_offset(1_000)
    };
    let name = StrBytes::from_string(topic.as_str().to_owned());
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name.into())
        .with_partitions((0..partitions).map(partition).collect());
    OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn committed(wire: &mut Wire) -> Result<()> {
    let answer = wire.answer::<OffsetCommitRequest>(COMMIT_VERSION)?;
    answer.topics.iter().flat_map(|topic| &topic.partitions).try_for_each(|partition| accepted(partition.error_code))
}
