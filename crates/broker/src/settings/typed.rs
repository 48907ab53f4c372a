//! The typed settings: those with an effect, grouped by who reads them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use twinstream_log::RecordChecks;
use twinstream_model::{ClusterId, NodeId};

use super::cleaner::CleanerSettings;
use super::connections::ConnectionBounds;
use super::listeners::{self, AdvertisedListener, Listener, Voter};
use super::live;
use super::replication::ReplicationSettings;
use super::sources::Given;
use super::transactions::TransactionSettings;
use super::values::{SettingsError, Values};

/// Everything that the broker was told, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) node: NodeSettings,
    pub(crate) network: NetworkSettings,
    pub(crate) quorum: QuorumSettings,
    pub(crate) balance: BalanceSettings,
    pub(crate) topics: TopicDefaults,
    pub(crate) log: LogSettings,
    pub(crate) cleaner: CleanerSettings,
    pub(crate) replication: ReplicationSettings,
    pub(crate) groups: GroupSettings,
    pub(crate) offsets: OffsetsSettings,
    pub(crate) transactions: TransactionSettings,
    values: Values,
}

/// Who this node is.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub(crate) id: NodeId,
    pub(crate) is_controller: bool,
    pub(crate) rack: Option<String>,
    /// Fixes the cluster id that a new cluster gets; without it the voter makes one.
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) controlled_shutdown: bool,
    /// How long a starting broker tries to register.
    pub(crate) registration_timeout: Duration,
    /// How long a request to the controller may take.
    pub(crate) request_timeout: Duration,
}

/// Sockets and their limits.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSettings {
    pub(crate) listeners: Vec<Listener>,
    /// What clients and other nodes are told; one per client-facing listener.
    pub(crate) advertised: Vec<AdvertisedListener>,
    pub(crate) inter_broker_listener: String,
    pub(crate) request_bytes_max: usize,
    /// Bytes of requests in memory at once, over all connections.
    pub(crate) queued_request_bytes_max: u64,
    pub(crate) backlog: u32,
    pub(crate) connections: ConnectionBounds,
    pub(crate) connections_idle_max: Duration,
    pub(crate) fetch_bytes_max: usize,
    pub(crate) fetch_session_slots: usize,
    /// Partitions in one answer of DescribeTopicPartitions at most.
    pub(crate) response_partitions_max: usize,
    pub(crate) metrics_listener: Option<SocketAddr>,
}

/// The metadata quorum.
#[derive(Clone, Debug)]
pub(crate) struct QuorumSettings {
    /// Empty when the settings name addresses only.
    pub(crate) voters: Vec<Voter>,
    /// Where to ask for a quorum that exists, as host:port.
    pub(crate) bootstrap_servers: Vec<String>,
    /// Where the metadata log lives; the first log directory unless set.
    pub(crate) metadata_dir: PathBuf,
    pub(crate) election_timeout: Duration,
    /// Whether this node becomes a voter by itself once it follows the quorum.
    pub(crate) wants_vote: bool,
}

/// When leaderships move back to where they belong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BalanceSettings {
    pub(crate) enabled: bool,
    pub(crate) interval: Duration,
    /// Of the partitions that prefer a broker, how many in a hundred others may lead.
    pub(crate) imbalance_percent_max: u32,
}

/// What new topics get, and whether they come into being by themselves.
#[derive(Clone, Debug)]
pub(crate) struct TopicDefaults {
    pub(crate) auto_create: bool,
    pub(crate) delete_enabled: bool,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) min_insync_replicas: usize,
    pub(crate) unclean_leader_election: bool,
}

