//! `twinstream group seek|offsets|delete|clone`: where a group goes on.
//!
//! Invariants: offsets are committed only for a group that nobody is in, which its coordinator holds to as well; what would be
//! committed is shown before, with `--dry-run` instead.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use serde_json::json;
use twinstream_client::raw::kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{
    DeleteGroupsRequest, GroupId as WireGroup, OffsetDeleteRequest,
};
use twinstream_client::raw::{Node, OffsetAt};
use twinstream_client::{Admin, ClientError, CommitOffset};
use twinstream_connector_mirror::counted;
use twinstream_model::{ErrorCode, GroupId, Offset, PartitionIndex, TopicPartition};

use crate::admin::{check, no_such_group, no_such_topic, text, wire_topic};
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, failed};
use crate::complete;
use crate::confirm;
use crate::failure::Failure;
use crate::group;
use crate::output;
use crate::topic::topic_name;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("where").required(true).args(["to", "by"])))]
pub(crate) struct Seek {
    #[arg(add = ArgValueCandidates::new(complete::groups))]
    name: String,
    /// start, end, an offset, or @MS for the first record at or after this time (milliseconds since 1970).
    #[arg(long, value_name = "PLACE", value_parser = Place::parse)]
    to: Option<Place>,
    /// So many records further, or back where it is negative.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    by: Option<i64>,
    /// Only this topic, or partitions of it as TOPIC:0,1; may be given many times. All that the group has committed if absent.
    #[arg(short, long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: Vec<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Offsets {
    #[arg(add = ArgValueCandidates::new(complete::groups))]
    name: String,
    /// Delete what is committed for this topic, or for partitions of it as TOPIC:0,1; may be given many times.
    #[arg(long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    delete: Vec<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[arg(required = true, add = ArgValueCandidates::new(complete::groups))]
    names: Vec<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct CloneGroup {
    #[arg(add = ArgValueCandidates::new(complete::groups))]
    from: String,
    to: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
struct Change {
    /// Print the difference, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on the terminal.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    End,
    Offset(i64),
    Time(i64),
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0);
        match text {
            "start" | "earliest" | "beginning" => Ok(Self::Start),
            "end" | "latest" => Ok(Self::End),
            text => match text.strip_prefix('@') {
                Some(time) => number(time).map(Self::Time),
                None => number(text).map(Self::Offset),
            }
            .ok_or_else(|| format!("`{text}` is not start, end, an offset or @MS")),
        }
    }
}

type Committed = BTreeMap<TopicPartition, CommitOffset>;

async fn committed(cluster: &Cluster, admin: &Admin, group: &GroupId) -> Result<Committed, Failure> {
    admin.raw().committed_offsets(group).await.map_err(|error| failed(cluster, &error))
}

/// Only a group that nobody is in can be told where it goes on; one that does not exist yet comes into being.
async fn must_be_empty(cluster: &Cluster, admin: &Admin, group: &GroupId) -> Result<(), Failure> {
    match group::found(cluster, admin, group).await {
        Ok(found) if found.members.is_empty() => Ok(()),
        Ok(found) => Err(Failure::new(format!(
            "group {group} has {}, which would overwrite it",
            counted(found.members.len(), "member")
        ))
        .next(format!("stop them; `twinstream group describe {group}` names them"))),
        Err(failure) if failure.is_not_found() => Ok(()),
        Err(failure) => Err(failure),
    }
}

#[derive(Serialize)]
struct Move {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
}

pub(crate) async fn seek(options: Seek, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.change.cluster;
    let admin = admin(cluster).await?;
    let group = GroupId::from(options.name.as_str());
    let now = committed(cluster, &admin, &group).await?;
    let partitions = match options.topic.as_slice() {
        [] if now.is_empty() => {
            let failure = no_such_group(cluster, &admin, &options.name).await;
            return Err(failure.next("name the topics with --topic for a group that has committed nothing yet"));
        }
        [] => now.keys().cloned().collect(),
        topics => partitions(cluster, &admin, topics).await?,
    };
    let targets = targets(&admin, &options, &now, &partitions).await.map_err(|error| failed(cluster, &error))?;
    apply(&admin, &group, &now, targets, &options.change, format).await
}

pub(crate) async fn clone(options: CloneGroup, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.change.cluster;
    let admin = admin(cluster).await?;
    let (from, to) = (GroupId::from(options.from.as_str()), GroupId::from(options.to.as_str()));
    let offsets = committed(cluster, &admin, &from).await?;
    if offsets.is_empty() {
        group::found(cluster, &admin, &from).await?;
        return Err(Failure::new(format!("group {from} has committed nothing")));
    }
    let now = committed(cluster, &admin, &to).await?;
    apply(&admin, &to, &now, offsets, &options.change, format).await
}

