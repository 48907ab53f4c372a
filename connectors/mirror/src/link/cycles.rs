//! Links that would send records round for ever, found before they are made.
//!
//! Picture: clusters are places, links are roads. A record that is copied under its own name and meets a road that leads back
//! to where it came from comes round; so it does where two links call one cluster by different aliases, because names on the
//! way (`A.B.topic`) are what tells where a topic has been. Clusters are told apart by their ids, not by what links call them.
//! Where records take along where they have been (`twinstream.provenance.headers.enabled`) none comes to a cluster twice, so such
//! links may close a circle, if all of it is made of them.
//!
//! Links are also made by putting connectors, and by a file of flows, where nobody is asked first. So each running source connector is
//! on the road ([`OnTheRoad`]), and leaves out topics that a link which was there before it leads back, unless marks say already
//! what is whose.
//!
//! Invariants: a link that brings topics home (`twinstream.link.returns`) closes no circle, the marks of its topics see to
//! that; a cluster that does not answer is told apart by its addresses, and never keeps a link from being made.
//! Not here: topics that several links write to from several sides without a circle, which is what aggregation is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use twinstream_client::{ClientSettings, RawClient};
use twinstream_connect_api::{ApiRefusal, RawConfig, WorkerApi};
use twinstream_model::TopicName;

use super::{LinkName, Part, links};
use crate::config::Settings;
use crate::provenance::PROVENANCE;

/// A cluster that does not tell its id within this time is known by its addresses.
const TELLS_WITHIN: Duration = Duration::from_secs(5);
/// Stands for every topic that is still to be made.
const ANY_TOPIC: &str = "any-new-topic";

/// A link between two places.
#[derive(Clone, Debug)]
struct Road {
    link: LinkName,
    from: String,
    to: String,
    settings: Settings,
    /// The entries of `topics`, which match themselves: names, and most expressions.
    listed: Vec<String>,
}

impl Road {
    fn copies(&self, topic: &str) -> bool {
        let Settings { filter, policy, target_alias, .. } = &self.settings;
        !self.settings.returns && filter.copies(topic, policy, target_alias)
    }

    /// Whether a topic goes over with its name, and what it comes from is forgotten.
    fn keeps_name(&self, topic: &str) -> bool {
        let name =
            TopicName::parse(topic).ok().and_then(|name| Some(self.settings.policy.remote_topic(&name).ok()? == name));
        // Expressions are no names of topics; the policy says it for them.
        self.copies(topic) && name.unwrap_or_else(|| self.settings.policy.is_identity())
    }
}

/// The links that run in this process.
static RUNNING: Mutex<Running> = Mutex::new(Running { roads: BTreeMap::new(), ranks: BTreeMap::new(), next: 0 });
/// Links whose rank is kept: one that gets new settings, and so starts again, stays before those that came after it.
const RANKS_MAX: usize = 10_000;

struct Running {
    /// By connector, each with the rank of its link.
    roads: BTreeMap<u64, (u64, Road)>,
    ranks: BTreeMap<LinkName, u64>,
    next: u64,
}

/// A source connector that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct OnTheRoad(u64);

impl OnTheRoad {
    pub(crate) fn enter(config: &RawConfig, settings: &Settings, from: Option<String>, to: Option<String>) -> Self {
        let link = LinkName { source: settings.source_alias.clone(), target: settings.target_alias.clone() };
        let road = Road {
            link: link.clone(),
            from: from.unwrap_or_else(|| brokers(&settings.source)),
            to: to.unwrap_or_else(|| brokers(&settings.target)),
            settings: settings.clone(),
            listed: listed(config),
        };
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let id = running.next;
        running.next += 1;
        if running.ranks.len() >= RANKS_MAX {
            running.ranks.clear();
        }
        let rank = *running.ranks.entry(link).or_insert(id);
        running.roads.insert(id, (rank, road));
        Self(id)
    }

