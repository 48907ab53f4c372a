//! What a handler sees: the broker it runs in and the request it serves.
//!
//! Invariants: a [`Broker`] is complete before the first listener opens and is shared by `Arc` from then on; every
//! mutable part guards itself. A [`RequestContext`] is made by the connection and never changed by a handler.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use kafka_protocol::messages::ApiKey;
use tokio_util::sync::CancellationToken;
use twinstream_metadata::Image;
use twinstream_model::ErrorCode;

use crate::auto_create::Complaints;
use crate::broker_calls::BrokerCalls;
use crate::controller::ControllerClient;
use crate::follow::Followed;
use crate::groups::GroupService;
use crate::handlers::fetch::WaitRoom;
use crate::metrics::BrokerMetrics;
use crate::partitions::{ColdReads, FetchSessions, PartitionManager, ProducerIds};
use crate::replication::Replication;
use crate::server::listener::ConnectionLimits;
use crate::server::warnings::Warnings;
use crate::settings::Settings;
use crate::transactions::TransactionService;

/// The shared state of one broker process.
pub(crate) struct Broker {
    pub(crate) settings: Arc<Settings>,
    /// The cluster as this node knows it; replaced whole by whoever replays the metadata log.
    pub(crate) image: Arc<ArcSwap<Image>>,
    /// Who decides about topics, configs and members.
    pub(crate) controller: ControllerClient,
    /// The partitions whose logs are here.
    pub(crate) partitions: Arc<PartitionManager>,
    /// How far partitions and coordinators are behind the image.
    pub(crate) followed: Followed,
    /// How followers here fetch from leaders elsewhere, and what leaders here want of the controller.
    pub(crate) replication: Replication,
    /// What consumers and followers fetch incrementally.
    pub(crate) fetch_sessions: FetchSessions,
    /// Room for long polls of many partitions.
    pub(crate) fetch_room: WaitRoom,
    /// Reads that wait for a disk.
    pub(crate) cold_reads: ColdReads,
    /// Ids for idempotent producers.
    pub(crate) producer_ids: ProducerIds,
    /// Questions to other brokers.
    pub(crate) calls: BrokerCalls,
    /// The groups that this broker coordinates.
    pub(crate) groups: GroupService,
    /// The transactions that this broker coordinates.
    pub(crate) transactions: TransactionService,
    /// What the log was told about topics that could not be made.
    pub(crate) complaints: Complaints,
    /// What is said of clients that are refused or cut off.
    pub(crate) warnings: ClientWarnings,
    /// How many connections may be open, over all listeners.
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) metrics: Arc<BrokerMetrics>,
    /// Fires once, when the broker is registered and its partitions and groups are loaded. Requests of clients wait
    /// for it, requests of other nodes do not.
    pub(crate) serving: CancellationToken,
    /// Fires once, when the broker begins to stop: waits end, background jobs return.
    pub(crate) shutdown: CancellationToken,
}

/// Warnings that a client can cause as often as it likes.
#[derive(Debug, Default)]
pub(crate) struct ClientWarnings {
    pub(crate) refused: Warnings,
    pub(crate) closed: Warnings,
}

/// Who acts. Only ANONYMOUS until listeners authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) kind: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Principal {
    pub(crate) fn anonymous() -> Self {
        Self { kind: "User".into(), name: "ANONYMOUS".into() }
    }
}

/// One request: who asks, over what, in which version.
#[derive(Clone)]
pub(crate) struct RequestContext {
    pub(crate) api_key: i16,
    /// Name of the API as in Kafka's message files, for logs and metrics.
    pub(crate) api_name: &'static str,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
    pub(crate) principal: Principal,
    /// Name of the listener that took the connection.
    pub(crate) listener: Arc<str>,
    pub(crate) peer: SocketAddr,
    /// Which connection it came over; a client that connects anew has a higher number. `None` if another node sent it on,
    /// or this broker asks itself.
    pub(crate) connection: Option<u64>,
    pub(crate) metrics: Arc<BrokerMetrics>,
    /// Fires when the client has gone: who waits only to answer it gives up.
    pub(crate) departed: CancellationToken,
}

impl RequestContext {
    /// Counts an error code that this request answers with, whole or for one item.
    pub(crate) fn count_error(&self, code: ErrorCode) {
        if code != ErrorCode::None {
            self.metrics.request_error(self.api_name, code);
        }
    }

    /// A request that the broker makes itself on the client's behalf: what the client may do does not matter for it.
    pub(crate) fn as_broker(&self, api: ApiKey, api_name: &'static str, api_version: i16) -> Self {
        Self {
            api_key: api as i16,
            api_name,
            api_version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.clone(),
            principal: Principal::anonymous(),
            listener: Arc::clone(&self.listener),
            peer: self.peer,
            connection: None,
            metrics: Arc::clone(&self.metrics),
            departed: self.departed.clone(),
        }
    }

    /// A request that the broker makes on its own behalf.
    pub(crate) fn of_broker(broker: &Broker, api: ApiKey, api_name: &'static str, api_version: i16) -> Self {
        Self {
            api_key: api as i16,
            api_name,
            api_version,
            correlation_id: 0,
            client_id: Some(format!("broker-{}", broker.settings.node.id)),
            principal: Principal::anonymous(),
            listener: broker.settings.network.inter_broker_listener.as_str().into(),
            peer: SocketAddr::from(([127, 0, 0, 1], 0)),
            connection: None,
            metrics: Arc::clone(&broker.metrics),
            departed: CancellationToken::new(),
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }
}

/// Kafka's ACL operations with their codes, in so far as handlers ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// What an operation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Cluster,
    Topic(&'a str),
    Group(&'a str),
    TransactionalId(&'a str),
}

impl Broker {
    /// The one place that decides whether a request may do something. Without an authorizer everybody may do
    /// everything, as in Kafka; handlers ask nevertheless, so that an authorizer is one change here.
    pub(crate) fn authorize(&self, ctx: &RequestContext, operation: Operation, resource: Resource<'_>) -> bool {
        tracing::trace!(principal = %ctx.principal.name, ?operation, ?resource, "authorized");
        true
    }

    /// The operations that are allowed on a resource, as the bit field of KIP-430: bit n is the operation of code n.
    pub(crate) fn authorized_operations(&self, ctx: &RequestContext, resource: Resource<'_>) -> i32 {
        let allowed = resource.operations().iter().filter(|operation| self.authorize(ctx, **operation, resource));
        allowed.fold(0, |bits, operation| bits | 1 << (*operation as i32))
    }
}

impl Resource<'_> {
    /// The operations that make sense for this kind of resource.
    fn operations(self) -> &'static [Operation] {
        use Operation as O;
        match self {
            Self::Cluster => &[
                O::Create,
                O::ClusterAction,
                O::DescribeConfigs,
                O::AlterConfigs,
                O::IdempotentWrite,
                O::Alter,
                O::Describe,
            ],
            Self::Topic(_) => {
                &[O::Read, O::Write, O::Create, O::Describe, O::Delete, O::Alter, O::DescribeConfigs, O::AlterConfigs]
            }
            Self::Group(_) => &[O::Read, O::Describe, O::Delete, O::DescribeConfigs, O::AlterConfigs],
            Self::TransactionalId(_) => &[O::Describe, O::Write],
        }
    }
}

/// What a client gets that did not ask for authorized operations.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
