//! The raw client: Kafka's wire protocol for what librdkafka cannot do.
//!
//! Picture: a map of the cluster ([`ClusterView`]), a handful of connections (one per node, and one more per node for
//! long-poll fetches, so that a waiting fetch never delays a call), and one generic [`RawClient::request`]. On top sit
//! whole-batch fetch and produce, offsets, epochs, groups and topics. Who reads on and on has a [`Fetcher`] per leader.
//! Invariants: a request is sent in the highest version that both sides know; a connection that failed is replaced, never
//! reused; a leader that was refused is looked up again before it is asked again; every retry loop ends with
//! `default.api.timeout.ms`.
//! Not here: TLS, SASL. [`RawClient::produce_batch`] sends a batch as it is and without sequences; [`sender`] numbers them.

mod acls;
mod batches;
mod cluster;
mod connection;
mod described;
mod epochs;
mod fetch;
mod groups;
mod mirrors;
mod offsets;
mod quotas;
pub mod reach;
pub mod sender;
mod topics;

pub use acls::{AclOperation, AclPattern, AclPermission, AclResults, TopicAcl};
pub use batches::{AppendedBatch, BatchError, ready_to_append};
pub use cluster::{BrokerInfo, ClusterView, PartitionInfo, TopicInfo};
pub use described::{DescribedPartition, DescribedTopic};
pub use epochs::{EpochEnd, EpochQuestion};
pub use fetch::{FetchFrom, FetchOptions, FetchedPartition, Fetcher};
pub use groups::{GroupDescription, GroupListing, GroupMember};
pub use kafka_protocol;
pub use mirrors::{Marked, MirrorMark};
pub use offsets::OffsetAt;
pub use quotas::{QuotaEntity, QuotaResults, QuotaValues, Quotas, entity_text};
pub use sender::{AlignedAppend, BatchSender, Delivered, Outgoing, SendFailure};
pub use topics::{CreatedTopic, NewTopic};
pub use twinstream_protocol::mirror::MirrorSource;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::debug;
use twinstream_model::NodeId;
use twinstream_protocol::shape::Shaped;

use crate::error::ClientError;
use crate::settings::ClientSettings;
use cluster::Cluster;
use connection::Connection;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT_MS: u64 = 30_000;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// Whoever answers.
    Any,
    /// The controller as clients see it: a broker that forwards.
    Controller,
    Id(NodeId),
}

/// Long-poll fetches have their own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Call,
    Fetch,
}

type Slot = Arc<AsyncMutex<Option<Arc<Connection>>>>;

/// A client of the wire protocol; clones share connections and the map of the cluster.
#[derive(Clone)]
pub struct RawClient {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ClientSettings,
    request_timeout: Duration,
    api_timeout: Duration,
    bootstrap: AsyncMutex<Arc<Connection>>,
    slots: Mutex<HashMap<(NodeId, Lane), Slot>>,
    cluster: Cluster,
}

impl RawClient {
    /// Connects to the first bootstrap server that answers and learns the brokers of the cluster.
    pub async fn connect(settings: &ClientSettings) -> Result<Self, ClientError> {
        let bootstrap = reach::first_bootstrap(settings).await?;
        let timeout = settings.get("request.timeout.ms").and_then(|text| text.parse().ok());
        let client = Self {
            shared: Arc::new(Shared {
                request_timeout: Duration::from_millis(timeout.unwrap_or(REQUEST_TIMEOUT_MS)),
                api_timeout: settings.api_timeout(),
                settings: settings.clone(),
                bootstrap: AsyncMutex::new(bootstrap),
                slots: Mutex::new(HashMap::new()),
                cluster: Cluster::default(),
            }),
        };
        client.refresh(&[]).await?;
        Ok(client)
    }

    /// The cluster's id, if it has told one.
    pub fn cluster_id(&self) -> Option<String> {
        self.shared.cluster.view().cluster_id.clone()
    }

    /// Sends any request, in the highest version that both sides know.
    pub async fn request<R: Request<Response: Shaped>>(
        &self,
        node: Node,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.request_capped(node, request, i16::MAX).await
    }

    /// As [`Self::request`], but in version `cap` at most.
    pub async fn request_capped<R: Request<Response: Shaped>>(
        &self,
        node: Node,
        request: &R,
        cap: i16,
    ) -> Result<R::Response, ClientError> {
        self.call(node, Lane::Call, request, cap, self.shared.request_timeout).await
    }

