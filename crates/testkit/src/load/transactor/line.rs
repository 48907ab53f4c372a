//! The connections of one client of transactions, and the broker that coordinates its name.
//!
//! Picture: what says nothing is hung up, and the next request dials anew, as clients do. A line that is kept aside holds
//! what the network stored: brokers see on which connection a request comes, and which of two connections is older.

use twinstream_client::raw::Node;
use twinstream_client::raw::kafka_protocol::messages::FindCoordinatorRequest;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::{ClientError, RawClient};
use twinstream_model::{NodeId, TopicPartition};

use super::check;
use crate::records::client_settings;

/// Longer than any try.
const REQUEST_MS: &str = "6000";
/// In FindCoordinator.
const TRANSACTION_KEY: i8 = 1;
/// The last version of FindCoordinator that asks for one.
const FIND_ONE: i16 = 3;

/// Connections to a cluster; a new line has new ones.
pub struct Line {
    bootstrap: String,
    client: Option<RawClient>,
    coordinator: Option<NodeId>,
}

impl Line {
    pub fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), client: None, coordinator: None }
    }

    pub(super) async fn connected(&mut self) -> Result<RawClient, ClientError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let settings = [("request.timeout.ms", REQUEST_MS), ("default.api.timeout.ms", REQUEST_MS)];
        let client = RawClient::connect(&client_settings(&self.bootstrap, &settings)).await?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// The broker that coordinates this transactional id, as far as this line knows.
    pub(super) async fn coordinator(&mut self, name: &str) -> Result<NodeId, ClientError> {
        if let Some(known) = self.coordinator {
            return Ok(known);
        }
        let answer = self.connected().await?.request_capped(Node::Any, &who_coordinates(name), FIND_ONE).await?;
        check("FindCoordinator", answer.error_code)?;
        let node = NodeId(answer.node_id.0);
        self.coordinator = Some(node);
        Ok(node)
    }

    /// Opens the connection to the coordinator, which knows it from now on.
    pub async fn greet(&mut self, name: &str) -> Result<(), ClientError> {
        let node = self.coordinator(name).await?;
        let client = self.connected().await?;
        client.request_capped(Node::Id(node), &who_coordinates(name), FIND_ONE).await.map(drop)
    }

    /// Asks again who coordinates, and who leads this partition.
    pub(super) fn forget(&mut self, partition: Option<&TopicPartition>) {
        self.coordinator = None;
        if let (Some(partition), Some(client)) = (partition, &self.client) {
            client.forget_leader(partition);
        }
    }

    pub(super) fn hang_up(&mut self) {
        self.client = None;
    }
}

fn who_coordinates(name: &str) -> FindCoordinatorRequest {
    FindCoordinatorRequest::default().with_key(StrBytes::from_string(name.to_owned())).with_key_type(TRANSACTION_KEY)
}
