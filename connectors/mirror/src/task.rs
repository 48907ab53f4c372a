//! The task: fetches from the leaders of its partitions and hands batches on.
//!
//! Picture: at most one fetch per source broker is under way, as a tokio task of its own that survives a dropped
//! `poll`; `poll` waits for the next one to come back, turns its batches into [`RawBatch`]es and moves the positions.
//! So a slow broker delays only its own partitions, and a poll may be dropped at any await.
//! Bounds: a fetch brings at most `fetch.max.bytes` (8 MiB unless set), so a task holds that per source broker, beside
//! what the worker has under way.
//! States: the source away -> fetches fail, one warning, tried again with pauses up to [`RETRY_PAUSE_MAX`]; after
//! [`AWAY_MAX`] without any answer the task fails by name. A partition that is gone -> one error line, looked for every
//! [`GONE_PAUSE`]. A position outside the log -> `retry::judge_gap`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};
use twinstream_client::protocol::batch::{BatchError, batches};
use twinstream_client::raw::{FetchFrom, FetchOptions, FetchedPartition, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::{Polled, RawBatch, RawConfig, SourceTask, SourceTaskContext, TaskError, async_trait};
use twinstream_model::{NodeId, Offset, TopicId, TopicName, TopicPartition};

use crate::assignment::decode;
use crate::config::{ASSIGNED, OnGap, Settings, config_def};
use crate::metrics::PartitionMetrics;
use crate::offsets::{next_of, source_offset, source_partition};
use crate::request::ready;
use crate::retry::{Gap, Verdict, judge, judge_gap};

/// How long a poll waits for a fetch to come back.
const POLL_WAIT: Duration = Duration::from_secs(1);
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(200);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
const GONE_PAUSE: Duration = Duration::from_secs(5);
/// A link may be down for long and heal by itself; beyond this somebody should look at it.
const AWAY_MAX: Duration = Duration::from_secs(30 * 60);

#[derive(Default)]
pub struct MirrorSourceTask {
    running: Option<Running>,
}

struct Running {
    settings: Settings,
    client: Option<RawClient>,
    partitions: BTreeMap<TopicPartition, Partition>,
    fetching: JoinSet<Fetched>,
    busy: BTreeSet<NodeId>,
    out_of_range: BTreeSet<TopicPartition>,
    away: Option<Away>,
}

/// One source partition.
struct Partition {
    remote: TopicName,
    /// The next record to copy; unknown until the source was asked.
    position: Option<Offset>,
    topic_id: Option<TopicId>,
    in_flight: bool,
    not_before: Option<Instant>,
    pause: Duration,
    gone: bool,
    metrics: PartitionMetrics,
}

struct Fetched {
    leader: NodeId,
    asked: Vec<TopicPartition>,
    result: Result<Vec<FetchedPartition>, ClientError>,
}

/// Since when nothing answered.
struct Away {
    since: Instant,
    pause: Duration,
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
        let mut partitions = BTreeMap::new();
        for (partition, stored) in assigned.into_iter().zip(stored) {
            let remote = settings
                .policy
                .remote_topic(&partition.topic)
                .map_err(|cause| TaskError::fatal(format!("name of {partition} on the target")).caused_by(cause))?;
            let position = next_of(&partition, stored.as_ref())?;
            let on_target = TopicPartition::new(remote.clone(), partition.partition);
            let metrics = PartitionMetrics::new(&settings.source_alias, &settings.target_alias, &on_target);
            partitions.insert(
                partition,
                Partition {
                    remote,
                    position,
                    topic_id: None,
                    in_flight: false,
                    not_before: None,
                    pause: RETRY_PAUSE_FIRST,
                    gone: false,
                    metrics,
                },
            );
        }
        let resumed = partitions.values().filter(|partition| partition.position.is_some()).count();
        info!(
            connector = context.connector(),
            task = context.task_id(),
            partitions = partitions.len(),
            resumed,
            "mirror task starts"
        );
        self.running = Some(Running {
            settings,
            client: None,
            partitions,
            fetching: JoinSet::new(),
            busy: BTreeSet::new(),
            out_of_range: BTreeSet::new(),
            away: None,
        });
        Ok(())
    }

    async fn poll(&mut self) -> Result<Polled, TaskError> {
        let running = self.running.as_mut().ok_or_else(|| TaskError::fatal("the task was not started"))?;
        if running.partitions.is_empty() {
            tokio::time::sleep(POLL_WAIT).await;
            return Ok(Polled::Idle);
        }
        match running.poll().await {
            Err(Trouble::Task(error)) => Err(error),
            Err(Trouble::Source(cause)) => Err(running.source_away(cause)),
            Ok(batches) if batches.is_empty() => Ok(Polled::Idle),
            Ok(batches) => Ok(Polled::Batches(batches)),
        }
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.fetching.shutdown().await;
        }
    }
}

