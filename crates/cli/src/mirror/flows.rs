//! Keeps the workers of all flows running.
//!
//! Flows know nothing of each other. A worker that ends, because its cluster is away or because another process has the
//! flow, is started again after a pause, so that one site's trouble is not the other's, and a second process with the same
//! file stands by. What no pause can mend, a port in use or a setting, ends all of them.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};
use twinstream_connect::WorkerError;
use twinstream_connector_mirror::dedicated::Flow;

use crate::failure::{Failure, chain};
use crate::roles;

const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A cluster that is back is used again within this time; a whole site of flows that try costs next to nothing.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A worker that ran for so long was fine: what ended it is a new trouble.
const FINE_AFTER: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub(super) enum FlowError {
    #[error("flow {flow} cannot run")]
    Worker { flow: String, source: Box<WorkerError> },
    #[error("flow {flow} did not copy all that it should")]
    TasksFailed { flow: String, source: Box<WorkerError> },
    #[error("flow {flow} cannot run: {reason}")]
    Parts { flow: String, reason: String },
    #[error("a flow's task ended badly")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs all flows until `shutdown` turns true; the first that cannot go on ends the others in good order.
pub(super) async fn run(flows: Vec<Flow>, mut shutdown: watch::Receiver<bool>) -> Result<(), FlowError> {
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for flow in flows {
        info!(flow = flow.name(), copies = flow.enabled, "flow starts");
        running.spawn(keep(flow, stopped.clone()));
    }
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                None => return outcome,
                Some(ended) => {
                    let ended = ended.map_err(FlowError::from).and_then(|ended| ended);
                    stop.send_replace(true);
                    outcome = outcome.and(ended);
                }
            },
            _ = shutdown.wait_for(|stop| *stop), if !*stop.borrow() => {
                stop.send_replace(true);
            }
        }
    }
}

/// One flow, for as long as it is wanted.
async fn keep(flow: Flow, mut stop: watch::Receiver<bool>) -> Result<(), FlowError> {
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        let settings: Vec<(String, String)> = flow.worker.clone().into_iter().collect();
        let options = roles::worker_options(None, settings, flow.connectors.clone());
        let options = options.map_err(|failure: Failure| parts(&flow, &failure))?;
        let source = match twinstream_connect::run(options, stop.clone()).await {
            Ok(()) => return Ok(()),
            Err(error @ WorkerError::TasksFailed { .. }) => {
                return Err(FlowError::TasksFailed { flow: flow.name(), source: Box::new(error) });
            }
            Err(error) => error,
        };
        if is_final(&source) {
            return Err(FlowError::Worker { flow: flow.name(), source: Box::new(source) });
        }
        if started.elapsed() >= FINE_AFTER {
            pause = PAUSE_MIN;
        }
        error!(flow = flow.name(), cause = chain(&source), ?pause, "flow ended, it starts again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn parts(flow: &Flow, failure: &Failure) -> FlowError {
    FlowError::Parts { flow: flow.name(), reason: failure.text() }
}

/// What trying again cannot mend.
fn is_final(error: &WorkerError) -> bool {
    matches!(error, WorkerError::Settings { .. } | WorkerError::ConfigFile { .. } | WorkerError::Listen { .. })
}