    /// Why a topic of the source would come round, over links that were there before.
    pub(crate) fn comes_round(&self, topic: &TopicName) -> Option<String> {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let (rank, own) = running.roads.get(&self.0)?;
        let before = running.roads.values().filter(|(other, road)| other < rank && road.link != own.link);
        let before: Vec<Road> = before.map(|(_, road)| road.clone()).collect();
        if before.is_empty() || own.from == own.to || !own.keeps_name(topic.as_str()) {
            return None;
        }
        let way: Vec<String> =
            way_back(own, &before, topic.as_str())?.iter().map(|road| format!("link {}", road.link)).collect();
        Some(format!(
            "its records would go round for ever: {} leads back to the cluster that link {} copies from, and both keep its name; leave it out of topics in one of them, use DefaultReplicationPolicy, or, to let both sites write, set {PROVENANCE}=true on all of them",
            way.join(", "),
            own.link
        ))
    }
}

impl Drop for OnTheRoad {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).roads.remove(&self.0);
    }
}

fn listed(config: &RawConfig) -> Vec<String> {
    let listed = config.get("topics").map(String::as_str).unwrap_or(".*").split(',');
    listed.map(|topic| topic.trim().to_owned()).filter(|topic| !topic.is_empty()).collect()
}

/// What would come round if `new` were made beside `roads`; `topics` are those that are known.
fn circle(new: &Road, roads: &[Road], topics: &BTreeSet<String>) -> Option<String> {
    if new.from == new.to {
        return of_one_cluster(new, topics);
    }
    let listed = new.listed.iter().chain(roads.iter().flat_map(|road| &road.listed)).map(String::as_str);
    let candidates: BTreeSet<&str> = topics.iter().map(String::as_str).chain(listed).chain([ANY_TOPIC]).collect();
    for topic in candidates.iter().filter(|topic| new.keeps_name(topic)) {
        if let Some(over) = way_back(new, roads, topic) {
            let what = if *topic == ANY_TOPIC { "topics".to_owned() } else { format!("'{topic}'") };
            let way: Vec<String> = over.iter().map(|road| format!("link {}", road.link)).collect();
            let forget = over.iter().copied().chain([new]).filter(|road| !road.settings.provenance);
            let forget: Vec<String> = forget.map(|road| road.link.to_string()).collect();
            return Some(format!(
                "{what} would go round for ever: {} leads back to the cluster that link {} copies from, and both keep the names of topics; let one of them leave these topics out, use DefaultReplicationPolicy, or, to let both sites write, set {PROVENANCE}=true on all of them ({} lacks it). To let both sites change places, use `twinstream link reverse {}`",
                way.join(", "),
                new.link,
                forget.join(", "),
                over.first().map_or_else(String::new, |road| road.link.to_string())
            ));
        }
    }
    strange_alias(new, roads)
}

/// The links by which a topic that `new` copies comes back with its name, the last one first; at least one of the circle lets
/// records forget where they have been.
fn way_back<'r>(new: &'r Road, roads: &'r [Road], topic: &str) -> Option<Vec<&'r Road>> {
    // From place to place, each once with such a link behind it and once without; how it was reached.
    type Stand<'r> = (&'r str, bool);
    let first: Stand<'r> = (&new.to, !new.settings.provenance);
    let mut reached: BTreeMap<Stand<'r>, Option<(&'r Road, Stand<'r>)>> = BTreeMap::from([(first, None)]);
    let mut open = vec![first];
    while let Some(stand) = open.pop() {
        let (place, forgets) = stand;
        for road in roads.iter().filter(|road| road.from == place && road.keeps_name(topic)) {
            let next: Stand<'r> = (&road.to, forgets || !road.settings.provenance);
            reached.entry(next).or_insert_with(|| {
                open.push(next);
                Some((road, stand))
            });
        }
    }
    let mut way = Vec::new();
    let mut step = *reached.get(&(new.from.as_str(), true))?;
    while let Some((road, before)) = step {
        way.push(road);
        step = reached.get(&before).copied().flatten();
    }
    Some(way)
}