/// Shows the moves and makes them.
async fn apply(
    admin: &Admin,
    group: &GroupId,
    now: &Committed,
    targets: Committed,
    change: &Change,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let cluster = &change.cluster;
    must_be_empty(cluster, admin, group).await?;
    let moved = |(partition, to): (&TopicPartition, &CommitOffset)| Move {
        topic: partition.topic.to_string(),
        partition: partition.partition.0,
        from: now.get(partition).map(|commit| commit.offset.0),
        to: to.offset.0,
    };
    let moves: Vec<Move> = targets.iter().map(moved).filter(|moved| moved.from != Some(moved.to)).collect();
    if !change.dry_run && !moves.is_empty() {
        // What was committed is lost, unless there was nothing.
        if !change.yes && moves.iter().any(|moved| moved.from.is_some()) {
            confirm::ask(&format!("move group {group} in {}?", counted(moves.len(), "partition")))?;
        }
        let committing = admin.raw().commit_offsets(group, &targets).await;
        committing.map_err(|error| in_use(cluster, group, &error))?;
    }
    let dash = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    output::listing(format, &moves, &["topic", "partition", "from", "to"], |row| {
        vec![row.topic.clone(), row.partition.to_string(), dash(row.from), row.to.to_string()]
    })?;
    if format.is_text() {
        let would = if change.dry_run { "would move" } else { "moved" };
        output::talk(&format!("{would} group {group} in {}", counted(moves.len(), "partition")));
    }
    Ok(ExitCode::SUCCESS)
}

fn in_use(cluster: &Cluster, group: &GroupId, error: &ClientError) -> Failure {
    let failure = failed(cluster, error);
    match error.code() {
        Some(
            ErrorCode::UnknownMemberId
            | ErrorCode::NonEmptyGroup
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::GroupSubscribedToTopic
            | ErrorCode::RebalanceInProgress,
        ) => failure.next(format!("stop the members of the group; `twinstream group describe {group}` names them")),
        _ => failure,
    }
}

/// Where each partition is to go on, within what the log has.
async fn targets(
    admin: &Admin,
    options: &Seek,
    now: &Committed,
    partitions: &[TopicPartition],
) -> Result<Committed, ClientError> {
    let raw = admin.raw();
    let starts = raw.list_offsets(partitions, OffsetAt::Earliest).await?;
    let ends = raw.list_offsets(partitions, OffsetAt::Latest).await?;
    let times = match options.to {
        Some(Place::Time(ms)) => raw.list_offsets(partitions, OffsetAt::Time(ms)).await?,
        _ => BTreeMap::new(),
    };
    let mut targets = Committed::new();
    for partition in partitions {
        let of = |found: &BTreeMap<TopicPartition, Result<Offset, ClientError>>| {
            found.get(partition).map_or(Ok(-1), |offset| offset.clone().map(|offset| offset.0))
        };
        let (start, end) = (of(&starts)?, of(&ends)?);
        let wanted = match (options.to, options.by) {
            (Some(Place::Start), _) => start,
            (Some(Place::Offset(offset)), _) => offset,
            (Some(Place::Time(_)), _) => Some(of(&times)?).filter(|offset| *offset >= 0).unwrap_or(end),
            (None, Some(by)) => {
                let base = now.get(partition).map_or(start, |commit| commit.offset.0);
                base.saturating_add(by)
            }
            (Some(Place::End), _) | (None, None) => end,
        };
        let offset = Offset(wanted.clamp(start, end.max(start)));
        targets.insert(partition.clone(), CommitOffset { offset, metadata: String::new() });
    }
    Ok(targets)
}

/// `TOPIC` is all partitions, `TOPIC:0,1` are some.
async fn partitions(cluster: &Cluster, admin: &Admin, topics: &[String]) -> Result<Vec<TopicPartition>, Failure> {
    let mut found = Vec::new();
    for topic in topics {
        let (name, indexes) = topic.split_once(':').map_or((topic.as_str(), None), |(name, rest)| (name, Some(rest)));
        let name = topic_name(name)?;
        let Some(info) = admin.topic(&name).await.map_err(|error| failed(cluster, &error))? else {
            return Err(no_such_topic(cluster, admin, &name).await);
        };
        let Some(indexes) = indexes else {
            found.extend(info.partitions.keys().map(|index| TopicPartition::new(name.clone(), *index)));
            continue;
        };
        for index in indexes.split(',') {
            let index = index.trim().parse().map(PartitionIndex);
            let index = index.map_err(|_| Failure::usage(format!("`{topic}` is not TOPIC or TOPIC:0,1")))?;
            if !info.partitions.contains_key(&index) {
                return Err(Failure::not_found(format!("topic {name} has no partition {}", index.0)));
            }
            found.push(TopicPartition::new(name.clone(), index));
        }
    }
    Ok(found)
}

