//! What a name is at its place, or why it is nothing.

use twinstream_client::SettingsError;
use twinstream_client::settings::check as check_client;
use twinstream_connect_api::config::nearest;

use super::place::{Place, listing};
use super::{CLUSTERS, ENABLED, INTERNAL_REST, Known};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    Connector,
    Worker,
    /// A setting of Kafka clients, perhaps of one role (`consumer.` and so on).
    Client,
}

const ROLES: [&str; 3] = ["producer.", "consumer.", "admin."];
const CONVERTERS: [&str; 3] = ["key.converter.", "value.converter.", "header.converter."];
/// Keys that follow from the flow's name.
const GIVEN: [&str; 4] = ["name", "connector.class", "source.cluster.alias", "target.cluster.alias"];
/// Prefixes that the worker's own check explains best.
const EXPLAINED_LATER: [&str; 3] = ["transforms.", "predicates.", "topic.creation."];
/// Client settings that may stand at the top, for all clusters.
const FOR_ALL_CLUSTERS: [&str; 2] = ["bootstrap.servers", "security.protocol"];
const SECURITY: [&str; 2] = ["ssl.", "sasl."];
/// Settings of the REST API.
const REST: [&str; 5] =
    ["admin.listeners", "listeners", "rest.advertised.host.name", "rest.advertised.listener", "rest.advertised.port"];

pub(super) fn is_explained_later(name: &str) -> bool {
    EXPLAINED_LATER.iter().any(|prefix| name.starts_with(prefix))
}

pub(super) fn is_rest(name: &str) -> bool {
    REST.contains(&name)
}

/// Whether `true` or `false`, in any case, as Java reads it; anything else is somebody's mistake.
pub(super) fn flag(value: &str) -> Result<bool, String> {
    value.to_ascii_lowercase().parse().map_err(|_| format!("'{value}' is neither true nor false"))
}

pub(super) fn check_value(value: &str) -> Result<(), String> {
    let refers =
        value.split("${").skip(1).any(|rest| rest.split_once('}').is_some_and(|(inner, _)| inner.contains(':')));
    if refers {
        return Err("config providers are not in this release, write the value itself".to_owned());
    }
    Ok(())
}

pub(super) fn of(
    place: &Place,
    name: &str,
    value: &str,
    known: &Known,
    clusters: &[String],
) -> Result<Meaning, String> {
    if name == "config.providers" || name.starts_with("config.providers.") {
        return Err("config providers are not in this release, write the values themselves".to_owned());
    }
    match place {
        Place::Top => at_top(name, value, known, clusters),
        Place::Cluster(alias) => at_cluster(name, value, known, alias),
        Place::Flow(source, target) => at_flow(name, value, known, (source, target)),
    }
}

fn at_top(name: &str, value: &str, known: &Known, clusters: &[String]) -> Result<Meaning, String> {
    if GIVEN.contains(&name) {
        return Err("follows from the names of the flows, remove it".to_owned());
    }
    if name == ENABLED {
        return Err(format!("say which flow, for example {}->{}.enabled", clusters[0], clusters[1]));
    }
    if FOR_ALL_CLUSTERS.contains(&name) || SECURITY.iter().any(|prefix| name.starts_with(prefix)) {
        return check_client(name, value).map(|()| Meaning::Client).map_err(|error| error.to_string());
    }
    if is_worker(name, known) {
        return Ok(Meaning::Worker);
    }
    if is_connector(name, value, known)? {
        return Ok(Meaning::Connector);
    }
    if is_client(name, value)? {
        let cluster = &clusters[0];
        return Err(format!(
            "settings of clients stand behind a cluster: {cluster}.{name}, or {cluster}.consumer.{name}"
        ));
    }
    if let Some((alias, rest)) = name.split_once('.')
        && let Some(near) = nearest(alias, clusters.iter().map(String::as_str))
        && (is_worker(rest, known) || is_client(rest, value)?)
    {
        return Err(format!("no such cluster '{alias}': did you mean '{near}'?"));
    }
    Err(unknown(name, names(known).chain([CLUSTERS, INTERNAL_REST]), &listing(clusters)))
}

