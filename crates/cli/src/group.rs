//! `twinstream group list|describe`.

use std::process::ExitCode;

use serde::Serialize;
use twinstream_client::Admin;
use twinstream_client::admin::GroupLag;
use twinstream_client::raw::{GroupDescription, GroupMember};
use twinstream_model::{ErrorCode, GroupId, TopicPartition};

use crate::arguments::{Cluster, Group, OutputFormat};
use crate::bootstrap::{admin, block_on, failed};
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(command: Group, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Group::List { cluster } => list(&cluster, format).await,
            Group::Describe { names, cluster } => describe(&cluster, &names, format).await,
        }
    })
}

#[derive(Serialize)]
struct Listed {
    group: String,
    state: String,
    protocol_type: String,
    coordinator: i32,
}

async fn list(cluster: &Cluster, format: OutputFormat) -> Result<ExitCode, Failure> {
    let groups = admin(cluster).await?.groups().await.map_err(|error| failed(cluster, &error))?;
    let rows: Vec<Listed> = groups
        .into_iter()
        .map(|group| Listed {
            group: group.group.to_string(),
            state: group.state,
            protocol_type: group.protocol_type,
            coordinator: group.coordinator.0,
        })
        .collect();
    match format {
        OutputFormat::Json => output::json(&rows)?,
        OutputFormat::Table => {
            let cells =
                rows.into_iter().map(|row| [row.group, row.state, row.protocol_type, row.coordinator.to_string()]);
            output::table(["group", "state", "protocol", "coordinator"], cells.collect())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Described {
    group: String,
    state: String,
    protocol_type: String,
    assignor: String,
    coordinator: i32,
    members: Vec<Member>,
    partitions: Vec<Position>,
}

#[derive(Serialize)]
struct Member {
    member: String,
    client: String,
    host: String,
    partitions: Vec<String>,
}

#[derive(Serialize)]
struct Position {
    topic: String,
    partition: i32,
    committed: i64,
    end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

async fn describe(cluster: &Cluster, names: &[String], format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let mut described = Vec::new();
    for name in names {
        described.push(description(cluster, &admin, name).await?);
    }
    match format {
        OutputFormat::Json => output::json(&described)?,
        OutputFormat::Table => described.iter().try_for_each(show)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn description(cluster: &Cluster, admin: &Admin, name: &str) -> Result<Described, Failure> {
    let group = GroupId::from(name);
    let found = admin.group(&group).await.map_err(|error| match error.code() {
        Some(ErrorCode::GroupIdNotFound) => Failure::new(format!("group {name} does not exist"))
            .tried(format!("its coordinator in the cluster at {}", cluster.bootstrap_server))
            .next("`twinstream group list`"),
        _ => failed(cluster, &error),
    })?;
    let lags = admin.group_lag(&group).await.map_err(|error| failed(cluster, &error))?;
    let positions = lags.iter().map(|(partition, lag)| position(partition, lag, &found)).collect();
    Ok(Described {
        group: name.to_owned(),
        state: found.state,
        protocol_type: found.protocol_type,
        assignor: found.protocol,
        coordinator: found.coordinator.0,
        members: found.members.iter().map(member).collect(),
        partitions: positions,
    })
}

/// A static member's name outlives its process; the id of others is all they have.
fn name(member: &GroupMember) -> String {
    member.instance_id.clone().unwrap_or_else(|| member.member_id.clone())
}

fn member(member: &GroupMember) -> Member {
    Member {
        member: name(member),
        client: member.client_id.clone(),
        host: member.client_host.clone(),
        partitions: member.assignment.iter().map(TopicPartition::to_string).collect(),
    }
}

fn position(partition: &TopicPartition, lag: &GroupLag, group: &GroupDescription) -> Position {
    let owner = group.members.iter().find(|member| member.assignment.contains(partition));
    Position {
        topic: partition.topic.to_string(),
        partition: partition.partition.0,
        committed: lag.committed.offset.0,
        end: lag.end.map(|end| end.0),
        lag: lag.lag(),
        member: owner.map(name),
    }
}

fn show(group: &Described) -> Result<(), Failure> {
    let assignor = if group.assignor.is_empty() { "no assignor" } else { &group.assignor };
    output::line(&format!(
        "group {}: {}, {assignor}, coordinator {}, {} members",
        group.group,
        group.state,
        group.coordinator,
        group.members.len()
    ))?;
    let dash = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let positions = group.partitions.iter().map(|position| {
        [
            position.topic.clone(),
            position.partition.to_string(),
            position.committed.to_string(),
            dash(position.end),
            dash(position.lag),
            position.member.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    output::table(["topic", "partition", "committed", "end", "lag", "member"], positions.collect())?;
    if group.members.is_empty() {
        return Ok(());
    }
    let members = group
        .members
        .iter()
        .map(|member| [member.member.clone(), member.client.clone(), member.host.clone(), member.partitions.join(",")]);
    output::line("")?;
    output::table(["member", "client", "host", "partitions"], members.collect())
}
