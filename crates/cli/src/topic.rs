//! `twinstream topic create|list|describe|delete`; what changes a topic is in `topic_change`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use twinstream_client::raw::kafka_protocol::messages::{
    BrokerId, DescribeConfigsRequest, DescribeTopicPartitionsRequest, TopicName as WireTopicName,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{Node, OffsetAt, TopicInfo};
use twinstream_client::{Admin, ClientError, NewTopic};
use twinstream_connector_mirror::counted;
use twinstream_model::{ErrorCode, NodeId, Offset, TopicName, TopicPartition};

use crate::admin::no_such_topic;
use crate::arguments::{Cluster, OutputFormat, Topic};
use crate::bootstrap::{admin, block_on, failed};
use crate::confirm;
use crate::failure::Failure;
use crate::output;
use crate::topic_change;

/// Kafka's numbers for a topic among resources, and for a setting that was given to the topic itself.
const RESOURCE_TOPIC: i8 = 2;
const SOURCE_TOPIC: i8 = 1;

/// The wire's way to say "your default".
const DEFAULT: i16 = -1;

pub(crate) fn run(command: Topic, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Topic::Create { name, partitions, replication_factor, config, if_not_exists, cluster } => {
                let mut topic = NewTopic::new(
                    topic_name(&name)?,
                    partitions.unwrap_or(DEFAULT.into()),
                    replication_factor.unwrap_or(DEFAULT),
                );
                topic.configs = config.into_iter().collect();
                create(&cluster, topic, if_not_exists, format).await
            }
            Topic::List { internal, watch, cluster } => {
                watch.run(async || list(&cluster, internal, format).await).await
            }
            Topic::Describe { names, watch, cluster } => {
                watch.run(async || describe(&cluster, &names, format).await).await
            }
            Topic::Delete { names, dry_run, yes, cluster } => delete(&cluster, &names, dry_run, yes, format).await,
            Topic::Alter(options) => topic_change::alter(options, format).await,
            Topic::AddPartitions(options) => topic_change::add_partitions(options, format).await,
            Topic::Trim(options) => topic_change::trim(options, format).await,
            Topic::Clone(options) => topic_change::clone(options, format).await,
            Topic::Purge(options) => topic_change::purge(options, format).await,
        }
    })
}

pub(crate) fn topic_name(name: &str) -> Result<TopicName, Failure> {
    TopicName::parse(name).map_err(Failure::usage)
}

#[derive(Serialize)]
struct Created {
    topic: String,
    created: bool,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
}

async fn create(
    cluster: &Cluster,
    topic: NewTopic,
    if_not_exists: bool,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let created = match admin(cluster).await?.create_topic(&topic).await {
        Ok(made) => Created {
            topic: topic.name.to_string(),
            created: true,
            partitions: made.partitions,
            replication_factor: made.replication_factor,
        },
        Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {
            Created { topic: topic.name.to_string(), created: false, partitions: None, replication_factor: None }
        }
        Err(error) => return Err(cannot_create(cluster, &topic, &error)),
    };
    let text = match created.created {
        false => format!("topic {} was there already", created.topic),
        true => told(&created),
    };
    output::done(format, &created, &[&created.topic], &text)?;
    Ok(ExitCode::SUCCESS)
}

fn told(created: &Created) -> String {
    let partitions = created.partitions.map(|partitions| counted(i64::from(partitions), "partition"));
    let replicas = created.replication_factor.map(|replicas| counted(i64::from(replicas), "replica") + " each");
    let counts: Vec<String> = partitions.into_iter().chain(replicas).collect();
    let with = if counts.is_empty() { "" } else { " with " };
    format!("created topic {}{with}{}", created.topic, counts.join(", "))
}

pub(crate) fn cannot_create(cluster: &Cluster, topic: &NewTopic, error: &ClientError) -> Failure {
    let failure = failed(cluster, error);
    match error.code() {
        Some(ErrorCode::TopicAlreadyExists) => {
            failure.next(format!("look at it with `twinstream topic describe {}`, or add --if-not-exists", topic.name))
        }
        Some(ErrorCode::InvalidReplicationFactor) => {
            failure.next("start more brokers, or ask for fewer replicas with --replication-factor")
        }
        _ => failure,
    }
}

#[derive(Serialize)]
struct Listed {
    topic: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
    #[serde(skip)]
    in_sync: usize,
    #[serde(skip)]
    id: String,
}

