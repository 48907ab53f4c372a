//! MirrorMaker's dedicated mode: one file describes clusters and the flows between them, one process runs it (KIP-382).
//!
//! Picture: the file is a list of names and values. `place` says where a name stands (at the top, behind a cluster's alias,
//! behind a flow), `meaning` what it is there (of a connector, of a worker, of a Kafka client), and `flow` puts together
//! what a flow runs on: the settings of a worker on its target cluster and the configurations of its connectors. What is
//! stored has MirrorMaker's names, so that it and we can take over from each other while the other is stopped.
//! Invariants: every name has an effect, or is an error, or has a note that says why it has no effect; all errors come at
//! once, and none shows a value that may be secret.
//! Where we differ: a name that MirrorMaker ignores (a client setting at the top, a misspelt one) is an error or does what
//! it says, never nothing; the more special place wins; of the flows that are not enabled only those run whose heartbeats
//! an enabled one needs, not one for every pair of clusters.
//! Not here: files, workers, and which settings a worker or a connector has: the caller tells it in [`Known`].

mod flow; // what one flow runs on
mod meaning; // what a name is
mod place; // where a name stands

use std::collections::BTreeMap;

use twinstream_connect_api::{ConfigDef, RawConfig};

use meaning::Meaning;
use place::Place;

const CLUSTERS: &str = "clusters";
const INTERNAL_REST: &str = "dedicated.mode.enable.internal.rest";
const ENABLED: &str = "enabled";
const HEARTBEATS: &str = "emit.heartbeats.enabled";
const HEARTBEAT_CONNECTOR: &str = "MirrorHeartbeatConnector";
const SOURCE_CONNECTOR: &str = "MirrorSourceConnector";
/// Of workers: disabled, preparing or enabled.
const EXACTLY_ONCE: &str = "exactly.once.source.support";
const LINK_MODE: &str = "twinstream.link.mode";
const ISOLATION: &str = "source.consumer.isolation.level";

/// What can be configured in this release.
pub struct Known {
    /// Names of a worker's settings, those of its Kafka clients left out.
    pub worker: Vec<&'static str>,
    /// The connectors that every flow has: class, and all keys that it can have.
    pub connectors: Vec<(String, ConfigDef)>,
}

/// What a file says is to be run.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the clusters in the file.
    pub flows: Vec<Flow>,
    /// What somebody who wrote the file should know.
    pub notes: Vec<String>,
}

/// One direction between two clusters.
#[derive(Debug)]
pub struct Flow {
    pub source: String,
    pub target: String,
    /// Whether records are copied; if not, it runs for the heartbeats of the other direction.
    pub enabled: bool,
    /// Settings of its worker.
    pub worker: RawConfig,
    /// Its connectors by name.
    pub connectors: Vec<(String, RawConfig)>,
}

impl Flow {
    pub fn name(&self) -> String {
        format!("{}->{}", self.source, self.target)
    }
}

/// Everything that is wrong with a file, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct PlanError {
    pub problems: Vec<String>,
}

/// The pairs of a file, sorted by where they stand and what they are.
#[derive(Default)]
struct Sorted {
    clusters: Vec<String>,
    internal_rest: bool,
    enabled: BTreeMap<(String, String), bool>,
    values: BTreeMap<(Place, Meaning), RawConfig>,
}

impl Sorted {
    fn at(&self, place: &Place, meaning: Meaning) -> impl Iterator<Item = (&String, &String)> {
        self.values.get(&(place.clone(), meaning)).into_iter().flatten()
    }

    fn value(&self, place: &Place, meaning: Meaning, name: &str) -> Option<&str> {
        self.values.get(&(place.clone(), meaning))?.get(name).map(String::as_str)
    }

    fn is_enabled(&self, source: &str, target: &str) -> bool {
        self.enabled.get(&(source.to_owned(), target.to_owned())).copied().unwrap_or(false)
    }

    fn has_heartbeats(&self, source: &str, target: &str) -> bool {
        let flow = Place::Flow(source.to_owned(), target.to_owned());
        let own = self.value(&flow, Meaning::Connector, HEARTBEATS);
        let value = own.or_else(|| self.value(&Place::Top, Meaning::Connector, HEARTBEATS));
        value.is_none_or(|text| text.trim().eq_ignore_ascii_case("true"))
    }
}

/// Reads the pairs of a file. `only` names the clusters into which this process lets records flow; none means all.
pub fn plan(pairs: &RawConfig, only: &[String], known: &Known) -> Result<Plan, PlanError> {
    let mut problems = Vec::new();
    let sorted = sort(pairs, known, &mut problems);
    for stranger in only.iter().filter(|alias| !sorted.clusters.contains(alias)) {
        problems.push(format!("--clusters {stranger}: no such cluster; {}", place::listing(&sorted.clusters)));
    }
    let mut notes = notes(&sorted, pairs);
    let heartbeats = known.connectors.iter().any(|(class, _)| class.ends_with(HEARTBEAT_CONNECTOR));
    let mut flows = Vec::new();
    for (source, target) in directions(&sorted.clusters) {
        let enabled = sorted.is_enabled(source, target);
        let for_heartbeats = heartbeats && sorted.is_enabled(target, source) && sorted.has_heartbeats(source, target);
        if !(only.is_empty() || only.contains(target)) || !(enabled || for_heartbeats) {
            continue;
        }
        let place = u16::try_from(flows.len()).unwrap_or(u16::MAX);
        match flow::build(&sorted, known, (source, target), place) {
            Ok(mut flow) => {
                match exactly_once(&mut flow) {
                    Ok(more) => notes.extend(more),
                    Err(problem) => problems.push(problem),
                }
                flows.push(flow);
            }
            Err(found) => problems.extend(found),
        }
        if !enabled {
            notes.push(format!("{source}->{target} copies nothing, it runs for the heartbeats in {target}"));
        }
    }
    problems.extend(flow::clashes(&flows));
    if flows.is_empty() && problems.is_empty() {
        let first = directions(&sorted.clusters).next().map_or("A->B".to_owned(), |(a, b)| format!("{a}->{b}"));
        problems.push(format!("no flow is enabled; write for example {first}.enabled = true"));
    }
    problems.dedup();
    if problems.is_empty() { Ok(Plan { flows, notes }) } else { Err(PlanError { problems }) }
}

