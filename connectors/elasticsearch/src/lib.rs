//! The Elasticsearch sink: from Kafka topics to an index of Elasticsearch 7, 8, 9 or OpenSearch.
//!
//! Picture: `put` turns each record into one bulk operation and drops it into a *lane*, chosen by hashing index and
//! document id. Each lane is a task with at most one bulk request under way, so the writes to one document keep their
//! order while lanes run in parallel. What the server answered is judged per item. An offset may be committed when it
//! and all before it in its partition are finished.
//! Invariants: E1 no record is finished unless the index has it, has a newer one, or the connector's error rules took
//! it. E2 pressure (429, 503) never fails the task; it slows reading down. E3 a record is never written after its
//! partition was closed.
//! Not here: converters and transforms (the worker's), reading Kafka (the worker's).
//!
//! Reading order: [`config`], `request`, `mapping`, `retry`, `offsets`, `client`, `lane`, `sink`, [`metrics`].

mod client; // HTTP, through the elasticsearch crate's transport
pub mod config; // settings
mod lane; // one ordered stream of bulk requests
mod mapping; // a record's schema -> an index mapping
pub mod metrics; // what is counted
mod offsets; // what may be committed
mod request; // record -> bulk operation
mod retry; // what an answer means
mod sink; // connector and task

use twinstream_connect_api::Plugin;

pub use crate::sink::{ElasticsearchSinkConnector, ElasticsearchSinkTask};

pub const CLASS: &str = "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector";

/// What the worker needs to run this connector.
pub fn plugin() -> Plugin {
    Plugin::sink(CLASS, config::config_def(), ElasticsearchSinkConnector::default, ElasticsearchSinkTask::default)
        .alias("io.aiven.kafka.connect.opensearch.OpenSearchSinkConnector")
        .alias("io.aiven.kafka.connect.opensearch.OpensearchSinkConnector")
        .version(env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests;
