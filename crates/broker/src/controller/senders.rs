//! Whose requests a node looks at, and what it learns from the envelopes of those that it should not get.
//!
//! Picture: every request between nodes begins with an envelope: who sends it, to whom, of which cluster. It is checked before
//! anything else is decoded. A node that belongs to no cluster learns more from it: whoever sends it messages of a quorum as a node
//! of a cluster takes it for a *member*, so there is a cluster that this node, or the one that was here before it, belongs to.
//!
//! Invariants: nothing of another cluster gets past the envelope but a registration, which the controller judges; one member is
//! remembered, and one stranger is told of in the log, however many there are.

use std::sync::OnceLock;

use twinstream_model::{ClusterId, ErrorCode, NodeId};

use super::ControllerClient;
use super::messages::{Envelope, InternalApi};
use super::transport::Identity;

/// What the messages of other quorum members say about this node.
#[derive(Debug, Default)]
pub(super) struct Senders {
    member: OnceLock<Member>,
    stranger: OnceLock<Member>,
}

/// A node that takes this one for a member of its quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) node: NodeId,
    pub(super) cluster: ClusterId,
}

impl Senders {
    /// The first node whose cluster has this node for a member, as far as it has spoken.
    pub(super) fn member(&self) -> Option<&Member> {
        self.member.get()
    }

    /// Looks at an envelope that names this node.
    fn note(&self, own: Option<&ClusterId>, api: InternalApi, envelope: &Envelope) {
        let (InternalApi::Raft, Some(cluster)) = (api, &envelope.cluster) else { return };
        let sender = || Member { node: envelope.from, cluster: cluster.clone() };
        match own.filter(|own| *own != cluster) {
            None => {
                self.member.get_or_init(sender);
            }
            Some(own) if self.stranger.set(sender()).is_ok() => tracing::warn!(
                node = %envelope.from,
                %cluster,
                own_cluster = %own,
                "a node of another cluster takes this one for a voter or follower of its metadata quorum; was its metadata \
                 lost, or does another node have its address now?"
            ),
            Some(_) => {}
        }
    }
}

impl ControllerClient {
    /// Whether a request of another node may be looked at.
    pub(crate) fn check_sender(&self, api: InternalApi, envelope: &Envelope) -> Result<(), (ErrorCode, String)> {
        check(&self.shared.identity, &self.shared.senders, api, envelope)
    }
}

fn check(own: &Identity, senders: &Senders, api: InternalApi, envelope: &Envelope) -> Result<(), (ErrorCode, String)> {
    // Who knows only this address does not know who is here, and may be here itself.
    let is_for_whoever_is_here = api == InternalApi::FindQuorum && envelope.to == NodeId::NONE;
    if envelope.to != own.node_id && !is_for_whoever_is_here {
        let message = format!("this is node {}, the request is for node {}", own.node_id, envelope.to);
        return Err((ErrorCode::InvalidRequest, message));
    }
    if envelope.from == own.node_id && !is_for_whoever_is_here {
        let message = format!("another process says it is node {}, as this one is; check node.id", own.node_id);
        return Err((ErrorCode::DuplicateBrokerRegistration, message));
    }
    senders.note(own.cluster.get(), api, envelope);
    match (own.cluster.get(), &envelope.cluster) {
        (Some(expected), Some(found)) if expected == found => Ok(()),
        // A registration is judged by the controller, which can say more about what is wrong.
        _ if api == InternalApi::Register => Ok(()),
        (Some(expected), Some(found)) => {
            let message = format!("this is a node of cluster {expected}, the request is of cluster {found}");
            Err((ErrorCode::InconsistentClusterId, message))
        }
        // Voters of a new quorum elect a leader before there is a cluster id. Their messages say which metadata directory
        // they are for, so a stranger's are not obeyed.
        (None, _) | (_, None) if matches!(api, InternalApi::Raft | InternalApi::Hello | InternalApi::FindQuorum) => {
            Ok(())
        }
        (None, _) => {
            let message = "this node does not know its cluster yet; ask again".to_owned();
            Err((ErrorCode::InconsistentClusterId, message))
        }
        (Some(expected), None) => {
            let message = format!("this is a node of cluster {expected}, the request is of cluster none");
            Err((ErrorCode::InconsistentClusterId, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: Option<&str>) -> Identity {
        let cluster = cluster.map_or_else(OnceLock::new, |cluster| OnceLock::from(ClusterId::from(cluster)));
        Identity { node_id: NodeId(1), cluster }
    }

    fn of(cluster: Option<&str>, from: i32, to: i32) -> Envelope {
        Envelope { cluster: cluster.map(ClusterId::from), from: NodeId(from), to: NodeId(to) }
    }

    fn member(node: i32, cluster: &str) -> Member {
        Member { node: NodeId(node), cluster: cluster.into() }
    }

    /// Who takes the node for a member after these messages.
    fn heard(own: &Identity, messages: &[(InternalApi, Envelope)]) -> Option<Member> {
        let senders = Senders::default();
        for (api, envelope) in messages {
            check(own, &senders, *api, envelope).ok();
        }
        senders.member().cloned()
    }

    #[test]
    fn node_without_a_cluster_learns_that_one_has_it_for_a_member() {
        let raft = InternalApi::Raft;
        let both = [(raft, of(Some("c1"), 2, 1)), (raft, of(Some("c1"), 3, 1))];
        assert_eq!(heard(&identity(None), &both), Some(member(2, "c1")));
        assert_eq!(heard(&identity(Some("c1")), &both), Some(member(2, "c1")), "its log directories name the cluster");
    }

    #[test]
    fn nobody_else_takes_a_node_for_a_member() {
        let raft = InternalApi::Raft;
        let others = [
            (raft, of(None, 2, 1)),       // a voter of a quorum that is being founded
            (raft, of(Some("c1"), 2, 4)), // for whoever was here before
            (raft, of(Some("c1"), 1, 1)), // a namesake
            (InternalApi::Hello, of(Some("c1"), 2, 1)),
            (InternalApi::FindQuorum, of(Some("c1"), 2, -1)),
        ];
        assert_eq!(heard(&identity(None), &others), None);
        assert_eq!(heard(&identity(Some("c2")), &[(raft, of(Some("c1"), 2, 1))]), None, "a member of another cluster");
    }

    #[test]
    fn stranger_is_refused_and_told_of_once() {
        let (own, senders) = (identity(Some("c2")), Senders::default());
        for stranger in [2, 3] {
            let refused = check(&own, &senders, InternalApi::Raft, &of(Some("c1"), stranger, 1)).unwrap_err();
            assert_eq!(refused.0, ErrorCode::InconsistentClusterId);
        }
        assert_eq!(senders.stranger.get(), Some(&member(2, "c1")));
    }
}
