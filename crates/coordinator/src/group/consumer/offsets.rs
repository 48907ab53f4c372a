//! Who may commit and fetch offsets of a consumer group.
//!
//! A member commits with its epoch. It may be late by a heartbeat: then its older epoch is good for the partitions that
//! it had at that epoch already and still has (KIP-1251), so that a commit that crosses an epoch on the wire is not
//! lost.

use std::cmp::Ordering;

use twinstream_model::ErrorCode;

use super::super::offsets::Committer;
use super::super::request::MemberId;
use super::record::Epoch;
use super::state::{Consumer, ConsumerGroup};

impl ConsumerGroup {
    pub(crate) fn check_commit(&self, committer: &Committer<'_>) -> Result<(), ErrorCode> {
        let epoch = Epoch(committer.generation.0);
        let names_nobody = committer.member.is_unknown() && committer.instance.is_none() && epoch < Epoch(0);
        // Tools commit for groups without members; older transactional clients name no member.
        if (epoch < Epoch(0) && self.is_empty()) || (committer.is_transactional && names_nobody) {
            return Ok(());
        }
        let member = self.members.get(committer.member).ok_or(ErrorCode::UnknownMemberId)?;
        if !committer.knows_member_epochs && !member.speaks_classic() {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let is_good = match epoch.cmp(&member.current.epoch) {
            Ordering::Equal => true,
            Ordering::Greater => false,
            Ordering::Less => committer.offsets.iter().all(|offset| {
                member.owns_since(offset.topic_now, offset.partition).is_some_and(|since| epoch >= since)
            }),
        };
        match is_good {
            true => Ok(()),
            // TxnOffsetCommit has no word for a stale epoch.
            false if committer.is_transactional => Err(ErrorCode::IllegalGeneration),
            false => Err(stale(member)),
        }
    }

    /// `None` and -1: tools, and clients that do not say who they are.
    pub(crate) fn check_fetch(&self, member: Option<&MemberId>, epoch: Epoch) -> Result<(), ErrorCode> {
        let Some(id) = member else {
            return if epoch < Epoch(0) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        };
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.current.epoch == epoch { Ok(()) } else { Err(stale(member)) }
    }
}

fn stale(member: &Consumer) -> ErrorCode {
    if member.speaks_classic() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}
