//! The link that a verb is about: its source connector and settings.
//!
//! Picture: a verb is given to a link that exists. One exception: a reversal, or a fail-back, that was cut off has fenced the
//! originals for a way back that nobody has made yet. When the other site is gone then, a fail-over of that way back lets them
//! lead again; all that it needs is in the marks, and in the settings of the link turned round.

use twinstream_connect_api::{ApiRefusal, WorkerApi};

use super::super::{LinkName, Part};
use super::back::{self, Turn};
use super::{Verb, members};
use crate::config::Settings;

pub(super) struct Origin {
    /// Of the source connector.
    pub name: String,
    pub settings: Settings,
    /// The link does not exist, the one that leads the other way does.
    pub undoes: bool,
}

impl Origin {
    pub(super) fn of(worker: &dyn WorkerApi, link: &LinkName, verb: Verb) -> Result<Origin, ApiRefusal> {
        let no_source =
            |link| ApiRefusal::conflict(format!("link {link} has no MirrorSourceConnector, so it copies nothing"));
        let source_of = |link: &LinkName| {
            let source = members(worker, link).into_iter().find(|(part, _)| *part == Part::Source);
            source.map(|(_, name)| name)
        };
        let (name, config, undoes) = match (members(worker, link).is_empty(), source_of(&link.back())) {
            (false, _) => {
                let name = source_of(link).ok_or_else(|| no_source(link))?;
                let config = worker.config(&name).unwrap_or_default();
                (name, config, false)
            }
            (true, Some(forth)) if verb == Verb::Failover => {
                let config = worker.config(&forth).unwrap_or_default();
                let home = worker.producer_servers().unwrap_or_default();
                let config = back::turned(Part::Source, &link.back(), &config, Turn::Planned, &home);
                (Part::Source.connector(link), config, true)
            }
            (true, _) => {
                return Err(ApiRefusal::not_found(format!(
                    "link {link} does not exist: no mirror connector has these two aliases. Mirrors of a link that was deleted are promoted by \
                     `kafka-configs --alter --entity-type topics --entity-name TOPIC --add-config twinstream.mirror.state=promoted`, or make the link again"
                )));
            }
        };
        let settings = Settings::parse(&config)
            .map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))?;
        Ok(Origin { name, settings, undoes })
    }
}

/// What lets the site lead that is left, when the other one does not come back in the middle of a change of places.
pub(super) fn way_out(gone: &str, stays: &str) -> String {
    format!(
        "if cluster '{gone}' is gone for good while topics of '{stays}' refuse their producers, `twinstream link failover {gone}:{stays}` lets them lead"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tests::Worker;

    #[test]
    fn only_a_failover_of_a_way_back_needs_no_link() {
        let config: &[(&str, &str)] = &[
            ("connector.class", "MirrorSource"),
            ("source.cluster.alias", "east"),
            ("target.cluster.alias", "west"),
            ("source.cluster.bootstrap.servers", "e:1"),
            ("target.cluster.bootstrap.servers", "w:1"),
        ];
        let worker = Worker::with(&[("copy", config)]);
        let of = |link: &str, verb| Origin::of(worker.as_ref(), &LinkName::parse(link).unwrap(), verb);
        let forth = of("east->west", Verb::Failover).ok().unwrap();
        assert_eq!((forth.name.as_str(), forth.undoes), ("copy", false));
        let back = of("west->east", Verb::Failover).ok().unwrap();
        assert!(back.undoes && back.settings.returns);
        assert_eq!((back.settings.source_alias.as_str(), back.settings.target_alias.as_str()), ("west", "east"));
        assert_eq!(back.settings.target.bootstrap(), ["e:1"]);
        for verb in [Verb::Promote, Verb::Reverse, Verb::Failback] {
            assert_eq!(of("west->east", verb).err().unwrap().status, 404);
        }
        assert_eq!(of("north->east", Verb::Failover).err().unwrap().status, 404);
    }
}
