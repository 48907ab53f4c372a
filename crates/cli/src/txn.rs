//! `twinstream txn list|describe|abort`: transactions of all producers.
//!
//! `abort` asks the coordinator for the transactional id's next epoch, as a producer does that starts anew: it ends what is
//! open, and fences whoever holds the id. With `--hanging` it ends what no coordinator knows of any more, by a marker on one
//! partition.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::describe_producers_request::TopicRequest;
use twinstream_client::raw::kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use twinstream_client::raw::kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListTransactionsRequest, ProducerId, TransactionalId, WriteTxnMarkersRequest,
};
use twinstream_client::{Admin, ClientError};
use twinstream_model::{ErrorCode, NodeId, PartitionIndex, TopicPartition};

use crate::admin::{check, text, wire_topic};
use crate::arguments::{Cluster, OutputFormat};
use crate::bootstrap::{admin, block_on, failed};
use crate::confirm;
use crate::failure::Failure;
use crate::link::{list_of, word};
use crate::output;
use crate::topic::topic_name;
use crate::watch::Watch;

/// FindCoordinator's number for coordinators of transactions, and the version from which on it asks for a list.
const TRANSACTION_KEY: i8 = 1;
const FIND_MANY: i16 = 4;
const FIND_COORDINATOR: i16 = 10;
/// The next owner of the id sets its own.
const TIMEOUT_MS: i32 = 60_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Txn {
    /// List transactional ids with their states.
    List {
        /// Only those in this state, such as Ongoing; may be given many times.
        #[arg(long, value_name = "STATE")]
        state: Vec<String>,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show a transaction: its producer, since when it is open, and its partitions.
    Describe {
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Abort what is open for a transactional id, and fence its producer.
    Abort(Abort),
}

#[derive(Debug, Args)]
pub(crate) struct Abort {
    #[arg(required_unless_present = "hanging", conflicts_with = "hanging")]
    id: Option<String>,
    /// A partition with a transaction that no coordinator knows of any more, as TOPIC:PARTITION.
    #[arg(long, value_name = "TOPIC:PARTITION", requires = "producer_id")]
    hanging: Option<String>,
    /// Whose transaction it is there.
    #[arg(long, value_name = "ID", requires = "hanging")]
    producer_id: Option<i64>,
    /// Tell what would be aborted, and abort nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on the terminal.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(crate) fn run(command: Txn, format: OutputFormat) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Txn::List { state, watch, cluster } => watch.run(async || list(&cluster, &state, format).await).await,
            Txn::Describe { ids, cluster } => describe(&cluster, &ids, format).await,
            Txn::Abort(options) => abort(&options, format).await,
        }
    })
}

async fn all(admin: &Admin, states: &[String]) -> Result<Vec<serde_json::Value>, ClientError> {
    let mut rows = Vec::new();
    for broker in admin.brokers().await? {
        let request = ListTransactionsRequest::default()
            .with_state_filters(states.iter().map(text).collect())
            .with_duration_filter(-1);
        let answer = admin.raw().request(Node::Id(broker.id), &request).await?;
        check(|| format!("list the transactions of broker {}", broker.id), answer.error_code, None)?;
        rows.extend(answer.transaction_states.iter().map(|found| {
            json!({"transactional_id": found.transactional_id.as_str(), "state": found.transaction_state.as_str(),
                "producer_id": found.producer_id.0, "coordinator": broker.id.0})
        }));
    }
    rows.sort_by_key(|row| word(&row["transactional_id"]));
    Ok(rows)
}

async fn list(cluster: &Cluster, states: &[String], format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let rows = all(&admin, states).await.map_err(|error| failed(cluster, &error))?;
    let columns = ["transactional_id", "state", "producer_id", "coordinator"];
    output::listing(format, &rows, &["transactional id", "state", "producer id", "coordinator"], |row| {
        columns.map(|name| word(&row[name])).to_vec()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn coordinator(admin: &Admin, id: &str) -> Result<NodeId, ClientError> {
    let served = admin.raw().versions(Node::Any, FIND_COORDINATOR).await?;
    let request = FindCoordinatorRequest::default().with_key_type(TRANSACTION_KEY);
    let request = match served.is_some_and(|(_, max)| max >= FIND_MANY) {
        true => request.with_coordinator_keys(vec![text(id)]),
        false => request.with_key(text(id)),
    };
    admin
        .raw()
        .retry(|| async {
            let answer = admin.raw().request(Node::Any, &request).await?;
            let what = || format!("find the coordinator of transactional id {id}");
            let (code, told, node) = match answer.coordinators.first() {
                Some(found) => (found.error_code, found.error_message.as_ref(), found.node_id),
                None => (answer.error_code, answer.error_message.as_ref(), answer.node_id),
            };
            check(what, code, told)?;
            Ok(NodeId(node.0))
        })
        .await
}

async fn one(admin: &Admin, id: &str) -> Result<serde_json::Value, ClientError> {
    let node = coordinator(admin, id).await?;
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text(id))]);
    let answer = admin.raw().request(Node::Id(node), &request).await?;
    let what = || format!("describe transactional id {id}");
    let missing = || ClientError::broker(what(), ErrorCode::TransactionalIdNotFound);
    let found = answer.transaction_states.into_iter().next().ok_or_else(missing)?;
    check(what, found.error_code, None)?;
    let partitions: Vec<String> = found
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |index| format!("{}-{index}", topic.topic.as_str())))
        .collect();
    let start = Some(found.transaction_start_time_ms).filter(|ms| *ms >= 0);
    Ok(json!({"transactional_id": id, "state": found.transaction_state.as_str(), "producer_id": found.producer_id.0,
        "producer_epoch": found.producer_epoch, "coordinator": node.0, "timeout_ms": found.transaction_timeout_ms,
        "start_ms": start, "partitions": partitions}))
}

