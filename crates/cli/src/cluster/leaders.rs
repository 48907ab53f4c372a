//! `twinstream cluster elect-leaders` and `move-leaders`: who leads.
//!
//! Kafka has one lever: it elects the first replica of a partition if that is in sync. To move leaders off a broker, the order
//! of replicas is changed so that another in-sync replica stands first (a reassignment that copies nothing), and the first
//! ones are elected. `--save` keeps the order that was, `--restore` brings it back and elects again. So it works with any
//! Kafka that reassigns partitions, and not only with our brokers.
//!
//! Invariant: the set of replicas never changes; a partition whose replicas are being moved is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::{Deserialize, Serialize};
use twinstream_client::raw::kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use twinstream_client::raw::kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use twinstream_client::raw::kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, ListPartitionReassignmentsRequest,
};
use twinstream_client::raw::{ClusterView, Node};
use twinstream_client::{Admin, ClientError};
use twinstream_connector_mirror::counted;
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicName, TopicPartition};

use crate::admin::{TIMEOUT_MS, check, no_such_topic, wire_topic};
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, failed};
use crate::complete;
use crate::confirm;
use crate::failure::Failure;
use crate::output;
use crate::topic::topic_name;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(crate) struct Elect {
    /// Only this topic; may be given many times.
    #[arg(short, long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::topics))]
    topic: Vec<String>,
    /// Let replicas lead that are not in sync, where nobody leads: records may be lost.
    #[arg(long)]
    unclean: bool,
    /// Print who would lead, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on the terminal, which only --unclean does.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct MoveLeaders {
    /// The broker that shall lead nothing.
    #[arg(long, value_name = "BROKER", required_unless_present = "restore")]
    from: Option<i32>,
    /// Keep the order of replicas that was, for --restore.
    #[arg(long, value_name = "FILE", conflicts_with = "restore")]
    save: Option<PathBuf>,
    /// Bring back the order of replicas that --save kept, and let the first ones lead.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    restore: Option<PathBuf>,
    /// Wait so many seconds at most until it is done; exits with 4 then.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// Print who would lead, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Clone, Debug, Serialize)]
struct Moved {
    topic: String,
    partition: i32,
    from: Option<i32>,
    to: Option<i32>,
    /// Why it stays where it is.
    stays: Option<String>,
}

fn show(moves: &[Moved], format: OutputFormat) -> Result<(), Failure> {
    let node = |node: Option<i32>| node.map_or("none".to_owned(), |node| node.to_string());
    output::listing(format, moves, &["topic", "partition", "from", "to", "stays because"], |row| {
        let why = row.stays.clone().unwrap_or_else(|| "-".to_owned());
        vec![row.topic.clone(), row.partition.to_string(), node(row.from), node(row.to), why]
    })
}

pub(crate) async fn elect(options: &Elect, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let view = admin.raw().refresh_all().await.map_err(|error| failed(cluster, &error))?;
    let mut only = BTreeSet::new();
    for name in &options.topic {
        let name = topic_name(name)?;
        if !view.topics.contains_key(&name) {
            return Err(no_such_topic(cluster, &admin, &name).await);
        }
        only.insert(name);
    }
    let mut moves = Vec::new();
    for (name, topic) in view.topics.iter().filter(|(name, _)| only.is_empty() || only.contains(*name)) {
        for (index, partition) in &topic.partitions {
            let first = partition.replicas.first().copied();
            let alive = |node: &NodeId| view.brokers.contains_key(node);
            let (to, why) = match (options.unclean, partition.leader) {
                (true, Some(_)) => continue,
                (true, None) => (partition.replicas.iter().copied().find(alive), "no replica is alive"),
                (false, leader) if leader == first => continue,
                (false, _) => (
                    first.filter(|first| partition.isr.contains(first) && alive(first)),
                    "its first replica is not in sync",
                ),
            };
            moves.push(Moved {
                topic: name.to_string(),
                partition: index.0,
                from: partition.leader.map(|node| node.0),
                to: to.map(|node| node.0),
                stays: to.is_none().then(|| why.to_owned()),
            });
        }
    }
    let wanted: BTreeMap<TopicPartition, NodeId> = moves.iter().filter_map(target).collect();
    if !options.dry_run && !wanted.is_empty() {
        if options.unclean && !options.yes {
            confirm::ask(&format!(
                "let {} be led by replicas that may lack records?",
                counted(wanted.len(), "partition")
            ))?;
        }
        let kind = if options.unclean { UNCLEAN } else { PREFERRED };
        let refused = elect_first(&admin, kind, wanted.keys()).await.map_err(|error| failed(cluster, &error))?;
        for moved in &mut moves {
            let name = target(moved).map(|(partition, _)| partition);
            moved.stays = name.and_then(|name| refused.get(&name).cloned()).or(moved.stays.take());
        }
    }
    show(&moves, format)?;
    let staying = moves.iter().filter(|moved| moved.stays.is_some()).count();
    if format.is_text() {
        let would = if options.dry_run { "would get" } else { "got" };
        let count = counted(moves.len() - staying, "partition");
        output::talk(&format!("{count} {would} another leader, {staying} left as they are"));
    }
    Ok(if staying == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn target(moved: &Moved) -> Option<(TopicPartition, NodeId)> {
    let topic = TopicName::parse(&moved.topic).ok()?;
    Some((TopicPartition::new(topic, PartitionIndex(moved.partition)), NodeId(moved.to?)))
}

/// Elects; what was refused, with the reason.
async fn elect_first<'a>(
    admin: &Admin,
    kind: i8,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> Result<BTreeMap<TopicPartition, String>, ClientError> {
    let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics = topics.into_iter();
    let topics =
        topics.map(|(name, list)| TopicPartitions::default().with_topic(wire_topic(name)).with_partitions(list));
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(Some(topics.collect()))
        .with_timeout_ms(TIMEOUT_MS);
    let answer = admin.raw().request(Node::Controller, &request).await?;
    check(|| "elect leaders".to_owned(), answer.error_code, None)?;
    let mut refused = BTreeMap::new();
    for topic in answer.replica_election_results {
        let Ok(name) = TopicName::parse(&topic.topic) else { continue };
        for partition in topic.partition_result {
            let result = check(|| "elect".to_owned(), partition.error_code, partition.error_message.as_ref());
            match result {
                // It leads already, which is what was wanted.
                Err(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {}
                Err(error) => {
                    let name = TopicPartition::new(name.clone(), PartitionIndex(partition.partition_id));
                    refused.insert(name, error.to_string());
                }
                Ok(()) => {}
            }
        }
    }
    Ok(refused)
}

/// What `--save` keeps.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u32,
    cluster_id: Option<String>,
    partitions: Vec<SavedPartition>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPartition {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
}

const SAVED_VERSION: u32 = 1;

type Orders = BTreeMap<TopicPartition, Vec<NodeId>>;

pub(crate) async fn move_leaders(options: &MoveLeaders, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let lost = |error: ClientError| failed(cluster, &error);
    let view = admin.raw().refresh_all().await.map_err(lost)?;
    let busy = moving(&admin).await.map_err(lost)?;
    let (moves, orders) = match (&options.restore, options.from) {
        (Some(file), _) => plan_restore(&view, &busy, read_saved(file, admin.cluster_id())?),
        (None, from) => {
            let from = NodeId(from.unwrap_or_default());
            if !view.brokers.contains_key(&from) {
                let known: Vec<String> = view.brokers.keys().map(|node| node.0.to_string()).collect();
                return Err(Failure::not_found(format!("there is no broker {from}, only {}", known.join(", "))));
            }
            plan_away(&view, &busy, from)
        }
    };
    if !options.dry_run && !orders.is_empty() {
        if let Some(file) = &options.save {
            save(file, admin.cluster_id(), &view, &orders)?;
        }
        reorder(&admin, &orders).await.map_err(lost)?;
        let deadline = Instant::now() + Duration::from_secs(options.timeout);
        carry_out(&admin, &orders, deadline).await.map_err(lost)?.map_err(|left| {
            Failure::timed_out(format!("{left} after {} s", options.timeout))
                .next("`twinstream cluster health` may know why; calling it again goes on")
        })?;
    }
    show(&moves, format)?;
    let staying = moves.iter().filter(|moved| moved.stays.is_some()).count();
    if format.is_text() {
        let would = if options.dry_run { "would move" } else { "moved" };
        output::talk(&format!("{would} {}, {staying} stay", counted(orders.len(), "leader")));
    }
    Ok(if staying == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Each partition that the broker leads gets another in-sync replica as its first one; the order is turned, so that after a
/// round over all brokers it is what it was.
fn plan_away(view: &ClusterView, busy: &BTreeSet<TopicPartition>, from: NodeId) -> (Vec<Moved>, Orders) {
    let (mut moves, mut orders) = (Vec::new(), Orders::new());
    for (name, topic) in &view.topics {
        for (index, partition) in topic.partitions.iter().filter(|(_, partition)| partition.leader == Some(from)) {
            let here = TopicPartition::new(name.clone(), *index);
            let count = partition.replicas.len();
            let place = partition.replicas.iter().position(|node| *node == from).unwrap_or(0);
            let mut turns = (1..count).map(|turn| (place + turn) % count);
            let fits = |index: &usize| {
                let node = partition.replicas[*index];
                partition.isr.contains(&node) && view.brokers.contains_key(&node)
            };
            let next = turns.find(fits).filter(|_| !busy.contains(&here));
            let stays = match (next, busy.contains(&here)) {
                (Some(_), _) => None,
                (None, true) => Some("its replicas are being moved"),
                (None, false) => Some("no other replica is in sync"),
            };
            moves.push(Moved {
                topic: name.to_string(),
                partition: index.0,
                from: Some(from.0),
                to: next.map(|next| partition.replicas[next].0),
                stays: stays.map(str::to_owned),
            });
            if let Some(next) = next {
                let mut order = partition.replicas.clone();
                order.rotate_left(next);
                orders.insert(here, order);
            }
        }
    }
    (moves, orders)
}

fn plan_restore(view: &ClusterView, busy: &BTreeSet<TopicPartition>, saved: Saved) -> (Vec<Moved>, Orders) {
    let (mut moves, mut orders) = (Vec::new(), Orders::new());
    for partition in saved.partitions {
        let Ok(name) = TopicName::parse(&partition.topic) else { continue };
        let here = TopicPartition::new(name, PartitionIndex(partition.partition));
        let now = view.topics.get(&here.topic).and_then(|topic| topic.partitions.get(&here.partition));
        let order: Vec<NodeId> = partition.replicas.iter().copied().map(NodeId).collect();
        let same_set = |now: &[NodeId]| BTreeSet::from_iter(now) == BTreeSet::from_iter(&order);
        let stays = match now {
            None => Some("it is gone"),
            Some(now) if now.leader.as_ref() == order.first() && now.replicas == order => continue,
            Some(now) if !same_set(&now.replicas) => Some("it has other replicas now"),
            Some(_) if busy.contains(&here) => Some("its replicas are being moved"),
            Some(now) if !order.first().is_some_and(|first| now.isr.contains(first)) => {
                Some("its first replica is not in sync")
            }
            Some(_) => None,
        };
        moves.push(Moved {
            topic: here.topic.to_string(),
            partition: here.partition.0,
            from: now.and_then(|now| now.leader).map(|node| node.0),
            to: order.first().map(|node| node.0).filter(|_| stays.is_none()),
            stays: stays.map(str::to_owned),
        });
        if stays.is_none() {
            orders.insert(here, order);
        }
    }
    (moves, orders)
}

/// Partitions whose replicas are being moved.
async fn moving(admin: &Admin) -> Result<BTreeSet<TopicPartition>, ClientError> {
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(TIMEOUT_MS).with_topics(None);
    let answer = admin.raw().request(Node::Controller, &request).await?;
    check(|| "list reassignments".to_owned(), answer.error_code, answer.error_message.as_ref())?;
    let mut busy = BTreeSet::new();
    for topic in answer.topics {
        let Ok(name) = TopicName::parse(&topic.name) else { continue };
        let partitions = topic.partitions.into_iter();
        busy.extend(partitions.map(|p| TopicPartition::new(name.clone(), PartitionIndex(p.partition_index))));
    }
    Ok(busy)
}

async fn reorder(admin: &Admin, orders: &Orders) -> Result<(), ClientError> {
    let mut topics: BTreeMap<&TopicName, Vec<ReassignablePartition>> = BTreeMap::new();
    for (partition, order) in orders {
        let replicas = order.iter().map(|node| BrokerId(node.0)).collect();
        let wanted =
            ReassignablePartition::default().with_partition_index(partition.partition.0).with_replicas(Some(replicas));
        topics.entry(&partition.topic).or_default().push(wanted);
    }
    let topics = topics.into_iter();
    let topics =
        topics.map(|(name, list)| ReassignableTopic::default().with_name(wire_topic(name)).with_partitions(list));
    let request =
        AlterPartitionReassignmentsRequest::default().with_topics(topics.collect()).with_timeout_ms(TIMEOUT_MS);
    let answer = admin.raw().request(Node::Controller, &request).await?;
    check(|| "reorder replicas".to_owned(), answer.error_code, answer.error_message.as_ref())?;
    for topic in &answer.responses {
        for partition in &topic.partitions {
            let what = || format!("reorder the replicas of {}-{}", topic.name.as_str(), partition.partition_index);
            check(what, partition.error_code, partition.error_message.as_ref())?;
        }
    }
    Ok(())
}

/// Elects until all are led by their first replica; what is left when the time is over.
async fn carry_out(admin: &Admin, orders: &Orders, deadline: Instant) -> Result<Result<(), String>, ClientError> {
    loop {
        let view = admin.raw().refresh_all().await?;
        let is_done = |here: &TopicPartition, order: &[NodeId]| match view.topics.get(&here.topic) {
            Some(_) => view.leader(here).as_ref() == order.first(),
            None => true, // deleted meanwhile
        };
        let left: Vec<&TopicPartition> =
            orders.iter().filter(|(here, order)| !is_done(here, order)).map(|(here, _)| here).collect();
        if left.is_empty() {
            return Ok(Ok(()));
        }
        if Instant::now() >= deadline {
            return Ok(Err(format!("{} not led by who shall lead", counted(left.len(), "partition"))));
        }
        elect_first(admin, PREFERRED, left.into_iter()).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn save(file: &PathBuf, cluster_id: Option<String>, view: &ClusterView, orders: &Orders) -> Result<(), Failure> {
    let partition = |here: &TopicPartition| {
        let now = view.topics.get(&here.topic)?.partitions.get(&here.partition)?;
        let replicas = now.replicas.iter().map(|node| node.0).collect();
        Some(SavedPartition { topic: here.topic.to_string(), partition: here.partition.0, replicas })
    };
    let partitions = orders.keys().filter_map(partition).collect();
    let saved = Saved { version: SAVED_VERSION, cluster_id, partitions };
    let wrong = |error: String| Failure::new(format!("cannot save to {}: {error}", file.display()));
    let text = serde_json::to_string_pretty(&saved).map_err(|error| wrong(error.to_string()))?;
    fs::write(file, text + "\n").map_err(|error| wrong(error.to_string()))
}

fn read_saved(file: &PathBuf, cluster_id: Option<String>) -> Result<Saved, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if saved.version != SAVED_VERSION {
        return Err(wrong(format!("version {} is not known here, only {SAVED_VERSION}", saved.version)));
    }
    if saved.cluster_id != cluster_id {
        return Err(wrong("it was saved of another cluster".to_owned()));
    }
    Ok(saved)
}
