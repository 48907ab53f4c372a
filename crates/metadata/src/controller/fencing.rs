//! Brokers that are gone, brokers that are back, and brokers that want to stop.
//!
//! Picture: a fenced broker leaves every ISR and every leadership in one walk over the partitions. When that is more than one batch
//! holds, the partitions go first, batch by batch, and the fencing itself comes last: each batch alone is a sound state, the broker
//! counts as gone for elections and ISRs all the while (its session is lost), and a controller that takes over in the middle begins
//! a session of its own and goes on.
//!
//! Controlled shutdown has two stages: the broker is *shutting down*, serves on, and hands over what somebody else can lead; when
//! nothing of that kind is left it is fenced and told that it may stop. Between the two it answers late requests with who leads now.

use std::time::Instant;

use twinstream_model::NodeId;

use super::{
    Controller, Decision, RETRY_PAUSE,
    brokers::HeartbeatAnswer,
    brokers_up::BrokersUp,
    change::{Change, Election},
    draft::{Draft, Walk},
};
use crate::{
    image::{BrokerImage, PartitionImage},
    record::Record,
};

impl Controller {
    /// The connection to this broker broke: should a new incarnation register before the old one is heard of again, let it in.
    pub fn connection_lost(&mut self, node_id: NodeId) {
        self.sessions.connection_lost(node_id);
    }

    /// The process of this broker is gone for sure: fence it now, and let a new incarnation in.
    pub fn broker_gone(&mut self, node_id: NodeId) -> Decision<()> {
        self.sessions.process_gone(node_id);
        let mut draft = self.draft();
        self.fence(&mut draft, &[node_id]);
        draft.decide(())
    }

    /// Fences the brokers whose session has ended; the answer names them. Then does whatever else is left to do: see `sweep`. To be
    /// called at [`Controller::session_deadline`].
    pub fn expire_sessions(&mut self, now: Instant) -> Decision<Vec<NodeId>> {
        let expired = self.sessions.expire(&self.image, self.settings.session_timeout, now);
        let mut draft = self.draft();
        let fenced = self.fence(&mut draft, &expired);
        if self.sweep_due && !draft.is_full() {
            self.sweep(&mut draft);
        }
        self.retry_at = now + RETRY_PAUSE;
        draft.decide(fenced)
    }

    /// When the next session ends if nobody is heard of, or something is left to do.
    pub fn session_deadline(&self) -> Option<Instant> {
        if self.sweep_due || self.sessions.has_lost() {
            return Some(self.retry_at);
        }
        Some(self.sessions.oldest()? + self.settings.session_timeout)
    }

    /// The brokers as a draft has them, without some and without those whose session is lost.
    pub(super) fn brokers_without(&self, draft: &Draft, going: &[NodeId]) -> BrokersUp {
        let mut all = self.sessions.lost();
        all.extend(going);
        BrokersUp::new(&draft.image, all)
    }

    /// Answers who of these is fenced now and was not before; nobody while partitions are left for the next batch.
    fn fence(&self, draft: &mut Draft, going: &[NodeId]) -> Vec<NodeId> {
        let serving: Vec<_> = going.iter().filter_map(|node| self.image.broker(*node)).cloned().collect();
        let serving: Vec<_> = serving.into_iter().filter(|broker| !broker.fenced).collect();
        if serving.is_empty() {
            return Vec::new();
        }
        let nodes: Vec<NodeId> = serving.iter().map(|broker| broker.node_id).collect();
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(draft, &nodes);
        if draft.retire(&policy, &brokers, &nodes) == Walk::Full {
            return Vec::new();
        }
        for broker in &serving {
            draft.push(fencing(broker, true, broker.shutting_down));
        }
        nodes
    }

    /// A broker serves again, and leads what waits for it.
    pub(super) fn unfence(&mut self, draft: &mut Draft, broker: &BrokerImage) {
        draft.push(fencing(broker, false, false));
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(draft, &[]);
        let waits =
            |partition: &PartitionImage| partition.leader.is_none() && partition.replicas.contains(&broker.node_id);
        let walk = draft.walk(&policy, |partition, rules| {
            waits(partition).then_some(())?;
            Change::of(partition).settle(rules(), Election::IfNeeded, &brokers)
        });
        self.sweep_due |= walk == Walk::Full;
    }

    /// One step of a controlled shutdown.
    pub(super) fn shut_down(&mut self, broker: &BrokerImage) -> Decision<HeartbeatAnswer> {
        let node = broker.node_id;
        // Its process will not come back; the next one need not wait until the session ends.
        self.sessions.connection_lost(node);
        let mut draft = self.draft();
        if broker.fenced {
            return draft.decide(HeartbeatAnswer { fenced: true, may_shut_down: true });
        }
        if !broker.shutting_down {
            draft.push(fencing(broker, false, true));
        }
        let handed_over = self.hand_over(&mut draft, node);
        if handed_over == Walk::Full || draft.effects.leaders_changed > 0 {
            return draft.decide(HeartbeatAnswer { fenced: false, may_shut_down: false });
        }
        let stopped = !self.fence(&mut draft, &[node]).is_empty();
        draft.decide(HeartbeatAnswer { fenced: stopped, may_shut_down: stopped })
    }

    /// Takes a node out of the ISRs and leaderships that somebody else can hold. Data is never given up for a shutdown.
    fn hand_over(&self, draft: &mut Draft, node: NodeId) -> Walk {
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(draft, &[node]);
        draft.walk(&policy, |partition, rules| {
            partition.isr.contains(&node).then_some(())?;
            let mut change = Change::of(partition);
            change.leave_isr(&[node]);
            let settled = change.settle(rules().clean_only(), Election::IfNeeded, &brokers)?;
            (settled.image.leader.is_some() || partition.leader.is_none()).then_some(settled)
        })
    }

    /// Draws the consequences that no event brings: a config that was changed, an image of an older release whose fenced brokers are
    /// in ISRs still, elections that did not fit into the batch of their cause. Idempotent; done when nothing is left to change.
    fn sweep(&mut self, draft: &mut Draft) {
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(draft, &[]);
        let records = draft.records.len();
        let walk = draft.walk(&policy, |partition, rules| {
            let fenced: Vec<NodeId> = partition.isr.iter().copied().filter(|node| !brokers.is_serving(*node)).collect();
            let waits = partition.leader.is_none() || !partition.elr.is_empty() || partition.is_reassigning();
            (waits || !fenced.is_empty()).then_some(())?;
            let mut change = Change::of(partition);
            change.leave_isr(&fenced);
            change.settle(rules(), Election::IfNeeded, &brokers)
        });
        self.sweep_due = walk == Walk::Full || draft.records.len() > records;
    }
}

fn fencing(broker: &BrokerImage, fenced: bool, shutting_down: bool) -> Record {
    Record::FenceBroker { node_id: broker.node_id, epoch: broker.epoch, fenced, shutting_down }
}
