//! Groups: coordinators, lists, descriptions.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, FindCoordinatorResponse, ListGroupsRequest,
};
use kafka_protocol::protocol::{Request as _, StrBytes};
use twinstream_model::{ErrorCode, GroupId, NodeId, PartitionIndex, TopicName, TopicPartition};

use super::{Node, RawClient};
use crate::error::ClientError;

/// From this version on FindCoordinator asks for a list of keys.
const FIND_MANY: i16 = 4;
const GROUP_KEY: i8 = 0;

/// One line of a list of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group: GroupId,
    pub protocol_type: String,
    /// Empty from brokers that do not tell.
    pub state: String,
    /// `classic`, `consumer`, ...; empty from brokers that do not tell.
    pub kind: String,
    pub coordinator: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Only for groups of the protocol type `consumer`.
    pub assignment: BTreeSet<TopicPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: GroupId,
    pub state: String,
    pub protocol_type: String,
    /// The assignor that was agreed on.
    pub protocol: String,
    pub coordinator: NodeId,
    pub members: Vec<GroupMember>,
}

impl RawClient {
    /// The broker that coordinates a group; retried while the group's partition has no leader.
    pub async fn find_coordinator(&self, group: &GroupId) -> Result<NodeId, ClientError> {
        self.retry(|| self.coordinator(group)).await
    }

    pub(super) async fn coordinator(&self, group: &GroupId) -> Result<NodeId, ClientError> {
        let key = StrBytes::from_string(group.to_string());
        let served = self.versions(Node::Any, FindCoordinatorRequest::KEY).await?;
        let many = served.is_some_and(|(_, max)| max >= FIND_MANY);
        let request = FindCoordinatorRequest::default().with_key_type(GROUP_KEY);
        let request = if many { request.with_coordinator_keys(vec![key]) } else { request.with_key(key) };
        let answer = self.request(Node::Any, &request).await?;
        let (code, text, node) = coordinator_of(&answer);
        ClientError::check(|| format!("find the coordinator of group {group}"), code, text)?;
        Ok(node)
    }

    /// The groups of all brokers.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let view = self.refresh(&[]).await?;
        let mut found: BTreeMap<GroupId, GroupListing> = BTreeMap::new();
        for node in view.brokers.keys() {
            for listing in self.retry(|| self.groups_of(*node)).await? {
                found.insert(listing.group.clone(), listing);
            }
        }
        Ok(found.into_values().collect())
    }

    /// The same, but each broker is asked once, all at the same time: those that do not answer are told beside, as long as one
    /// does. For callers that ask again and again, whom one dead broker must not keep from the groups of all others for longer
    /// than `default.api.timeout.ms`.
    pub async fn list_groups_now(&self) -> Result<(Vec<GroupListing>, BTreeMap<NodeId, ClientError>), ClientError> {
        let view = self.refresh(&[]).await?;
        let after = self.shared.api_timeout;
        let asked = view.brokers.keys().map(|node| async move {
            let late = |_| Err(ClientError::Timeout { what: format!("list groups of broker {node}"), after });
            (*node, tokio::time::timeout(after, self.groups_of(*node)).await.unwrap_or_else(late))
        });
        let (mut found, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for (node, answer) in futures::future::join_all(asked).await {
            match answer {
                Ok(listings) => found.extend(listings.into_iter().map(|listing| (listing.group.clone(), listing))),
                Err(error) => _ = failed.insert(node, error),
            }
        }
        match failed.values().next() {
            Some(error) if failed.len() == view.brokers.len() => Err(error.clone()),
            _ => Ok((found.into_values().collect(), failed)),
        }
    }

    async fn groups_of(&self, node: NodeId) -> Result<Vec<GroupListing>, ClientError> {
        let answer = self.request(Node::Id(node), &ListGroupsRequest::default()).await?;
        ClientError::check(|| format!("list groups of broker {node}"), answer.error_code, None)?;
        let listing = |group: &kafka_protocol::messages::list_groups_response::ListedGroup| GroupListing {
            group: GroupId::from(group.group_id.as_str()),
            protocol_type: group.protocol_type.to_string(),
            state: group.group_state.to_string(),
            kind: group.group_type.to_string(),
            coordinator: node,
        };
        Ok(answer.groups.iter().map(listing).collect())
    }

    /// One group with its members; GROUP_ID_NOT_FOUND when nobody knows it.
    pub async fn describe_group(&self, group: &GroupId) -> Result<GroupDescription, ClientError> {
        self.retry(|| self.describe_once(group)).await
    }

    async fn describe_once(&self, group: &GroupId) -> Result<GroupDescription, ClientError> {
        let coordinator = self.coordinator(group).await?;
        let wire_group = kafka_protocol::messages::GroupId(StrBytes::from_string(group.to_string()));
        let request = DescribeGroupsRequest::default().with_groups(vec![wire_group]);
        let answer = self.request(Node::Id(coordinator), &request).await?;
        let what = || format!("describe group {group}");
        let Some(found) = answer.groups.into_iter().next() else {
            return Err(ClientError::broker(what(), ErrorCode::GroupIdNotFound));
        };
        ClientError::check(what, found.error_code, found.error_message.as_deref())?;
        if found.group_state.as_str() == "Dead" && found.members.is_empty() {
            return Err(ClientError::broker(what(), ErrorCode::GroupIdNotFound)); // how older brokers say it
        }
        Ok(description(group, coordinator, found))
    }
}

fn coordinator_of(answer: &FindCoordinatorResponse) -> (i16, Option<&str>, NodeId) {
    match answer.coordinators.first() {
        Some(found) => (found.error_code, found.error_message.as_deref(), NodeId(found.node_id.0)),
        None => (answer.error_code, answer.error_message.as_deref(), NodeId(answer.node_id.0)),
    }
}

fn description(group: &GroupId, coordinator: NodeId, found: DescribedGroup) -> GroupDescription {
    let consumers = found.protocol_type.as_str() == "consumer";
    GroupDescription {
        group: group.clone(),
        state: found.group_state.to_string(),
        protocol_type: found.protocol_type.to_string(),
        protocol: found.protocol_data.to_string(),
        coordinator,
        members: found.members.into_iter().map(|member| group_member(member, consumers)).collect(),
    }
}

fn group_member(member: DescribedGroupMember, consumer: bool) -> GroupMember {
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        assignment: if consumer { read_assignment(&member.member_assignment) } else { BTreeSet::new() },
    }
}

/// Kafka's embedded consumer protocol: version, then topics with their partitions; what follows is the user's data.
/// A member that is still joining has no bytes at all. Unreadable bytes are another program's and show as nothing.
pub(super) fn read_assignment(bytes: &[u8]) -> BTreeSet<TopicPartition> {
    let mut reader = Reader { bytes };
    reader.assignment().unwrap_or_default()
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(head)
    }

    fn short(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn assignment(&mut self) -> Option<BTreeSet<TopicPartition>> {
        self.short()?; // the version; fields are only ever added at the end
        let mut found = BTreeSet::new();
        for _ in 0..self.int()? {
            let length = usize::try_from(self.short()?).ok()?;
            let topic = TopicName::parse(std::str::from_utf8(self.take(length)?).ok()?).ok()?;
            for _ in 0..self.int()? {
                found.insert(TopicPartition::new(topic.clone(), PartitionIndex(self.int()?)));
            }
        }
        Some(found)
    }
}