enum Trouble {
    /// The source does not answer.
    Source(ClientError),
    Task(TaskError),
}

impl From<TaskError> for Trouble {
    fn from(error: TaskError) -> Trouble {
        Trouble::Task(error)
    }
}

impl Running {
    async fn poll(&mut self) -> Result<Vec<RawBatch>, Trouble> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => {
                let client = RawClient::connect(&self.settings.source).await.map_err(Trouble::Source)?;
                self.client.insert(client).clone()
            }
        };
        self.close_gaps(&client).await?;
        self.find_positions(&client).await?;
        self.begin_fetches(&client).await?;
        let fetched = match timeout(POLL_WAIT, self.fetching.join_next()).await {
            Err(_) => return Ok(Vec::new()),
            Ok(Some(Ok(fetched))) => fetched,
            Ok(Some(Err(cause))) => {
                return Err(TaskError::fatal("a fetch panicked, the log has the place").caused_by(cause).into());
            }
            Ok(None) => {
                // Every partition waits for its next attempt.
                tokio::time::sleep(RETRY_PAUSE_FIRST).await;
                return Ok(Vec::new());
            }
        };
        self.take_in(&client, fetched).await
    }

    /// Where partitions start that were never copied.
    async fn find_positions(&mut self, client: &RawClient) -> Result<(), Trouble> {
        let now = Instant::now();
        let unknown: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.position.is_none() && partition.may_ask(now))
            .map(|(name, _)| name.clone())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let at = if self.settings.on_gap == OnGap::Latest { OffsetAt::Latest } else { OffsetAt::Earliest };
        let found = client.list_offsets(&unknown, at).await.map_err(Trouble::Source)?;
        for (name, result) in found {
            let Some(partition) = self.partitions.get_mut(&name) else { continue };
            match result {
                Ok(offset) => partition.position = Some(offset),
                Err(error) => partition.trouble(&name, error.code().map_or(Verdict::LookAgain, judge), &error)?,
            }
        }
        self.answered();
        Ok(())
    }

    /// One fetch for each leader that has partitions to ask for and none under way.
    async fn begin_fetches(&mut self, client: &RawClient) -> Result<(), Trouble> {
        let now = Instant::now();
        let idle: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|(name, partition)| {
                !partition.in_flight
                    && !self.out_of_range.contains(*name)
                    && partition.position.is_some()
                    && partition.may_ask(now)
            })
            .map(|(name, _)| name.clone())
            .collect();
        if idle.is_empty() {
            return Ok(());
        }
        let (led, leaderless) = client.by_leader(&idle).await.map_err(Trouble::Source)?;
        let view = client.view();
        for name in &leaderless {
            let verdict = if view.topics.contains_key(&name.topic) { Verdict::LookAgain } else { Verdict::Gone };
            let error = ClientError::broker(
                format!("find the leader of {name}"),
                twinstream_model::ErrorCode::LeaderNotAvailable,
            );
            if let Some(partition) = self.partitions.get_mut(name) {
                partition.trouble(name, verdict, &error)?;
            }
        }
        for (leader, names) in led {
            if self.busy.contains(&leader) {
                continue;
            }
            self.begin_fetch(client, leader, names, &view)?;
        }
        Ok(())
    }

    fn begin_fetch(
        &mut self,
        client: &RawClient,
        leader: NodeId,
        names: Vec<TopicPartition>,
        view: &twinstream_client::raw::ClusterView,
    ) -> Result<(), Trouble> {
        let mut wanted = Vec::with_capacity(names.len());
        for name in &names {
            let Some(partition) = self.partitions.get_mut(name) else { continue };
            partition.check_identity(name, view, self.settings.on_gap)?;
            let Some(position) = partition.position else { continue };
            partition.in_flight = true;
            wanted.push(FetchFrom::new(name.clone(), position));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let fetch = &self.settings.fetch;
        let options = FetchOptions {
            wait_max: fetch.wait_max,
            bytes_min: fetch.bytes_min,
            bytes_max: fetch.bytes_max,
            partition_bytes_max: fetch.partition_bytes_max,
            read_committed: false,
            rack: fetch.rack.clone(),
        };
        let client = client.clone();
        self.busy.insert(leader);
        self.fetching.spawn(async move {
            let result = client.fetch_batches(leader, &wanted, &options).await;
            Fetched { leader, asked: names, result }
        });
        Ok(())
    }

    async fn take_in(&mut self, client: &RawClient, fetched: Fetched) -> Result<Vec<RawBatch>, Trouble> {
        let Fetched { leader, asked, result } = fetched;
        self.busy.remove(&leader);
        for name in &asked {
            if let Some(partition) = self.partitions.get_mut(name) {
                partition.in_flight = false;
            }
        }
        let answers = match result {
            Ok(answers) => answers,
            Err(error) if error.is_retriable() => return self.leader_away(client, leader, &asked, error).await,
            Err(error) => {
                return Err(TaskError::fatal(format!("fetch from source broker {leader}")).caused_by(error).into());
            }
        };
        self.answered();
        let mut out = Vec::new();
        for answer in answers {
            let name = answer.partition.clone();
            let Some(partition) = self.partitions.get_mut(&name) else { continue };
            match judge(answer.error) {
                Verdict::Fine => partition.copy(&self.settings, &name, &answer, &mut out)?,
                // Looked into by the next poll: from here on positions have moved, and an await could lose what is
                // returned.
                Verdict::OutOfRange => drop(self.out_of_range.insert(name)),
                verdict => {
                    partition.trouble(&name, verdict, &ClientError::broker(format!("fetch {name}"), answer.error))?
                }
            }
        }
        Ok(out)
    }

    /// One broker is away: its partitions wait, and their leaders are looked up again. When nothing at all answers,
    /// that is an error.
    async fn leader_away(
        &mut self,
        client: &RawClient,
        leader: NodeId,
        asked: &[TopicPartition],
        error: ClientError,
    ) -> Result<Vec<RawBatch>, Trouble> {
        for name in asked {
            client.forget_leader(name);
            if let Some(partition) = self.partitions.get_mut(name) {
                partition.put_off();
            }
        }
        if self.busy.is_empty() && client.refresh(&[]).await.is_err() {
            return Err(Trouble::Source(error));
        }
        warn!(%leader, cause = %error, partitions = asked.len(), "source broker does not answer, its partitions wait for a leader");
        Ok(Vec::new())
    }

    /// Partitions whose position is outside the source's log go on, or fail the task, as the policy says.
    async fn close_gaps(&mut self, client: &RawClient) -> Result<(), Trouble> {
        while let Some(name) = self.out_of_range.first().cloned() {
            self.close_gap(client, &name).await?;
            self.out_of_range.remove(&name);
        }
        Ok(())
    }

    async fn close_gap(&mut self, client: &RawClient, name: &TopicPartition) -> Result<(), Trouble> {
        let asked = std::slice::from_ref(name);
        let start = client.list_offsets(asked, OffsetAt::Earliest).await.map_err(Trouble::Source)?;
        let end = client.list_offsets(asked, OffsetAt::Latest).await.map_err(Trouble::Source)?;
        let Some(partition) = self.partitions.get_mut(name) else { return Ok(()) };
        let (Some(Ok(start)), Some(Ok(end)), Some(position)) = (start.get(name), end.get(name), partition.position)
        else {
            partition.put_off();
            return Ok(());
        };
        match judge_gap(self.settings.on_gap, position, *start, *end) {
            Gap::Stay => partition.put_off(),
            Gap::Fail(why) => return Err(TaskError::fatal(format!("source partition {name}: {why}")).into()),
            Gap::GoOn { at, lost } => {
                error!(partition = %name, %position, go_on_at = %at, lost, "source no longer has the next records, the copy has a gap");
                partition.metrics.lost(lost);
                partition.position = Some(at);
            }
        }
        Ok(())
    }

    fn answered(&mut self) {
        if let Some(away) = self.away.take() {
            info!(
                source = self.settings.source_alias,
                away_ms = away.since.elapsed().as_millis(),
                "source answers again"
            );
        }
    }

    fn source_away(&mut self, cause: ClientError) -> TaskError {
        let alias = &self.settings.source_alias;
        let away = self.away.get_or_insert_with(|| Away { since: Instant::now(), pause: RETRY_PAUSE_FIRST });
        let pause = away.pause;
        away.pause = (away.pause * 2).min(RETRY_PAUSE_MAX);
        if !cause.is_retriable() || away.since.elapsed() >= AWAY_MAX {
            let minutes = AWAY_MAX.as_secs() / 60;
            return TaskError::fatal(format!("source cluster '{alias}' cannot be used, or did not answer for {minutes} minutes; check source.cluster.bootstrap.servers, then restart the task"))
                .caused_by(cause);
        }
        TaskError::retriable(format!("source cluster '{alias}' does not answer")).caused_by(cause).retry_after(pause)
    }
}

