//! How a node whose metadata directory is empty comes to a quorum.
//!
//! Picture: only nodes that all find each other empty may found a quorum, because a node that was wiped looks like a new one: were it to
//! vote, a majority could be made of nodes that have forgotten what a majority had agreed on (the reason for directory ids in KIP-853).
//! So a new voter asks all the other voters of its settings. When every one is new, each writes the same voter map down and begins to
//! vote. When one has a quorum already, this node takes that voter map if it has this very directory in it, or else comes as a newcomer,
//! whom the leader lets follow and makes a voter again later. A node whose settings name no voters but addresses is in `bootstrap`.
//!
//! Invariants: nobody votes before its voter map is on disk; a node with partitions but without metadata founds nothing, because a new
//! cluster would take its partitions for the remains of deleted topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use twinstream_model::{ClusterId, ErrorCode, NodeId};
use twinstream_quorum::MemberError;
use uuid::Uuid;

use super::discovery::HelloError;
use super::messages::HelloAnswer;
use super::{ControllerError, Shared, bootstrap};

pub(super) const PAUSE_MIN: Duration = Duration::from_millis(10);
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How often the log says who is missing.
pub(super) const REMINDER: Duration = Duration::from_secs(10);
/// Nodes of a cluster that start together need not say that they wait for each other.
pub(super) const FIRST_REMINDER: Duration = Duration::from_secs(2);

/// What a new node does next.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// These do not answer, for these reasons.
    Wait(Vec<String>),
    /// All are new, or the quorum has this directory in its voter map.
    Form {
        voters: BTreeMap<NodeId, Uuid>,
        cluster: Option<ClusterId>,
    },
    /// There is a quorum without this directory.
    Newcomer {
        cluster: Option<ClusterId>,
    },
    Refuse(String),
}

/// What a node knows of itself.
struct Own {
    node: NodeId,
    directory: Uuid,
    configured: Vec<NodeId>,
    holds_partitions: bool,
    /// Where the metadata is looked for, for messages.
    metadata_dir: String,
}

