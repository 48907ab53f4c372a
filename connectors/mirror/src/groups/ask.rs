//! What groups have committed, asked for many of them at once.
//!
//! A link that follows 1,000 groups each second must not ask 1,000 times: each coordinator is asked for its groups, up to
//! [`GROUPS_PER_REQUEST`] in one OffsetFetch (version 8, KIP-709). Older brokers are asked group by group.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use twinstream_client::raw::kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use twinstream_client::raw::kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use twinstream_client::raw::kafka_protocol::messages::{GroupId as WireGroup, OffsetFetchRequest};
use twinstream_client::raw::kafka_protocol::protocol::{Request as _, StrBytes};
use twinstream_client::raw::{GroupListing, Node};
use twinstream_client::{ClientError, CommitOffset, RawClient};
use twinstream_model::{ErrorCode, GroupId, NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

/// A coordinator that takes longer is asked again in the next round.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Some thousand partitions in one answer.
const GROUPS_PER_REQUEST: usize = 100;
const MANY_SINCE: i16 = 8;
/// The last version that names topics by name.
const VERSION_MAX: i16 = 9;

pub(crate) type Committed = BTreeMap<TopicPartition, CommitOffset>;

/// What came of one question.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub offsets: BTreeMap<GroupId, Committed>,
    /// Groups that could not be asked now, with the reason: a coordinator that moves or is not ready.
    pub failed: BTreeMap<GroupId, ErrorCode>,
}

/// Offsets of groups, each from its coordinator as the last list of groups had it. Coordinators are asked at the same time; one
/// that does not answer keeps nobody waiting for longer than [`ANSWERS_WITHIN`], and its groups have failed.
pub(crate) async fn committed(client: &RawClient, groups: &[&GroupListing]) -> Result<Answers, ClientError> {
    let mut by_node: BTreeMap<NodeId, Vec<GroupId>> = BTreeMap::new();
    for listing in groups {
        by_node.entry(listing.coordinator).or_default().push(listing.group.clone());
    }
    let mut asking = JoinSet::new();
    for (node, groups) in by_node {
        let client = client.clone();
        asking.spawn(async move {
            let answer = timeout(ANSWERS_WITHIN, ask_node(&client, node, &groups)).await;
            (groups, answer.unwrap_or_else(|_| Err(late(node))))
        });
    }
    let (mut answers, mut asked, mut silent) = (Answers::default(), 0, Vec::new());
    while let Some(Ok((groups, answer))) = asking.join_next().await {
        asked += 1;
        match answer {
            Ok(some) => {
                answers.offsets.extend(some.offsets);
                answers.failed.extend(some.failed);
            }
            Err(error) => {
                answers.failed.extend(groups.into_iter().map(|group| (group, ErrorCode::CoordinatorNotAvailable)));
                silent.push(error);
            }
        }
    }
    match silent.pop() {
        // Nobody answers: the cluster is away.
        Some(error) if silent.len() + 1 == asked => Err(error),
        _ => Ok(answers),
    }
}

fn late(node: NodeId) -> ClientError {
    ClientError::Timeout { what: format!("ask coordinator {node} for offsets of groups"), after: ANSWERS_WITHIN }
}

async fn ask_node(client: &RawClient, node: NodeId, groups: &[GroupId]) -> Result<Answers, ClientError> {
    let mut answers = Answers::default();
    let served = client.versions(Node::Id(node), OffsetFetchRequest::KEY).await?;
    if served.is_some_and(|(_, max)| max >= MANY_SINCE) {
        for some in groups.chunks(GROUPS_PER_REQUEST) {
            ask_many(client, node, some, &mut answers).await?;
        }
    } else {
        for group in groups {
            answers.offsets.insert(group.clone(), client.committed_offsets(group).await?);
        }
    }
    Ok(answers)
}

async fn ask_many(
    client: &RawClient,
    node: NodeId,
    groups: &[GroupId],
    answers: &mut Answers,
) -> Result<(), ClientError> {
    let wanted = |group: &GroupId| {
        OffsetFetchRequestGroup::default()
            .with_group_id(WireGroup(StrBytes::from_string(group.to_string())))
            .with_topics(None::<Vec<OffsetFetchRequestTopics>>)
    };
    let request = OffsetFetchRequest::default().with_groups(groups.iter().map(wanted).collect());
    let answer = client.request_capped(Node::Id(node), &request, VERSION_MAX).await?;
    for group in &answer.groups {
        let name = GroupId::from(group.group_id.as_str());
        match ErrorCode::from_code(group.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None | ErrorCode::GroupIdNotFound => _ = answers.offsets.insert(name, read(group)),
            code => _ = answers.failed.insert(name, code),
        }
    }
    Ok(())
}

fn read(group: &OffsetFetchResponseGroup) -> Committed {
    let mut found = Committed::new();
    for topic in &group.topics {
        let Ok(name) = TopicName::parse(&topic.name) else { continue };
        for partition in topic.partitions.iter().filter(|p| p.error_code == 0 && p.committed_offset >= 0) {
            let metadata = partition.metadata.as_ref().map(|text| text.to_string()).unwrap_or_default();
            let commit = CommitOffset { offset: Offset(partition.committed_offset), metadata };
            found.insert(TopicPartition::new(name.clone(), PartitionIndex(partition.partition_index)), commit);
        }
    }
    found
}