/// A link of a cluster to itself copies what it has copied, unless its filter says otherwise.
fn of_one_cluster(new: &Road, topics: &BTreeSet<String>) -> Option<String> {
    let listed = new.listed.iter().map(String::as_str);
    let again = topics.iter().map(String::as_str).chain(listed).chain([ANY_TOPIC]).find_map(|topic| {
        let name = TopicName::parse(topic).ok().filter(|_| new.copies(topic))?;
        let remote = new.settings.policy.remote_topic(&name).ok()?;
        (remote == name || new.copies(remote.as_str())).then_some((name, remote))
    });
    let (topic, remote) = again?;
    Some(format!(
        "both ends of link {} are the same cluster, and '{topic}' would be copied to '{remote}', which would be copied again, and so on; name another target, or list the topics so that their copies are not among them",
        new.link
    ))
}

/// Links that lead back must call both clusters what this one calls them: by these names topics know where they have been.
fn strange_alias(new: &Road, roads: &[Road]) -> Option<String> {
    let back = roads.iter().filter(|road| road.from == new.to && road.to == new.from && !road.settings.returns);
    for road in back.filter(|_| !new.settings.policy.is_identity() && !new.settings.returns) {
        for (ours, theirs) in [(&new.link.source, &road.link.target), (&new.link.target, &road.link.source)] {
            let both_copy = new.copies(ANY_TOPIC) && road.copies(ANY_TOPIC);
            if ours != theirs && both_copy && !road.settings.policy.is_identity() {
                return Some(format!(
                    "link {} leads back, and calls '{theirs}' what is '{ours}' here, so copies would be copied back without end; give a cluster the same alias in both links",
                    road.link
                ));
            }
        }
    }
    None
}

/// Refuses the source connector of a link that would close a circle with those that the worker has.
pub(super) async fn refuse(worker: &dyn WorkerApi, link: &LinkName, config: &RawConfig) -> Result<(), ApiRefusal> {
    // What is wrong with a configuration by itself has been said already.
    let Ok(settings) = Settings::parse(config) else { return Ok(()) };
    if settings.returns || !settings.enabled {
        return Ok(());
    }
    let others = links(worker).into_iter().filter(|(other, _)| other != link).flat_map(|(other, members)| {
        let sources = members.into_iter().filter(|(part, _)| *part == Part::Source);
        let configs = sources.filter_map(|(_, name)| worker.config(&name));
        configs.map(|config| (other.clone(), config)).collect::<Vec<_>>()
    });
    let others: Vec<(LinkName, RawConfig, Settings)> = others
        .filter_map(|(link, config)| Settings::parse(&config).ok().map(|settings| (link, config, settings)))
        .collect();
    let asked = others.iter().map(|(_, _, settings)| settings).chain([&settings]);
    let places = places(asked.flat_map(|settings| [&settings.source, &settings.target])).await;
    let road = |link: LinkName, config: &RawConfig, settings: Settings| {
        let place = |client: &ClientSettings| {
            let brokers = brokers(client);
            places.get(&brokers).map_or(brokers, |place| place.name.clone())
        };
        Road { link, from: place(&settings.source), to: place(&settings.target), settings, listed: listed(config) }
    };
    let new = road(link.clone(), config, settings);
    let roads: Vec<Road> = others.into_iter().map(|(link, config, settings)| road(link, &config, settings)).collect();
    let topics: BTreeSet<String> = places.into_values().flat_map(|place| place.topics).collect();
    match circle(&new, &roads, &topics) {
        None => Ok(()),
        Some(why) => Err(ApiRefusal::conflict(why)),
    }
}

/// A cluster that was asked.
#[derive(Debug)]
struct Place {
    name: String,
    topics: Vec<String>,
}

