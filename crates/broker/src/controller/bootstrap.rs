//! Finding the quorum by addresses alone: `controller.quorum.bootstrap.servers` (KIP-853).
//!
//! Picture: a node whose settings name no voters knows addresses only, not who is there. It asks each for the quorum;
//! whoever listens there, with a vote or without, tells who leads and where the voters are, as far as it knows. That is
//! enough to register with the leader, which then sends the metadata log, and from then on the metadata says where
//! everybody is. A node that was away while the others moved finds them the same way.
//!
//! Who founds a cluster is not decided here, with one exception: a controller that finds *itself* at all of the
//! addresses is alone, and founds a cluster of its own, so that the settings file that comes with Kafka starts a
//! broker. Nodes that know only each other wait and say so, because nobody has told them that there are no more of
//! them. For the same reason the addresses must be this node's own by name, too: behind the name of a service there may
//! be one node now and three in a minute. And it listens first, because its cluster may have grown before its disks were
//! replaced: the others' leader still sends it the log, and clients that know its address must not find a second cluster.
//!
//! A voter that comes back asks as well: all that it needs is on its disk, but servers of another cluster there mean that
//! somebody wants it elsewhere.
//!
//! Invariants: what is told is a hint, as everything in `discovery`; all that a name leads to are asked, each with a
//! limit; a node knows itself by the run of its process, since a copied directory has the same ids.
//!
//! What it does not do: a node that listens hears no member that cannot reach it, nor one that was told of another
//! address. Servers that are silent when a voter comes back may be of another cluster.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use twinstream_model::{ErrorCode, NodeId};
use twinstream_quorum::MemberError;
use uuid::Uuid;

use super::discovery::{HELLO_LIMIT, HelloError};
use super::forming::{FIRST_REMINDER, PAUSE_MAX, PAUSE_MIN, REMINDER, without_metadata};
use super::messages::{self, InternalApi, NODES_MAX, NodeAddress, QuorumPlace};
use super::peers::{CONNECT_LIMIT, PeerConnection, PeerError};
use super::senders::Member;
use super::transport::RETRY_PAUSE_MAX;
use super::{ControllerError, Shared, address};

/// A name leads to a few addresses: one per family, or one per node behind it.
const ADDRESSES_MAX: usize = 16;
/// How long a node that is alone listens before it founds a cluster: a leader that has lost it is in one attempt to
/// connect or one pause when it comes back, and speaks in the next moment.
const LISTEN: Duration = CONNECT_LIMIT.saturating_add(RETRY_PAUSE_MAX).saturating_add(RETRY_PAUSE_MAX);

/// What came back from an address.
pub(super) type Answer = Result<QuorumPlace, HelloError>;

