//! The server roles: each reads its options, calls its crate's `run`, and stops on SIGTERM or Ctrl-C.
//!
//! Invariants: the first signal stops the role cleanly (exit code 0); a second one, for impatient people, ends it at
//! once with exit code 1.

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use twinstream_broker::BrokerOptions;
use twinstream_connect::WorkerOptions;
use twinstream_connect_api::{Plugin, RawConfig};
use twinstream_registry::RegistryOptions;
use twinstream_search::SearchOptions;
use twinstream_telemetry::{Metrics, service};

use crate::arguments::{Role, Search};
use crate::failure::Failure;

/// `timeout` of coreutils signals the process and then its whole group, as terminals and supervisors may: one request.
const SAME_REQUEST: Duration = Duration::from_millis(500);

pub(crate) fn broker(role: Role) -> Result<ExitCode, Failure> {
    let options = BrokerOptions { config: role.config, overrides: role.overrides };
    serve("broker", |shutdown| twinstream_broker::run(options, shutdown))
}

pub(crate) fn registry(role: Role) -> Result<ExitCode, Failure> {
    let options = RegistryOptions { config: role.config, overrides: role.overrides };
    serve("registry", |shutdown| twinstream_registry::run(options, shutdown))
}

pub(crate) fn worker(role: Role) -> Result<ExitCode, Failure> {
    let options = worker_options(role.config, role.overrides, Vec::new())?;
    serve("worker", |shutdown| twinstream_connect::run(options, shutdown))
}

/// The connectors of this binary. The worker knows none; this list is where they meet.
pub(crate) fn plugins() -> Vec<Plugin> {
    vec![
        twinstream_connector_mirror::plugin(),
        twinstream_connector_mirror::checkpoint::plugin(),
        twinstream_connector_mirror::heartbeat::plugin(),
        twinstream_connector_elasticsearch::plugin(),
    ]
}

/// What a worker is started with; `connectors` are put by itself.
pub(crate) fn worker_options(
    config: Option<PathBuf>,
    overrides: Vec<(String, String)>,
    connectors: Vec<(String, RawConfig)>,
) -> Result<WorkerOptions, Failure> {
    let metrics = Metrics::new();
    let of_mirror = twinstream_connector_mirror::metrics::collectors();
    let of_search = twinstream_connector_elasticsearch::metrics::collectors();
    of_mirror.into_iter().chain(of_search).for_each(|collector| metrics.adopt(collector));
    let extensions = vec![Arc::new(twinstream_connector_mirror::link::Links) as _];
    Ok(WorkerOptions { config, overrides, plugins: plugins(), connectors, extensions, metrics })
}

pub(crate) fn search(search: Search) -> Result<ExitCode, Failure> {
    let options = SearchOptions { listen: search.listen, data_dir: search.data_dir };
    serve("search", |shutdown| twinstream_search::run(options, shutdown))
}

/// Runs a role until it ends by itself or by a signal.
pub(crate) fn serve<F, E>(role: &str, run: impl FnOnce(watch::Receiver<bool>) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start the async runtime: {error}")))?;
    let ended = runtime.block_on(async {
        let mut stop_signals = StopSignals::new()?;
        let (stop, shutdown) = watch::channel(false);
        let role_ends = run(shutdown);
        tokio::pin!(role_ends);
        tokio::select! {
            ended = &mut role_ends => return told(role, ended),
            () = stop_signals.next() => tracing::info!(role, "stopping"),
        }
        service::stopping();
        stop.send_replace(true);
        tokio::select! {
            ended = role_ends => told(role, ended),
            () = stop_signals.again() => Err(Failure::new(format!("{role} was told twice to stop and left at once"))),
        }
    });
    // A task that hangs in a system call must not keep a stopped process alive.
    runtime.shutdown_background();
    ended
}

fn told<E: Error + 'static>(role: &str, ended: Result<(), E>) -> Result<ExitCode, Failure> {
    ended.map(|()| ExitCode::SUCCESS).map_err(|error| Failure::chain(&error).tried(format!("to run the {role}")))
}

/// SIGTERM and SIGINT.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for somebody who has lost patience.
    pub(crate) async fn again(&mut self) {
        let first = Instant::now();
        self.next().await;
        while first.elapsed() < SAME_REQUEST {
            self.next().await;
        }
    }
}
