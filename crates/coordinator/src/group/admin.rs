//! Describe, list and delete groups; and the failed form of every answer.

use twinstream_model::{ErrorCode, GroupId};

use super::consumer::ConsumerHeartbeatAnswer;
use super::request::{
    Answer, CommitAnswer, DeleteOffsetsAnswer, Description, FetchAnswer, GroupKind, GroupState, JoinAnswer,
    LeaveAnswer, ListFilter, Listing, SyncAnswer,
};
use super::state::Group;
use super::subscription::CONSUMER_PROTOCOL_TYPE;
use super::{Decision, Event, GroupShard, Record};
use crate::Token;

impl GroupShard {
    pub(super) fn describe(&self, token: Token, id: &GroupId) -> Decision {
        let description = self.groups.get(id).map(describe_group).ok_or(ErrorCode::GroupIdNotFound);
        Decision::answer(token, Answer::Describe(description))
    }

    pub(super) fn list(&self, token: Token, filter: &ListFilter) -> Decision {
        let classic = self.groups.values().map(|group| Listing {
            group: group.id.clone(),
            protocol_type: group.protocol_type.clone(),
            kind: GroupKind::Classic,
            state: group.state.name(),
            members: group.members.len(),
        });
        let consumer = self.consumers.iter().map(|(id, group)| Listing {
            group: id.clone(),
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.into()),
            kind: GroupKind::Consumer,
            state: group.state().name(),
            members: group.members.len(),
        });
        let listings = classic.chain(consumer).filter(|listing| is_wanted(listing, filter));
        Decision::answer(token, Answer::List(Ok(listings.collect())))
    }

    pub(super) fn delete(&self, token: Token, id: GroupId) -> Decision {
        let refuse = |error| Decision::answer(token, Answer::Delete(error));
        let Some(of_group) = self.group_tombstones(&id) else { return refuse(ErrorCode::GroupIdNotFound) };
        if of_group.is_empty() {
            return refuse(ErrorCode::NonEmptyGroup);
        }
        let mut decision = Decision::answer(token, Answer::Delete(ErrorCode::None));
        decision.records = self.all_tombstones(&id);
        decision.events.push(Event::Deleted { group: id.clone(), offsets: decision.records.len() });
        // Last, so that a replay that ends between the two still knows the group.
        decision.records.extend(of_group);
        decision
    }

    /// What deletes a group but not its offsets; nothing if it still has members, `None` if there is no such group.
    pub(super) fn group_tombstones(&self, id: &GroupId) -> Option<Vec<Record>> {
        if let Some(group) = self.consumers.get(id) {
            return Some(Self::delete_consumer_group(id, group).unwrap_or_default());
        }
        let is_empty = self.groups.get(id)?.is_in(GroupState::Empty);
        Some(if is_empty { vec![Record::GroupMetadata { group: id.clone(), value: None }] } else { Vec::new() })
    }
}

fn describe_group(group: &Group) -> Description {
    let protocol = group.protocol.clone().filter(|_| group.is_in(GroupState::Stable));
    let members = group.members.values().map(|m| m.describe(protocol.as_deref())).collect();
    Description { state: group.state, protocol_type: group.protocol_type.clone(), protocol, members }
}

fn is_wanted(listing: &Listing, filter: &ListFilter) -> bool {
    let matches = |wanted: &[String], actual: &str| {
        wanted.is_empty() || wanted.iter().any(|w| w.trim().eq_ignore_ascii_case(actual))
    };
    matches(&filter.states, listing.state) && matches(&filter.types, listing.kind.name())
}

impl Answer {
    /// The same kind of answer, failed as a whole.
    pub fn failed(self, error: ErrorCode) -> Answer {
        match self {
            Answer::Join(join) => Answer::Join(JoinAnswer::failed(join.member, error)),
            Answer::Sync(_) => Answer::Sync(SyncAnswer::failed(error)),
            Answer::Heartbeat(_) => Answer::Heartbeat(error),
            Answer::Leave(_) => Answer::Leave(LeaveAnswer { error, members: Vec::new() }),
            Answer::CommitOffsets(_) => Answer::CommitOffsets(CommitAnswer { error, offsets: Vec::new() }),
            Answer::CommitTransactionalOffsets(_) | Answer::Unverified(_) => {
                Answer::CommitTransactionalOffsets(CommitAnswer { error, offsets: Vec::new() })
            }
            Answer::EndTransaction(_) => Answer::EndTransaction(error),
            Answer::FetchOffsets(_) => Answer::FetchOffsets(FetchAnswer { error, topics: Vec::new() }),
            Answer::DeleteOffsets(_) => Answer::DeleteOffsets(DeleteOffsetsAnswer { error, topics: Vec::new() }),
            Answer::ConsumerHeartbeat(_) => Answer::ConsumerHeartbeat(ConsumerHeartbeatAnswer::failed(error, None)),
            Answer::ConsumerDescribe(_) => Answer::ConsumerDescribe(Err(error)),
            Answer::Describe(_) => Answer::Describe(Err(error)),
            Answer::List(_) => Answer::List(Err(error)),
            Answer::Delete(_) => Answer::Delete(error),
            Answer::ForgetTopics(_) => Answer::ForgetTopics(error),
        }
    }
}