#[derive(Serialize)]
struct CommittedRow {
    topic: String,
    partition: i32,
    offset: i64,
    metadata: String,
}

pub(crate) async fn offsets(options: Offsets, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.change.cluster;
    let admin = admin(cluster).await?;
    let group = GroupId::from(options.name.as_str());
    let mut now = committed(cluster, &admin, &group).await?;
    if now.is_empty() {
        group::found(cluster, &admin, &group).await?;
    }
    if !options.delete.is_empty() {
        let wanted = partitions(cluster, &admin, &options.delete).await?;
        now.retain(|partition, _| wanted.contains(partition));
    }
    let row = |(partition, commit): (&TopicPartition, &CommitOffset)| CommittedRow {
        topic: partition.topic.to_string(),
        partition: partition.partition.0,
        offset: commit.offset.0,
        metadata: commit.metadata.clone(),
    };
    let rows: Vec<CommittedRow> = now.iter().map(row).collect();
    let is_deleting = !options.delete.is_empty() && !options.change.dry_run && !rows.is_empty();
    if is_deleting {
        if !options.change.yes {
            confirm::ask(&format!("delete {} of group {group}?", counted(rows.len(), "offset")))?;
        }
        let partitions: Vec<TopicPartition> = now.keys().cloned().collect();
        delete_offsets(&admin, &group, &partitions).await.map_err(|error| in_use(cluster, &group, &error))?;
    }
    output::listing(format, &rows, &["topic", "partition", "offset", "+metadata"], |row| {
        vec![row.topic.clone(), row.partition.to_string(), row.offset.to_string(), row.metadata.clone()]
    })?;
    if format.is_text() && !options.delete.is_empty() {
        let would = if options.change.dry_run { "would delete" } else { "deleted" };
        output::talk(&format!("{would} {} of group {group}", counted(rows.len(), "offset")));
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete_offsets(admin: &Admin, group: &GroupId, partitions: &[TopicPartition]) -> Result<(), ClientError> {
    let coordinator = admin.raw().find_coordinator(group).await?;
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for partition in partitions {
        let index = OffsetDeleteRequestPartition::default().with_partition_index(partition.partition.0);
        topics.entry(&partition.topic).or_default().push(index);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetDeleteRequestTopic::default().with_name(wire_topic(name)).with_partitions(partitions)
    });
    let request =
        OffsetDeleteRequest::default().with_group_id(WireGroup(text(group.to_string()))).with_topics(topics.collect());
    let answer = admin.raw().request(Node::Id(coordinator), &request).await?;
    let what = || format!("delete offsets of group {group}");
    check(what, answer.error_code, None)?;
    answer.topics.iter().flat_map(|topic| &topic.partitions).try_for_each(|p| check(what, p.error_code, None))
}

pub(crate) async fn delete(options: Delete, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.change.cluster;
    let admin = admin(cluster).await?;
    for name in &options.names {
        let found = group::found(cluster, &admin, &GroupId::from(name.as_str())).await?;
        if !found.members.is_empty() {
            let members = counted(found.members.len(), "member");
            return Err(Failure::new(format!("group {name} has {members}"))
                .next(format!("stop them; `twinstream group describe {name}` names them")));
        }
    }
    let list = options.names.join(", ");
    if options.change.dry_run {
        let object = json!({"would_delete": options.names});
        output::done(format, &object, &options.names, &format!("would delete {list}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !options.change.yes {
        confirm::ask(&format!("delete {list} and what is committed?"))?;
    }
    for name in &options.names {
        let group = GroupId::from(name.as_str());
        delete_group(&admin, &group).await.map_err(|error| in_use(cluster, &group, &error))?;
    }
    output::done(format, &json!({"deleted": options.names}), &options.names, &format!("deleted {list}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn delete_group(admin: &Admin, group: &GroupId) -> Result<(), ClientError> {
    let coordinator = admin.raw().find_coordinator(group).await?;
    let request = DeleteGroupsRequest::default().with_groups_names(vec![WireGroup(text(group.to_string()))]);
    let answer = admin.raw().request(Node::Id(coordinator), &request).await?;
    answer.results.iter().try_for_each(|result| check(|| format!("delete group {group}"), result.error_code, None))
}