/// One of the bootstrap servers, with an answer from each address that its name leads to.
pub(super) struct Asked {
    server: String,
    pub(super) answers: Vec<Answer>,
}

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
    /// The hosts of its own listeners.
    hosts: Vec<String>,
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
        hosts: shared.own_hosts(),
        is_controller: shared.settings.node.is_controller,
        holds_partitions: shared.local.directories.holds_partitions,
        metadata_dir: shared.settings.quorum.metadata_dir.display().to_string(),
    };
    let mut remind = Instant::now() + FIRST_REMINDER;
    let mut pause = PAUSE_MIN;
    loop {
        let asked = shared.ask_bootstrap_servers().await;
        if shared.quorum.status().formed {
            return Ok(());
        }
        match judge(&own, &asked) {
            Verdict::Found => return Ok(()),
            Verdict::FoundAlone => return found_alone(shared, &own).await,
            Verdict::Refuse(reason) => return Err(ControllerError::Forming(reason)),
            Verdict::Wait(reasons) if Instant::now() >= remind => {
                tracing::warn!(
                    waiting_for = reasons.join("; "),
                    "no metadata quorum at controller.quorum.bootstrap.servers yet, waiting; a new cluster is founded by \
                     nodes that controller.quorum.voters names"
                );
                remind = Instant::now() + REMINDER;
            }
            Verdict::Wait(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn found_alone(shared: &Shared, own: &Own) -> Result<(), ControllerError> {
    tokio::time::sleep(LISTEN).await;
    if shared.quorum.status().formed {
        return Ok(());
    }
    if let Some(member) = shared.senders.member() {
        return Err(ControllerError::Forming(still_a_member(own, member)));
    }
    tracing::info!("this node is the only one of controller.quorum.bootstrap.servers and founds a cluster");
    let alone = BTreeMap::from([(shared.identity.node_id, shared.quorum.directory_id())]);
    match shared.quorum.form(alone).await {
        Ok(_) | Err(MemberError::Formed) => Ok(()),
        Err(error) => Err(ControllerError::Forming(error.to_string())),
    }
}

/// Why a node whose settings name itself only founds nothing.
fn still_a_member(own: &Own, member: &Member) -> String {
    let Member { node, cluster } = member;
    format!(
        "node {node} of cluster {cluster} takes this node for a member of its quorum, so {} has lost the metadata of that \
         cluster, and controller.quorum.bootstrap.servers names this node only; name other nodes of the cluster there to \
         join it again, or give this node another node.id or address to begin a new one",
        own.metadata_dir
    )
}

/// Whether there is a quorum at the bootstrap servers, for a node that its settings let found one alone.
pub(super) async fn finds_quorum(shared: &Shared) -> bool {
    has_quorum(shared.incarnation, &shared.ask_bootstrap_servers().await)
}

/// Looks once whether the bootstrap servers of a voter are of its own cluster.
pub(super) async fn check_servers(shared: &Shared) -> Result<(), ControllerError> {
    let mut applied = shared.applied.clone();
    if applied.wait_for(|_| shared.identity.cluster.get().is_some()).await.is_err() {
        return Ok(());
    }
    let asked = shared.ask_bootstrap_servers().await;
    judge_servers(shared.incarnation, &asked).map_err(|strangers| {
        let metadata_dir = shared.settings.quorum.metadata_dir.display();
        ControllerError::Forming(format!(
            "node {} votes in a metadata quorum whose log is in {metadata_dir}, and controller.quorum.bootstrap.servers \
             names servers of another cluster ({}); correct it, take the node's vote away while it runs \
             (kafka-metadata-quorum remove-controller), or start it with an empty directory",
            shared.identity.node_id,
            strangers.join("; ")
        ))
    })
}

impl Own {
    /// Whether the server is this node and nobody else, now and later. A name of this node may lead to addresses on
    /// which it does not listen, as `localhost` does.
    fn is(&self, asked: &Asked) -> bool {
        let host = asked.server.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
        let is_loopback = host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
        let has_own_name = is_loopback || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let is_own = |answer: &Answer| answer.as_ref().is_ok_and(|place| place.incarnation == self.incarnation);
        let is_nobody = |answer: &Answer| matches!(answer, Err(HelloError::Silent(error)) if error.is_refused());
        has_own_name
            && asked.answers.iter().any(is_own)
            && asked.answers.iter().all(|answer| is_own(answer) || is_nobody(answer))
    }

    /// Why an answer helps nobody, for the log.
    fn objection(&self, server: &str, answer: &Answer) -> String {
        match answer {
            Ok(place) if place.incarnation == self.incarnation => format!("{server} is this node"),
            Ok(place) if place.node == self.node => format!("{server} is another node {}, check node.id", place.node),
            Ok(place) => format!("{server} is node {}, which belongs to no quorum either", place.node),
            Err(error) => format!("{server}: {error}"),
        }
    }
}

impl Asked {
    /// What a server of another cluster said, if nobody of this one is behind the name.
    fn stranger(&self) -> Option<String> {
        let refusal = |answer: &Answer| match answer {
            Err(HelloError::Refused((ErrorCode::InconsistentClusterId, message))) => Some(message.clone()),
            _ => None,
        };
        let is_known = self.answers.iter().any(Result::is_ok);
        let message = self.answers.iter().find_map(refusal).filter(|_| !is_known)?;
        Some(format!("{}: {message}", self.server))
    }
}

fn has_quorum(own: Uuid, asked: &[Asked]) -> bool {
    let mut places = asked.iter().flat_map(|asked| &asked.answers).flatten();
    places.any(|place| place.formed && place.incarnation != own)
}

/// One of several servers may be misplaced, and some may be down; the error is what they say when most of them, without this node
/// itself, are of another cluster.
fn judge_servers(own: Uuid, asked: &[Asked]) -> Result<(), Vec<String>> {
    let is_own = |asked: &&Asked| asked.answers.iter().flatten().any(|place| place.incarnation == own);
    let others = asked.iter().filter(|asked| !is_own(asked)).count();
    let strangers: Vec<String> = asked.iter().filter_map(Asked::stranger).collect();
    if 2 * strangers.len() > others {
        return Err(strangers);
    }
    if !strangers.is_empty() {
        tracing::warn!(servers = strangers.join("; "), "servers of another cluster among the bootstrap servers");
    }
    Ok(())
}

fn judge(own: &Own, asked: &[Asked]) -> Verdict {
    if has_quorum(own.incarnation, asked) {
        return Verdict::Found;
    }
    if !own.is_controller || !asked.iter().all(|asked| own.is(asked)) {
        let objections = |asked: &Asked| -> Vec<String> {
            asked.answers.iter().map(|answer| own.objection(&asked.server, answer)).collect()
        };
        return Verdict::Wait(asked.iter().flat_map(objections).collect());
    }
    if own.holds_partitions {
        return Verdict::Refuse(without_metadata(&own.metadata_dir));
    }
    Verdict::FoundAlone
}

impl Shared {
    /// Asks all bootstrap servers at once where the quorum is, and keeps what they tell of addresses.
    pub(super) async fn ask_bootstrap_servers(&self) -> Vec<Asked> {
        let servers = self.settings.quorum.bootstrap_servers.iter();
        let asked = join_all(servers.map(|server| self.ask_server(server))).await;
        let places = asked.iter().flat_map(|asked| &asked.answers).flatten();
        let told = places.filter(|place| place.incarnation != self.incarnation).flat_map(|place| place.nodes.clone());
        self.addresses.learn(told);
        // Answers to the leader's messages are sent before the metadata is here that says where the leader is.
        let image = self.image.load();
        for node in self.addresses.told() {
            if let Some(NodeAddress { host, port, .. }) = self.addresses.of(node, &image) {
                self.transport.set_address(node, address(&host, port));
            }
        }
        asked
    }

    /// Asks whoever is behind a name. One of them is not enough: the system puts the nearest first, and that is this
    /// node.
    async fn ask_server(&self, server: &str) -> Asked {
        let looking_up = tokio::time::timeout(HELLO_LIMIT, tokio::net::lookup_host(server)).await;
        let answers = match looking_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) => join_all(addresses.take(ADDRESSES_MAX).map(|at| self.ask_at(at))).await,
            Err(source) => {
                vec![Err(HelloError::Silent(PeerError::Connect { address: server.to_owned(), source }))]
            }
        };
        Asked { server: server.to_owned(), answers }
    }

    async fn ask_at(&self, at: SocketAddr) -> Answer {
        let body = self.identity.envelope(NodeId::NONE).write();
        let mut connection = PeerConnection::open(&at.to_string()).await.map_err(HelloError::Silent)?;
        let answer = connection.ask(InternalApi::FindQuorum, &body.bytes, HELLO_LIMIT).await;
        let answer = answer.map_err(HelloError::Silent)?;
        let nonsense = |error: twinstream_metadata::DecodeError| HelloError::Nonsense(error.to_string());
        match messages::read_answer(&answer).map_err(nonsense)? {
            Ok(payload) => QuorumPlace::read(payload).map_err(nonsense),
            Err(refusal) => Err(HelloError::Refused(refusal)),
        }
    }

    fn own_hosts(&self) -> Vec<String> {
        let bound = self.settings.network.listeners.iter().map(|listener| listener.host.clone());
        bound.chain(self.advertised.iter().map(|listener| listener.host.clone())).collect()
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
