//! `twinstream cluster ..`: a cluster as a whole, ours or any other Kafka.
//!
//! Nothing here decides anything: each command asks brokers and prints their answers. What brokers do not serve is told as such.

mod health; // a gate for scripts
mod leaders; // who leads, and who shall
mod settings; // of brokers

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use twinstream_client::raw::kafka_protocol::messages::describe_quorum_response::{
    PartitionData as QuorumPartition, ReplicaState,
};
use twinstream_client::raw::kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest, TopicName as WireTopic,
};
use twinstream_client::{Admin, ClientError};
use twinstream_model::NodeId;

use crate::admin::{check, text};
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, block_on, failed};
use crate::failure::Failure;
use crate::output;
use crate::watch::Watch;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show the cluster's id, its controller and its brokers.
    Info(Looked),
    /// Say whether all is well; exits with 1 when anything is under-replicated, offline, or without controller.
    Health(health::Health),
    /// List, set and take away settings of brokers.
    #[command(subcommand)]
    Config(settings::Config),
    /// Show the directories of brokers and how full they are.
    Logdirs {
        /// Also each partition.
        #[arg(long)]
        partitions: bool,
        #[command(flatten)]
        looked: Looked,
    },
    /// Show the metadata quorum: its leader, and how far its members are.
    Quorum(Looked),
    /// Show features with the levels that are supported and the one that is in use.
    Features(Looked),
    /// Let the first replica of each partition lead again, where it is in sync.
    ElectLeaders(leaders::Elect),
    /// Move all that a broker leads to other in-sync replicas, before it is stopped; --restore moves it back.
    MoveLeaders(leaders::MoveLeaders),
}

#[derive(Debug, Args)]
pub(crate) struct Looked {
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) fn run(command: ClusterCommand, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            ClusterCommand::Info(seen) => seen.watch.run(async || info(&seen.cluster, format).await).await,
            ClusterCommand::Health(options) => health::run(&options, format).await,
            ClusterCommand::Config(command) => settings::run(command, format).await,
            ClusterCommand::Logdirs { partitions, looked } => {
                looked.watch.run(async || logdirs(&looked.cluster, partitions, format).await).await
            }
            ClusterCommand::Quorum(seen) => seen.watch.run(async || quorum(&seen.cluster, format).await).await,
            ClusterCommand::Features(seen) => seen.watch.run(async || features(&seen.cluster, format).await).await,
            ClusterCommand::ElectLeaders(options) => leaders::elect(&options, format).await,
            ClusterCommand::MoveLeaders(options) => leaders::move_leaders(&options, format).await,
        }
    })
}

#[derive(Serialize)]
struct Broker {
    broker: i32,
    address: String,
    rack: Option<String>,
    controller: bool,
    /// Not known of brokers before Apache Kafka 4.0.
    fenced: Option<bool>,
    leads: usize,
    replicas: usize,
    in_sync: usize,
}

