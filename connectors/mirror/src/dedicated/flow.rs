//! What one flow runs on: settings of its worker, configurations of its connectors. Names and defaults are MirrorMaker's.

use twinstream_connect_api::{ConfigDef, RawConfig};

use super::meaning::{Meaning, is_explained_later, is_rest};
use super::place::Place;
use super::{ENABLED, Flow, Known, Sorted};

const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
const LISTENERS: &str = "listeners";
const ADVERTISED_PORT: &str = "rest.advertised.port";
/// Where Kafka's workers listen.
const DEFAULT_LISTENER: &str = "http://:8083";
/// A worker that nobody should find from elsewhere: the system chooses the port, the log tells it.
const PRIVATE_LISTENER: &str = "http://127.0.0.1:0";
const TOPICS: [(&str, &str); 3] = [
    ("config.storage.topic", "mm2-configs"),
    ("offset.storage.topic", "mm2-offsets"),
    ("status.storage.topic", "mm2-status"),
];
const ROLES: [&str; 3] = ["producer.", "consumer.", "admin."];

/// `index` counts the flows of this process: each has a listener of its own.
pub(super) fn build(
    sorted: &Sorted,
    known: &Known,
    (source, target): (&str, &str),
    index: u16,
) -> Result<Flow, Vec<String>> {
    let mut problems: Vec<String> =
        [source, target].iter().filter_map(|alias| without_servers(sorted, alias)).collect();
    let worker = worker(sorted, source, target, index).unwrap_or_else(|found| {
        problems.extend(found);
        RawConfig::new()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let connectors = known.connectors.iter().map(|(class, def)| {
        let name = class.rsplit('.').next().unwrap_or(class).to_owned();
        let config = connector(sorted, (source, target), (&name, class), def);
        (name, config)
    });
    let (source, target) = (source.to_owned(), target.to_owned());
    let enabled = sorted.is_enabled(&source, &target);
    Ok(Flow { connectors: connectors.collect(), enabled, worker, source, target })
}

fn without_servers(sorted: &Sorted, alias: &str) -> Option<String> {
    let name = "bootstrap.servers";
    let cluster = Place::Cluster(alias.to_owned());
    let own = sorted.value(&cluster, Meaning::Client, name);
    let given = own.or_else(|| sorted.value(&Place::Top, Meaning::Client, name));
    given.is_none().then(|| format!("{alias}.{name}: missing; give host:port of at least one broker of {alias}"))
}

fn worker(sorted: &Sorted, source: &str, target: &str, index: u16) -> Result<RawConfig, Vec<String>> {
    let cluster = Place::Cluster(target.to_owned());
    let flow = Place::Flow(source.to_owned(), target.to_owned());
    let mut problems = Vec::new();
    let mut settings = RawConfig::new();
    // From what counts least to what counts most.
    extend(&mut settings, sorted.at(&Place::Top, Meaning::Client));
    extend(&mut settings, sorted.at(&cluster, Meaning::Client));
    let at_top = sorted.at(&Place::Top, Meaning::Worker).filter(|(name, _)| sorted.internal_rest || !is_rest(name));
    extend(&mut settings, at_top);
    for (name, value) in sorted.at(&cluster, Meaning::Worker) {
        let top = sorted.value(&Place::Top, Meaning::Worker, name);
        if top.is_some_and(|top| top != value) && !is_rest(name) {
            problems.push(format!(
                "{target}.{name}: stands at the top as well, with another value, which MirrorMaker takes; remove one"
            ));
        }
        settings.insert(name.clone(), value.clone());
    }
    extend(&mut settings, sorted.at(&flow, Meaning::Worker));

    let mut default = |name: &str, value: String| _ = settings.entry(name.to_owned()).or_insert(value);
    default("client.id", format!("{source}->{target}"));
    default("group.id", format!("{source}-mm2"));
    for (name, prefix) in TOPICS {
        default(name, format!("{prefix}.{source}.internal"));
    }
    for name in ["key.converter", "value.converter", "header.converter"] {
        default(name, BYTES.to_owned());
    }
    default(LISTENERS, if sorted.internal_rest { DEFAULT_LISTENER } else { PRIVATE_LISTENER }.to_owned());
    for name in [LISTENERS, ADVERTISED_PORT] {
        // Given for all flows: each takes the next port.
        let own = [&cluster, &flow].iter().any(|place| sorted.value(place, Meaning::Worker, name).is_some());
        let Some(value) = settings.get_mut(name).filter(|_| !own) else { continue };
        match moved_port(value, index) {
            Some(moved) => *value = moved,
            None => problems.push(format!("{name}: '{value}' has no port for flow {}", index + 1)),
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// The same address, some ports further; one that the system chooses stays so.
fn moved_port(address: &str, by: u16) -> Option<String> {
    let (host, port) = address.rsplit_once(':').map_or(("", address), |(host, port)| (host, port));
    let port: u16 = port.trim_end_matches('/').parse().ok()?;
    let port = if port == 0 { 0 } else { port.checked_add(by)? };
    Some(if address.contains(':') { format!("{host}:{port}") } else { port.to_string() })
}

/// Only keys that the connector knows: MirrorMaker hands each the keys of all three.
fn connector(
    sorted: &Sorted,
    (source, target): (&str, &str),
    (name, class): (&str, &str),
    def: &ConfigDef,
) -> RawConfig {
    let mut config = RawConfig::new();
    extend(&mut config, sorted.at(&Place::Top, Meaning::Connector));
    for (alias, side) in [(source, "source."), (target, "target.")] {
        let cluster = Place::Cluster(alias.to_owned());
        for place in [Place::Top, cluster] {
            for (name, value) in sorted.at(&place, Meaning::Client) {
                let of_role = ROLES.iter().any(|role| name.starts_with(role));
                let key = if of_role { format!("{side}{name}") } else { format!("{side}cluster.{name}") };
                config.insert(key, value.clone());
            }
        }
    }
    let flow = Place::Flow(source.to_owned(), target.to_owned());
    extend(&mut config, sorted.at(&flow, Meaning::Connector));
    config.retain(|name, _| def.knows(name) || is_explained_later(name));
    let enabled = sorted.is_enabled(source, target).to_string();
    let given = [
        ("name", name),
        ("connector.class", class),
        ("source.cluster.alias", source),
        ("target.cluster.alias", target),
        (ENABLED, &enabled),
    ];
    config.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
    config
}

fn extend<'p>(into: &mut RawConfig, pairs: impl Iterator<Item = (&'p String, &'p String)>) {
    into.extend(pairs.map(|(name, value)| (name.clone(), value.clone())));
}

/// Flows into one cluster must not share what their workers keep there.
pub(super) fn clashes(flows: &[Flow]) -> Vec<String> {
    let mut found = Vec::new();
    let shared = TOPICS.iter().map(|(name, _)| *name).chain(["group.id"]);
    for name in shared {
        for (i, one) in flows.iter().enumerate() {
            for other in flows[i + 1..].iter().filter(|other| other.target == one.target) {
                if one.worker.get(name) == other.worker.get(name) {
                    let (one, other) = (one.name(), other.name());
                    found.push(format!(
                        "{name}: {one} and {other} would share it; leave it out, or write {one}.{name} and {other}.{name}"
                    ));
                }
            }
        }
    }
    found
}