    /// One request over the connection of a lane. A node that cannot be reached, or does not answer, may have lost what it
    /// led: the next look-up asks the cluster instead of trying there for ever.
    async fn call<R: Request<Response: Shaped>>(
        &self,
        node: Node,
        lane: Lane,
        request: &R,
        cap: i16,
        within: Duration,
    ) -> Result<R::Response, ClientError> {
        let calling = async {
            let connection = self.connection(node, lane).await?;
            connection.call(request, cap, within).await
        };
        let answer = calling.await;
        if let Err(ClientError::Connection { .. } | ClientError::Timeout { .. }) = &answer {
            self.shared.cluster.forget_node(node);
        }
        answer
    }

    /// The range of versions of an API that a node serves; `None` when it does not know the API.
    pub async fn versions(&self, node: Node, api_key: i16) -> Result<Option<(i16, i16)>, ClientError> {
        Ok(self.connection(node, Lane::Call).await?.broker_versions(api_key))
    }

    async fn connection(&self, node: Node, lane: Lane) -> Result<Arc<Connection>, ClientError> {
        let id = match node {
            Node::Any => return self.any_connection().await,
            Node::Controller => match self.shared.cluster.view().controller {
                Some(id) => id,
                None => return self.any_connection().await,
            },
            Node::Id(id) => id,
        };
        let slot = Arc::clone(self.shared.slots.lock().entry((id, lane)).or_default());
        let mut slot = slot.lock().await;
        let address = self.address_of(id).await?;
        if let Some(open) = slot.as_ref().filter(|open| open.is_open() && open.address() == address) {
            return Ok(Arc::clone(open));
        }
        let opened = Connection::open(&address, self.shared.settings.client_id(), CONNECT_WITHIN).await?;
        let opened = Arc::new(opened);
        *slot = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// A connection that its owner shares with nobody: answers come in order, so what waits long must wait alone.
    async fn own_connection(&self, node: NodeId) -> Result<Connection, ClientError> {
        let address = self.address_of(node).await?;
        let opened = Connection::open(&address, self.shared.settings.client_id(), CONNECT_WITHIN).await;
        if let Err(ClientError::Connection { .. }) = &opened {
            self.shared.cluster.forget_node(Node::Id(node));
        }
        opened
    }

    async fn address_of(&self, id: NodeId) -> Result<String, ClientError> {
        if let Some(broker) = self.shared.cluster.view().brokers.get(&id) {
            return Ok(broker.address());
        }
        let view = self.refresh(&[]).await?;
        view.brokers.get(&id).map(BrokerInfo::address).ok_or_else(|| ClientError::Connection {
            address: format!("broker {id}"),
            reason: "not among the brokers that the cluster names".to_owned(),
        })
    }

    /// The bootstrap connection, or one to any broker that is up.
    async fn any_connection(&self) -> Result<Arc<Connection>, ClientError> {
        let mut bootstrap = self.shared.bootstrap.lock().await;
        if bootstrap.is_open() {
            return Ok(Arc::clone(&bootstrap));
        }
        let brokers: Vec<String> = self.shared.cluster.view().brokers.values().map(BrokerInfo::address).collect();
        for address in brokers {
            match Connection::open(&address, self.shared.settings.client_id(), Duration::from_secs(2)).await {
                Ok(connection) => {
                    *bootstrap = Arc::new(connection);
                    return Ok(Arc::clone(&bootstrap));
                }
                Err(error) => debug!(%error, "broker does not answer"),
            }
        }
        *bootstrap = reach::first_bootstrap(&self.shared.settings).await?;
        Ok(Arc::clone(&bootstrap))
    }

    /// Repeats `call` on retriable errors, with growing and jittered pauses, until `default.api.timeout.ms` is over.
    /// The last error is the answer then.
    pub async fn retry<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.shared.api_timeout;
        let mut backoff = Backoff::default();
        loop {
            let error = match call().await {
                Err(error) if error.is_retriable() => error,
                done => return done,
            };
            let pause = backoff.next_pause();
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            debug!(%error, "trying again");
            tokio::time::sleep(pause).await;
        }
    }
}

/// Doubling pauses with jitter, between [`BACKOFF_FIRST`] and [`BACKOFF_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(crate) fn next_pause(&mut self) -> Duration {
        let full = BACKOFF_FIRST.saturating_mul(1 << self.tries.min(10)).min(BACKOFF_MAX);
        self.tries += 1;
        // A random uuid is the randomness that this crate already has; a quarter of spread is enough to part clients.
        let spread = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
        full.mul_f64(0.75 + 0.25 * spread)
    }
}

/// How many partitions a group member's assignment names; see [`crate::fuzzing`].
pub(crate) fn assigned_partitions(bytes: &[u8]) -> usize {
    groups::read_assignment(bytes).len()
}

#[cfg(test)]
mod tests;
