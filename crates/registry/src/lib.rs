//! The schema registry: Confluent's REST API over one compacted topic.
//!
//! Picture: [`state`] is what the topic says, [`rules`] decide on it, [`store`] writes what they decided and reads it back,
//! [`rest`] turns all of that into HTTP. [`avro`] parses, prints and compares schemas.
//! Invariants: state changes only by replaying the topic; the topic is byte-compatible with Confluent's registry, both
//! ways, so either can take over from the other while stopped; `state`, `rules` and `avro` do no I/O.
//! Not here (see `GAPS.md`): JSON Schema and Protobuf, contexts, a leader among several registries, FORWARD mode.
//!
//! Non-obvious:
//! - Compaction compares key *bytes*. A hard delete strikes every byte form in which a key was ever seen, or a schema
//!   written by another registry would come back after a restart.
//! - Identity of a schema is its canonical text, printed as Avro's Java library does; not the Parsing Canonical Form.
//! - An incompatible schema is error 409, not 40901: that is what clients of released servers test for.

mod avro;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod level;
mod metrics;
mod rest;
mod rules;
mod settings;
mod state;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

pub use settings::SettingsError;
pub use store::StoreError;

use metrics::RegistryMetrics;
use settings::Settings;
use store::Store;

/// What the registry is started with.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// A properties file with Confluent's names.
    pub config: Option<PathBuf>,
    /// Names and values that win over the file.
    pub overrides: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot listen on {address}: {source}; another process may hold the port, `listeners` moves it")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("serving http on {address} ended: {source}")]
    Serve { address: SocketAddr, source: std::io::Error },
}

/// Reads the settings as a start would, and touches nothing else. What is wrong is the error; what has no effect is returned.
pub fn check(options: &RegistryOptions) -> Result<Vec<String>, RegistryError> {
    Ok(Settings::load(options.config.as_deref(), &options.overrides)?.without_effect)
}

/// Runs the registry until `shutdown` turns true. Serves only once the topic has been read to its end.
pub async fn run(options: RegistryOptions, shutdown: watch::Receiver<bool>) -> Result<(), RegistryError> {
    let settings = Settings::load(options.config.as_deref(), &options.overrides)?;
    settings.without_effect.iter().for_each(|told| info!("{told}"));
    // Ports first: a port in use should be known before a long topic has been read.
    let mut listeners = Vec::new();
    for address in &settings.listeners {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|source| RegistryError::Listen { address: *address, source })?);
    }
    let mut stop = shutdown.clone();
    let store = tokio::select! {
        store = Store::open(&settings, shutdown.clone()) => Arc::new(store?),
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    tokio::spawn(Arc::clone(&store).watch_promotion(shutdown.clone()));
    let metrics = RegistryMetrics::new(Arc::clone(&store));
    let app = rest::App { store, settings: Arc::new(settings), metrics };
    serve(app, listeners, shutdown).await
}

async fn serve(
    app: rest::App,
    listeners: Vec<TcpListener>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), RegistryError> {
    let grace = app.settings.shutdown_grace;
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let service = rest::service(app.clone());
        let mut stop = shutdown.clone();
        let stopped = async move {
            if stop.wait_for(|stop| *stop).await.is_err() {
                warn!("the shutdown signal went away, stopping");
            }
        };
        info!(%address, topic = %app.settings.topic, "schema registry ready");
        servers.spawn(async move {
            let served = axum::serve(listener, service).with_graceful_shutdown(stopped).await;
            served.map_err(|source| RegistryError::Serve { address, source })
        });
    }
    twinstream_telemetry::service::ready();
    let mut stop = shutdown;
    loop {
        tokio::select! {
            ended = servers.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(result)) => result?,
                Some(Err(error)) => warn!(%error, "http server task ended"),
            },
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    // Clients that keep a connection open must not keep a stopped registry alive.
    let ended = tokio::time::timeout(grace, async { while servers.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        info!("open connections were cut at shutdown");
    }
    Ok(())
}