async fn known(cluster: &Cluster, admin: &Admin, id: &str) -> Result<serde_json::Value, Failure> {
    match one(admin, id).await {
        Ok(found) => Ok(found),
        Err(error) if error.code() == Some(ErrorCode::TransactionalIdNotFound) => {
            let known = all(admin, &[]).await.unwrap_or_default();
            Err(Failure::not_found(format!("transactional id {id} does not exist"))
                .did_you_mean(id, known.iter().map(|row| word(&row["transactional_id"])))
                .tried(crate::bootstrap::tried(cluster))
                .next("`twinstream txn list`"))
        }
        Err(error) => Err(failed(cluster, &error)),
    }
}

async fn describe(cluster: &Cluster, ids: &[String], format: OutputFormat) -> Result<ExitCode, Failure> {
    let admin = admin(cluster).await?;
    let mut rows = Vec::new();
    for id in ids {
        rows.push(known(cluster, &admin, id).await?);
    }
    let columns = ["transactional id", "state", "producer id", "epoch", "coordinator", "since (ms)", "partitions"];
    let names = ["transactional_id", "state", "producer_id", "producer_epoch", "coordinator", "start_ms"];
    output::listing(format, &rows, &columns, |row| {
        let partitions: Vec<String> = list_of(&row["partitions"]).map(word).collect();
        let partitions = if partitions.is_empty() { "-".to_owned() } else { partitions.join(",") };
        [names.map(|name| word(&row[name])).to_vec(), vec![partitions]].concat()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn abort(options: &Abort, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let admin = admin(cluster).await?;
    let what = match (&options.hanging, &options.id) {
        (Some(place), _) => return hanging(options, &admin, place, format).await,
        (None, id) => id.clone().unwrap_or_default(),
    };
    let found = known(cluster, &admin, &what).await?;
    let text_of = |would: &str| {
        let partitions = list_of(&found["partitions"]).count();
        format!("{would} transactional id {what}, which was {} in {partitions} partitions", word(&found["state"]))
    };
    if options.dry_run {
        output::done(format, &json!({"would_abort": found}), &[&what], &text_of("would abort"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !options.yes {
        confirm::ask(&format!("abort what is open for {what}, and fence its producer?"))?;
    }
    let fenced = fence(&admin, &what).await;
    fenced.map_err(|error| failed(cluster, &error))?;
    output::done(format, &json!({"aborted": found}), &[&what], &text_of("aborted"))?;
    Ok(ExitCode::SUCCESS)
}

async fn fence(admin: &Admin, id: &str) -> Result<(), ClientError> {
    admin
        .raw()
        .retry(|| async {
            let node = coordinator(admin, id).await?;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(TransactionalId(text(id))))
                .with_transaction_timeout_ms(TIMEOUT_MS)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
            let answer = admin.raw().request(Node::Id(node), &request).await?;
            check(|| format!("abort transactional id {id}"), answer.error_code, None)
        })
        .await
}

async fn hanging(options: &Abort, admin: &Admin, place: &str, format: OutputFormat) -> Result<ExitCode, Failure> {
    let cluster = &options.cluster;
    let lost = |error: ClientError| failed(cluster, &error);
    let split = place.rsplit_once(':').and_then(|(topic, index)| Some((topic, index.parse::<i32>().ok()?)));
    let Some((topic, index)) = split else {
        return Err(Failure::usage(format!("`{place}` is not TOPIC:PARTITION")));
    };
    let (topic, producer) = (topic_name(topic)?, options.producer_id.unwrap_or_default());
    let view = admin.raw().refresh(std::slice::from_ref(&topic)).await.map_err(lost)?;
    let Some(leader) = view.leader(&TopicPartition::new(topic.clone(), PartitionIndex(index))) else {
        return Err(Failure::not_found(format!("{topic}-{index} does not exist, or nobody leads it")));
    };
    let asked = TopicRequest::default().with_name(wire_topic(&topic)).with_partition_indexes(vec![index]);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    let answer = admin.raw().request(Node::Id(leader), &request).await.map_err(lost)?;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let open = partitions
        .flat_map(|partition| &partition.active_producers)
        .find(|state| state.producer_id.0 == producer && state.current_txn_start_offset >= 0);
    let Some(open) = open else {
        return Err(Failure::not_found(format!("producer {producer} has no transaction open in {topic}-{index}")));
    };
    let object = json!({"topic": topic.as_str(), "partition": index, "producer_id": producer,
        "start_offset": open.current_txn_start_offset, "aborted": !options.dry_run});
    let from = open.current_txn_start_offset;
    if options.dry_run {
        let text =
            format!("would abort the transaction of producer {producer} in {topic}-{index} from offset {from} on");
        output::done(format, &object, &[place], &text)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !options.yes {
        confirm::ask(&format!("abort the transaction of producer {producer} in {topic}-{index}?"))?;
    }
    let written = WritableTxnMarkerTopic::default().with_name(wire_topic(&topic)).with_partition_indexes(vec![index]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(open.producer_id)
        .with_producer_epoch(open.producer_epoch as i16)
        .with_transaction_result(false)
        .with_coordinator_epoch(open.coordinator_epoch)
        .with_topics(vec![written]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let answer = admin.raw().request(Node::Id(leader), &request).await.map_err(lost)?;
    for result in answer.markers.iter().flat_map(|m| &m.topics).flat_map(|t| &t.partitions) {
        check(|| format!("abort in {topic}-{index}"), result.error_code, None).map_err(lost)?;
    }
    let text = format!("aborted the transaction of producer {producer} in {topic}-{index} from offset {from} on");
    output::done(format, &object, &[place], &text)?;
    Ok(ExitCode::SUCCESS)
}
