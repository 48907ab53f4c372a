//! The worker: runs connectors next to a Kafka cluster, with Kafka Connect's REST API, settings and stored state.
//!
//! Picture, from the outside in: `rest` (HTTP) validates and hands requests to the `herder`, one actor that writes them to
//! the config topic and makes what runs equal to what is stored. `runner` holds one actor per task, which calls the
//! connector's code through `twinstream-connect-api`, converts records (`converters`) and moves them. `state` are pure
//! state machines over Connect's three topics, `store` brings their records in and out, `group` keeps the worker's place.
//!
//! Invariants:
//! - Stored state changes only through records that were read back; a restart replays the same records.
//! - No call of a connector's code runs outside an actor of its own, and none holds up a REST answer.
//! - Connectors come from outside ([`WorkerOptions::plugins`]): this crate knows none.
//!
//! Non-obvious:
//! - A paused sink keeps its consumer in the group, with all partitions paused.
//! - Offsets of a source are stored per source partition up to the first record that is not acknowledged.
//! - `task.class` is written into task configurations because Kafka's tools show it; nothing here reads it to choose code.

mod converters;
#[doc(hidden)]
pub mod fuzzing; // decoders as functions of bytes
mod group;
mod herder;
mod keeper;
mod metrics;
mod plugins;
mod rest;
mod runner;
pub mod settings;
mod state;
mod store;
mod worker;

pub use group::GroupError;
pub use plugins::{check_connector, connector_keys};
pub use settings::Settings;
pub use worker::{WorkerError, WorkerOptions, check, run};
