//! Clients: of Kafka clusters, ours and any other, and of schema registries.
//!
//! Picture: two ways into a cluster. [`Producer`] and [`Consumer`] wrap librdkafka, which is the best there is for records
//! and groups. [`RawClient`] speaks the wire protocol itself where librdkafka cannot go: whole batches, any request, any
//! group. [`Admin`] is the operator's view, built on the raw client. [`SchemaRegistryClient`] and [`avro`] turn records
//! into values. [`bulk`] is librdkafka for loads that are measured.
//! Invariants: this is the only crate that names rdkafka; none of its types leak out. No call blocks the async runtime.
//! Nothing waits for ever: an unreachable cluster is one error that names every host:port.
//! All clients are made from [`ClientSettings`], which take Kafka's Java names.

pub mod admin;
pub mod avro;
pub mod bulk;
pub mod consumer;
mod context;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod producer;
pub mod raw;
mod record;
pub mod schema_registry;
pub mod settings;
#[cfg(test)]
mod test_support;
mod traffic;

pub use admin::Admin;
pub use consumer::{CommitOffset, Consumer, ConsumerEvent, Revocation, StartAt};
pub use error::ClientError;
pub use producer::{Delivery, DeliveryFuture, Producer};
pub use raw::{NewTopic, RawClient};
pub use record::{ConsumerRecord, Header, ProducerRecord, TimestampType};
pub use schema_registry::SchemaRegistryClient;
pub use settings::{ClientSettings, SettingsError};
pub use traffic::{Traffic, traffic};
/// Record batches and codecs, for callers of [`RawClient`] that look into what they fetched.
pub use twinstream_protocol as protocol;
