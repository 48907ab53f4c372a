//! The task: reads its configuration and what was copied already, and lets [`Copying`] work.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use twinstream_connect_api::{
    Polled, RawConfig, RawLane, RawObserver, SourceTask, SourceTaskContext, TaskError, async_trait,
};
use twinstream_model::{Offset, TopicPartition};

use crate::assignment::decode;
use crate::config::{ASSIGNED, Settings, config_def};
use crate::copying::Copying;
use crate::metrics::PartitionMetrics;
use crate::observer::{CopiedTo, Observer};
use crate::offsets::{next_of, source_offset, source_partition};
use crate::syncs::Syncs;

/// How long a stop waits for the last changes of the offset map; the next start copes without them.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct MirrorSourceTask {
    copying: Option<Copying>,
    syncs: Option<Arc<Syncs>>,
}

#[async_trait]
impl SourceTask for MirrorSourceTask {
    async fn start(&mut self, context: Arc<dyn SourceTaskContext>, config: RawConfig) -> Result<(), TaskError> {
        let failed = || TaskError::fatal("read settings of the mirror task");
        let settings = Settings::parse(&config).map_err(|cause| failed().caused_by(cause))?;
        let parsed = config_def().parse(&config).map_err(|cause| failed().caused_by(cause))?;
        let assigned = decode(parsed.list(ASSIGNED)).map_err(|why| failed().caused_by(format!("{ASSIGNED}: {why}")))?;
        let keys: Vec<_> =
            assigned.iter().map(|partition| source_partition(&settings.source_alias, partition)).collect();
        let stored = context.offsets(&keys).await?;
        let mut positions = Vec::with_capacity(assigned.len());
        let mut observed = Vec::with_capacity(assigned.len());
        for ((partition, key), stored) in assigned.into_iter().zip(keys).zip(stored) {
            let remote = settings
                .policy
                .remote_topic(&partition.topic)
                .map_err(|cause| TaskError::fatal(format!("name of {partition} on the target")).caused_by(cause))?;
            positions.push((partition.clone(), next_of(&partition, stored.as_ref())?));
            let target = TopicPartition::new(remote, partition.partition);
            let metrics = PartitionMetrics::new(&settings.source_alias, &settings.target_alias, &target);
            let lane = RawLane { target, source_partition: key, source_offset: |next| source_offset(Offset(next)) };
            observed.push((partition, Arc::new(lane), Arc::new(metrics)));
        }
        let resumed = positions.iter().filter(|(_, position)| position.is_some()).count();
        info!(
            connector = context.connector(),
            task = context.task_id(),
            partitions = positions.len(),
            resumed,
            "mirror task starts"
        );
        let partitions: Vec<TopicPartition> = positions.iter().map(|(partition, _)| partition.clone()).collect();
        let syncs = Syncs::open(&settings.syncs, &settings.source, &settings.target, &partitions).await?;
        let observer = Arc::new(Observer::new(observed, Some(Arc::clone(&syncs) as Arc<dyn CopiedTo>)));
        self.syncs = Some(syncs);
        self.copying = Some(Copying::new(settings, positions, observer));
        Ok(())
    }

    fn raw_observer(&self) -> Option<Arc<dyn RawObserver>> {
        self.copying.as_ref().map(Copying::observer)
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        let copying = self.copying.as_mut().ok_or_else(|| TaskError::fatal("the task was not started"))?;
        match copying.poll().await? {
            batches if batches.is_empty() => Ok(Polled::Idle),
            batches => Ok(Polled::Batches(batches)),
        }
    }

    async fn stop(&mut self) {
        if let Some(mut copying) = self.copying.take() {
            copying.stop().await;
        }
        if let Some(syncs) = self.syncs.take() {
            syncs.close(CLOSE_WITHIN).await;
        }
    }
}
