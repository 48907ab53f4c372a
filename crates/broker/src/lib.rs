//! The broker: Kafka's protocol on sockets, partitions on disk, groups and metadata behind it.
//!
//! Picture: [`server`] cuts connections into requests, [`handlers`] has one file per Kafka API and the one table of
//! them, `partitions` owns the logs, `groups` and `transactions` run the coordinators, `controller` speaks to the metadata quorum.
//! Everything meets in [`context::Broker`], which `startup` builds and [`run`] serves until it is told to stop.
//!
//! Invariants: no bytes from the network can stop the process; a request is answered or its connection closed; a
//! setting has an effect, or the log says at start that it has none.

mod auto_create; // topics that come into being by themselves
mod broker_calls; // questions to other brokers
mod context; // what a handler sees
mod controller; // the metadata quorum, and who decides
mod coordinators; // what the coordinators of groups and transactions share
mod error; // why a broker does not start, or stops
mod follow; // partitions and coordinators in line with the image
mod format; // log directories for a cluster id
#[doc(hidden)]
pub mod fuzzing; // decoders as functions of bytes
mod groups; // the group coordinator
mod handlers; // one file per API, one table
mod metrics;
mod partitions; // logs, who leads them, who waits for their records
mod reconfigure; // settings that change at run time
mod replication; // fetching from leaders, in-sync replicas, throttles
mod server; // sockets, frames, responses
mod settings; // server.properties and its one table
mod startup; // from settings to a serving broker, and back
mod transactions; // the transaction coordinator
mod verification; // whether partitions belong to a transaction

use std::path::PathBuf;

use tokio::sync::watch;

pub use error::BrokerError;
pub use format::{FormatError, FormattedDirectory, IfFormatted, format};

/// What a broker is started with. Settings from the environment (`TWINSTREAM_...`) come on top of the file, those of
/// `overrides` on top of both.
#[derive(Clone, Debug, Default)]
pub struct BrokerOptions {
    /// A `server.properties` file.
    pub config: Option<PathBuf>,
    /// Names and values from the command line.
    pub overrides: Vec<(String, String)>,
}

/// Reads the settings as a start would, and touches nothing else. What is wrong is the error; what has no effect is returned.
pub fn check(options: &BrokerOptions) -> Result<Vec<String>, BrokerError> {
    Ok(format::read(options)?.without_effect())
}

/// Runs one broker until `shutdown` turns true (or its sender is gone), then stops it cleanly.
pub async fn run(options: BrokerOptions, shutdown: watch::Receiver<bool>) -> Result<(), BrokerError> {
    startup::run(options, shutdown).await
}