/// Makes this node part of a quorum, or leaves that to the leader of one. Returns when nothing is left to do.
pub(super) async fn run(shared: Arc<Shared>) -> Result<(), ControllerError> {
    let own = Own {
        node: shared.identity.node_id,
        directory: shared.quorum.directory_id(),
        configured: shared.configured_voters(),
        holds_partitions: shared.local.directories.holds_partitions,
        metadata_dir: shared.settings.quorum.metadata_dir.display().to_string(),
    };
    let status = shared.quorum.status();
    if status.formed && status.is_voter(own.node, own.directory) {
        let voters = status.voters.iter().map(|(node, _)| *node).collect::<Vec<_>>();
        check_vote(&own, shared.settings.node.is_controller, &voters).map_err(ControllerError::Forming)?;
        return match own.configured.is_empty() && !shared.settings.quorum.bootstrap_servers.is_empty() {
            true => bootstrap::check_servers(&shared).await,
            false => Ok(()),
        };
    }
    if !status.formed && own.configured.is_empty() {
        return bootstrap::run(&shared).await;
    }
    if status.formed || !own.configured.contains(&own.node) {
        return Ok(());
    }
    let mut remind = Instant::now() + FIRST_REMINDER;
    let mut pause = PAUSE_MIN;
    loop {
        let others = own.configured.iter().copied().filter(|node| *node != own.node);
        let answers = join_all(others.map(async |node| (node, shared.hello(node).await))).await;
        if shared.quorum.status().formed {
            return Ok(());
        }
        match judge(&own, answers) {
            Verdict::Form { voters, cluster } => {
                // A cluster that this node once founded alone may have grown before the node lost its disks.
                if voters.len() == 1 && bootstrap::finds_quorum(&shared).await {
                    tracing::warn!(
                        "there is a metadata quorum at controller.quorum.bootstrap.servers, and this node's metadata \
                         directory is empty; this node joins that instead of founding another one"
                    );
                    return Ok(());
                }
                learn(&shared, cluster);
                tracing::debug!(voters = ?voters.keys().map(|node| node.0).collect::<Vec<_>>(), "all voters are there");
                return match shared.quorum.form(voters).await {
                    // Another voter was faster, and its messages have made this node a member meanwhile.
                    Ok(_) | Err(MemberError::Formed) => Ok(()),
                    Err(error) => Err(ControllerError::Forming(error.to_string())),
                };
            }
            Verdict::Newcomer { cluster } => {
                learn(&shared, cluster);
                tracing::warn!(
                    "the metadata quorum exists and does not know this node's metadata directory, which is empty; \
                     this node follows without a vote until the controller has made it a voter"
                );
                return Ok(());
            }
            Verdict::Refuse(reason) => return Err(ControllerError::Forming(reason)),
            Verdict::Wait(reasons) if Instant::now() >= remind => {
                tracing::warn!(
                    waiting_for = reasons.join("; "),
                    "a new metadata quorum needs all voters of controller.quorum.voters once, waiting"
                );
                remind = Instant::now() + REMINDER;
            }
            Verdict::Wait(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A voter whose settings send it elsewhere would go on voting in its old quorum, and as the only voter of one be a cluster of its
/// own. Voters that were exchanged one by one have at least one of the configured ones among them. Settings that name addresses only
/// say nothing about who votes; `bootstrap` asks there.
fn check_vote(own: &Own, is_controller: bool, voters: &[NodeId]) -> Result<(), String> {
    let is_known = own.configured.is_empty() || own.configured.iter().any(|node| voters.contains(node));
    if is_controller && is_known {
        return Ok(());
    }
    Err(format!(
        "node {} votes in a metadata quorum with the voters {}, whose log is in {}, and its settings name other voters ({}) or give it \
         no controller role; correct controller.quorum.voters and process.roles, take its vote away while it runs \
         (kafka-metadata-quorum remove-controller), or start it with an empty directory",
        own.node,
        numbers(voters),
        own.metadata_dir,
        numbers(&own.configured)
    ))
}

fn learn(shared: &Shared, cluster: Option<ClusterId>) {
    if let Some(cluster) = cluster {
        shared.identity.cluster.get_or_init(|| cluster);
    }
}

fn judge(own: &Own, answers: Vec<(NodeId, Result<HelloAnswer, HelloError>)>) -> Verdict {
    let mut waiting = Vec::new();
    let mut voters = BTreeMap::from([(own.node, own.directory)]);
    let mut formed: Option<HelloAnswer> = None;
    let mut cluster = None;
    let mut holders = Vec::new();
    let mut others_differ = None;
    for (node, answer) in answers {
        match answer {
            Ok(answer) => {
                voters.insert(node, answer.directory);
                cluster = cluster.or_else(|| answer.cluster.clone());
                if answer.holds_partitions {
                    holders.push(node);
                }
                if answer.configured != own.configured {
                    others_differ = Some((node, answer.configured.clone()));
                }
                if answer.voters.is_some() && formed.as_ref().is_none_or(|best| answer.term > best.term) {
                    formed = Some(answer);
                }
            }
            Err(HelloError::Refused((
                ErrorCode::InconsistentClusterId | ErrorCode::DuplicateBrokerRegistration,
                message,
            ))) => return Verdict::Refuse(format!("node {node} of controller.quorum.voters refuses: {message}")),
            Err(error) => waiting.push(format!("node {node}: {error}")),
        }
    }
    if let Some(HelloAnswer { voters: Some(voters), cluster, .. }) = formed {
        return match voters.get(&own.node) == Some(&own.directory) {
            true => Verdict::Form { voters, cluster },
            false => Verdict::Newcomer { cluster },
        };
    }
    if own.holds_partitions {
        return Verdict::Refuse(without_metadata(&own.metadata_dir));
    }
    if let Some((node, theirs)) = others_differ {
        return Verdict::Refuse(format!(
            "node {node} lists the voters {} in controller.quorum.voters and this node lists {}; make them the same",
            numbers(&theirs),
            numbers(&own.configured)
        ));
    }
    if !holders.is_empty() {
        waiting.push(format!("nodes {} hold partitions of an earlier cluster and no metadata", numbers(&holders)));
    }
    if waiting.is_empty() { Verdict::Form { voters, cluster } } else { Verdict::Wait(waiting) }
}

/// Why a node with partitions founds no cluster.
pub(super) fn without_metadata(metadata_dir: &str) -> String {
    format!(
        "log.dirs hold partitions, but there is no metadata in {metadata_dir} that says what they are; a new cluster would delete them. \
         Restore the metadata directory, or point metadata.log.dir at it; to begin a new cluster, move the partitions away"
    )
}

fn numbers(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests;
