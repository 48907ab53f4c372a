//! Two clusters: one that has records, one that gets a copy of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use twinstream_client::raw::OffsetAt;
use twinstream_client::{Admin, NewTopic};
use twinstream_model::{TopicName, TopicPartition};

use crate::judge::client::{Client, Topic};
use crate::judge::{Kind, Side, disk};

pub(super) const SOURCE_TOPIC: &str = "bench";
pub(super) const PARTITIONS: i32 = 6;
/// Both clusters have one broker, as many as two processors serve.
const BROKERS: usize = 1;
const CREATED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Site {
    pub(super) source: Side,
    pub(super) target: Side,
    pub(super) admin_of_source: Admin,
    pub(super) admin_of_target: Admin,
}

/// What the source holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) records: u64,
    /// Of record batches, as they lie in its segments.
    pub(super) bytes: u64,
}

impl Site {
    pub(super) async fn start(kind: &Kind) -> Result<Self> {
        let (source, target) = tokio::join!(Side::start(kind, BROKERS), Side::start(kind, BROKERS));
        let admin_of_source = Admin::connect(&source.settings()?).await?;
        let admin_of_target = Admin::connect(&target.settings()?).await?;
        Ok(Self { source, target, admin_of_source, admin_of_target })
    }

    /// An empty topic at the source.
    pub(super) async fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let topic = NewTopic::new(TopicName::parse(topic)?, partitions, 1);
        self.admin_of_source.ensure_topic(&topic).await?;
        let deadline = Instant::now() + CREATED_WITHIN;
        while records_in(&self.admin_of_source, &topic.name).await?.is_none() {
            if Instant::now() >= deadline {
                bail!("{} has no leaders after {CREATED_WITHIN:?}", topic.name);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Lets a client process fill the topic of the source.
    pub(super) async fn fill(&mut self, client: &Client, mode: &[String]) -> Result<Stored> {
        let topic = Topic { partitions: PARTITIONS, ..Topic::kept(SOURCE_TOPIC) };
        tokio::task::block_in_place(|| client.run(&mut self.source, &topic, mode))?;
        Ok(Stored { records: self.records_at_source().await?, bytes: self.stored_at_source() })
    }

    pub(super) async fn records_at_source(&self) -> Result<u64> {
        let records = records_in(&self.admin_of_source, &TopicName::parse(SOURCE_TOPIC)?).await?;
        records.context("the source has lost its topic")
    }

    /// How many records a copy has, `None` while it is not there with all its partitions.
    pub(super) async fn records_in_copy(&self, copy: &str) -> Result<Option<u64>> {
        records_in(&self.admin_of_target, &TopicName::parse(copy)?).await
    }

    fn stored_at_source(&self) -> u64 {
        disk::stored_bytes(&self.source.data(1), SOURCE_TOPIC)
    }

    pub(super) fn stored_in_copy(&self, copy: &str) -> u64 {
        disk::stored_bytes(&self.target.data(1), copy)
    }

    /// Deletes a copy and waits until it has left the disk.
    pub(super) async fn forget(&self, copy: &str) -> Result<()> {
        let results = self.admin_of_target.delete_topics(&[TopicName::parse(copy)?]).await?;
        results.into_values().collect::<Result<(), _>>()?;
        self.target.wait_deleted().await
    }
}

/// The sum of the ends of all partitions, `None` while one of them cannot tell.
pub(super) async fn records_in(admin: &Admin, topic: &TopicName) -> Result<Option<u64>> {
    let view = admin.raw().view();
    let count = match view.topics.get(topic) {
        Some(known) => known.partitions.len(),
        None => admin.topic(topic).await?.map_or(0, |found| found.partitions.len()),
    };
    let partitions: Vec<TopicPartition> =
        (0..i32::try_from(count)?).map(|index| TopicPartition::new(topic.clone(), index)).collect();
    if partitions.is_empty() {
        return Ok(None);
    }
    let ends = admin.raw().list_offsets_now(&partitions, OffsetAt::Latest).await?;
    let ends: Option<Vec<u64>> = ends.into_values().map(|end| u64::try_from(end.ok()?.0).ok()).collect();
    Ok(ends.map(|ends| ends.into_iter().sum()))
}