fn at_cluster(name: &str, value: &str, known: &Known, alias: &str) -> Result<Meaning, String> {
    if is_worker(name, known) {
        return Ok(Meaning::Worker);
    }
    if is_client(name, value)? {
        return Ok(Meaning::Client);
    }
    if is_connector(name, value, known)? {
        return Err(format!("belongs to flows: write X->{alias}.{name}, or {name} for all flows"));
    }
    let near = match check_client(without_role(name), value) {
        Err(SettingsError::Unknown { nearest, .. }) => nearest,
        _ => None,
    };
    Err(unknown(name, near.into_iter().chain(known.worker.iter().copied()), "it is no setting of a client or a worker"))
}

fn at_flow(name: &str, value: &str, known: &Known, flow: (&str, &str)) -> Result<Meaning, String> {
    if GIVEN.contains(&name) {
        return Err("follows from the name of the flow, remove it".to_owned());
    }
    if is_connector(name, value, known)? {
        return Ok(Meaning::Connector);
    }
    // MirrorMaker ignores a worker's settings here; whoever writes them means this flow.
    if name == "client.id" || is_worker(name, known) {
        return Ok(Meaning::Worker);
    }
    if is_client(name, value)? {
        let (source, target) = flow;
        return Err(format!(
            "say which cluster: {source}.{name} or {target}.{name}, or behind the flow source.consumer.{name} or target.producer.{name}"
        ));
    }
    Err(unknown(name, names(known).chain([ENABLED]), "it is no setting of a connector or a worker"))
}

fn is_worker(name: &str, known: &Known) -> bool {
    known.worker.contains(&name) || CONVERTERS.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether connectors know the name; what follows the prefix of a client must be one of its settings.
fn is_connector(name: &str, value: &str, known: &Known) -> Result<bool, String> {
    if known.connectors.iter().any(|(_, def)| def.get(name).is_some()) {
        return Ok(true);
    }
    if is_explained_later(name) {
        return Ok(true);
    }
    let families = known.connectors.iter().flat_map(|(_, def)| def.families());
    let inner = families.filter_map(|prefix| name.strip_prefix(prefix.as_str())).min_by_key(|inner| inner.len());
    match inner {
        None => Ok(false),
        Some(inner) => check_client(inner, value).map(|()| true).map_err(|error| error.to_string()),
    }
}

/// Whether Kafka's clients know the name, with or without a role before it.
fn is_client(name: &str, value: &str) -> Result<bool, String> {
    match check_client(without_role(name), value) {
        Ok(()) => Ok(true),
        Err(SettingsError::Unknown { .. }) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

fn without_role(name: &str) -> &str {
    ROLES.iter().find_map(|role| name.strip_prefix(role)).unwrap_or(name)
}

/// All names that connectors and workers have.
fn names(known: &Known) -> impl Iterator<Item = &str> {
    let keys = known.connectors.iter().flat_map(|(_, def)| def.keys()).map(|key| key.name.as_str());
    keys.chain(known.worker.iter().copied())
}

fn unknown<'n>(name: &str, candidates: impl Iterator<Item = &'n str>, otherwise: &str) -> String {
    // `enable` for `enabled`, `emit.heartbeats` for `emit.heartbeats.enabled`: cut short rather than misspelt.
    let candidates: Vec<&str> = candidates.collect();
    let cut =
        candidates.iter().find(|known| known.strip_prefix(name).is_some_and(|more| more == "d" || more == ".enabled"));
    match cut.copied().or_else(|| nearest(name, candidates.iter().copied())) {
        Some(near) => format!("unknown setting: did you mean '{near}'?"),
        None => format!("unknown setting: {otherwise}"),
    }
}