/// Partition logs: directories, background work. The defaults of topic configs are read with [`Settings::text`].
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) retention_check_interval: Duration,
    pub(crate) recovery_checkpoint_interval: Duration,
    pub(crate) start_offset_checkpoint_interval: Duration,
    pub(crate) high_watermark_checkpoint_interval: Duration,
    pub(crate) flush_scheduler_interval: Option<Duration>,
    pub(crate) recovery_threads_per_dir: usize,
    /// How long the controller may not be told of a failed directory.
    pub(crate) directory_failure_timeout: Duration,
    /// Unflushed bytes of a directory before they are flushed in the background.
    pub(crate) flush_lag_bytes: u64,
    /// Free bytes of a directory that records may not take.
    pub(crate) reserve_bytes: u64,
    /// Files that all logs together keep open.
    pub(crate) open_files_max: usize,
    /// At which rate data at rest is checked, 0 for not at all.
    pub(crate) scrub_bytes_per_second: u64,
    /// How much of a produced batch is looked at.
    pub(crate) record_checks: RecordChecks,
    pub(crate) producer_id_expiration: Duration,
    pub(crate) producer_id_check_interval: Duration,
}

/// Groups of both protocols.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    pub(crate) initial_rebalance_delay: Duration,
    pub(crate) session_timeout_min: Duration,
    pub(crate) session_timeout_max: Duration,
    pub(crate) size_max: usize,
    /// Whether the protocol of KIP-848 is served.
    pub(crate) serves_consumer_protocol: bool,
    pub(crate) consumer: ConsumerGroupSettings,
}

/// Consumer groups of KIP-848.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerGroupSettings {
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) size_max: usize,
    pub(crate) assignors: Vec<String>,
    /// Kafka's name of the policy, in any case.
    pub(crate) migration_policy: String,
    pub(crate) assignment_interval: Duration,
    pub(crate) regex_refresh_interval: Duration,
}

/// Committed offsets and their topic.
#[derive(Clone, Debug)]
pub(crate) struct OffsetsSettings {
    pub(crate) topic_partitions: i32,
    pub(crate) topic_replication_factor: i16,
    pub(crate) topic_segment_bytes: i32,
    /// How long a commit may wait for its replicas.
    pub(crate) commit_timeout: Duration,
    pub(crate) retention: Duration,
    pub(crate) retention_check_interval: Duration,
    pub(crate) metadata_bytes_max: usize,
}

impl Settings {
    /// Checks what the user gave and types it.
    pub(crate) fn new(given: Given) -> Result<Self, SettingsError> {
        let values = Values::check(given)?;
        let node = NodeSettings::new(&values)?;
        let listeners = listeners::parse(&values)?;
        let log = LogSettings::new(&values)?;
        let voters = listeners::voters(&values, node.id, node.is_controller)?;
        let metadata_dir = values.path("metadata.log.dir").unwrap_or_else(|| log.dirs[0].clone());
        Ok(Self {
            network: NetworkSettings::new(&values, listeners)?,
            quorum: QuorumSettings::new(&values, &node, voters, metadata_dir)?,
            balance: BalanceSettings::new(&values)?,
            topics: TopicDefaults::new(&values)?,
            replication: ReplicationSettings::new(&values, node.session_timeout)?,
            cleaner: CleanerSettings::new(&values)?,
            groups: GroupSettings::new(&values)?,
            offsets: OffsetsSettings::new(&values)?,
            transactions: TransactionSettings::new(&values)?,
            node,
            log,
            values,
        })
    }

    /// The text of a setting as given or by default; `None` when it has neither.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.text(name)
    }

    /// Whether the user gave this setting (rather than the default).
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.is_given(name)
    }

    /// Given settings that do nothing here, with the reason.
    pub(crate) fn without_effect(&self) -> Vec<String> {
        self.values.tell_without_effect()
    }

    /// Says once, at start, which given settings do nothing here.
    pub(crate) fn log_without_effect(&self) {
        self.values.log_without_effect();
    }
}

