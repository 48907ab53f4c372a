//! What a topic wants of its leaders: how many in-sync replicas, and whether data may be lost for the sake of service.
//!
//! A topic's own config counts first, then the cluster-wide dynamic default, then the setting of the node that is the active
//! controller. `min.insync.replicas` has a default always, but for the while after an older release (`min_isr`). What was set on
//! one broker alone does not count here: the decision must not depend on who is the controller.

use twinstream_model::TopicName;

use super::ControllerSettings;
use crate::image::{ConfigResource, Image};

pub(super) const MIN_ISR: &str = "min.insync.replicas";
pub(super) const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// What counts for one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// `min.insync.replicas`
    pub(super) min_isr: usize,
    /// `unclean.leader.election.enable`
    pub(super) unclean: bool,
}

impl Rules {
    /// The rules when data must not be given up, whatever the topic allows.
    pub(super) fn clean_only(self) -> Self {
        Self { unclean: false, ..self }
    }
}

/// What counts for topics that say nothing themselves, and how to find what they say.
pub(super) struct Policy {
    defaults: Rules,
}

impl Policy {
    pub(super) fn new(settings: &ControllerSettings, image: &Image) -> Self {
        let set = Rules { min_isr: settings.min_insync_replicas, unclean: settings.unclean_leader_election };
        Self { defaults: read(image, &ConfigResource::BrokerDefault, set) }
    }

    pub(super) fn of(&self, image: &Image, topic: &TopicName) -> Rules {
        read(image, &ConfigResource::Topic(topic.clone()), self.defaults)
    }
}

/// The values of a resource, which were checked when they were set; what cannot be read counts as not set.
fn read(image: &Image, resource: &ConfigResource, or: Rules) -> Rules {
    let min_isr = image.config(resource, MIN_ISR).and_then(|value| value.trim().parse().ok());
    let unclean = image.config(resource, UNCLEAN_ELECTION).and_then(|value| value.trim().to_lowercase().parse().ok());
    Rules { min_isr: min_isr.unwrap_or(or.min_isr), unclean: unclean.unwrap_or(or.unclean) }
}

/// Whether a change of this config can change who may lead.
pub(super) fn is_about_leaders(config: &str) -> bool {
    config == MIN_ISR || config == UNCLEAN_ELECTION
}