fn brokers(client: &ClientSettings) -> String {
    client.get("bootstrap.servers").unwrap_or_default().to_owned()
}

/// Ids and topics of those clusters that answer, by their addresses.
async fn places(clients: impl Iterator<Item = &ClientSettings>) -> BTreeMap<String, Place> {
    let clients: BTreeMap<String, ClientSettings> = clients.map(|client| (brokers(client), client.clone())).collect();
    let mut asking = JoinSet::new();
    for (brokers, client) in clients {
        asking.spawn(async move {
            let asked = async {
                let client = RawClient::connect(&client).await.ok()?;
                let topics =
                    client.refresh_all().await.map(|view| view.topics.keys().map(ToString::to_string).collect());
                Some(Place { name: client.cluster_id()?, topics: topics.unwrap_or_default() })
            };
            (brokers, tokio::time::timeout(TELLS_WITHIN, asked).await.ok().flatten())
        });
    }
    let mut places = BTreeMap::new();
    while let Some(told) = asking.join_next().await {
        if let Ok((brokers, Some(place))) = told {
            places.insert(brokers, place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn road(link: &str, from: &str, to: &str, more: &[(&str, &str)]) -> Road {
        let link = LinkName::parse(link).unwrap();
        let mut config: RawConfig = [
            ("source.cluster.alias", link.source.as_str()),
            ("target.cluster.alias", link.target.as_str()),
            ("source.cluster.bootstrap.servers", "s:1"),
            ("target.cluster.bootstrap.servers", "t:1"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        config.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let settings = Settings::parse(&config).unwrap();
        let listed = vec![config.get("topics").cloned().unwrap_or_else(|| ".*".to_owned())];
        Road { link, from: from.to_owned(), to: to.to_owned(), settings, listed }
    }

    const IDENTITY: (&str, &str) =
        ("replication.policy.class", "org.apache.kafka.connect.mirror.IdentityReplicationPolicy");

    fn topics(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn links_that_keep_names_must_not_lead_round() {
        let there = road("a->b", "A", "B", &[IDENTITY]);
        let back = |more: (&str, &str)| {
            circle(&road("b->a", "B", "A", &[IDENTITY, more]), std::slice::from_ref(&there), &topics(&["t", "u"]))
        };
        assert!(back(("topics", ".*")).is_some_and(|why| why.contains("link a->b") && why.contains("round")));
        assert!(back(("topics", "t")).is_some_and(|why| why.contains("'t'")), "a single topic does, too");
        assert_eq!(
            back(("topics", "orders")).map(|why| why.contains("'orders'")),
            Some(true),
            "one that is not made yet"
        );
        assert_eq!(back(("twinstream.link.returns", "true")), None, "marks tell those apart");
        let some = road("a->b", "A", "B", &[IDENTITY, ("topics", "t")]);
        assert_eq!(
            circle(&road("b->a", "B", "A", &[IDENTITY, ("topics", "u.*")]), &[some], &topics(&["t", "u1"])),
            None
        );
    }

    #[test]
    fn links_may_lead_round_where_all_of_them_let_records_take_along_where_they_have_been() {
        let paths = (PROVENANCE, "true");
        let with = |link: &str, from: &str, to: &str| road(link, from, to, &[IDENTITY, paths]);
        let without = |link: &str, from: &str, to: &str| road(link, from, to, &[IDENTITY]);
        let known = topics(&["t"]);
        assert_eq!(circle(&with("b->a", "B", "A"), &[with("a->b", "A", "B")], &known), None);
        let why = circle(&with("b->a", "B", "A"), &[without("a->b", "A", "B")], &known).unwrap();
        assert!(why.contains("link a->b leads back") && why.contains("(a->b lacks it)"), "{why}");
        let why = circle(&without("b->a", "B", "A"), &[with("a->b", "A", "B")], &known).unwrap();
        assert!(why.contains(PROVENANCE) && why.contains("(b->a lacks it)"), "{why}");
        // A pair that is sound, beside a longer way round that is not.
        let pair = with("a->b", "A", "B");
        let round = [pair.clone(), with("a->c", "A", "C"), without("c->b", "C", "B")];
        let why = circle(&with("b->a", "B", "A"), &round, &known).unwrap();
        assert!(why.contains("link c->b, link a->c") && why.contains("(c->b lacks it)"), "{why}");
        let sound = [pair, with("a->c", "A", "C"), with("c->b", "C", "B"), without("b->d", "B", "D")];
        assert_eq!(circle(&with("b->a", "B", "A"), &sound, &known), None, "what leads nowhere back does no harm");
    }

    #[test]
    fn of_links_that_run_the_later_one_leaves_out_what_would_come_round() {
        let enter = |link: &str, from: &str, to: &str, more: &[(&str, &str)]| {
            let road = road(link, from, to, more);
            let config = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            OnTheRoad::enter(&config, &road.settings, Some(road.from), Some(road.to))
        };
        let topic = |name: &str| TopicName::parse(name).unwrap();
        // Clusters of this test alone, because links of others run beside.
        let there = enter("r1->r2", "R1", "R2", &[IDENTITY, ("topics", "t.*")]);
        let back = enter("r2->r1", "R2", "R1", &[IDENTITY]);
        assert_eq!(there.comes_round(&topic("t1")), None, "it was there before");
        assert!(back.comes_round(&topic("t1")).is_some_and(|why| why.contains("link r1->r2 leads back")));
        assert_eq!(back.comes_round(&topic("u")), None, "nobody leads that back");
        drop(there);
        assert_eq!(back.comes_round(&topic("t1")), None);
        let again = enter("r1->r2", "R1", "R2", &[IDENTITY, ("topics", "t.*")]);
        assert!(
            again.comes_round(&topic("t1")).is_none() && back.comes_round(&topic("t1")).is_some(),
            "its rank stays"
        );
        let named = enter("r2->r3", "R2", "R1", &[]);
        assert_eq!(named.comes_round(&topic("t1")), None, "names tell where topics come from");
    }

    #[test]
    fn clusters_are_told_apart_by_their_ids_whatever_links_call_them() {
        let one = road("a->b", "A", "B", &[IDENTITY]);
        let other = road("b2->c", "B", "C", &[IDENTITY]);
        let closes = road("x->y", "C", "A", &[IDENTITY]);
        let why = circle(&closes, &[one.clone(), other.clone()], &topics(&[])).unwrap();
        assert!(why.contains("link b2->c, link a->b"), "{why}");
        assert_eq!(circle(&road("x->y", "C", "D", &[IDENTITY]), &[one, other], &topics(&[])), None);
    }

    #[test]
    fn two_sites_may_copy_from_each_other_when_names_tell_where_topics_come_from() {
        let there = road("a->b", "A", "B", &[]);
        let known = topics(&["t", "b.t"]);
        assert_eq!(circle(&road("b->a", "B", "A", &[]), std::slice::from_ref(&there), &known), None);
        let why = circle(&road("b->other", "B", "A", &[]), &[there], &known).unwrap();
        assert!(why.contains("'a'") && why.contains("'other'"), "{why}");
    }

    #[test]
    fn a_cluster_is_copied_into_itself_only_if_copies_are_left_out() {
        let whole = road("a->b", "A", "A", &[]);
        assert!(circle(&whole, &[], &topics(&[])).is_some_and(|why| why.contains("same cluster")));
        assert_eq!(
            circle(
                &road("a->b", "A", "A", &[("topics", "t"), ("heartbeats.replication.enabled", "false")]),
                &[],
                &topics(&["t"])
            ),
            None
        );
        assert!(circle(&road("a->b", "A", "A", &[IDENTITY, ("topics", "t")]), &[], &topics(&["t"])).is_some());
    }
}
