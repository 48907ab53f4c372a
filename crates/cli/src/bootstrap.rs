//! How operator commands reach a cluster: settings, a runtime, and errors in the words of a command line.

use std::future::Future;

use twinstream_client::{Admin, ClientError, ClientSettings};

use crate::arguments::{BOOTSTRAP_VARIABLE, Cluster};
use crate::failure::Failure;

/// An operator waits for an answer, not for a minute.
const API_TIMEOUT_MS: &str = "15000";

/// Settings for a client of this cluster: our defaults, then what the user gave with -X.
pub(crate) fn settings(cluster: &Cluster, defaults: &[(&str, &str)]) -> Result<ClientSettings, Failure> {
    let ours = [("bootstrap.servers", cluster.bootstrap_server.as_str()), ("default.api.timeout.ms", API_TIMEOUT_MS)];
    let given = cluster.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = ours.into_iter().chain(defaults.iter().copied()).chain(given);
    ClientSettings::from_map(all).map_err(|error| Failure::usage(error).next("correct -b or -X and run it again"))
}

pub(crate) async fn admin(cluster: &Cluster) -> Result<Admin, Failure> {
    let settings = settings(cluster, &[])?;
    Admin::connect(&settings).await.map_err(|error| failed(cluster, &error))
}

/// Runs a command to its end.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::new(format!("cannot start the async runtime: {error}")))?.block_on(command)
}

/// Which cluster was asked, and who named it.
pub(crate) fn tried(cluster: &Cluster) -> String {
    format!("the cluster at {} ({})", cluster.bootstrap_server, cluster.source)
}

/// A client's error with what was tried and what to do.
pub(crate) fn failed(cluster: &Cluster, error: &ClientError) -> Failure {
    let failure = Failure::chain(error).tried(tried(cluster));
    match error {
        ClientError::Timeout { .. } => failure.coded(4),
        ClientError::Unreachable { .. } => failure.next(format!(
            "start one with `twinstream quickstart`, or name yours with -b HOST:PORT, {BOOTSTRAP_VARIABLE} or a context"
        )),
        _ => failure,
    }
}
