//! Where the copy of a partition stands on the target: how its topic is copied, and for a mirror, where its log ends.
//!
//! Picture: one question for many partitions, asked before anything is copied and again whenever the target refused. A
//! mirror's log end and the epoch before it are the truth about what was copied, whoever copied it and however that one ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OnceCell;
use twinstream_client::raw::EpochQuestion;
use twinstream_client::raw::OffsetAt;
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_model::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use super::marks::{LinkMode, Marking, TopicMode};
use crate::engine::At;
use crate::questions::{Answered, Refused};

/// Above every epoch: the largest one of the log is told, and where the log ends.
pub(super) const ANY_EPOCH: LeaderEpoch = LeaderEpoch(i32::MAX - 1);

/// A partition that is asked about: its topic at the source, and the partition of the target.
pub(crate) type Pair = (At, TopicName, TopicPartition);

/// What the target says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Footing {
    /// Its topic is copied as any producer would.
    Generic,
    Aligned(Ground),
    Promoted,
    Refused(String),
    /// The connector has not made it yet, or somebody deleted it.
    Missing,
}

/// A mirror's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    pub link: Uuid,
    /// The source cluster and topic that the mark names.
    pub cluster: String,
    pub topic_id: TopicId,
    /// The log end, which is where the copy goes on.
    pub end: Offset,
    /// Of the record before it; NONE where there is none.
    pub last_epoch: LeaderEpoch,
}

/// The target, connected when it is asked first.
#[derive(Clone)]
pub(crate) struct Target {
    settings: ClientSettings,
    mode: LinkMode,
    aliases: (String, String),
    client: Arc<OnceCell<RawClient>>,
}

impl Target {
    pub(crate) fn new(settings: ClientSettings, mode: LinkMode, aliases: (&str, &str)) -> Target {
        let aliases = (aliases.0.to_owned(), aliases.1.to_owned());
        Target { settings, mode, aliases, client: Arc::default() }
    }

    pub(crate) async fn client(&self) -> Result<&RawClient, ClientError> {
        self.client.get_or_try_init(|| RawClient::connect(&self.settings)).await
    }

    /// Where these partitions stand.
    pub(crate) async fn footings(self, asked: Vec<Pair>) -> Answered<Result<Footing, Refused>> {
        let result = self.ask(&asked).await;
        Answered { asked: asked.iter().map(|(at, ..)| *at).collect(), result }
    }

    async fn ask(&self, asked: &[Pair]) -> Result<Vec<(At, Result<Footing, Refused>)>, ClientError> {
        let client = self.client().await?;
        let topics: BTreeMap<TopicName, TopicName> =
            asked.iter().map(|(_, source, target)| (target.topic.clone(), source.clone())).collect();
        let names: Vec<TopicName> = topics.keys().cloned().collect();
        let view = client.refresh(&names).await?;
        let present = topics.into_iter().filter(|(target, _)| view.topics.contains_key(target)).collect();
        let marking = Marking::learn(self.mode, (&self.aliases.0, &self.aliases.1), client).await?;
        let modes = marking.modes(client, &present).await?;
        let aligned = asked.iter().map(|(.., target)| target).filter(|target| {
            let known =
                view.topics.get(&target.topic).is_some_and(|topic| topic.partitions.contains_key(&target.partition));
            known && matches!(modes.get(&target.topic), Some(TopicMode::Aligned(_)))
        });
        let mut places = places(client, &aligned.cloned().collect::<Vec<_>>()).await?;
        let mut footing = |target: &TopicPartition| match modes.get(&target.topic) {
            None => match view.topic_error(&target.topic) {
                ErrorCode::None | ErrorCode::UnknownTopicOrPartition => Ok(Footing::Missing),
                code => Err((code, format!("the target does not show topic {}: {code}", target.topic))),
            },
            Some(TopicMode::Generic(_)) => Ok(Footing::Generic),
            Some(TopicMode::Promoted) => Ok(Footing::Promoted),
            Some(TopicMode::Refused(why)) => Ok(Footing::Refused(format!("topic {}: {why}", target.topic))),
            Some(TopicMode::Aligned(mark)) => match places.remove(target) {
                None => Ok(Footing::Missing),
                Some(Err(refused)) => Err(refused),
                Some(Ok((end, last_epoch))) => Ok(Footing::Aligned(Ground {
                    link: mark.link,
                    cluster: mark.cluster.clone(),
                    topic_id: mark.topic_id,
                    end,
                    last_epoch,
                })),
            },
        };
        Ok(asked.iter().map(|(at, _, target)| (*at, target)).map(|(at, target)| (at, footing(target))).collect())
    }
}

type Places = BTreeMap<TopicPartition, Result<(Offset, LeaderEpoch), Refused>>;

/// Log ends of mirrors, and the epochs before them.
async fn places(client: &RawClient, partitions: &[TopicPartition]) -> Result<Places, ClientError> {
    if partitions.is_empty() {
        return Ok(Places::new());
    }
    let questions: Vec<EpochQuestion> =
        partitions.iter().map(|partition| EpochQuestion::new(partition.clone(), ANY_EPOCH)).collect();
    let mut epochs = client.epoch_ends(&questions).await?;
    let mut ends = client.list_offsets_now(partitions, OffsetAt::Latest).await?;
    let mut place = |partition: &TopicPartition| {
        let unanswered =
            || Err(ClientError::broker(format!("ask the target about {partition}"), ErrorCode::LeaderNotAvailable));
        let end = ends.remove(partition).unwrap_or_else(unanswered)?;
        // What is told as the latest offset is committed; the log may go on behind it.
        match epochs.remove(partition).unwrap_or_else(|| unanswered().map(|_| None))? {
            Some(epoch) if epoch.end >= end => Ok((epoch.end, epoch.epoch)),
            // Somebody appended between the questions. Without the epoch a fork just below would go unseen: asked again.
            Some(_) => unanswered().map(|end| (end, LeaderEpoch::NONE)),
            None => Ok((end, LeaderEpoch::NONE)),
        }
    };
    Ok(partitions.iter().map(|partition| (partition.clone(), place_or_why(place(partition)))).collect())
}

fn place_or_why(place: Result<(Offset, LeaderEpoch), ClientError>) -> Result<(Offset, LeaderEpoch), Refused> {
    place.map_err(|error| (error.code().unwrap_or(ErrorCode::LeaderNotAvailable), error.to_string()))
}
