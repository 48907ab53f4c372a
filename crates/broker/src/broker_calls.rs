//! Requests to other brokers, asked as any client would ask them.
//!
//! Picture: a drawer of connections per broker. Who has a question takes one out, or opens one, sends its request, waits
//! for the answer, and puts the connection back for the next.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] connections to one broker are in use, who comes later waits; a connection that
//! failed, or whose answer was not waited for, is not put back; nothing waits longer than `request.timeout.ms` for bytes.
//! A connection from the drawer may have been closed by the other side meanwhile, so its request is sent once more over a
//! fresh one: only requests that may be carried out twice belong here.
//!
//! Not here: what is asked, when it is asked again, and whom the metadata names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::protocol::Request;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use twinstream_metadata::Image;
use twinstream_model::NodeId;
use twinstream_protocol::shape::Shaped;

use crate::replication::connection::{Connection, FetchError, Limits};
use crate::replication::peer;
use crate::settings::Settings;

/// Questions to one broker at a time. One connection carries one, and a broker that is slow for one partition should not
/// hold up questions about others; more would only fill its memory.
const CONNECTIONS_MAX: usize = 32;

/// Connections that are kept for later, per broker.
const IDLE_MAX: usize = 8;

/// How long an idle connection is kept; well below Kafka's `connections.max.idle.ms` of ten minutes.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Answers here are error codes per partition.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The connections of this broker to others for single questions.
#[derive(Default)]
pub(crate) struct BrokerCalls {
    drawers: Mutex<BTreeMap<NodeId, Arc<Drawer>>>,
}

/// Who asks, and what an answer may take.
struct Caller {
    client: String,
    limits: Limits,
}

struct Drawer {
    free: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    address: String,
    since: Instant,
    connection: Connection,
}

impl BrokerCalls {
    /// Asks a broker where the image says that it listens. What is asked may arrive twice.
    pub(crate) async fn ask<R>(
        &self,
        settings: &Settings,
        image: &Image,
        node: NodeId,
        request: &R,
        version: i16,
    ) -> Result<R::Response, FetchError>
    where
        R: Request<Response: Shaped>,
    {
        let address = peer::address(settings, image, node).ok_or(FetchError::NoAddress)?;
        let limits = Limits { silence_max: settings.node.request_timeout, answer_bytes_max: ANSWER_BYTES_MAX };
        let caller = Caller { client: format!("broker-{}", settings.node.id), limits };
        self.ask_at(node, address, caller, request, version).await
    }

    async fn ask_at<R>(
        &self,
        node: NodeId,
        address: String,
        caller: Caller,
        request: &R,
        version: i16,
    ) -> Result<R::Response, FetchError>
    where
        R: Request<Response: Shaped>,
    {
        let drawer = self.drawer(node);
        // The semaphore is never closed.
        let _turn = drawer.free.acquire().await.map_err(|_| FetchError::NoAddress)?;
        if let Some(mut connection) = drawer.take(&address)
            && let Ok(answer) = connection.ask(request, version).await
        {
            drawer.put(address, connection);
            return Ok(answer);
        }
        let mut connection = Connection::open(&address, caller.client, caller.limits).await?;
        let answer = connection.ask(request, version).await?;
        drawer.put(address, connection);
        Ok(answer)
    }

    fn drawer(&self, node: NodeId) -> Arc<Drawer> {
        let mut drawers = self.drawers.lock();
        let drawer = drawers
            .entry(node)
            .or_insert_with(|| Arc::new(Drawer { free: Semaphore::new(CONNECTIONS_MAX), idle: Mutex::default() }));
        Arc::clone(drawer)
    }
}

impl Drawer {
    /// A connection that is likely to be open still. Those to other addresses and old ones are dropped on the way.
    fn take(&self, address: &str) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.address == address && idle.since.elapsed() < IDLE_TIME_MAX);
        idle.pop().map(|idle| idle.connection)
    }

    fn put(&self, address: String, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { address, since: Instant::now(), connection });
        }
    }
}

#[cfg(test)]
mod tests;
