//! A small embedded index that speaks Elasticsearch's HTTP API: what the quick start searches in when no real one is
//! given.
//!
//! Picture: a catalog of indices, each one tantivy index with one writer thread; above it a REST layer of axum. A
//! document that was acknowledged is on disk and visible to the next search, also after `kill -9`.
//! Invariants: what it does not know it refuses by name (query kinds, parameters, field types), so that an answer is
//! never quietly wrong.
//! Not here: clustering, replicas, aggregations, scripts, security. It knows nothing of the other crates.

mod catalog; // the data directory and its indices
mod date; // dates of the mapping
mod document; // JSON document -> indexed values
mod error; // failures in Elasticsearch's words
mod fields; // the layout inside tantivy
mod index; // one index
mod mapping; // fields and types
mod meta; // what an index stores about itself
mod query; // query language -> tantivy
mod rest; // HTTP
mod search; // running a search
mod version; // version rules
mod writer; // the writer thread

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::catalog::Catalog;
pub use crate::catalog::CatalogError;
use crate::rest::App;

/// Where to listen and where to keep the data.
#[derive(Debug, Clone)]
pub struct SearchOptions {
    /// Port 0 takes any free port.
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error("listen on {address}: {source}; is the port in use?")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("open data directory {path}: {source}", path = path.display())]
    Open { path: PathBuf, source: CatalogError },
    #[error("serve: {0}")]
    Serve(#[from] std::io::Error),
}

/// Serves until `shutdown` turns true, then finishes what is under way.
pub async fn run(options: SearchOptions, shutdown: watch::Receiver<bool>) -> Result<(), SearchError> {
    bind(options).await?.serve(shutdown).await
}

/// A server that holds its port and its data directory, not yet serving.
pub struct SearchServer {
    listener: TcpListener,
    app: Arc<App>,
}

/// Opens the data directory and the port; what can fail at start fails here.
pub async fn bind(options: SearchOptions) -> Result<SearchServer, SearchError> {
    let SearchOptions { listen, data_dir } = options;
    let root = data_dir.clone();
    let opened = tokio::task::spawn_blocking(move || Catalog::open(&root)).await.map_err(std::io::Error::other)?;
    let catalog = opened.map_err(|source| SearchError::Open { path: data_dir, source })?;
    let listener = TcpListener::bind(listen).await.map_err(|source| SearchError::Listen { address: listen, source })?;
    Ok(SearchServer { listener, app: Arc::new(App::new(catalog)) })
}

impl SearchServer {
    pub fn address(&self) -> Result<SocketAddr, SearchError> {
        Ok(self.listener.local_addr()?)
    }

    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) -> Result<(), SearchError> {
        let address = self.address()?;
        info!(%address, "search index ready");
        let stop = async move {
            // A dropped sender means that nobody is left to ask for more.
            let _stopped = shutdown.wait_for(|stop| *stop).await;
        };
        axum::serve(self.listener, rest::router(Arc::clone(&self.app))).with_graceful_shutdown(stop).await?;
        tokio::task::spawn_blocking(move || self.app.catalog.close()).await.map_err(std::io::Error::other)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