async fn list(cluster: &Cluster, internal: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let topics = admin(cluster).await?.topics().await.map_err(|error| failed(cluster, &error))?;
    let shown = topics.values().filter(|topic| internal || !is_internal(topic));
    let rows: Vec<Listed> = shown
        .map(|topic| Listed {
            topic: topic.name.to_string(),
            partitions: topic.partitions.len(),
            replicas: topic.partitions.values().map(|partition| partition.replicas.len()).max().unwrap_or(0),
            internal: is_internal(topic),
            in_sync: topic.partitions.values().filter(|p| p.isr.len() == p.replicas.len()).count(),
            id: topic.id.to_string(),
        })
        .collect();
    output::listing(format, &rows, &["topic", "partitions", "replicas", "+in sync", "+id"], |row| {
        let in_sync = format!("{} of {}", row.in_sync, row.partitions);
        vec![row.topic.clone(), row.partitions.to_string(), row.replicas.to_string(), in_sync, row.id.clone()]
    })?;
    Ok(ExitCode::SUCCESS)
}

fn is_internal(topic: &TopicInfo) -> bool {
    topic.internal || topic.name.as_str().starts_with("__")
}

#[derive(Serialize)]
struct Described {
    topic: String,
    id: String,
    /// Settings of its own, beside the cluster's defaults.
    configs: BTreeMap<String, String>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<i32>,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    /// Replicas that are not in sync and may lead nevertheless; empty also where the brokers cannot say.
    elr: Vec<i32>,
    /// Who led last, while nobody leads.
    last_leader: Option<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
}

async fn describe(cluster: &Cluster, names: &[String], format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let mut described = Vec::new();
    for name in names {
        let name = topic_name(name)?;
        let topic = admin.topic(&name).await.map_err(|error| failed(cluster, &error))?;
        let Some(topic) = topic else { return Err(no_such_topic(cluster, &admin, &name).await) };
        described.push(description(&admin, &topic).await.map_err(|error| failed(cluster, &error))?);
    }
    match format {
        OutputFormat::Json | OutputFormat::Yaml => output::data(format, &described)?,
        OutputFormat::Name => described.iter().try_for_each(|topic| output::line(&topic.topic))?,
        OutputFormat::Table | OutputFormat::Wide => described.into_iter().try_for_each(show)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn description(admin: &Admin, topic: &TopicInfo) -> Result<Described, ClientError> {
    let with_leader = topic.partitions.iter().filter(|(_, partition)| partition.leader.is_some());
    let asked: Vec<TopicPartition> =
        with_leader.map(|(index, _)| TopicPartition::new(topic.name.clone(), *index)).collect();
    let starts = admin.raw().list_offsets(&asked, OffsetAt::Earliest).await?;
    let ends = admin.raw().list_offsets(&asked, OffsetAt::Latest).await?;
    let offset = |found: &BTreeMap<TopicPartition, Result<Offset, ClientError>>, partition: &TopicPartition| {
        found.get(partition).and_then(|result| result.as_ref().ok()).map(|offset| offset.0)
    };
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let mut eligible = eligible_leaders(admin, &topic.name).await?;
    let partitions = topic.partitions.iter().map(|(index, partition)| {
        let name = TopicPartition::new(topic.name.clone(), *index);
        let (elr, last_leader) = eligible.remove(&index.0).unwrap_or_default();
        DescribedPartition {
            partition: index.0,
            leader: partition.leader.map(|node| node.0),
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            elr,
            last_leader,
            start_offset: offset(&starts, &name),
            end_offset: offset(&ends, &name),
        }
    });
    Ok(Described {
        topic: topic.name.to_string(),
        id: topic.id.to_string(),
        configs: own_configs(admin, &topic.name).await?,
        partitions: partitions.collect(),
    })
}

/// Per partition the eligible leader replicas and the last leader (KIP-966); nothing from brokers that cannot say.
async fn eligible_leaders(
    admin: &Admin,
    topic: &TopicName,
) -> Result<BTreeMap<i32, (Vec<i32>, Option<i32>)>, ClientError> {
    let asked = TopicRequest::default().with_name(WireTopicName(StrBytes::from_string(topic.to_string())));
    let mut request = DescribeTopicPartitionsRequest::default().with_topics(vec![asked]);
    let mut found = BTreeMap::new();
    loop {
        let answer = match admin.raw().request(Node::Any, &request).await {
            Err(ClientError::UnsupportedVersion { .. }) => return Ok(found),
            answer => answer?,
        };
        for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
            let ids = |nodes: Option<Vec<BrokerId>>| nodes.into_iter().flatten().map(|node| node.0).collect();
            let elr = ids(partition.eligible_leader_replicas);
            let last: Vec<i32> = ids(partition.last_known_elr);
            found.insert(partition.partition_index, (elr, last.first().copied()));
        }
        let Some(next) = answer.next_cursor else { return Ok(found) };
        let cursor = Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
        request = request.with_cursor(Some(cursor));
    }
}

pub(crate) async fn own_configs(admin: &Admin, topic: &TopicName) -> Result<BTreeMap<String, String>, ClientError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(StrBytes::from_string(topic.to_string()))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = admin.raw().request(Node::Any, &request).await?;
    let entries = answer.results.into_iter().flat_map(|result| result.configs);
    let own = entries.filter(|entry| entry.config_source == SOURCE_TOPIC);
    Ok(own
        .map(|entry| (entry.name.to_string(), entry.value.map(|value| value.to_string()).unwrap_or_default()))
        .collect())
}