impl NodeSettings {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        let id = listeners::node_id(values)?;
        let node = Self {
            id,
            is_controller: listeners::is_controller(values, id)?,
            rack: values.text("broker.rack").filter(|rack| !rack.is_empty()).map(str::to_owned),
            cluster_id: values.text("twinstream.cluster.id").map(ClusterId::from),
            heartbeat_interval: values.millis("broker.heartbeat.interval.ms")?,
            session_timeout: values.millis("broker.session.timeout.ms")?,
            controlled_shutdown: values.flag("controlled.shutdown.enable"),
            registration_timeout: values.millis("initial.broker.registration.timeout.ms")?,
            request_timeout: values.millis("request.timeout.ms")?,
        };
        let (interval, session) = (node.heartbeat_interval.as_millis(), node.session_timeout.as_millis());
        if interval >= session {
            return Err(SettingsError::Contradiction(format!(
                "broker.heartbeat.interval.ms={interval} must be less than broker.session.timeout.ms={session}, or the broker is \
                 fenced between two heartbeats; a file with Kafka's 2000 needs Kafka's 9000, too"
            )));
        }
        Ok(node)
    }
}

impl NetworkSettings {
    fn new(values: &Values, listeners: listeners::Listeners) -> Result<Self, SettingsError> {
        Ok(Self {
            listeners: listeners.bound,
            advertised: listeners.advertised,
            inter_broker_listener: listeners.inter_broker,
            request_bytes_max: values.size("socket.request.max.bytes")?,
            queued_request_bytes_max: queued_request_bytes_max(values)?,
            backlog: values.integer("socket.listen.backlog.size")?,
            connections: ConnectionBounds::new(values)?,
            connections_idle_max: connections_idle_max(values)?,
            fetch_bytes_max: values.size("fetch.max.bytes")?,
            fetch_session_slots: values.size("max.incremental.fetch.session.cache.slots")?,
            response_partitions_max: values.size("max.request.partition.size.limit")?,
            metrics_listener: listeners::metrics_listener(values)?,
        })
    }
}

/// -1 means for ever.
fn connections_idle_max(values: &Values) -> Result<Duration, SettingsError> {
    let millis: i64 = values.integer("connections.max.idle.ms")?;
    Ok(u64::try_from(millis).map_or(Duration::MAX, Duration::from_millis))
}

/// Kafka writes "no bound" as a number below 1.
fn queued_request_bytes_max(values: &Values) -> Result<u64, SettingsError> {
    let bytes: i64 = values.integer("queued.max.request.bytes")?;
    Ok(u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(u64::MAX))
}

impl QuorumSettings {
    fn new(
        values: &Values,
        node: &NodeSettings,
        voters: Vec<Voter>,
        metadata_dir: PathBuf,
    ) -> Result<Self, SettingsError> {
        let is_named = voters.iter().any(|voter| voter.id == node.id);
        let joins_by_itself = values.flag("controller.quorum.auto.join.enable");
        Ok(Self {
            wants_vote: node.is_controller && (is_named || joins_by_itself),
            voters,
            bootstrap_servers: listeners::bootstrap_servers(values)?,
            metadata_dir,
            election_timeout: values.millis("controller.quorum.election.timeout.ms")?,
        })
    }
}

impl BalanceSettings {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        let seconds: u64 = values.integer("leader.imbalance.check.interval.seconds")?;
        Ok(Self {
            enabled: values.flag("auto.leader.rebalance.enable"),
            interval: Duration::from_secs(seconds),
            imbalance_percent_max: values.integer("leader.imbalance.per.broker.percentage")?,
        })
    }
}

impl TopicDefaults {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        Ok(Self {
            auto_create: values.flag("auto.create.topics.enable"),
            delete_enabled: values.flag("delete.topic.enable"),
            partitions: values.integer("num.partitions")?,
            replication_factor: values.integer("default.replication.factor")?,
            min_insync_replicas: values.size("min.insync.replicas")?,
            unclean_leader_election: values.flag("unclean.leader.election.enable"),
        })
    }
}

