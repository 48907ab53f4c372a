//! Finding the quorum by addresses alone: `controller.quorum.bootstrap.servers` (KIP-853).
//!
//! Picture: a node whose settings name no voters knows addresses only, not who is there. It asks each for the quorum; whoever listens
//! there, with a vote or without, tells who leads and where the voters are, as far as it knows. That is enough to register with the
//! leader, which then sends the metadata log, and from then on the metadata says where everybody is. A node that was away while the
//! others moved finds them the same way.
//!
//! Who founds a cluster is not decided here, with one exception: a controller that finds *itself* at all of the addresses is alone, and
//! founds a cluster of its own, so that the settings file that comes with Kafka starts a broker. Nodes that know only each other
//! wait and say so, because nobody has told them that there are no more of them.
//!
//! Invariants: what is told is a hint, as everything in `discovery`; an address is asked with a limit; a node knows itself by the run
//! of its process, since a copied directory has the same ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use twinstream_model::NodeId;
use twinstream_quorum::MemberError;
use uuid::Uuid;

use super::discovery::{HELLO_LIMIT, HelloError};
use super::forming::{FIRST_REMINDER, PAUSE_MAX, PAUSE_MIN, REMINDER, without_metadata};
use super::messages::{self, InternalApi, NODES_MAX, NodeAddress, QuorumPlace};
use super::peers::PeerConnection;
use super::{ControllerError, Shared, address};

/// An address and what came back from it.
pub(super) type Answer = (String, Result<QuorumPlace, HelloError>);

/// What a new node that knows only addresses does next.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// There is a quorum, and registering with its leader does the rest.
    Found,
    /// There is nobody else.
    FoundAlone,
    /// No quorum yet, for these reasons.
    Wait(Vec<String>),
    Refuse(String),
}

/// What a node knows of itself.
struct Own {
    node: NodeId,
    incarnation: Uuid,
    is_controller: bool,
    holds_partitions: bool,
    /// Where the metadata is looked for, for messages.
    metadata_dir: String,
}

/// Waits for a quorum at the bootstrap servers, or founds one of this node alone. The log says what it waits for.
pub(super) async fn run(shared: &Arc<Shared>) -> Result<(), ControllerError> {
    let own = Own {
        node: shared.identity.node_id,
        incarnation: shared.incarnation,
        is_controller: shared.settings.node.is_controller,
        holds_partitions: shared.local.directories.holds_partitions,
        metadata_dir: shared.settings.quorum.metadata_dir.display().to_string(),
    };
    let mut remind = Instant::now() + FIRST_REMINDER;
    let mut pause = PAUSE_MIN;
    loop {
        let answers = shared.ask_bootstrap_servers().await;
        if shared.quorum.status().formed {
            return Ok(());
        }
        match judge(&own, &answers) {
            Verdict::Found => return Ok(()),
            Verdict::FoundAlone => return found_alone(shared).await,
            Verdict::Refuse(reason) => return Err(ControllerError::Forming(reason)),
            Verdict::Wait(reasons) if Instant::now() >= remind => {
                tracing::warn!(
                    waiting_for = reasons.join("; "),
                    "no metadata quorum at controller.quorum.bootstrap.servers yet, waiting; a new cluster is founded by nodes that \
                     controller.quorum.voters names"
                );
                remind = Instant::now() + REMINDER;
            }
            Verdict::Wait(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn found_alone(shared: &Shared) -> Result<(), ControllerError> {
    tracing::info!("this node is the only one of controller.quorum.bootstrap.servers and founds a cluster");
    let alone = BTreeMap::from([(shared.identity.node_id, shared.quorum.directory_id())]);
    match shared.quorum.form(alone).await {
        Ok(_) | Err(MemberError::Formed) => Ok(()),
        Err(error) => Err(ControllerError::Forming(error.to_string())),
    }
}

fn judge(own: &Own, answers: &[Answer]) -> Verdict {
    let mut waiting = Vec::new();
    let mut is_alone = true;
    for (address, answer) in answers {
        match answer {
            Ok(place) if place.incarnation == own.incarnation => {
                waiting.push(format!("{address} is this node"));
                continue;
            }
            Ok(place) if place.formed => return Verdict::Found,
            Ok(place) if place.node == own.node => {
                waiting.push(format!("{address} is another node {}, check node.id", place.node));
            }
            Ok(place) => waiting.push(format!("{address} is node {}, which belongs to no quorum either", place.node)),
            Err(error) => waiting.push(format!("{address}: {error}")),
        }
        is_alone = false;
    }
    match is_alone && own.is_controller {
        true if own.holds_partitions => Verdict::Refuse(without_metadata(&own.metadata_dir)),
        true => Verdict::FoundAlone,
        false => Verdict::Wait(waiting),
    }
}

impl Shared {
    /// Asks all bootstrap servers at once where the quorum is, and keeps what they tell of addresses.
    pub(super) async fn ask_bootstrap_servers(&self) -> Vec<Answer> {
        let servers = self.settings.quorum.bootstrap_servers.iter();
        let answers = join_all(servers.map(async |server| (server.clone(), self.ask_at(server).await))).await;
        let places = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let told = places.filter(|place| place.incarnation != self.incarnation).flat_map(|place| place.nodes.clone());
        self.addresses.learn(told);
        // Answers to the leader's messages are sent before the metadata is here that says where the leader is.
        let image = self.image.load();
        for node in self.addresses.told() {
            if let Some(NodeAddress { host, port, .. }) = self.addresses.of(node, &image) {
                self.transport.set_address(node, address(&host, port));
            }
        }
        answers
    }

    async fn ask_at(&self, server: &str) -> Result<QuorumPlace, HelloError> {
        let body = self.identity.envelope(NodeId::NONE).write();
        let mut connection = PeerConnection::open(server).await.map_err(HelloError::Silent)?;
        let answer = connection.ask(InternalApi::FindQuorum, &body.bytes, HELLO_LIMIT).await;
        let answer = answer.map_err(HelloError::Silent)?;
        let nonsense = |error: twinstream_metadata::DecodeError| HelloError::Nonsense(error.to_string());
        match messages::read_answer(&answer).map_err(nonsense)? {
            Ok(payload) => QuorumPlace::read(payload).map_err(nonsense),
            Err(refusal) => Err(HelloError::Refused(refusal)),
        }
    }

    /// Answers a node that asks for the quorum.
    pub(super) fn quorum_place(&self) -> QuorumPlace {
        let status = self.quorum.status();
        let image = self.image.load();
        let mut nodes: Vec<NodeId> = status.voters.iter().map(|(voter, _)| *voter).chain(status.leader).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.truncate(NODES_MAX);
        QuorumPlace {
            node: self.identity.node_id,
            incarnation: self.incarnation,
            formed: status.formed,
            leader: status.leader,
            term: status.term,
            nodes: nodes.into_iter().filter_map(|node| self.place_of(node, &image)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
