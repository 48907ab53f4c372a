//! Who was heard of and when.
//!
//! Sessions live in memory only. A new controller gives every serving broker one full session time to report, but for the previous
//! leader: its session began when this node last heard of it, since a controller that hangs takes the partitions it leads along.
//! Until a broker reports, a new incarnation may take its place at once: after a crash of the whole cluster nobody should wait for
//! sessions of the dead.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use twinstream_model::NodeId;
use uuid::Uuid;

use crate::image::Image;

#[derive(Clone, Copy, Debug)]
struct Session {
    incarnation: Uuid,
    last_heard: Instant,
    state: State,
}

/// *alive* -> *silent* when its connection breaks -> *lost* when its process is known to be gone or its time is up. Being heard of
/// leads back to *alive* from both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    /// Its process is not known to live, so another one may take the node id at once.
    Silent,
    /// It is to be fenced, and stays lost until the image has it fenced.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_node: BTreeMap<NodeId, Session>,
}

impl Sessions {
    pub(super) fn take_over(image: &Image, now: Instant) -> Self {
        let session = |incarnation| Session { incarnation, last_heard: now, state: State::Silent };
        let serving = image.live_brokers();
        Self { by_node: serving.map(|broker| (broker.node_id, session(broker.incarnation))).collect() }
    }

    /// Moves the beginning of a session that nobody has confirmed yet.
    pub(super) fn heard_last(&mut self, node_id: NodeId, last_heard: Instant) {
        if let Some(session) = self.by_node.get_mut(&node_id).filter(|session| session.state == State::Silent) {
            session.last_heard = session.last_heard.min(last_heard);
        }
    }

    pub(super) fn touch(&mut self, node_id: NodeId, incarnation: Uuid, now: Instant) {
        self.by_node.insert(node_id, Session { incarnation, last_heard: now, state: State::Alive });
    }

    /// How long ago another process was heard of that holds this node id still.
    pub(super) fn holder_age(&self, node_id: NodeId, incarnation: Uuid, now: Instant) -> Option<Duration> {
        let session = self.by_node.get(&node_id)?;
        let holds = session.incarnation != incarnation && session.state == State::Alive;
        holds.then(|| now.saturating_duration_since(session.last_heard))
    }

    pub(super) fn connection_lost(&mut self, node_id: NodeId) {
        if let Some(session) = self.by_node.get_mut(&node_id).filter(|session| session.state == State::Alive) {
            session.state = State::Silent;
        }
    }

    pub(super) fn process_gone(&mut self, node_id: NodeId) {
        if let Some(session) = self.by_node.get_mut(&node_id) {
            session.state = State::Lost;
        }
    }

    /// Marks those that have ended, forgets those whose broker is fenced, and answers who is to be fenced.
    pub(super) fn expire(&mut self, image: &Image, timeout: Duration, now: Instant) -> Vec<NodeId> {
        for session in self.by_node.values_mut() {
            if now.saturating_duration_since(session.last_heard) >= timeout {
                session.state = State::Lost;
            }
        }
        let serves = |node: &NodeId| image.broker(*node).is_some_and(|broker| !broker.fenced);
        self.by_node.retain(|node, session| session.state != State::Lost || serves(node));
        self.lost()
    }

    /// Who is to be fenced.
    pub(super) fn lost(&self) -> Vec<NodeId> {
        self.by_node.iter().filter(|(_, session)| session.state == State::Lost).map(|(node, _)| *node).collect()
    }

    pub(super) fn has_lost(&self) -> bool {
        self.by_node.values().any(|session| session.state == State::Lost)
    }

    /// When the next session was last confirmed that will end if nobody is heard of.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.by_node.values().map(|session| session.last_heard).min()
    }
}
