//! The broker: Kafka's protocol on sockets, partitions on disk, groups and metadata behind it.
//!
//! Picture: [`server`] cuts connections into requests, [`handlers`] has one file per Kafka API and the one table of
//! them, `partitions` owns the logs, `groups` runs the group coordinator, `controller` speaks to the metadata quorum.
//! Everything meets in [`context::Broker`], which `startup` builds and `run` serves until it is told to stop.
//!
//! Invariants: no bytes from the network can stop the process; a request is answered or its connection closed; a
//! setting has an effect, or the log says at start that it has none.

mod auto_create; // topics that come into being by themselves
mod context; // what a handler sees
mod handlers; // one file per API, one table
mod metrics;
mod server; // sockets, frames, responses
mod settings; // server.properties and its one table
