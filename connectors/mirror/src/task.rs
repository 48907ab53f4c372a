//! The task: reads its configuration and what was copied already, and lets [`Copying`] work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::info;
use twinstream_connect_api::{
    Polled, RawConfig, RawLane, RawObserver, SourceTask, SourceTaskContext, TaskError, async_trait,
};
use twinstream_model::{LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::assignment::decode;
use crate::config::{ASSIGNED, Settings, config_def};
use crate::copying::{Assigned, Copying};
use crate::engine::Place;
use crate::metrics::PartitionMetrics;
use crate::observer::{CopiedTo, Observer};
use crate::offset_map::place::Lived;
use crate::offsets::{next_of, source_offset, source_partition};
use crate::syncs::Syncs;

/// How long a stop waits for the last changes of the offset map; the next start copes without them.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long reading the offset map of partitions that come may hold up the others; a fresh task reads it all.
const ADD_WITHIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct MirrorSourceTask {
    running: Option<Running>,
}

struct Running {
    context: Arc<dyn SourceTaskContext>,
    settings: Settings,
    copying: Copying,
    syncs: Arc<Syncs>,
}

fn settings_of(config: &RawConfig) -> Result<(Settings, Vec<TopicPartition>), TaskError> {
    let failed = || TaskError::fatal("read settings of the mirror task");
    let settings = Settings::parse(config).map_err(|cause| failed().caused_by(cause))?;
    let parsed = config_def().parse(config).map_err(|cause| failed().caused_by(cause))?;
    let assigned = decode(parsed.list(ASSIGNED)).map_err(|why| failed().caused_by(format!("{ASSIGNED}: {why}")))?;
    Ok((settings, assigned))
}

impl MirrorSourceTask {
    fn running(&mut self) -> Result<&mut Running, TaskError> {
        self.running.as_mut().ok_or_else(|| TaskError::fatal("the task was not started"))
    }

    /// Where these partitions were copied up to, and what they are called on the target.
    async fn places(
        context: &dyn SourceTaskContext,
        settings: &Settings,
        syncs: &Syncs,
        assigned: Vec<TopicPartition>,
    ) -> Result<Vec<Assigned>, TaskError> {
        let keys: Vec<_> = assigned.iter().map(|name| source_partition(&settings.source_alias, name)).collect();
        let stored = context.offsets(&keys).await?;
        let mut places = Vec::with_capacity(assigned.len());
        for ((name, source_partition), stored) in assigned.into_iter().zip(keys).zip(stored) {
            let remote = settings
                .remote_topic(&name.topic)
                .map_err(|cause| TaskError::fatal(format!("name of {name} on the target")).caused_by(cause))?;
            let target = TopicPartition::new(remote, name.partition);
            let metrics = PartitionMetrics::new(&settings.source_alias, &settings.target_alias, &name, &target);
            let lane = RawLane { target, source_partition, source_offset: |next| source_offset(Offset(next)) };
            let place = place_of(next_of(&name, stored.as_ref())?, &syncs.lived(&name));
            places.push(Assigned { name, place, lane: Arc::new(lane), metrics: Arc::new(metrics) });
        }
        Ok(places)
    }
}

#[async_trait]
impl SourceTask for MirrorSourceTask {
    async fn start(&mut self, context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        let (settings, assigned) = settings_of(&config)?;
        let syncs = Syncs::open(&settings.syncs, &settings.source, &settings.target, &assigned).await?;
        let assigned = Self::places(&*context, &settings, &syncs, assigned).await?;
        let resumed = assigned.iter().filter(|one| one.place.position.is_some()).count();
        info!(
            connector = context.connector(),
            task = context.task_id(),
            partitions = assigned.len(),
            resumed,
            "mirror task starts"
        );
        let observer = Arc::new(Observer::new(Some(Arc::clone(&syncs) as Arc<dyn CopiedTo>)));
        let copying = Copying::new(settings.clone(), assigned, observer, syncs.target_cluster());
        self.running = Some(Running { context, settings, copying, syncs });
        Ok(())
    }

    fn raw_observer(&self) -> Option<Arc<dyn RawObserver>> {
        self.running.as_ref().map(|running| running.copying.observer())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        match self.running()?.copying.poll().await? {
            batches if batches.is_empty() => Ok(Polled::Idle),
            batches => Ok(Polled::Batches(batches)),
        }
    }

    async fn commit(&mut self) -> Result<(), TaskError> {
        self.running()?.syncs.offsets_stored();
        Ok(())
    }

    /// Partitions come and go; those that stay are not disturbed.
    async fn reconfigure(&mut self, config: &RawConfig) -> Result<bool, TaskError> {
        let (new_settings, assigned) = settings_of(config)?;
        let Running { context, settings, copying, syncs } = self.running()?;
        settings.names = new_settings.names;
        let wanted: BTreeSet<&TopicPartition> = assigned.iter().collect();
        let gone: Vec<TopicPartition> = copying.partitions().filter(|name| !wanted.contains(name)).cloned().collect();
        let present: BTreeSet<TopicPartition> = copying.partitions().cloned().collect();
        let new: Vec<TopicPartition> = assigned.iter().filter(|name| !present.contains(name)).cloned().collect();
        info!(
            connector = context.connector(),
            task = context.task_id(),
            partitions = assigned.len(),
            new = new.len(),
            gone = gone.len(),
            "partitions of the task change"
        );
        for name in &gone {
            copying.remove(name);
            syncs.remove(name);
        }
        if !new.is_empty() {
            let failed = || TaskError::retriable("read the offset map of new partitions");
            match timeout(ADD_WITHIN, syncs.add(&new)).await {
                Ok(added) => added.map_err(|cause| failed().caused_by(cause))?,
                Err(_) => return Err(failed().caused_by(format!("the target does not answer within {ADD_WITHIN:?}"))),
            }
            let places = Self::places(&**context, settings, syncs, new).await?;
            places.into_iter().for_each(|one| copying.add(one));
        }
        Ok(true)
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.copying.stop().await;
            running.syncs.close(CLOSE_WITHIN).await;
        }
    }
}

