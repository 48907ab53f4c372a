//! Describe, list and delete groups; and the failed form of every answer.

use twinstream_model::{ErrorCode, GroupId};

use super::request::{
    Answer, CommitAnswer, DeleteOffsetsAnswer, Description, FetchAnswer, GroupState, JoinAnswer, LeaveAnswer,
    ListFilter, Listing, SyncAnswer,
};
use super::state::Group;
use super::{Decision, Event, GroupShard, Record, offsets};
use crate::Token;

/// The only kind of group here; `ListGroups` can filter by it.
pub(super) const GROUP_TYPE: &str = "classic";

impl GroupShard {
    pub(super) fn describe(&self, token: Token, id: &GroupId) -> Decision {
        let description = self.groups.get(id).map(describe_group).ok_or(ErrorCode::GroupIdNotFound);
        Decision::answer(token, Answer::Describe(description))
    }

    pub(super) fn list(&self, token: Token, filter: &ListFilter) -> Decision {
        let listings = self.groups.values().filter(|group| is_wanted(group, filter)).map(|group| Listing {
            group: group.id.clone(),
            protocol_type: group.protocol_type.clone(),
            state: group.state,
        });
        Decision::answer(token, Answer::List(listings.collect()))
    }

    pub(super) fn delete(&self, token: Token, id: GroupId) -> Decision {
        let refuse = |error| Decision::answer(token, Answer::Delete(error));
        let Some(group) = self.groups.get(&id) else { return refuse(ErrorCode::GroupIdNotFound) };
        if !group.is_in(GroupState::Empty) {
            return refuse(ErrorCode::NonEmptyGroup);
        }
        let mut decision = Decision::answer(token, Answer::Delete(ErrorCode::None));
        decision.records = offsets::all_tombstones(group);
        decision.events.push(Event::Deleted { group: id.clone(), offsets: decision.records.len() });
        // Last, so that a replay that ends between the two still knows the group.
        decision.records.push(Record::GroupMetadata { group: id, value: None });
        decision
    }
}

fn describe_group(group: &Group) -> Description {
    let protocol = group.protocol.clone().filter(|_| group.is_in(GroupState::Stable));
    let members = group.members.values().map(|m| m.describe(protocol.as_deref())).collect();
    Description { state: group.state, protocol_type: group.protocol_type.clone(), protocol, members }
}

fn is_wanted(group: &Group, filter: &ListFilter) -> bool {
    let matches = |wanted: &[String], actual: &str| {
        wanted.is_empty() || wanted.iter().any(|w| w.trim().eq_ignore_ascii_case(actual))
    };
    matches(&filter.states, group.state.name()) && matches(&filter.types, GROUP_TYPE)
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
            Answer::FetchOffsets(_) => Answer::FetchOffsets(FetchAnswer { error, topics: Vec::new() }),
            Answer::DeleteOffsets(_) => Answer::DeleteOffsets(DeleteOffsetsAnswer { error, topics: Vec::new() }),
            Answer::Describe(_) => Answer::Describe(Err(error)),
            Answer::List(_) => Answer::List(Vec::new()),
            Answer::Delete(_) => Answer::Delete(error),
            Answer::ForgetTopics(_) => Answer::ForgetTopics(error),
        }
    }
}
