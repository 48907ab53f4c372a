//! Who is out there: asks other nodes which cluster they are of, who votes and who leads.
//!
//! Picture: a node that the quorum does not talk to (it is new, it was wiped, its part in the quorum was taken away) would never hear of
//! a leader. It asks the nodes that its settings name as voters, those that the metadata names as controllers, and the bootstrap
//! servers, and believes who names the leader of the highest term.
//!
//! Invariants: one round at a time per node; what is found is a hint only: the node that is asked decides whether it leads.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use twinstream_model::{ErrorCode, NodeId};

use super::Shared;
use super::ask::Refusal;
use super::messages::{self, Hello, HelloAnswer, InternalApi};
use super::peers::PeerError;

/// A node that lives answers at once.
pub(super) const HELLO_LIMIT: Duration = Duration::from_secs(1);

/// A leader that some node told of.
#[derive(Clone, Copy, Debug)]
struct Hint {
    node: NodeId,
    term: u64,
}

/// What was found out about the leader.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Held while a round is under way.
    round: tokio::sync::Mutex<()>,
    hint: Mutex<Option<Hint>>,
}

/// What became of a hello.
#[derive(Debug)]
pub(super) enum HelloError {
    /// It did not answer; it may be down.
    Silent(PeerError),
    /// It does not want to know this node.
    Refused(Refusal),
    Nonsense(String),
}

impl std::fmt::Display for HelloError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent(error) => write!(f, "{error}"),
            Self::Refused((_, message)) => f.write_str(message),
            Self::Nonsense(reason) => write!(f, "its answer cannot be read: {reason}"),
        }
    }
}

impl Shared {
    /// The leader: as the quorum knows it, unless somebody told of a newer one; before any is known, the only voter there is.
    pub(super) fn controller_node(&self) -> Option<NodeId> {
        let (leader, term) = {
            let status = self.quorum.status();
            (status.leader, status.term)
        };
        let hint = *self.discovery.hint.lock();
        match (leader, hint) {
            (_, Some(hint)) if hint.term > term => Some(hint.node),
            (Some(leader), _) => Some(leader),
            (None, Some(hint)) => Some(hint.node),
            (None, None) => self.only_voter(),
        }
    }

    fn only_voter(&self) -> Option<NodeId> {
        match self.settings.quorum.voters.as_slice() {
            [voter] => Some(voter.id),
            _ => None,
        }
    }

    /// Asks around for the leader; `wrong` is the node that turned out not to lead. The error is what most nodes say that
    /// have nothing to do with this one.
    pub(super) async fn discover(&self, wrong: Option<NodeId>) -> Result<(), Refusal> {
        let Ok(_round) = self.discovery.round.try_lock() else {
            // Somebody asks already; wait for what is found.
            drop(self.discovery.round.lock().await);
            return Ok(());
        };
        self.discovery.hint.lock().take_if(|hint| Some(hint.node) == wrong);
        let hellos = self.possible_controllers().into_iter().map(|node| self.hello(node));
        let (hellos, asked) = tokio::join!(join_all(hellos), self.ask_bootstrap_servers());
        let told = hellos.into_iter().map(|answer| answer.map(|hello| (hello.leader, hello.term)));
        let placed = asked.into_iter().flat_map(|asked| asked.answers);
        let placed = placed.map(|answer| answer.map(|place| (place.leader, place.term)));
        let answers: Vec<_> = told.chain(placed).collect();
        let count = answers.len();
        let mut strangers = Vec::new();
        let mut found: Option<Hint> = None;
        for answer in answers {
            match answer {
                Ok((Some(node), term)) => {
                    if found.is_none_or(|best| term > best.term) {
                        found = Some(Hint { node, term });
                    }
                }
                Err(HelloError::Refused(refusal)) if refusal.0 == ErrorCode::InconsistentClusterId => {
                    strangers.push(refusal);
                }
                Ok(_) | Err(_) => {}
            }
        }
        match (found, strangers.pop()) {
            (Some(hint), _) => {
                tracing::debug!(leader = %hint.node, term = hint.term, "heard of the controller");
                *self.discovery.hint.lock() = Some(hint);
                Ok(())
            }
            // One of several may be the one that is misplaced; all of them cannot be.
            (None, Some(refusal)) if 2 * (strangers.len() + 1) > count => Err(refusal),
            (None, _) => Ok(()),
        }
    }

    fn possible_controllers(&self) -> Vec<NodeId> {
        let image = self.image.load();
        let known = image.brokers().filter(|broker| broker.controller).map(|broker| broker.node_id);
        let mut nodes: Vec<NodeId> = self.settings.quorum.voters.iter().map(|voter| voter.id).chain(known).collect();
        nodes.extend(self.addresses.told());
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| *node != self.identity.node_id);
        nodes
    }

    /// Asks one node who it is.
    pub(super) async fn hello(&self, node: NodeId) -> Result<HelloAnswer, HelloError> {
        let pool = self.pool(node).ok_or_else(|| HelloError::Nonsense("no address is known".to_owned()))?;
        let mut body = self.identity.envelope(node).write();
        self.own_hello().write(&mut body);
        let answer = pool.ask(InternalApi::Hello, &body.bytes, HELLO_LIMIT).await.map_err(HelloError::Silent)?;
        let nonsense = |error: twinstream_metadata::DecodeError| HelloError::Nonsense(error.to_string());
        match messages::read_answer(&answer).map_err(nonsense)? {
            Ok(payload) => HelloAnswer::read(payload).map_err(nonsense),
            Err(refusal) => Err(HelloError::Refused(refusal)),
        }
    }

    fn own_hello(&self) -> Hello {
        Hello { directory: self.quorum.directory_id(), configured: self.configured_voters() }
    }

    /// The voters that this node's settings name, in order.
    pub(super) fn configured_voters(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.settings.quorum.voters.iter().map(|voter| voter.id).collect();
        nodes.sort_unstable();
        nodes
    }

    /// Answers a hello of another node.
    pub(super) fn introduce(&self) -> HelloAnswer {
        let status = self.quorum.status();
        HelloAnswer {
            directory: self.quorum.directory_id(),
            configured: self.configured_voters(),
            cluster: self.identity.cluster.get().or(self.settings.node.cluster_id.as_ref()).cloned(),
            holds_partitions: self.local.directories.holds_partitions,
            voters: status.formed.then(|| status.voters.iter().copied().collect()),
            leader: status.leader,
            term: status.term,
        }
    }
}

pub(super) fn new() -> Arc<Discovery> {
    Arc::default()
}
