//! `twinstream group lag`, and groups of the newer protocol as the older request describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use twinstream_client::raw::kafka_protocol::messages::consumer_group_describe_response::{Assignment, Member};
use twinstream_client::raw::kafka_protocol::messages::{ConsumerGroupDescribeRequest, GroupId as WireGroup};
use twinstream_client::raw::{GroupDescription, GroupMember, Node};
use twinstream_client::{Admin, ClientError};
use twinstream_connector_mirror::counted;
use twinstream_model::{ErrorCode, GroupId, PartitionIndex, TopicName, TopicPartition};

use crate::admin::{check, text};
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, failed};
use crate::complete;
use crate::failure::Failure;
use crate::group;
use crate::output;
use crate::watch::Watch;

#[derive(Debug, Args)]
pub(crate) struct Lag {
    /// All groups if absent.
    #[arg(add = ArgValueCandidates::new(complete::groups))]
    names: Vec<String>,
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Serialize)]
struct Row {
    group: String,
    topic: String,
    partition: i32,
    committed: i64,
    end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

pub(crate) async fn run(options: &Lag, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let names: Vec<GroupId> = match options.names.as_slice() {
        [] => {
            let groups = admin.groups().await.map_err(|error| failed(cluster, &error))?;
            // Groups of workers and registries have no offsets.
            groups
                .into_iter()
                .filter(|group| ["consumer", ""].contains(&group.protocol_type.as_str()))
                .map(|group| group.group)
                .collect()
        }
        names => names.iter().map(|name| GroupId::from(name.as_str())).collect(),
    };
    let mut rows = Vec::new();
    for name in &names {
        let group = group::found(cluster, &admin, name).await?;
        let lags = admin.group_lag(name).await.map_err(|error| failed(cluster, &error))?;
        rows.extend(lags.into_iter().map(|(partition, lag)| Row {
            group: name.to_string(),
            topic: partition.topic.to_string(),
            partition: partition.partition.0,
            committed: lag.committed.offset.0,
            end: lag.end.map(|end| end.0),
            lag: lag.lag(),
            member: group.members.iter().find(|member| member.assignment.contains(&partition)).map(group::name),
        }));
    }
    let dash = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    output::listing(format, &rows, &["group", "topic", "partition", "committed", "end", "lag", "+member"], |row| {
        vec![
            row.group.clone(),
            row.topic.clone(),
            row.partition.to_string(),
            row.committed.to_string(),
            dash(row.end),
            dash(row.lag),
            row.member.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    })?;
    if format.is_text() {
        let unknown = rows.iter().filter(|row| row.lag.is_none()).count();
        let beside = if unknown == 0 { String::new() } else { format!(", {} unknown", counted(unknown, "partition")) };
        let all = rows.iter().filter_map(|row| row.lag).sum::<i64>();
        output::talk(&format!("{} behind{beside}", counted(all, "record")));
    }
    Ok(ExitCode::SUCCESS)
}

/// A group whose coordinator assigns by itself (KIP-848); `None` when there is none, or when the brokers know of no such groups.
pub(crate) async fn consumer_group(admin: &Admin, group: &GroupId) -> Result<Option<GroupDescription>, ClientError> {
    let coordinator = admin.raw().find_coordinator(group).await?;
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![WireGroup(text(group.to_string()))]);
    let answer = match admin.raw().request(Node::Id(coordinator), &request).await {
        Err(ClientError::UnsupportedVersion { .. }) => return Ok(None),
        answer => answer?,
    };
    let Some(found) = answer.groups.into_iter().next() else { return Ok(None) };
    match check(|| format!("describe group {group}"), found.error_code, found.error_message.as_ref()) {
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => return Ok(None),
        checked => checked?,
    }
    Ok(Some(GroupDescription {
        group: group.clone(),
        state: found.group_state.to_string(),
        protocol_type: "consumer".to_owned(),
        protocol: found.assignor_name.to_string(),
        coordinator,
        members: found.members.into_iter().map(member).collect(),
    }))
}

fn member(member: Member) -> GroupMember {
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        assignment: partitions(&member.assignment),
    }
}

fn partitions(assignment: &Assignment) -> BTreeSet<TopicPartition> {
    let topics: BTreeMap<TopicName, &Vec<i32>> = assignment
        .topic_partitions
        .iter()
        .filter_map(|topic| Some((TopicName::parse(&topic.topic_name).ok()?, &topic.partitions)))
        .collect();
    let of = |(name, indexes): (TopicName, &Vec<i32>)| {
        indexes.iter().map(|index| TopicPartition::new(name.clone(), PartitionIndex(*index))).collect::<Vec<_>>()
    };
    topics.into_iter().flat_map(of).collect()
}
