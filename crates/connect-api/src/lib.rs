//! What a connector sees: the traits it implements, the records it moves, the configuration it declares.
//!
//! Picture: a *worker* (crate `twinstream-connect`) runs *connectors*. A [`Connector`] decides how the work is split
//! ([`Connector::task_configs`]); a [`SourceTask`] brings data from outside into Kafka, a [`SinkTask`] takes data from Kafka
//! to the outside. Both are driven by the worker: they never own a thread, a consumer or a producer of the worker's
//! cluster, and everything they may ask of the worker is in their context ([`ConnectorContext`], [`SourceTaskContext`],
//! [`SinkTaskContext`]). A connector crate hands the worker a [`Plugin`] and nothing else.
//!
//! Names are Kafka Connect's: who knows its Java API finds `put`, `pre_commit`, `open`, `close`, `poll`, `task_configs`
//! with the same meaning. What differs is written at the trait concerned.
//!
//! Invariants:
//! - Calls to one task never overlap: every method takes `&mut self`.
//! - Nothing here does I/O or knows how the worker stores its state.
//! - Data is at-least-once: an offset is stored only after what it covers was acknowledged.
//!
//! Reading order: [`connector`], [`source`], [`sink`], [`data`], [`config`], [`plugin`], [`extension`], [`error`].

pub mod config;
pub mod connector;
pub mod data;
pub mod error;
pub mod extension;
pub mod plugin;
pub mod record;
pub mod sink;
pub mod source;

pub use async_trait::async_trait;
pub use config::{Config, ConfigDef, ConfigKey, ConfigType, Fate, Importance, RawConfig, Validator, Width};
pub use connector::{Connector, ConnectorContext};
pub use data::{Field, Headers, Schema, SchemaAndValue, SchemaRef, SchemaType, Struct, Value};
pub use error::TaskError;
pub use extension::{ApiAnswer, ApiRefusal, ApiRequest, Extension, Method, Page, Wanted, WorkerApi};
pub use plugin::{Plugin, PluginKind, PluginMake};
pub use record::{
    AfterRefusal, Aligned, OriginalRecord, Placement, RawBatch, RawLane, RawObserver, Refusal, SinkRecord,
    SourceRecord, TimestampType,
};
pub use sink::{SinkTask, SinkTaskContext};
pub use source::{OffsetMap, Polled, SourceTask, SourceTaskContext};
