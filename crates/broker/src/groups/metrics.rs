//! How many groups in which state and how many offsets, over all shards of this broker.
//!
//! Each shard adds what changed since it last looked and takes its share back when it goes, so that a scrape costs
//! nothing and a shard counts at most once a second.

use prometheus::IntGauge;
use twinstream_coordinator::group::{ConsumerGroupState, GroupShard, GroupState};
use twinstream_telemetry::Metrics;

/// States of classic groups.
const STATES: [(GroupState, &str); 5] = [
    (GroupState::Empty, "kafka_coordinator_group_groupmetadatamanager_numgroupsempty"),
    (GroupState::PreparingRebalance, "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance"),
    (GroupState::CompletingRebalance, "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance"),
    (GroupState::Stable, "kafka_coordinator_group_groupmetadatamanager_numgroupsstable"),
    (GroupState::Dead, "kafka_coordinator_group_groupmetadatamanager_numgroupsdead"),
];

/// States of groups of the newer protocol.
const CONSUMER_STATES: [(ConsumerGroupState, &str); 4] = [
    (ConsumerGroupState::Empty, "kafka_server_group_coordinator_metrics_consumer_group_count_empty"),
    (ConsumerGroupState::Assigning, "kafka_server_group_coordinator_metrics_consumer_group_count_assigning"),
    (ConsumerGroupState::Reconciling, "kafka_server_group_coordinator_metrics_consumer_group_count_reconciling"),
    (ConsumerGroupState::Stable, "kafka_server_group_coordinator_metrics_consumer_group_count_stable"),
];

/// The gauges that all shards share.
#[derive(Clone, Debug)]
pub(super) struct GroupMetrics {
    groups: IntGauge,
    by_state: [IntGauge; STATES.len()],
    consumers_by_state: [IntGauge; CONSUMER_STATES.len()],
    offsets: IntGauge,
}

impl GroupMetrics {
    pub(super) fn new(registry: &Metrics) -> GroupMetrics {
        GroupMetrics {
            groups: registry.gauge(
                "kafka_coordinator_group_groupmetadatamanager_numgroups",
                "Groups that this broker coordinates.",
            ),
            by_state: STATES.map(|(state, name)| registry.gauge(name, &format!("Classic groups in state {state}."))),
            consumers_by_state: CONSUMER_STATES
                .map(|(state, name)| registry.gauge(name, &format!("Consumer groups in state {state}."))),
            offsets: registry.gauge(
                "kafka_coordinator_group_groupmetadatamanager_numoffsets",
                "Committed offsets of the groups that this broker coordinates.",
            ),
        }
    }

    /// The share of one shard, nothing at first.
    pub(super) fn share(&self) -> Share {
        Share { metrics: self.clone(), counts: Counts::default() }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    by_state: [i64; STATES.len()],
    consumers_by_state: [i64; CONSUMER_STATES.len()],
    offsets: i64,
}

/// What one shard has added to the gauges; taken back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    metrics: GroupMetrics,
    counts: Counts,
}

impl Share {
    pub(super) fn update(&mut self, shard: &GroupShard) {
        let found = shard.count_by_state();
        let by_state = STATES.map(|(state, _)| found.get(&state).map_or(0, |count| *count as i64));
        let found = shard.count_consumer_groups();
        let consumers_by_state = CONSUMER_STATES.map(|(state, _)| found.get(&state).map_or(0, |count| *count as i64));
        self.set(Counts { by_state, consumers_by_state, offsets: shard.offset_count() as i64 });
    }

    fn set(&mut self, counts: Counts) {
        let sum = |counts: &Counts| counts.by_state.iter().chain(&counts.consumers_by_state).sum::<i64>();
        self.metrics.groups.add(sum(&counts) - sum(&self.counts));
        self.metrics.offsets.add(counts.offsets - self.counts.offsets);
        let gauges = self.metrics.by_state.iter().chain(&self.metrics.consumers_by_state);
        let new = counts.by_state.iter().chain(&counts.consumers_by_state);
        let old = self.counts.by_state.iter().chain(&self.counts.consumers_by_state);
        for (gauge, (new, old)) in gauges.zip(new.zip(old)) {
            gauge.add(new - old);
        }
        self.counts = counts;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(Counts::default());
    }
}
