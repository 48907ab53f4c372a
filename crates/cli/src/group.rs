//! `twinstream group list|describe`.

use std::process::ExitCode;

use serde::Serialize;
use twinstream_client::Admin;
use twinstream_client::admin::GroupLag;
use twinstream_client::raw::{GroupDescription, GroupMember};
use twinstream_model::{ErrorCode, GroupId, TopicPartition};

use crate::admin::no_such_group;
use crate::arguments::{Cluster, Group, OutputFormat};
use crate::bootstrap::{admin, block_on, failed};
use crate::failure::Failure;
use crate::output;
use crate::{group_change, group_lag};

pub(crate) fn run(command: Group, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Group::List { watch, cluster } => watch.run(async || list(&cluster, format).await).await,
            Group::Describe { names, watch, cluster } => {
                watch.run(async || describe(&cluster, &names, format).await).await
            }
            Group::Lag(options) => options.watch.run(async || group_lag::run(&options, format).await).await,
            Group::Seek(options) => group_change::seek(options, format).await,
            Group::Offsets(options) => group_change::offsets(options, format).await,
            Group::Delete(options) => group_change::delete(options, format).await,
            Group::Clone(options) => group_change::clone(options, format).await,
        }
    })
}

#[derive(Serialize)]
struct Listed {
    group: String,
    state: String,
    protocol_type: String,
    coordinator: i32,
    kind: String,
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
            kind: group.kind,
        })
        .collect();
    output::listing(format, &rows, &["group", "state", "protocol", "coordinator", "+kind"], |row| {
        let coordinator = row.coordinator.to_string();
        vec![row.group.clone(), row.state.clone(), row.protocol_type.clone(), coordinator, row.kind.clone()]
    })?;
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
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &described)?,
        OutputFormat::Name => described.iter().try_for_each(|group| output::line(&group.group))?,
        OutputFormat::Table | OutputFormat::Wide => described.iter().try_for_each(show)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn description(cluster: &Cluster, admin: &Admin, name: &str) -> Result<Described, Failure> {
    let group = GroupId::from(name);
    let found = found(cluster, admin, &group).await?;
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

/// A group of either protocol.
pub(crate) async fn found(cluster: &Cluster, admin: &Admin, group: &GroupId) -> Result<GroupDescription, Failure> {
    let error = match admin.group(group).await {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    if error.code() != Some(ErrorCode::GroupIdNotFound) {
        return Err(failed(cluster, &error));
    }
    // Groups that the coordinator assigns by itself (KIP-848) are described by another request.
    match group_lag::consumer_group(admin, group).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(no_such_group(cluster, admin, group.as_str()).await),
        Err(error) => Err(failed(cluster, &error)),
    }
}

/// A static member's name outlives its process; the id of others is all they have.
pub(crate) fn name(member: &GroupMember) -> String {
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
