//! `twinstream topic alter|add-partitions|trim|clone|purge`: what changes a topic that is there.
//!
//! Each one first works out the difference between what is and what is wanted; `--dry-run` prints it and ends, and so does a
//! command that has nothing to do.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use serde_json::json;
use twinstream_client::raw::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use twinstream_client::raw::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{CreatePartitionsRequest, DeleteRecordsRequest};
use twinstream_client::raw::{Node, OffsetAt, TopicInfo};
use twinstream_client::{Admin, ClientError, NewTopic};
use twinstream_connector_mirror::counted;
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

use crate::admin::{self as wire, TIMEOUT_MS, check, no_such_topic, topic_failed, wire_topic};
use crate::arguments::{Cluster, OutputFormat, name_and_value};
use crate::bootstrap::{admin, failed};
use crate::complete;
use crate::confirm;
use crate::failure::Failure;
use crate::output;
use crate::topic::{cannot_create, own_configs, topic_name};

#[derive(Debug, Args)]
pub(crate) struct Alter {
    #[arg(add = ArgValueCandidates::new(complete::topics))]
    name: String,
    /// A setting to set; may be given many times.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = name_and_value, required_unless_present = "unset")]
    config: Vec<(String, String)>,
    /// A setting to take away, so that the broker's default holds again; may be given many times.
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Let the brokers check it, print the difference, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct AddPartitions {
    #[arg(add = ArgValueCandidates::new(complete::topics))]
    name: String,
    /// How many partitions the topic shall have in all.
    #[arg(short, long, value_name = "TOTAL", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Let the brokers check it, print the difference, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct Trim {
    #[arg(add = ArgValueCandidates::new(complete::topics))]
    name: String,
    /// Delete records below this offset.
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..), required_unless_present = "before_time")]
    before: Option<i64>,
    /// Delete records older than this, in milliseconds since 1970.
    #[arg(long, value_name = "MS", conflicts_with = "before", value_parser = clap::value_parser!(i64).range(0..))]
    before_time: Option<i64>,
    /// Only this partition; may be given many times.
    #[arg(short, long, value_name = "N")]
    partition: Vec<i32>,
    #[command(flatten)]
    cut: Cut,
}

#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[arg(add = ArgValueCandidates::new(complete::topics))]
    name: String,
    #[command(flatten)]
    cut: Cut,
}

