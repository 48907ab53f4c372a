//! What the leader knows of the members, for operators.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use raft::StateRole;
use twinstream_model::NodeId;
use uuid::Uuid;

use super::Driver;
use crate::{Description, ProposeError, ReplicaProgress, node_id, raft_id};

/// When members were last heard of while this node leads. Wall clock: it is shown to people and decides nothing.
#[derive(Debug, Default)]
pub(super) struct Contacts(BTreeMap<NodeId, Contact>);

#[derive(Clone, Copy, Debug, Default)]
struct Contact {
    heard_ms: Option<i64>,
    caught_up_ms: Option<i64>,
}

impl Contacts {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Driver {
    /// A member answered.
    pub(super) fn note_contact(&mut self, from: u64) {
        let Some(node) = node_id(from).filter(|_| self.node.raft.state == StateRole::Leader) else { return };
        let Some(progress) = self.node.raft.prs().get(from) else { return };
        let now = now_ms();
        let contact = self.contacts.0.entry(node).or_default();
        contact.heard_ms = Some(now);
        if progress.matched >= self.node.raft.raft_log.last_index() {
            contact.caught_up_ms = Some(now);
        }
    }

    pub(super) fn describe(&self) -> Result<Description, ProposeError> {
        if self.node.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader);
        }
        let members = self.members.in_force();
        let voters = members.voters.iter().map(|(node, directory)| self.describe_member(*node, *directory, true));
        let learners = members.learners.iter().map(|(node, directory)| self.describe_member(*node, *directory, false));
        Ok(Description {
            leader: self.me,
            leader_epoch: self.node.raft.term,
            high_watermark: self.node.raft.raft_log.committed + 1,
            replicas: voters.chain(learners).collect(),
        })
    }

    fn describe_member(&self, node: NodeId, directory_id: Uuid, voter: bool) -> ReplicaProgress {
        let matched = self.node.raft.prs().get(raft_id(node)).map_or(0, |progress| progress.matched);
        let contact = if node == self.me {
            let now = Some(now_ms());
            Contact { heard_ms: now, caught_up_ms: now }
        } else {
            self.contacts.0.get(&node).copied().unwrap_or_default()
        };
        ReplicaProgress {
            node,
            directory_id,
            voter,
            log_end: matched + 1,
            last_fetch_ms: contact.heard_ms,
            last_caught_up_ms: contact.caught_up_ms,
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
