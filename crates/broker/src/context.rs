//! What a handler sees: the broker it runs in and the request it serves.
//!
//! Invariants: a [`Broker`] is complete before the first listener opens and is shared by `Arc` from then on; every
//! mutable part guards itself. A [`RequestContext`] is made by the connection and never changed by a handler.

use std::net::SocketAddr;
use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;
use tokio_util::sync::CancellationToken;
use twinstream_model::ErrorCode;

use crate::metrics::BrokerMetrics;
use crate::settings::Settings;

/// The shared state of one broker process.
// Owners: add your part as a field here and build it in `startup`.
pub(crate) struct Broker {
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<BrokerMetrics>,
    /// Fires once, when the broker begins to stop: waits end, background jobs return.
    pub(crate) shutdown: CancellationToken,
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
pub(crate) struct RequestContext {
    pub(crate) api_key: i16,
    /// Name of the API as in Kafka's message files, for logs and metrics.
    pub(crate) api_name: &'static str,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) principal: Principal,
    /// Name of the listener that took the connection.
    pub(crate) listener: Arc<str>,
    pub(crate) peer: SocketAddr,
    pub(crate) metrics: Arc<BrokerMetrics>,
}

impl RequestContext {
    /// Counts an error code that this request answers with, whole or for one item.
    pub(crate) fn count_error(&self, code: ErrorCode) {
        if code != ErrorCode::None {
            self.metrics.request_error(self.api_name, code);
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }
}

/// Kafka's ACL operations, in so far as handlers ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
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
}