/// What goes with exactly-once: transactions are for copies, and committed records only; mirrors are exactly once without.
fn exactly_once(flow: &mut Flow) -> Result<Vec<String>, String> {
    let is_enabled = flow.worker.get(EXACTLY_ONCE).is_some_and(|step| step.trim().eq_ignore_ascii_case("enabled"));
    let (name, copies) = (flow.name(), flow.enabled);
    let mut connectors = flow.connectors.iter_mut().filter(|_| is_enabled && copies);
    let Some((_, config)) = connectors.find(|(connector, _)| connector == SOURCE_CONNECTOR) else {
        return Ok(Vec::new());
    };
    let mut notes = Vec::new();
    match config.get(LINK_MODE).map(|mode| mode.trim().to_ascii_lowercase()).as_deref() {
        Some("generic") => {}
        Some("aligned") => {
            return Err(format!(
                "{name}.{LINK_MODE}: aligned does not go with {EXACTLY_ONCE}=enabled, because mirrors at the source's offsets are not written in transactions; they are exactly once without it, remove one of the two"
            ));
        }
        _ => {
            config.insert(LINK_MODE.to_owned(), "generic".to_owned());
            notes.push(format!(
                "{name} copies with {LINK_MODE}=generic, because {EXACTLY_ONCE}=enabled; between our clusters leave the latter out: mirrors at the source's offsets are exactly once by themselves"
            ));
        }
    }
    if !config.contains_key(ISOLATION) {
        config.insert(ISOLATION.to_owned(), "read_committed".to_owned());
        notes.push(format!(
            "{name} copies committed records only ({ISOLATION}=read_committed), because {EXACTLY_ONCE}=enabled; MirrorMaker's default would copy those of aborted transactions too"
        ));
    }
    Ok(notes)
}

/// Both directions between all clusters, in the order of the file.
fn directions(clusters: &[String]) -> impl Iterator<Item = (&String, &String)> {
    let pairs = clusters.iter().flat_map(|source| clusters.iter().map(move |target| (source, target)));
    pairs.filter(|(source, target)| source != target)
}

fn sort(pairs: &RawConfig, known: &Known, problems: &mut Vec<String>) -> Sorted {
    let clusters = place::clusters(pairs.get(CLUSTERS).map(String::as_str)).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let mut sorted = Sorted { clusters, ..Sorted::default() };
    if sorted.clusters.is_empty() {
        return sorted; // nothing can be said of the other names
    }
    for (name, value) in pairs.iter().filter(|(name, _)| *name != CLUSTERS) {
        if let Err(problem) = sort_one(&mut sorted, name, value.trim(), known) {
            problems.push(problem);
        }
    }
    sorted
}

fn sort_one(sorted: &mut Sorted, name: &str, value: &str, known: &Known) -> Result<(), String> {
    let (place, rest) = place::of(name, &sorted.clusters)?;
    let at = |problem: String| format!("{name}: {problem}");
    meaning::check_value(value).map_err(at)?;
    match (&place, rest) {
        (Place::Top, INTERNAL_REST) => sorted.internal_rest = meaning::flag(value).map_err(at)?,
        (Place::Flow(source, target), ENABLED) => {
            sorted.enabled.insert((source.clone(), target.clone()), meaning::flag(value).map_err(at)?);
        }
        _ => {
            let meaning = meaning::of(&place, rest, value, known, &sorted.clusters).map_err(at)?;
            sorted.values.entry((place, meaning)).or_default().insert(rest.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// Names that are fine and do nothing here.
fn notes(sorted: &Sorted, pairs: &RawConfig) -> Vec<String> {
    let mut notes = Vec::new();
    if !sorted.internal_rest {
        let idle: Vec<&str> = pairs.keys().map(String::as_str).filter(|name| meaning::is_rest(name)).collect();
        if !idle.is_empty() {
            notes.push(format!("{} has no effect without {INTERNAL_REST}=true", idle.join(", ")));
        }
    }
    for cluster in &sorted.clusters {
        let into = directions(&sorted.clusters).any(|(source, target)| {
            target == cluster && (sorted.is_enabled(source, target) || sorted.is_enabled(target, source))
        });
        let idle: Vec<String> = sorted
            .at(&Place::Cluster(cluster.clone()), Meaning::Worker)
            .map(|(name, _)| format!("{cluster}.{name}"))
            .collect();
        if !into && !idle.is_empty() {
            notes.push(format!("{} has no effect: no flow goes into {cluster}", idle.join(", ")));
        }
    }
    notes
}

#[cfg(test)]
mod tests;
