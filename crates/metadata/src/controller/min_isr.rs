//! `min.insync.replicas` belongs to the cluster, not to a broker: with eligible leader replicas the controller decides by it.
//!
//! Picture: a new cluster writes down what its first controller's settings say as the default of all brokers, and from then on it
//! changes there or on a topic (KIP-966, and the upgrade notes of Kafka 4.1). In a cluster of an older release every leader goes by
//! its own settings, which nobody else knows. Brokers tell theirs with their heartbeats; when all have, the largest number becomes the
//! default, and what single brokers were given by command goes at the same time. Until then each leader goes on by its own.
//!
//! Invariants: the default is never taken away; once there is one no broker has a number of its own, so that leader and controller
//! take the same one. It is the largest that counted for any registered broker, so what topics without a number of their own were
//! promised is not lowered by an upgrade, in whatever order nodes get it. A default that somebody sets meanwhile is taken as it is.
//!
//! Differs from Kafka, where the controller that turns the feature on writes down its own setting and the others are not asked.
//! Not here: brokers that are registered and do not come back hold it up until they are unregistered or somebody sets the default.

use twinstream_model::NodeId;

use super::{AlterError, AlterResource, ConfigOperation, Controller, Decision, draft::Draft, rules::MIN_ISR};
use crate::{
    image::{ConfigResource, Image},
    record::Record,
};

impl Controller {
    /// Gives a cluster of an older release its default, if what counted is known. Nothing to do when it has one and no broker has
    /// its own.
    pub fn adopt_min_isr(&self) -> Decision<()> {
        let mut draft = self.draft();
        self.adopt(&mut draft);
        draft.decide(())
    }

    /// Whose settings must be known before an older cluster gets its default; empty when it has one.
    pub fn min_isr_awaited_of(&self) -> Vec<NodeId> {
        let image = self.image();
        if number(image, &ConfigResource::BrokerDefault).is_some() {
            return Vec::new();
        }
        let has_own = |node| number(image, &ConfigResource::Broker(node)).is_some();
        let nodes = image.brokers().map(|broker| broker.node_id);
        nodes.filter(|node| !self.told_min_isr.contains_key(node) && !has_own(*node)).collect()
    }

    /// A broker has told what its settings say, or is of a release that does not.
    pub(super) fn hear_min_isr(&mut self, node: NodeId, told: Option<usize>) {
        match told {
            Some(number) => drop(self.told_min_isr.insert(node, number)),
            None => drop(self.told_min_isr.remove(&node)),
        }
    }

    /// As a part of another decision: quick when there is a default.
    pub(super) fn adopt_if_missing(&self, draft: &mut Draft) {
        if number(self.image(), &ConfigResource::BrokerDefault).is_none() {
            self.adopt(draft);
        }
    }

    fn adopt(&self, draft: &mut Draft) {
        if !self.min_isr_awaited_of().is_empty() {
            return;
        }
        let image = self.image();
        let known = number(image, &ConfigResource::BrokerDefault);
        let own: Vec<(&ConfigResource, usize)> = image
            .config_resources()
            .filter(|resource| matches!(resource, ConfigResource::Broker(_)))
            .filter_map(|resource| Some((resource, number(image, resource)?)))
            .collect();
        let others = own.iter().map(|(_, number)| *number).max().unwrap_or(1);
        let wanted = known.unwrap_or_else(|| self.largest_told()).max(others);
        if known != Some(wanted) {
            draft.push(default_record(wanted));
            draft.effects.min_isr_adopted = Some(wanted);
        }
        for (resource, _) in own {
            draft.push(Record::Config { resource: resource.clone(), name: MIN_ISR.to_owned(), value: None });
        }
        self.follow_configs(draft);
    }

    /// What the settings of any registered broker say, this node's among them.
    fn largest_told(&self) -> usize {
        let told = self.told_min_isr.iter().filter(|(node, _)| self.image().broker(**node).is_some());
        told.map(|(_, number)| *number).fold(self.settings.min_insync_replicas, usize::max)
    }
}

/// The default of a cluster.
pub(super) fn default_record(number: usize) -> Record {
    Record::Config {
        resource: ConfigResource::BrokerDefault,
        name: MIN_ISR.to_owned(),
        value: Some(number.max(1).to_string()),
    }
}

/// Whether a change leaves the number where it belongs. The words are Kafka's.
pub(super) fn check(change: &AlterResource) -> Result<(), AlterError> {
    let refused = |message: &str| Err(AlterError::Invalid(message.to_owned()));
    let Some(setting) = change.settings.iter().find(|setting| setting.name == MIN_ISR) else { return Ok(()) };
    match (&change.resource, setting.operation) {
        (ConfigResource::Broker(_), _) => {
            refused("Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
        }
        (ConfigResource::BrokerDefault, ConfigOperation::Delete) => {
            refused("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
        }
        _ => Ok(()),
    }
}

/// What a resource says; it was checked when it was set.
fn number(image: &Image, resource: &ConfigResource) -> Option<usize> {
    image.config(resource, MIN_ISR).and_then(|value| value.trim().parse().ok())
}
