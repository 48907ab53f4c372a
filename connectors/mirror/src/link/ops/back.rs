//! The configuration of the link that leads the other way. Pure.
//!
//! Picture: the same family of connectors with both ends exchanged, on the same worker, which pushes to whichever site is
//! not its own.
//! Invariant: turned round twice, a configuration leads where it led before.

use twinstream_connect_api::RawConfig;

use crate::config::{ON_TRUNCATION, RETURNS};
use crate::link::{LinkName, Part, SOURCE_ALIAS, TARGET_ALIAS};

const SOURCE: &str = "source.cluster.";
const TARGET: &str = "target.cluster.";
const BROKERS: &str = "bootstrap.servers";
/// Where the worker's producers write, if that is not its own cluster.
const PUSHED_TO: &str = "producer.override.bootstrap.servers";

/// Why a link is turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Both sites have the same and change places: what is lost from then on is the configuration's to judge.
    Planned,
    /// Both sites were written to: what the other one has beyond the parting point is given up, that is what going back means.
    CutOff,
}

/// The configuration of `part` on the way back of `link`, whose own it is given. Where nothing else is said the worker's
/// producers write to `home`.
pub(super) fn turned(part: Part, link: &LinkName, config: &RawConfig, turn: Turn, home: &str) -> RawConfig {
    let back = link.back();
    let mut turned = RawConfig::new();
    for (key, value) in config {
        let key = match (key.strip_prefix(SOURCE), key.strip_prefix(TARGET)) {
            (Some(rest), _) => format!("{TARGET}{rest}"),
            (_, Some(rest)) => format!("{SOURCE}{rest}"),
            _ => key.clone(),
        };
        turned.insert(key, value.clone());
    }
    turned.insert("name".to_owned(), part.connector(&back));
    turned.insert(SOURCE_ALIAS.to_owned(), back.source);
    turned.insert(TARGET_ALIAS.to_owned(), back.target);
    // Who pushes may be at the other end, or at neither.
    let brokers = turned.get(&format!("{TARGET}{BROKERS}")).cloned().unwrap_or_default();
    match config.contains_key(PUSHED_TO) && share_a_broker(&brokers, home) {
        true => _ = turned.remove(PUSHED_TO),
        false => _ = turned.insert(PUSHED_TO.to_owned(), brokers),
    }
    if part == Part::Source {
        if turn == Turn::CutOff {
            turned.insert(ON_TRUNCATION.to_owned(), "resume".to_owned());
        }
        turned.insert(RETURNS.to_owned(), "true".to_owned());
    }
    turned
}

/// Whether these lists lead to one cluster. Two that name no broker in common may do so as well: then the worker pushes to its
/// own cluster, which is no different.
fn share_a_broker(one: &str, other: &str) -> bool {
    let brokers = |list: &str| -> Vec<String> { list.split(',').map(|broker| broker.trim().to_owned()).collect() };
    let other = brokers(other);
    brokers(one).iter().any(|broker| !broker.is_empty() && other.contains(broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "w:0, w:1";

    fn config(pairs: &[(&str, &str)]) -> RawConfig {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn both_ends_change_places_and_the_worker_pushes() {
        let link = LinkName::parse("east->west").unwrap();
        let given = config(&[
            ("name", "mine"),
            ("source.cluster.alias", "east"),
            ("target.cluster.alias", "west"),
            ("source.cluster.bootstrap.servers", "e:1"),
            ("target.cluster.bootstrap.servers", "w:1"),
            ("topics", "orders"),
        ]);
        let back = turned(Part::Source, &link, &given, Turn::CutOff, HOME);
        let of = |key: &str| back.get(key).map(String::as_str);
        assert_eq!(of("name"), Some("west->east.MirrorSourceConnector"));
        assert_eq!((of("source.cluster.alias"), of("target.cluster.alias")), (Some("west"), Some("east")));
        assert_eq!(of("source.cluster.bootstrap.servers"), Some("w:1"));
        assert_eq!((of("target.cluster.bootstrap.servers"), of(PUSHED_TO)), (Some("e:1"), Some("e:1")));
        assert_eq!((of(ON_TRUNCATION), of(RETURNS), of("topics")), (Some("resume"), Some("true"), Some("orders")));
        let again = turned(Part::Source, &link.back(), &back, Turn::Planned, HOME);
        assert_eq!(again.get(PUSHED_TO), None, "the worker is at that end");
        assert_eq!(again.get("source.cluster.bootstrap.servers").map(String::as_str), Some("e:1"));
        assert!(!turned(Part::Checkpoint, &link, &given, Turn::CutOff, HOME).contains_key(RETURNS));
        let planned = turned(Part::Source, &link, &given, Turn::Planned, HOME);
        assert_eq!(
            planned.get(ON_TRUNCATION),
            None,
            "a source that loses records later is not believed without a word"
        );
    }

    #[test]
    fn a_worker_at_neither_end_pushes_both_ways() {
        let link = LinkName::parse("east->west").unwrap();
        let given = config(&[
            ("source.cluster.bootstrap.servers", "e:1,e:2"),
            ("target.cluster.bootstrap.servers", "w:1"),
            (PUSHED_TO, "w:1"),
        ]);
        let pushes_to = |home: &str| turned(Part::Source, &link, &given, Turn::Planned, home).get(PUSHED_TO).cloned();
        assert_eq!(pushes_to("north:1").as_deref(), Some("e:1,e:2"));
        assert_eq!(pushes_to("e:2,e:3"), None, "it is at home there");
        assert_eq!(pushes_to("").as_deref(), Some("e:1,e:2"), "nobody knows where it is at home");
    }
}
