//! Where a name stands: at the top, behind a cluster's alias, or behind a flow.

use twinstream_connect_api::config::nearest;

use super::directions;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Top,
    Cluster(String),
    /// Source and target.
    Flow(String, String),
}

/// The aliases in `clusters`.
pub(super) fn clusters(value: Option<&str>) -> Result<Vec<String>, String> {
    let Some(value) = value else {
        return Err("clusters: missing; name the clusters, for example clusters = A, B".to_owned());
    };
    let mut found: Vec<String> = Vec::new();
    for alias in value.split(',').map(str::trim).filter(|alias| !alias.is_empty()) {
        if alias.contains(['#', '!']) {
            return Err(format!(
                "clusters: '{alias}' is no alias: in a properties file a comment has a line of its own, behind a value it is part of the value"
            ));
        }
        if alias.contains(char::is_whitespace) || alias.contains("->") || alias.contains('/') {
            return Err(format!("clusters: '{alias}' is no alias: it has spaces, slashes or an arrow in it"));
        }
        if found.iter().any(|known| known == alias) {
            return Err(format!("clusters: '{alias}' stands there twice"));
        }
        found.push(alias.to_owned());
    }
    match found.len() {
        0 | 1 => Err("clusters: names fewer than two clusters".to_owned()),
        _ => Ok(found),
    }
}

pub(super) fn listing(clusters: &[String]) -> String {
    format!("clusters are {}", clusters.join(", "))
}

/// Splits a name into its place and what it is called there. Aliases may have dots: the longest one counts.
pub(super) fn of<'n>(name: &'n str, clusters: &[String]) -> Result<(Place, &'n str), String> {
    let flows = directions(clusters).filter_map(|(source, target)| {
        let rest = name.strip_prefix(source.as_str())?.strip_prefix("->")?.strip_prefix(target.as_str())?;
        Some((Place::Flow(source.clone(), target.clone()), rest.strip_prefix('.')?))
    });
    if let Some(found) = flows.min_by_key(|(_, rest)| rest.len()) {
        return Ok(found);
    }
    if name.contains("->") {
        return Err(match likely_flow(name, clusters) {
            Some(flow) => format!("{name}: no such flow; did you mean {flow}?"),
            None => format!("{name}: no such flow; {}", listing(clusters)),
        });
    }
    let of_cluster = clusters.iter().filter_map(|alias| {
        let rest = name.strip_prefix(alias.as_str())?.strip_prefix('.')?;
        Some((Place::Cluster(alias.clone()), rest))
    });
    Ok(of_cluster.min_by_key(|(_, rest)| rest.len()).unwrap_or((Place::Top, name)))
}

/// The flow that the beginning of `name` resembles; aliases may have dots, so every dot may be its end.
fn likely_flow(name: &str, clusters: &[String]) -> Option<String> {
    let flows: Vec<String> = directions(clusters).map(|(source, target)| format!("{source}->{target}")).collect();
    let heads = name.match_indices('.').map(|(end, _)| &name[..end]);
    let mut likely = heads.filter_map(|head| nearest(head, flows.iter().map(String::as_str)));
    likely.next().map(str::to_owned)
}
