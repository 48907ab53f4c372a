//! One member of a group: what it offers, what it was given, which of its requests are parked.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::record::StoredMember;
use super::request::{DescribedMember, InstanceId, JoinedMember, MemberId, Protocol};
use crate::Token;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In the member's order of preference, never empty.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// A join that waits for the group; changed only through the group, which counts them.
    pub(super) awaiting_join: Option<Token>,
    pub(crate) awaiting_sync: Option<Token>,
    /// Has never been in a completed generation: may time out while its join is parked.
    pub(crate) is_new: bool,
}

impl Member {
    pub(crate) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    pub(crate) fn is_awaiting_join(&self) -> bool {
        self.awaiting_join.is_some()
    }

    /// A member with a parked request cannot heartbeat, and must not fail for it.
    pub(crate) fn is_excused_from_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(crate) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|p| &*p.name == protocol)
    }

    /// What the member tells the leader under `protocol`; empty where it does not offer it.
    pub(crate) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let offered = self.protocols.iter().find(|p| Some(&*p.name) == protocol);
        offered.map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// The first of the member's protocols that everybody supports.
    pub(crate) fn vote<'a>(&'a self, candidates: &BTreeSet<&str>) -> Option<&'a Arc<str>> {
        self.protocols.iter().map(|p| &p.name).find(|name| candidates.contains(&***name))
    }

    pub(crate) fn joined(&self, protocol: Option<&str>) -> JoinedMember {
        JoinedMember { member: self.id.clone(), instance: self.instance.clone(), metadata: self.metadata(protocol) }
    }

    /// `protocol` is `None` unless the group is stable.
    pub(crate) fn describe(&self, protocol: Option<&str>) -> DescribedMember {
        DescribedMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    pub(crate) fn stored(&self, protocol: Option<&str>, assignment: Bytes) -> StoredMember {
        StoredMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    pub(crate) fn from_stored(stored: &StoredMember, protocol: &Arc<str>) -> Member {
        Member {
            id: stored.member.clone(),
            instance: stored.instance.clone(),
            client_id: stored.client_id.clone(),
            client_host: stored.client_host.clone(),
            rebalance_timeout_ms: stored.rebalance_timeout_ms,
            session_timeout_ms: stored.session_timeout_ms,
            protocols: vec![Protocol { name: protocol.clone(), metadata: stored.subscription.clone() }],
            assignment: stored.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// Takes over a stored generation; what is volatile and still fits stays.
    pub(crate) fn adopt(&mut self, stored: &StoredMember, protocol: &Arc<str>) {
        let offers_the_same = self.supports(protocol) && self.metadata(Some(protocol)) == stored.subscription;
        if !offers_the_same {
            self.protocols = vec![Protocol { name: protocol.clone(), metadata: stored.subscription.clone() }];
        }
        self.instance = stored.instance.clone();
        self.client_id = stored.client_id.clone();
        self.client_host = stored.client_host.clone();
        self.rebalance_timeout_ms = stored.rebalance_timeout_ms;
        self.session_timeout_ms = stored.session_timeout_ms;
        self.assignment = stored.assignment.clone();
    }
}