async fn info(cluster: &Cluster, format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let brokers = brokers(&admin).await.map_err(|error| failed(cluster, &error))?;
    let controller = match quorum_now(&admin).await {
        Ok(quorum) => quorum.map(|quorum| quorum.leader_id.0),
        Err(ClientError::UnsupportedVersion { .. }) => brokers.iter().find(|b| b.controller).map(|b| b.broker),
        Err(error) => return Err(failed(cluster, &error)),
    };
    let id = admin.cluster_id();
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        output::data(format, &json!({"cluster_id": id, "controller": controller, "brokers": brokers}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if format.is_text() {
        let controller = controller.map_or("none".to_owned(), |node| node.to_string());
        let id = id.unwrap_or_else(|| "unknown".to_owned());
        output::line(&format!("cluster {id}, controller {controller}\n"))?;
    }
    output::listing(
        format,
        &brokers,
        &["broker", "address", "rack", "leads", "replicas", "in sync", "+fenced"],
        |broker| {
            let counts = [broker.leads, broker.replicas, broker.in_sync].map(|count| count.to_string());
            let rack = broker.rack.clone().unwrap_or_else(|| "-".to_owned());
            let fenced = broker.fenced.map_or("-", |fenced| if fenced { "yes" } else { "no" }).to_owned();
            let named = vec![broker.broker.to_string(), broker.address.clone(), rack];
            [named, counts.to_vec(), vec![fenced]].concat()
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Brokers with what they hold; those that are registered and fenced as well, where the cluster tells of them.
async fn brokers(admin: &Admin) -> Result<Vec<Broker>, ClientError> {
    let view = admin.raw().refresh_all().await?;
    let mut found: BTreeMap<i32, Broker> = BTreeMap::new();
    let broker = |id: i32, address: String, rack: Option<String>, fenced: Option<bool>| Broker {
        broker: id,
        address,
        rack,
        controller: view.controller == Some(NodeId(id)),
        fenced,
        leads: 0,
        replicas: 0,
        in_sync: 0,
    };
    for info in view.brokers.values() {
        found.insert(info.id.0, broker(info.id.0, info.address(), info.rack.clone(), None));
    }
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(true).with_endpoint_type(1);
    match admin.raw().request(Node::Any, &request).await {
        Ok(answer) => {
            check(|| "describe the cluster".to_owned(), answer.error_code, answer.error_message.as_ref())?;
            for told in answer.brokers {
                let (id, rack) = (told.broker_id.0, told.rack.map(|rack| rack.to_string()));
                let address = format!("{}:{}", told.host.as_str(), told.port);
                let known = found.entry(id).or_insert_with(|| broker(id, address, rack, None));
                known.fenced = Some(told.is_fenced);
            }
        }
        Err(ClientError::UnsupportedVersion { .. }) => {}
        Err(error) => return Err(error),
    }
    for partition in view.topics.values().flat_map(|topic| topic.partitions.values()) {
        let mut count = |node: &NodeId, field: fn(&mut Broker) -> &mut usize| {
            if let Some(broker) = found.get_mut(&node.0) {
                *field(broker) += 1;
            }
        };
        partition.leader.iter().for_each(|node| count(node, |broker| &mut broker.leads));
        partition.replicas.iter().for_each(|node| count(node, |broker| &mut broker.replicas));
        partition.isr.iter().for_each(|node| count(node, |broker| &mut broker.in_sync));
    }
    Ok(found.into_values().collect())
}

/// The metadata quorum; `None` when nobody leads it.
async fn quorum_now(admin: &Admin) -> Result<Option<QuorumPartition>, ClientError> {
    let partition = PartitionData::default().with_partition_index(0);
    let topic =
        TopicData::default().with_topic_name(WireTopic(text("__cluster_metadata"))).with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let answer = admin.raw().request(Node::Any, &request).await?;
    let what = || "describe the metadata quorum".to_owned();
    check(what, answer.error_code, answer.error_message.as_ref())?;
    let Some(found) = answer.topics.into_iter().flat_map(|topic| topic.partitions).next() else { return Ok(None) };
    check(what, found.error_code, found.error_message.as_ref())?;
    Ok(Some(found).filter(|quorum| quorum.leader_id.0 >= 0))
}

#[derive(Serialize)]
struct QuorumMember {
    node: i32,
    role: &'static str,
    end_offset: i64,
    lag: i64,
    ms_since_caught_up: Option<i64>,
    directory_id: String,
}

async fn quorum(cluster: &Cluster, format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let quorum = quorum_now(&admin).await.map_err(|error| failed(cluster, &error))?;
    let Some(quorum) = quorum else {
        return Err(Failure::new("nobody leads the metadata quorum").tried(&cluster.bootstrap_server));
    };
    let states = || quorum.current_voters.iter().chain(&quorum.observers);
    let end = states().map(|state| state.log_end_offset).max().unwrap_or(0);
    let last = states().map(|state| state.last_caught_up_timestamp).max().unwrap_or(0);
    let member = |state: &ReplicaState, role: &'static str| QuorumMember {
        node: state.replica_id.0,
        role: if state.replica_id == quorum.leader_id { "leader" } else { role },
        end_offset: state.log_end_offset,
        lag: (end - state.log_end_offset).max(0),
        ms_since_caught_up: Some(last - state.last_caught_up_timestamp).filter(|_| state.last_caught_up_timestamp > 0),
        directory_id: state.replica_directory_id.to_string(),
    };
    let voters = quorum.current_voters.iter().map(|state| member(state, "voter"));
    let members: Vec<QuorumMember> =
        voters.chain(quorum.observers.iter().map(|state| member(state, "observer"))).collect();
    if matches!(format, OutputFormat::Json | OutputFormat::Yaml) {
        let (leader, epoch) = (quorum.leader_id.0, quorum.leader_epoch);
        let object =
            json!({"leader": leader, "epoch": epoch, "high_watermark": quorum.high_watermark, "members": members});
        output::data(format, &object)?;
        return Ok(ExitCode::SUCCESS);
    }
    if format.is_text() {
        let (leader, epoch) = (quorum.leader_id.0, quorum.leader_epoch);
        output::line(&format!("leader {leader}, epoch {epoch}, committed up to {}\n", quorum.high_watermark))?;
    }
    let columns = ["node", "role", "end", "lag", "ms since caught up", "+directory id"];
    output::listing(format, &members, &columns, |member| {
        let since = member.ms_since_caught_up.map_or("-".to_owned(), |ms| ms.to_string());
        let numbers = [member.end_offset, member.lag].map(|number| number.to_string());
        let named = vec![member.node.to_string(), member.role.to_owned()];
        [named, numbers.to_vec(), vec![since, member.directory_id.clone()]].concat()
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Feature {
    feature: String,
    supported_min: Option<i16>,
    supported_max: Option<i16>,
    /// 0 is off.
    level: i16,
}

async fn features(cluster: &Cluster, format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("twinstream"))
        .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
    let answer = admin.raw().request(Node::Any, &request).await.map_err(|error| failed(cluster, &error))?;
    let mut rows: BTreeMap<String, Feature> = BTreeMap::new();
    for supported in &answer.supported_features {
        let (name, min, max) = (supported.name.to_string(), supported.min_version, supported.max_version);
        let row = Feature { feature: name.clone(), supported_min: Some(min), supported_max: Some(max), level: 0 };
        rows.insert(name, row);
    }
    for finalized in &answer.finalized_features {
        let name = finalized.name.to_string();
        let fresh = Feature { feature: name.clone(), supported_min: None, supported_max: None, level: 0 };
        rows.entry(name).or_insert(fresh).level = finalized.max_version_level;
    }
    let rows: Vec<Feature> = rows.into_values().collect();
    output::listing(format, &rows, &["feature", "supported", "level"], |row| {
        let supported = match (row.supported_min, row.supported_max) {
            (Some(min), Some(max)) => format!("{min}-{max}"),
            _ => "-".to_owned(),
        };
        vec![row.feature.clone(), supported, row.level.to_string()]
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct LogDir {
    broker: i32,
    directory: String,
    total_bytes: Option<i64>,
    usable_bytes: Option<i64>,
    partitions: usize,
    bytes: i64,
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<Held>,
}

#[derive(Serialize)]
struct Held {
    topic: String,
    partition: i32,
    bytes: i64,
    offset_lag: i64,
    moving_here: bool,
}

async fn logdirs(cluster: &Cluster, with_partitions: bool, format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let mut rows = Vec::new();
    for broker in admin.brokers().await.map_err(|error| failed(cluster, &error))? {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let answer = admin.raw().request(Node::Id(broker.id), &request).await;
        let answer = answer.map_err(|error| failed(cluster, &error))?;
        for result in answer.results {
            let error = check(|| "read the directory".to_owned(), result.error_code, None).err();
            let topics = result.topics.iter();
            let held: Vec<Held> = topics
                .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
                .map(|(topic, partition)| Held {
                    topic: topic.name.to_string(),
                    partition: partition.partition_index,
                    bytes: partition.partition_size,
                    offset_lag: partition.offset_lag,
                    moving_here: partition.is_future_key,
                })
                .collect();
            let known = |bytes: i64| Some(bytes).filter(|bytes| *bytes >= 0);
            rows.push(LogDir {
                broker: broker.id.0,
                directory: result.log_dir.to_string(),
                total_bytes: known(result.total_bytes),
                usable_bytes: known(result.usable_bytes),
                partitions: held.len(),
                bytes: held.iter().map(|held| held.bytes).sum(),
                error: error.map(|error| error.to_string()),
                held: if with_partitions { held } else { Vec::new() },
            });
        }
    }
    let has_failed = rows.iter().any(|row| row.error.is_some());
    let dash = |bytes: Option<i64>| bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
    if with_partitions && format.is_text() {
        let all: Vec<(&LogDir, &Held)> =
            rows.iter().flat_map(|row| row.held.iter().map(move |held| (row, held))).collect();
        let cells = all.iter().map(|(row, held)| {
            [
                row.broker.to_string(),
                row.directory.clone(),
                held.topic.clone(),
                held.partition.to_string(),
                held.bytes.to_string(),
                held.offset_lag.to_string(),
            ]
        });
        output::table(["broker", "directory", "topic", "partition", "bytes", "lag"], cells.collect())?;
    } else {
        let columns = ["broker", "directory", "partitions", "bytes", "usable", "total", "+error"];
        output::listing(format, &rows, &columns, |row| {
            vec![
                row.broker.to_string(),
                row.directory.clone(),
                row.partitions.to_string(),
                row.bytes.to_string(),
                dash(row.usable_bytes),
                dash(row.total_bytes),
                row.error.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })?;
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
