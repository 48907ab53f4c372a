//! A cluster with 15,000 groups: how long it takes to list all of them, and to describe each.
//!
//! Picture: every group has one committed offset and no members, as applications leave them behind; all are coordinated by
//! one broker, which is asked as tools ask: one request that lists, one that describes what was listed. What is measured
//! goes from the first byte of a request to the last one of the answer, so it is more than what the broker takes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use twinstream_client::NewTopic;
use twinstream_client::protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use twinstream_client::protocol::kafka_protocol::messages::{
    DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetCommitRequest,
};
use twinstream_client::protocol::kafka_protocol::protocol::StrBytes;
use twinstream_model::TopicName;

use super::{Sample, Samples, Turn, turns};
use crate::judge::report::RowReport;
use crate::judge::{Options, Side};
use crate::load::coordinator::{self, Kind, Refused, accepted};
use crate::load::topics::Topics;
use crate::targets::Row;
use crate::wire::{Wire, frame};

const GROUPS: f64 = 15_000.0;
const TOPIC: &str = "groups";
const COMMIT_VERSION: i16 = 8;
const LIST_VERSION: i16 = 5;
const DESCRIBE_VERSION: i16 = 5;
/// How long one coordinator may not be there yet; each partition of offsets has its own.
const LOADED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn run(options: &Options) -> Result<RowReport> {
    let count = usize::try_from(options.scaled(GROUPS, 20.0)).context("number of groups")?;
    let mut sides = vec![Side::start(&crate::judge::Kind::Ours(options.ours.clone()), 1).await];
    if let Some(kind) = &options.rival {
        sides.push(Side::start(kind, 1).await);
    }
    let mut wires = Vec::new();
    for side in &sides {
        wires.push(tokio::task::block_in_place(|| {
            let mut wire = make(side, count)?;
            // A run that does not count.
            ask(&mut wire, count)?;
            anyhow::Ok(wire)
        })?);
    }
    let mut samples = Samples::default();
    for pair in 0..options.pairs {
        for turn in turns(pair, sides.len() > 1) {
            let (index, samples) = match turn {
                Turn::Ours => (0, &mut samples.ours),
                Turn::Theirs => (1, &mut samples.theirs),
            };
            let (list, describe) = tokio::task::block_in_place(|| ask(&mut wires[index], count))?;
            let millis = [list, describe, list + describe].map(|time| time.as_secs_f64() * 1_000.0);
            samples.push(Sample { values: millis.into(), runs: Vec::new() });
        }
    }
    Ok(samples.report(Row::Groups))
}

/// Makes the groups; a connection to their coordinator.
fn make(side: &Side, count: usize) -> Result<Wire> {
    let topic = TopicName::parse(TOPIC)?;
    Topics::connect(&side.settings()?)?.ensure(&NewTopic::new(topic, 1, 1))?;
    let (mut wire, ()) = coordinator::ask(&side.bootstrap(), Kind::Group, &name(0), |wire| commit(wire, 0))?;
    for number in 1..count {
        let deadline = Instant::now() + LOADED_WITHIN;
        loop {
            match commit(&mut wire, number) {
                Err(error) if error.is::<Refused>() && Instant::now() < deadline => std::thread::sleep(PAUSE),
                done => break done?,
            }
        }
    }
    Ok(wire)
}

fn name(number: usize) -> String {
    format!("group-{number:05}")
}

fn commit(wire: &mut Wire, number: usize) -> Result<()> {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(StrBytes::from_static_str(TOPIC).into())
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(name(number))))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    wire.send(&frame(&request, COMMIT_VERSION)?)?;
    let answer = wire.answer::<OffsetCommitRequest>(COMMIT_VERSION)?;
    answer.topics.iter().flat_map(|topic| &topic.partitions).try_for_each(|partition| accepted(partition.error_code))
}

/// How long it took to list all groups, and to describe them.
fn ask(wire: &mut Wire, count: usize) -> Result<(Duration, Duration)> {
    let request = frame(&ListGroupsRequest::default(), LIST_VERSION)?;
    let began = Instant::now();
    wire.send(&request)?;
    let answer = wire.answer::<ListGroupsRequest>(LIST_VERSION)?;
    let list = began.elapsed();
    accepted(answer.error_code)?;
    ensure!(answer.groups.len() == count, "{} of {count} groups are listed", answer.groups.len());

    let groups = answer.groups.into_iter().map(|group| group.group_id).collect();
    let request = frame(&DescribeGroupsRequest::default().with_groups(groups), DESCRIBE_VERSION)?;
    let began = Instant::now();
    wire.send(&request)?;
    let answer = wire.answer::<DescribeGroupsRequest>(DESCRIBE_VERSION)?;
    let describe = began.elapsed();
    answer.groups.iter().try_for_each(|group| accepted(group.error_code))?;
    let empty = answer.groups.iter().filter(|group| group.group_state.as_str() == "Empty").count();
    ensure!(empty == count, "{empty} of {count} groups are described as empty");
    Ok((list, describe))
}
