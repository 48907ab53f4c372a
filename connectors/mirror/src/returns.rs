//! A link that leads back (`twinstream.link.returns`): which topics of its source are what the other direction once mirrored,
//! and what they are called at home. Pure.
//!
//! Picture: while A was away B's mirrors of A's topics were promoted, and have records of their own. The link B -> A brings
//! them home: a mirror of a topic of A goes into that very topic, whatever it is called on B, also while the sites change
//! places and it is a mirror again. It copies nothing else; topics that began on B have links of their own. What is not marked
//! for this link at home is refused there, so nothing is ever echoed.
//! Invariant: two topics never go into one.

use std::collections::BTreeMap;

use twinstream_client::raw::MirrorMark;
use twinstream_model::TopicName;

use crate::policy::{HEARTBEATS, Policy, TopicFilter};

/// Source topic -> its name on the target.
pub(crate) type Names = BTreeMap<TopicName, TopicName>;

/// What comes home, and topics that cannot because another one has their place. The filter is for names at home.
pub(crate) fn coming_home(
    marks: &BTreeMap<TopicName, MirrorMark>,
    home: Option<&str>,
    filter: &TopicFilter,
    policy: &Policy,
) -> (Names, Vec<TopicName>) {
    let (mut names, mut left) = (Names::new(), Vec::new());
    for (topic, mark) in marks {
        let is_from_home = home == Some(mark.source_cluster.as_str());
        // Heartbeats are written at home all the time.
        let is_data = mark.source_topic.as_str() != HEARTBEATS;
        if !is_from_home || !is_data || !filter.follows_back(mark.source_topic.as_str(), policy) {
            continue;
        }
        if names.values().any(|taken| *taken == mark.source_topic) {
            left.push(topic.clone());
        } else {
            names.insert(topic.clone(), mark.source_topic.clone());
        }
    }
    (names, left)
}

/// As the task's configuration has them: `topic=name at home`. Names of topics have neither commas nor equals signs.
pub(crate) fn encode(names: &Names) -> String {
    names.iter().map(|(topic, home)| format!("{topic}={home}")).collect::<Vec<_>>().join(",")
}

/// The reverse; the error names the entry.
pub(crate) fn decode(list: &[String]) -> Result<Names, String> {
    let parse = |entry: &String| {
        let (topic, home) = entry.split_once('=')?;
        Some((TopicName::parse(topic).ok()?, TopicName::parse(home).ok()?))
    };
    list.iter().map(|entry| parse(entry).ok_or_else(|| format!("'{entry}' is no topic=topic"))).collect()
}

#[cfg(test)]
mod tests {
    use twinstream_model::TopicId;
    use uuid::Uuid;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn mark(cluster: &str, source: &str, promoted: bool) -> MirrorMark {
        let link = Uuid::from_u128(1);
        let (source_cluster, source_topic) = (cluster.to_owned(), topic(source));
        MirrorMark { link, source_cluster, source_topic, source_topic_id: TopicId::NONE, promoted }
    }

    #[test]
    fn mirrors_go_home_under_their_own_names_and_nothing_else_does() {
        let marks = BTreeMap::from([
            (topic("a.orders"), mark("A", "orders", true)),
            (topic("a.still"), mark("A", "still", false)),
            (topic("a.other"), mark("A", "other", true)),
            (topic("c.orders"), mark("C", "orders", true)),
            (topic("z.orders"), mark("A", "orders", true)),
            (topic("a.heartbeats"), mark("A", "heartbeats", false)),
        ]);
        let filter = TopicFilter::new(&["orders|still|heartbeats".to_owned()], &[], true).unwrap();
        let (names, left) = coming_home(&marks, Some("A"), &filter, &Policy::default_named("b", "."));
        assert_eq!(names, Names::from([(topic("a.orders"), topic("orders")), (topic("a.still"), topic("still"))]));
        assert_eq!(left, [topic("z.orders")]);
        assert_eq!(coming_home(&marks, None, &filter, &Policy::default_named("b", ".")).0, Names::new());
    }

    #[test]
    fn names_are_read_back() {
        let names = Names::from([(topic("a.x"), topic("x")), (topic("a.y"), topic("y"))]);
        let list: Vec<String> = encode(&names).split(',').map(str::to_owned).collect();
        assert_eq!(decode(&list), Ok(names));
        assert!(decode(&["no name".to_owned()]).unwrap_err().contains("no name"));
        assert_eq!(decode(&[]), Ok(Names::new()));
    }
}