fn show(topic: Described) -> Result<(), Failure> {
    let partitions = counted(topic.partitions.len(), "partition");
    output::line(&format!("topic {} (id {}), {partitions}", topic.topic, topic.id))?;
    for (name, value) in &topic.configs {
        output::line(&format!("  {name}={value}"))?;
    }
    let dash = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let nodes = |nodes: &[i32]| match nodes {
        [] => "-".to_owned(),
        nodes => nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(","),
    };
    let rows = topic.partitions.iter().map(|partition| {
        [
            partition.partition.to_string(),
            partition.leader.map_or("none".to_owned(), |node| node.to_string()),
            nodes(&partition.replicas),
            nodes(&partition.isr),
            nodes(&partition.elr),
            dash(partition.start_offset),
            dash(partition.end_offset),
        ]
    });
    output::table(["partition", "leader", "replicas", "isr", "elr", "start", "end"], rows.collect())?;
    topic.partitions.iter().filter_map(trouble).try_for_each(|line| output::line(&line))
}

/// What an operator should know about a partition beyond its row; nothing when all is well.
fn trouble(partition: &DescribedPartition) -> Option<String> {
    let index = partition.partition;
    let nodes = |nodes: &[i32]| nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(" or ");
    let wanted = match (partition.leader, partition.elr.as_slice(), partition.last_leader) {
        (Some(_), ..) => return None,
        (None, [], Some(last)) => format!("starts again when broker {last} is back, which led last"),
        (None, [], None) => "needs an unclean election, since no replica is known to have everything".to_owned(),
        (None, elr, _) => format!("starts again when broker {} is back", nodes(elr)),
    };
    Some(format!("partition {index} has no leader: it {wanted}"))
}

async fn delete(
    cluster: &Cluster,
    names: &[String],
    is_dry: bool,
    yes: bool,
    format: OutputFormat,
) -> Result<ExitCode, Failure> {
    let names = names.iter().map(|name| topic_name(name)).collect::<Result<Vec<_>, _>>()?;
    let admin = admin(cluster).await?;
    // All are looked at before the first one is deleted.
    for name in &names {
        if admin.topic(name).await.map_err(|error| failed(cluster, &error))?.is_none() {
            return Err(no_such_topic(cluster, &admin, name).await);
        }
    }
    let list: Vec<String> = names.iter().map(TopicName::to_string).collect();
    let list = list.join(", ");
    if is_dry {
        let object = serde_json::json!({"would_delete": names.iter().map(TopicName::as_str).collect::<Vec<_>>()});
        let names: Vec<&str> = names.iter().map(TopicName::as_str).collect();
        output::done(format, &object, &names, &format!("would delete {list}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        confirm::ask(&format!("delete {list} with all records?"))?;
    }
    let results = admin.delete_topics(&names).await.map_err(|error| failed(cluster, &error))?;
    for name in &names {
        match results.get(name) {
            Some(Ok(())) => {}
            Some(Err(error)) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                return Err(no_such_topic(cluster, &admin, name).await);
            }
            Some(Err(error)) => return Err(failed(cluster, error)),
            None => return Err(Failure::new(format!("the controller said nothing about topic {name}"))),
        }
    }
    let deleted: Vec<String> = names.iter().map(TopicName::to_string).collect();
    let object = serde_json::json!({ "deleted": deleted });
    output::done(format, &object, &deleted, &format!("deleted {}", deleted.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
