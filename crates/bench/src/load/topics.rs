//! Topics to load: make them, find their leaders and ends, delete them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use twinstream_client::raw::OffsetAt;
use twinstream_client::{Admin, ClientSettings, NewTopic};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

const LEADERS_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// Calls of an operator, for threads that block.
pub struct Topics {
    runtime: tokio::runtime::Runtime,
    admin: Admin,
}

impl Topics {
    pub fn connect(settings: &ClientSettings) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let admin = runtime.block_on(Admin::connect(settings))?;
        Ok(Self { runtime, admin })
    }

    /// Makes a topic and waits until each partition has a leader.
    pub fn create(&self, topic: &NewTopic) -> Result<()> {
        self.runtime.block_on(self.admin.create_topic(topic))?;
        self.leaders(&topic.name, topic.partitions).map(|_| ())
    }

    /// As [`Self::create`], unless it is there.
    pub fn ensure(&self, topic: &NewTopic) -> Result<()> {
        self.runtime.block_on(self.admin.ensure_topic(topic))?;
        self.leaders(&topic.name, 1).map(|_| ())
    }

    pub fn delete(&self, topic: &TopicName) -> Result<()> {
        let results = self.runtime.block_on(self.admin.delete_topics(std::slice::from_ref(topic)))?;
        results.into_values().collect::<Result<(), _>>()?;
        Ok(())
    }

    /// The address of each partition's leader, as soon as at least so many partitions have one.
    pub fn leaders(&self, topic: &TopicName, at_least: i32) -> Result<Vec<String>> {
        let deadline = Instant::now() + LEADERS_WITHIN;
        loop {
            if let Some(leaders) = self.try_leaders(topic)?
                && leaders.len() >= usize::try_from(at_least).unwrap_or(0).max(1)
            {
                return Ok(leaders);
            }
            if Instant::now() >= deadline {
                bail!("not all partitions of {topic} have a leader after {LEADERS_WITHIN:?}");
            }
            std::thread::sleep(POLL);
        }
    }

    fn try_leaders(&self, topic: &TopicName) -> Result<Option<Vec<String>>> {
        let view = self.runtime.block_on(self.admin.raw().refresh(std::slice::from_ref(topic)))?;
        let Some(found) = view.topics.get(topic) else { return Ok(None) };
        let address = |leader: Option<_>| view.brokers.get(&leader?).map(|broker| broker.address());
        Ok(found.partitions.values().map(|partition| address(partition.leader)).collect())
    }

    /// Where each partition ends.
    pub fn ends(&self, topic: &TopicName) -> Result<BTreeMap<PartitionIndex, Offset>> {
        self.offsets(topic, OffsetAt::Latest)
    }

    /// Where each partition starts.
    pub fn starts(&self, topic: &TopicName) -> Result<BTreeMap<PartitionIndex, Offset>> {
        self.offsets(topic, OffsetAt::Earliest)
    }

    fn offsets(&self, topic: &TopicName, at: OffsetAt) -> Result<BTreeMap<PartitionIndex, Offset>> {
        let count = i32::try_from(self.leaders(topic, 1)?.len()).context("number of partitions")?;
        let all: Vec<TopicPartition> = (0..count).map(|index| TopicPartition::new(topic.clone(), index)).collect();
        let offsets = self.runtime.block_on(self.admin.raw().list_offsets(&all, at))?;
        offsets.into_iter().map(|(partition, offset)| Ok((partition.partition, offset?))).collect()
    }
}

/// Records between two sets of offsets.
pub fn between(start: &BTreeMap<PartitionIndex, Offset>, end: &BTreeMap<PartitionIndex, Offset>) -> u64 {
    let count = |(partition, end): (&PartitionIndex, &Offset)| end.0 - start.get(partition).map_or(0, |start| start.0);
    end.iter().map(count).map(|count| u64::try_from(count).unwrap_or(0)).sum()
}