/// Where a partition stands by what Connect has stored, and by what is known of whose records were copied. One that begins
/// anew takes whichever topic there is.
fn place_of(position: Option<Offset>, lived: &Lived) -> Place {
    match position.filter(|position| !lived.is_of_former(*position)) {
        Some(position) => {
            Place { position: Some(position), last_epoch: lived.epoch_before(position), topic_id: lived.topic_id() }
        }
        None => Place { position: None, last_epoch: LeaderEpoch::NONE, topic_id: TopicId::NONE },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_offset_is_believed_with_what_is_known_of_it() {
        let id = |number: &str| TopicId::parse(number).unwrap();
        let (first, second) = (id("AAAAAAAAAAAAAAAAAAAAAQ"), id("AAAAAAAAAAAAAAAAAAAAAg"));
        let mut lived = Lived::default();
        lived.reached(first, Offset(10), LeaderEpoch(3));
        lived.reached(first, Offset(20), LeaderEpoch(3));
        let place = |position| Place { position, last_epoch: LeaderEpoch(3), topic_id: first };
        assert_eq!(place_of(Some(Offset(15)), &lived), place(Some(Offset(15))));
        let newer = Place { last_epoch: LeaderEpoch::NONE, ..place(Some(Offset(25))) };
        assert_eq!(place_of(Some(Offset(25)), &lived), newer, "of the same topic, with an epoch that is not known");
        let anew = Place { position: None, last_epoch: LeaderEpoch::NONE, topic_id: TopicId::NONE };
        assert_eq!(place_of(None, &lived), anew, "its offset was deleted");
        lived.reached(second, Offset(5), LeaderEpoch(0));
        assert_eq!(place_of(Some(Offset(20)), &lived), anew, "the offset may be the former topic's");
        assert_eq!(place_of(Some(Offset(5)), &lived).topic_id, second);
    }
}