impl Partition {
    fn may_ask(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    fn put_off(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
    }

    fn trouble(&mut self, name: &TopicPartition, verdict: Verdict, error: &ClientError) -> Result<(), TaskError> {
        match verdict {
            Verdict::Fatal => return Err(TaskError::fatal(format!("source partition {name}")).caused_by(error.clone())),
            Verdict::Gone => {
                if !std::mem::replace(&mut self.gone, true) {
                    error!(partition = %name, "source partition is gone, nothing more is copied until it is there again");
                }
                self.not_before = Some(Instant::now() + GONE_PAUSE);
            }
            Verdict::Fine | Verdict::LookAgain | Verdict::OutOfRange => self.put_off(),
        }
        Ok(())
    }

    /// A topic that was deleted and made anew has another id; its offsets have nothing to do with the position.
    fn check_identity(
        &mut self,
        name: &TopicPartition,
        view: &twinstream_client::raw::ClusterView,
        on_gap: OnGap,
    ) -> Result<(), TaskError> {
        let Some(id) = view.topics.get(&name.topic).map(|topic| topic.id).filter(|id| *id != TopicId::NONE) else {
            return Ok(());
        };
        match self.topic_id.replace(id) {
            Some(before) if before != id && self.position.is_some_and(|position| position.0 > 0) => match on_gap {
                OnGap::Careful | OnGap::Fail => {
                    let hint = "set source.consumer.auto.offset.reset=earliest to copy the new one from its start behind the old records, or =latest to copy what comes next";
                    Err(TaskError::fatal(format!(
                        "source topic {} was deleted and made anew (id {before} is now {id}); {hint}",
                        name.topic
                    )))
                }
                OnGap::Earliest | OnGap::Latest => {
                    error!(partition = %name, old = %before, new = %id, "source topic was made anew, the copy goes on with the new one");
                    self.position = None;
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    /// Turns an answer into batches for the target and moves the position.
    fn copy(
        &mut self,
        settings: &Settings,
        name: &TopicPartition,
        answer: &FetchedPartition,
        out: &mut Vec<RawBatch>,
    ) -> Result<(), TaskError> {
        self.pause = RETRY_PAUSE_FIRST;
        self.not_before = None;
        if std::mem::take(&mut self.gone) {
            info!(partition = %name, "source partition is there again");
        }
        let Some(mut position) = self.position else { return Ok(()) };
        for view in batches(&answer.batches) {
            let view = match view {
                Ok(view) => view,
                Err(BatchError::Truncated { .. }) => break, // the answer's size limit; the rest comes with the next fetch
                Err(cause) => {
                    return Err(TaskError::fatal(format!(
                        "source partition {name} at offset {position} cannot be read"
                    ))
                    .caused_by(cause));
                }
            };
            let ready = ready(&view, position)
                .map_err(|cause| TaskError::fatal(format!("source partition {name}")).caused_by(cause))?;
            position = ready.next;
            let Some(batch) = ready.batch else { continue };
            self.metrics.copied(batch.records, batch.bytes.len(), (now_ms() - batch.max_timestamp).max(0));
            out.push(RawBatch {
                topic: self.remote.clone(),
                partition: name.partition,
                bytes: batch.bytes,
                records: batch.records,
                source_partition: source_partition(&settings.source_alias, name),
                source_offset: source_offset(position),
            });
        }
        self.position = Some(position);
        self.metrics.lag((answer.high_watermark.0 - position.0).max(0));
        Ok(())
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
