//! `min.insync.replicas` belongs to the cluster, not to a broker: with eligible leader replicas the controller decides by it.
//!
//! Picture: a new cluster writes down what its first controller's settings say as the default of all brokers, and from then on it
//! changes there or on a topic. A cluster of an older release gets the default when a controller takes over; what single
//! brokers were given goes at the same time (KIP-966, and the upgrade notes of Kafka 4.1).
//!
//! Invariants: the default is never taken away, and no broker has a number of its own, so that leader and controller always
//! take the same one. A cluster that comes from an older release gets the largest number that counted anywhere in it: data is
//! never committed with fewer replicas than before.

use super::{AlterError, AlterResource, ConfigOperation, Controller, Decision, rules::MIN_ISR};
use crate::{
    image::{ConfigResource, Image},
    record::Record,
};

impl Controller {
    /// Gives a cluster of an older release its default. Nothing to do when it has one and no broker has its own.
    pub fn adopt_min_isr(&self) -> Decision<()> {
        let image = self.image();
        let known = number(image, &ConfigResource::BrokerDefault);
        let own: Vec<(&ConfigResource, usize)> = image
            .config_resources()
            .filter(|resource| matches!(resource, ConfigResource::Broker(_)))
            .filter_map(|resource| Some((resource, number(image, resource)?)))
            .collect();
        let others = own.iter().map(|(_, number)| *number).max().unwrap_or(1);
        let wanted = known.unwrap_or(self.settings.min_insync_replicas).max(others);
        let mut draft = self.draft();
        if known != Some(wanted) {
            draft.push(default_record(wanted));
        }
        for (resource, _) in own {
            draft.push(Record::Config { resource: resource.clone(), name: MIN_ISR.to_owned(), value: None });
        }
        self.follow_configs(&mut draft);
        draft.decide(())
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
