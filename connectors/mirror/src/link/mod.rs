//! Links: the mirror connectors of one source and one target, as one thing that operators handle.
//!
//! Picture: a link is nothing that is stored. It is the set of connectors of this family whose configurations name the same
//! `source.cluster.alias` and `target.cluster.alias`; its name is MirrorMaker 2's notation, `A->B`. The verbs of `/links`
//! (`api`) become the worker's own verbs on those connectors, so that who configures them by `PUT /connectors/..` and who
//! uses links see the same.
//! Invariants: a link shows RUNNING only when each of its connectors and tasks does; a name leads to one link; secrets are
//! not shown.
//! Not here: what a connector does.

mod api; // the paths below /links
pub(crate) mod cycles; // links that would lead round
mod lag; // how far a link is behind
mod limits; // how many bytes per second, and until when
mod ops; // fail-over, fail-back, and what comes in between
mod overview; // how it stands, by what this process knows
mod page; // the same for eyes
mod state; // what the connectors' states come to
mod verify; // whether both sides have the same

use std::collections::BTreeMap;
use std::fmt;

use twinstream_connect_api::{RawConfig, WorkerApi};

pub use api::Links;

pub use crate::words::counted;

const SOURCE_ALIAS: &str = "source.cluster.alias";
const TARGET_ALIAS: &str = "target.cluster.alias";

/// `A->B`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkName {
    pub source: String,
    pub target: String,
}

impl LinkName {
    /// `A->B`, or `A:B`, which needs no quotes in a shell.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once("->").or_else(|| text.split_once(':'));
        match parts.map(|(source, target)| (source.trim(), target.trim())) {
            Some((source, target)) if is_alias(source) && is_alias(target) && source != target => {
                Ok(Self { source: source.to_owned(), target: target.to_owned() })
            }
            Some((source, target)) if source == target => {
                Err(format!("link '{text}' leads from a cluster to itself; give two aliases, as in east->west"))
            }
            _ => Err(format!("'{text}' is no name of a link; give two aliases, as in east->west or east:west")),
        }
    }

    /// The link that leads the other way.
    pub(crate) fn back(&self) -> Self {
        Self { source: self.target.clone(), target: self.source.clone() }
    }

    fn of(config: &RawConfig) -> Self {
        let alias = |key: &str, default: &str| {
            let text = config.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
            text.unwrap_or(default).to_owned()
        };
        Self { source: alias(SOURCE_ALIAS, "source"), target: alias(TARGET_ALIAS, "target") }
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.source, self.target)
    }
}

/// Aliases become parts of topic names.
fn is_alias(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Which connector of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Source,
    Checkpoint,
    Heartbeat,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Source, Self::Checkpoint, Self::Heartbeat];

    /// The simple name of its class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Source => "MirrorSourceConnector",
            Self::Checkpoint => "MirrorCheckpointConnector",
            Self::Heartbeat => "MirrorHeartbeatConnector",
        }
    }

    pub(crate) fn full_class(self) -> String {
        format!("org.apache.kafka.connect.mirror.{}", self.class())
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Checkpoint => "checkpoint",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// As the worker finds a plugin: by the class, its simple name, or that without `Connector`.
    fn of(config: &RawConfig) -> Option<Self> {
        let class = config.get("connector.class")?.trim();
        let simple = class.rsplit('.').next().unwrap_or(class);
        let is_ours = class == simple || class.starts_with("org.apache.kafka.connect.mirror.");
        Self::ALL
            .into_iter()
            .find(|part| is_ours && (simple == part.class() || Some(simple) == part.class().strip_suffix("Connector")))
    }

    /// The name of the connector that `PUT /links/A->B` makes.
    pub(crate) fn connector(self, link: &LinkName) -> String {
        format!("{link}.{}", self.class())
    }
}

/// A link's connectors: (part, name), in order.
pub(crate) type Members = Vec<(Part, String)>;

/// Every link of a worker.
pub(crate) fn links(worker: &dyn WorkerApi) -> BTreeMap<LinkName, Members> {
    let mut links: BTreeMap<LinkName, Members> = BTreeMap::new();
    for name in worker.connectors() {
        let Some(config) = worker.config(&name) else { continue };
        if let Some(part) = Part::of(&config) {
            links.entry(LinkName::of(&config)).or_default().push((part, name));
        }
    }
    links.values_mut().for_each(|members| members.sort());
    links
}

#[cfg(test)]
mod tests;