impl LogSettings {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        let mut dirs = values.list("log.dirs");
        if dirs.is_empty() {
            dirs = values.list("log.dir");
        }
        if dirs.is_empty() {
            return Err(values.malformed("log.dirs", "at least one directory"));
        }
        if let Some(stranger) = live::strange_cordons(values.text(live::CORDONED).unwrap_or(""), &dirs).first() {
            let named = live::CORDONED;
            return Err(SettingsError::Contradiction(format!("{named} names {stranger}, which is none of log.dirs")));
        }
        Ok(Self {
            dirs: dirs.into_iter().map(PathBuf::from).collect(),
            retention_check_interval: values.millis("log.retention.check.interval.ms")?,
            recovery_checkpoint_interval: values.millis("log.flush.offset.checkpoint.interval.ms")?,
            start_offset_checkpoint_interval: values.millis("log.flush.start.offset.checkpoint.interval.ms")?,
            high_watermark_checkpoint_interval: values.millis("replica.high.watermark.checkpoint.interval.ms")?,
            flush_scheduler_interval: values.finite_millis("log.flush.scheduler.interval.ms")?,
            recovery_threads_per_dir: values.size("num.recovery.threads.per.data.dir")?,
            directory_failure_timeout: values.millis("log.dir.failure.timeout.ms")?,
            flush_lag_bytes: values.size("twinstream.log.flush.lag.bytes")? as u64,
            reserve_bytes: values.size("twinstream.log.reserve.bytes")? as u64,
            open_files_max: values.size("twinstream.log.open.files.max")?,
            scrub_bytes_per_second: values.integer("twinstream.scrub.bytes.per.second")?,
            record_checks: match values.text("twinstream.record.checks") {
                Some("records") => RecordChecks::Records,
                _ => RecordChecks::Headers,
            },
            producer_id_expiration: values.millis("producer.id.expiration.ms")?,
            producer_id_check_interval: values.millis("producer.id.expiration.check.interval.ms")?,
        })
    }
}

impl GroupSettings {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        const PROTOCOLS: &str = "group.coordinator.rebalance.protocols";
        let protocols = values.list(PROTOCOLS);
        let has = |name: &str| protocols.iter().any(|protocol| protocol == name);
        if !has("classic") {
            return Err(SettingsError::Contradiction(format!(
                "{PROTOCOLS} must name classic, which cannot be disabled"
            )));
        }
        Ok(Self {
            serves_consumer_protocol: has("consumer"),
            initial_rebalance_delay: values.millis("group.initial.rebalance.delay.ms")?,
            session_timeout_min: values.millis("group.min.session.timeout.ms")?,
            session_timeout_max: values.millis("group.max.session.timeout.ms")?,
            size_max: values.size("group.max.size")?,
            consumer: ConsumerGroupSettings::new(values)?,
        })
    }
}

impl ConsumerGroupSettings {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        Ok(Self {
            session_timeout: values.millis("group.consumer.session.timeout.ms")?,
            heartbeat_interval: values.millis("group.consumer.heartbeat.interval.ms")?,
            size_max: values.size("group.consumer.max.size")?,
            assignors: values.list("group.consumer.assignors"),
            migration_policy: values.text("group.consumer.migration.policy").unwrap_or_default().to_owned(),
            assignment_interval: values.millis("group.consumer.assignment.interval.ms")?,
            regex_refresh_interval: values.millis("group.consumer.regex.refresh.interval.ms")?,
        })
    }
}

impl OffsetsSettings {
    fn new(values: &Values) -> Result<Self, SettingsError> {
        let minutes: u64 = values.integer("offsets.retention.minutes")?;
        Ok(Self {
            topic_partitions: values.integer("offsets.topic.num.partitions")?,
            topic_replication_factor: values.integer("offsets.topic.replication.factor")?,
            topic_segment_bytes: values.integer("offsets.topic.segment.bytes")?,
            commit_timeout: values.millis("offsets.commit.timeout.ms")?,
            retention: Duration::from_secs(minutes * 60),
            retention_check_interval: values.millis("offsets.retention.check.interval.ms")?,
            metadata_bytes_max: values.size("offset.metadata.max.bytes")?,
        })
    }
}

#[cfg(test)]
mod tests;