#[derive(Debug, Args)]
struct Cut {
    /// Tell what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on the terminal.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct CloneTopic {
    #[arg(add = ArgValueCandidates::new(complete::topics))]
    from: String,
    to: String,
    /// Let the brokers check it, and make nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

async fn known(cluster: &Cluster, admin: &Admin, name: &TopicName) -> Result<TopicInfo, Failure> {
    match admin.topic(name).await.map_err(|error| failed(cluster, &error))? {
        Some(topic) => Ok(topic),
        None => Err(no_such_topic(cluster, admin, name).await),
    }
}

#[derive(Serialize)]
pub(crate) struct Difference {
    pub setting: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Settings that would change.
pub(crate) fn differences(
    now: &BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
) -> Vec<Difference> {
    let changed = changes.iter().filter(|(name, value)| now.get(*name) != value.as_ref());
    let difference = |(name, value): (&String, &Option<String>)| Difference {
        setting: name.clone(),
        from: now.get(name).cloned(),
        to: value.clone(),
    };
    changed.map(difference).collect()
}

/// Prints what changed, or would.
pub(crate) fn show_differences(format: OutputFormat, differences: &[Difference]) -> Result<(), Failure> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(default)".to_owned());
    output::listing(format, differences, &["setting", "from", "to"], |row| {
        vec![row.setting.clone(), shown(&row.from), shown(&row.to)]
    })
}

/// What `-c` and `--unset` ask for.
pub(crate) fn changes(set: Vec<(String, String)>, unset: Vec<String>) -> BTreeMap<String, Option<String>> {
    let set = set.into_iter().map(|(name, value)| (name, Some(value)));
    unset.into_iter().map(|name| (name, None)).chain(set).collect()
}

pub(crate) async fn alter(options: Alter, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let name = topic_name(&options.name)?;
    known(cluster, &admin, &name).await?;
    let now = own_configs(&admin, &name).await.map_err(|error| failed(cluster, &error))?;
    let changes = changes(options.config, options.unset);
    let differences = differences(&now, &changes);
    // Also without a difference: a value that is refused is told.
    let altered = wire::alter_configs(&admin, wire::TOPIC, name.as_str(), &changes, options.dry_run).await;
    if let Err(error) = altered {
        return Err(topic_failed(cluster, &admin, &name, &error).await);
    }
    show_differences(format, &differences)?;
    if format.is_text() {
        output::talk(&match (differences.len(), options.dry_run) {
            (0, _) => format!("topic {name} has these settings already"),
            (count, true) => format!("would change {} of topic {name}", counted(count, "setting")),
            (count, false) => format!("changed {} of topic {name}", counted(count, "setting")),
        });
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn add_partitions(options: AddPartitions, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let name = topic_name(&options.name)?;
    let (from, to) = (known(cluster, &admin, &name).await?.partitions.len(), options.partitions);
    let told = |done: bool, text: &str| {
        let object = json!({"topic": name.as_str(), "from": from, "to": to, "changed": done});
        output::done(format, &object, &[name.as_str()], text)
    };
    if from == to as usize {
        told(false, &format!("topic {name} has {} already", counted(from, "partition")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let topic = CreatePartitionsTopic::default().with_name(wire_topic(&name)).with_count(to).with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(TIMEOUT_MS)
        .with_validate_only(options.dry_run);
    let answer = admin.raw().request(Node::Controller, &request).await.map_err(|error| failed(cluster, &error))?;
    for result in &answer.results {
        let what = || format!("add partitions to topic {name}");
        check(what, result.error_code, result.error_message.as_ref()).map_err(|error| failed(cluster, &error))?;
    }
    let would = if options.dry_run { "would go" } else { "went" };
    told(!options.dry_run, &format!("topic {name} {would} from {from} to {}", counted(to as usize, "partition")))?;
    if format.is_text() {
        output::talk("note: records with a key go to other partitions from now on than before");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn clone(options: CloneTopic, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let (from, to) = (topic_name(&options.from)?, topic_name(&options.to)?);
    let topic = known(cluster, &admin, &from).await?;
    let replicas = topic.partitions.values().map(|partition| partition.replicas.len()).max().unwrap_or(1);
    let mut new = NewTopic::new(to.clone(), topic.partitions.len() as i32, replicas as i16);
    new.configs = own_configs(&admin, &from).await.map_err(|error| failed(cluster, &error))?;
    let mut made = admin
        .create_topics(std::slice::from_ref(&new), options.dry_run)
        .await
        .map_err(|error| failed(cluster, &error))?;
    if let Some(Err(error)) = made.remove(&to) {
        return Err(cannot_create(cluster, &new, &error));
    }
    let object = json!({"topic": to.as_str(), "from": from.as_str(), "partitions": new.partitions,
        "replication_factor": new.replication_factor, "configs": new.configs, "created": !options.dry_run});
    let would = if options.dry_run { "would create" } else { "created" };
    let (partitions, settings) = (counted(topic.partitions.len(), "partition"), counted(new.configs.len(), "setting"));
    let replicas = counted(replicas, "replica");
    let text =
        format!("{would} topic {to} as {from}: {partitions}, {replicas} each, {settings} of its own, no records");
    output::done(format, &object, &[to.as_str()], &text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn trim(options: Trim, format: OutputFormat) -> Result<ExitCode, Failure> {
    let at = match (options.before, options.before_time) {
        (Some(offset), _) => CutAt::Offset(offset),
        (None, time) => CutAt::Time(time.unwrap_or_default()),
    };
    cut(&options.name, at, &options.partition, &options.cut, format).await
}

pub(crate) async fn purge(options: Purge, format: OutputFormat) -> Result<ExitCode, Failure> {
    cut(&options.name, CutAt::End, &[], &options.cut, format).await
}

#[derive(Clone, Copy)]
enum CutAt {
    Offset(i64),
    Time(i64),
    End,
}

#[derive(Serialize)]
struct CutPartition {
    topic: String,
    partition: i32,
    start: i64,
    new_start: i64,
    records: i64,
    error: Option<String>,
}

async fn cut(name: &str, at: CutAt, only: &[i32], options: &Cut, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let name = topic_name(name)?;
    let topic = known(cluster, &admin, &name).await?;
    if let Some(missing) = only.iter().find(|index| !topic.partitions.contains_key(&PartitionIndex(**index))) {
        return Err(Failure::not_found(format!(
            "topic {name} has no partition {missing}, only {}",
            counted(topic.partitions.len(), "partition")
        )));
    }
    let mut plan = cut_plan(&admin, &topic, at, only).await.map_err(|error| failed(cluster, &error))?;
    plan.retain(|partition| partition.records > 0);
    let records: i64 = plan.iter().map(|partition| partition.records).sum();
    if !options.dry_run && !plan.is_empty() {
        if !options.yes {
            confirm::ask(&format!("delete the oldest {} of topic {name}?", counted(records, "record")))?;
        }
        for partition in &mut plan {
            if let Err(error) = cut_one(&admin, &name, partition).await {
                partition.error = Some(error.to_string());
            }
        }
    }
    output::listing(format, &plan, &["topic", "partition", "start", "new start", "records", "+error"], |row| {
        let error = row.error.clone().unwrap_or_else(|| "-".to_owned());
        let numbers = [row.start, row.new_start, row.records].map(|number| number.to_string());
        [vec![row.topic.clone(), row.partition.to_string()], numbers.to_vec(), vec![error]].concat()
    })?;
    let errors: Vec<&String> = plan.iter().filter_map(|partition| partition.error.as_ref()).collect();
    if let Some(first) = errors.first() {
        return Err(Failure::new(format!("{} not cut: {first}", counted(errors.len(), "partition"))));
    }
    if format.is_text() {
        let would = if options.dry_run { "would delete" } else { "deleted" };
        output::talk(&format!("{would} {} of topic {name}", counted(records, "offset")));
    }
    Ok(ExitCode::SUCCESS)
}

async fn cut_plan(admin: &Admin, topic: &TopicInfo, at: CutAt, only: &[i32]) -> Result<Vec<CutPartition>, ClientError> {
    let wanted = topic.partitions.keys().filter(|index| only.is_empty() || only.contains(&index.0));
    let asked: Vec<TopicPartition> = wanted.map(|index| TopicPartition::new(topic.name.clone(), *index)).collect();
    let raw = admin.raw();
    let starts = raw.list_offsets(&asked, OffsetAt::Earliest).await?;
    let ends = raw.list_offsets(&asked, OffsetAt::Latest).await?;
    let times = match at {
        CutAt::Time(ms) => raw.list_offsets(&asked, OffsetAt::Time(ms)).await?,
        _ => BTreeMap::new(),
    };
    let mut plan = Vec::new();
    for partition in asked {
        let of = |found: &BTreeMap<TopicPartition, Result<twinstream_model::Offset, ClientError>>| {
            found.get(&partition).map_or(Ok(-1), |offset| offset.clone().map(|offset| offset.0))
        };
        let (start, end) = (of(&starts)?, of(&ends)?);
        let to = match at {
            CutAt::Offset(offset) => offset.min(end),
            // None is that young: all are older.
            CutAt::Time(_) => Some(of(&times)?).filter(|offset| *offset >= 0).unwrap_or(end),
            CutAt::End => end,
        };
        plan.push(CutPartition {
            topic: topic.name.to_string(),
            partition: partition.partition.0,
            start,
            new_start: to.max(start),
            records: (to - start).max(0),
            error: None,
        });
    }
    Ok(plan)
}

/// The leader cuts; what it answers is where the log begins now.
async fn cut_one(admin: &Admin, name: &TopicName, cut: &mut CutPartition) -> Result<(), ClientError> {
    let raw = admin.raw();
    let what = || format!("delete records of {name}-{}", cut.partition);
    let low = raw
        .retry(|| async {
            let view = raw.refresh(std::slice::from_ref(name)).await?;
            let leader = view.leader(&TopicPartition::new(name.clone(), PartitionIndex(cut.partition)));
            let no_leader = || ClientError::broker(what(), twinstream_model::ErrorCode::LeaderNotAvailable);
            let partition =
                DeleteRecordsPartition::default().with_partition_index(cut.partition).with_offset(cut.new_start);
            let topic = DeleteRecordsTopic::default().with_name(wire_topic(name)).with_partitions(vec![partition]);
            let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
            let answer = raw.request(Node::Id(leader.ok_or_else(no_leader)?), &request).await?;
            let mut low = cut.new_start;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                check(what, partition.error_code, None)?;
                low = partition.low_watermark;
            }
            Ok(low)
        })
        .await?;
    cut.new_start = low;
    Ok(())
}
