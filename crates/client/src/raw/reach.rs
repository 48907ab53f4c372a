//! Is anybody there? One bounded look at all bootstrap servers at once.
//!
//! librdkafka answers an unreachable cluster with endless log lines and calls that time out without a cause. Asking
//! first gives one error that names every host:port and why it failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::connection::Connection;
use crate::error::ClientError;
use crate::settings::ClientSettings;

/// How long the bootstrap servers have to answer.
pub const REACH_WITHIN: Duration = Duration::from_secs(10);
/// A refused connection may be a server that is just starting; it is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long a refusing server is tried, when all of them refuse.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// `Ok` as soon as one bootstrap server answers ApiVersions.
pub async fn any_bootstrap(settings: &ClientSettings) -> Result<(), ClientError> {
    first_bootstrap(settings).await.map(|_| ())
}

/// The first bootstrap server that answers, connected.
pub(super) async fn first_bootstrap(settings: &ClientSettings) -> Result<Arc<Connection>, ClientError> {
    let started = tokio::time::Instant::now();
    let servers = settings.bootstrap();
    let mut tries = JoinSet::new();
    for (index, server) in servers.iter().cloned().enumerate() {
        let client_id = settings.client_id().to_owned();
        tries.spawn(async move { (index, try_server(&server, &client_id).await) });
    }
    let mut failures: Vec<Option<String>> = vec![None; servers.len()];
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok((_, Ok(connection))) => return Ok(Arc::new(connection)),
            Ok((index, Err(error))) => failures[index] = Some(reason(&error)),
            Err(_) => {}
        }
    }
    let attempts = servers.iter().zip(failures).map(|(server, failure)| {
        let failure = failure.unwrap_or_else(|| "not tried".to_owned());
        format!("{server} ({failure})")
    });
    let attempts = attempts.collect::<Vec<_>>().join(", ");
    Err(ClientError::Unreachable { attempts, within: started.elapsed() })
}

async fn try_server(address: &str, client_id: &str) -> Result<Connection, ClientError> {
    let started = tokio::time::Instant::now();
    loop {
        let left = REACH_WITHIN.saturating_sub(started.elapsed());
        match Connection::open(address, client_id, left).await {
            Err(_) if started.elapsed() + TRY_AGAIN_AFTER < REFUSED_WITHIN => {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            result => return result,
        }
    }
}

fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Connection { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}
