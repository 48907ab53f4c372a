//! The connector: watches the source's topics, keeps the target's in step, deals out partitions.
//!
//! `start` reaches both clusters once, so that a wrong address fails at once and by name. `task_configs` looks at the
//! source, makes what is missing on the target, and assigns. Watchers (`watch`) repeat the look every
//! `refresh.topics.interval.seconds`, compare settings, and ask for new task configurations when something is to be dealt out
//! anew. While a cluster is away the watchers only note it; tasks go on by themselves.
//! Invariants: a topic that the target refuses stops no other topic and is tried again (`refusals`); nothing is dealt out
//! before its topic is on the target. Records and topics go to one and the same cluster. Dealing out that takes longer than
//! [`DEALT_WITHIN`] is begun anew and goes on where it was: no number of topics makes the connector fail.

mod apart; // what does not follow the source in everything
mod copies; // what is on the target
mod deletions; // copies of what is gone
mod echoes; // what is copied, and what came from the target
mod gone; // what was copied, and is not there any more
mod refusals; // what the target does not take
mod settings; // of topics
mod watch; // what runs beside the tasks

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::info;
use twinstream_client::{ClientError, ClientSettings, RawClient};
use twinstream_connect_api::{Connector, ConnectorContext, Fate, RawConfig, TaskError, async_trait};
use twinstream_model::{InvalidTopicName, TopicName, TopicPartition};

use self::apart::Apart;
use self::copies::followed;
use self::gone::Gone;
use self::refusals::Refusals;
use crate::aligned::LinkMode;
use crate::assignment::{assign, encode};
use crate::checkpoint::not_done;
use crate::config::{ASSIGNED, COUNT, LINK_MODE, NAMES, Settings, config_def, unused_client_settings};
use crate::differs;
use crate::figures;
use crate::link::cycles::OnTheRoad;
use crate::quotas::QuotaSync;
use crate::returns::{self, Names};
use crate::verify::background;

/// Shorter than what a worker waits for a connector before it takes it for dead.
const DEALT_WITHIN: Duration = Duration::from_secs(90);

/// Source topic -> number of partitions.
type Topics = BTreeMap<TopicName, u32>;

#[derive(Default)]
pub struct MirrorSourceConnector {
    running: Option<Running>,
}

struct Running {
    link: Arc<Link>,
    config: RawConfig,
    watchers: JoinSet<()>,
}

/// Both ends, and what was last dealt out.
struct Link {
    settings: Settings,
    source: RawClient,
    target: RawClient,
    dealt: Mutex<Topics>,
    /// Of those, what is there on the target and copied.
    copied: Mutex<Topics>,
    /// Names on the target of topics that come home.
    names: Mutex<Names>,
    refusals: Mutex<Refusals>,
    apart: Mutex<Apart>,
    gone: Mutex<Gone>,
    /// Topics of the source that came from the target under the same name, and why they are not copied.
    echoes: Mutex<BTreeMap<TopicName, String>>,
    /// By which other links know of this one.
    road: OnTheRoad,
    started: Instant,
    context: Arc<dyn ConnectorContext>,
}

#[async_trait]
impl Connector for MirrorSourceConnector {
    async fn validate(&self, config: &RawConfig) -> BTreeMap<String, Vec<String>> {
        match Settings::parse(config) {
            Ok(_) => BTreeMap::new(),
            Err(error) => BTreeMap::from([(error.key().to_owned(), vec![error.to_string()])]),
        }
    }

    async fn start(&mut self, context: Arc<dyn ConnectorContext>, config: RawConfig) -> Result<(), TaskError> {
        let mut settings = Settings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the mirror").caused_by(cause))?;
        log_unused(&context, &config, &settings);
        if context.is_exactly_once() && settings.link_mode == LinkMode::Auto {
            info!(
                connector = context.connector(),
                "topics are copied as any producer would ({LINK_MODE}=generic), because the worker has exactly.once.source.support=enabled: its transactions cannot hold what is appended at the source's offsets, which is exactly once without them"
            );
            settings.link_mode = LinkMode::Generic;
        }
        let (source, target) = tokio::join!(RawClient::connect(&settings.source), RawClient::connect(&settings.target));
        let source = source.map_err(|cause| away("source", &settings.source_alias, cause))?;
        let target = target.map_err(|cause| away("target", &settings.target_alias, cause))?;
        if settings.policy.is_identity() && source.cluster_id().is_some() && source.cluster_id() == target.cluster_id()
        {
            return Err(TaskError::fatal(
                "source and target are the same cluster, and IdentityReplicationPolicy would copy each topic into itself; use another target or DefaultReplicationPolicy",
            ));
        }
        records_go_there(&*context, &settings, &target).await?;
        let road = OnTheRoad::enter(&config, &settings, source.cluster_id(), target.cluster_id());
        let link = Arc::new(Link {
            settings,
            road,
            source,
            target,
            dealt: Mutex::default(),
            copied: Mutex::default(),
            names: Mutex::default(),
            refusals: Mutex::default(),
            apart: Mutex::default(),
            gone: Mutex::default(),
            echoes: Mutex::default(),
            started: Instant::now(),
            context,
        });
        let mut watchers = JoinSet::new();
        if link.settings.enabled {
            watchers.spawn(watch::topics(Arc::clone(&link)));
        }
        if link.settings.enabled
            && let Some(interval) = link.settings.config_sync
        {
            watchers.spawn(watch::configs(Arc::clone(&link), interval));
        }
        if link.settings.enabled
            && let Some(acls) = link.settings.acls.clone()
        {
            watchers.spawn(watch::acls(Arc::clone(&link), acls));
        }
        if link.settings.enabled
            && let Some(every) = link.settings.quota_sync
        {
            let (connector, source, target) =
                (link.context.connector().to_owned(), link.source.clone(), link.target.clone());
            watchers.spawn(QuotaSync { connector, source, target, every }.run());
        }
        if link.settings.enabled
            && let Some(grace) = link.settings.deletes_after
        {
            watchers.spawn(watch::deletions(Arc::clone(&link), grace));
        }
        if link.settings.enabled
            && let Some(bytes) = link.settings.verify_bytes
        {
            let connector = link.context.connector().to_owned();
            watchers.spawn(background::run(link.settings.clone(), connector, bytes));
        }
        self.running = Some(Running { link, config, watchers });
        Ok(())
    }

    /// As MirrorMaker's: a copy of what is aborted later would be there for good.
    fn exactly_once_support(&self, config: &RawConfig) -> Result<(), String> {
        let settings = Settings::parse(config).map_err(|error| error.to_string())?;
        if settings.fetch.read_committed {
            return Ok(());
        }
        let hint = "set source.consumer.isolation.level=read_committed";
        Err(format!("records of transactions that are aborted later would be copied: {hint}"))
    }

    fn live_keys(&self) -> &'static [&'static str] {
        &[ASSIGNED, NAMES]
    }

    async fn task_configs(&mut self, max_tasks: usize) -> Result<Vec<RawConfig>, TaskError> {
        let running = self.running.as_ref().ok_or_else(|| TaskError::fatal("the connector was not started"))?;
        let link = &running.link;
        if !link.settings.enabled {
            return Ok(Vec::new());
        }
        let late = || {
            TaskError::retriable(format!(
                "bring topics in step: not done within {} s, what was done stays and the rest follows",
                DEALT_WITHIN.as_secs()
            ))
        };
        let (topics, ready) = tokio::time::timeout(DEALT_WITHIN, link.deal()).await.map_err(|_| late())??;
        let tasks = assign(&ready, max_tasks);
        let count = tasks.len();
        info!(connector = link.context.connector(), topics = ready.len(), tasks = tasks.len(), "partitions dealt out");
        let Settings { source_alias, target_alias, .. } = &link.settings;
        figures::link(source_alias, target_alias).keep(|partition| {
            let copied = ready.get(&partition.topic).copied().unwrap_or(0);
            u32::try_from(partition.partition.0).is_ok_and(|index| index < copied)
        });
        *link.dealt() = topics;
        *link.copied() = ready;
        let with_partitions = |partitions: Vec<TopicPartition>| {
            let mut config = running.config.clone();
            let topics: BTreeSet<&TopicName> = partitions.iter().map(|partition| &partition.topic).collect();
            let names: Names = link.names().iter().filter(|(topic, _)| topics.contains(topic)).map(pair).collect();
            if !names.is_empty() {
                config.insert(NAMES.to_owned(), returns::encode(&names));
            }
            config.insert(ASSIGNED.to_owned(), encode(&partitions));
            config.insert(COUNT.to_owned(), count.to_string());
            config.insert(LINK_MODE.to_owned(), link.settings.link_mode.name().to_owned());
            config
        };
        Ok(tasks.into_iter().map(with_partitions).collect())
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.watchers.shutdown().await;
        }
    }
}

fn pair((topic, name): (&TopicName, &TopicName)) -> (TopicName, TopicName) {
    (topic.clone(), name.clone())
}

fn away(side: &str, alias: &str, cause: ClientError) -> TaskError {
    let text = format!("{side} cluster '{alias}' cannot be reached; check {side}.cluster.bootstrap.servers");
    not_done(text, cause)
}

/// The worker produces to a cluster of its own settings; topics are made on the one of the connector's. They must be the same.
async fn records_go_there(
    context: &dyn ConnectorContext,
    settings: &Settings,
    target: &RawClient,
) -> Result<(), TaskError> {
    let Some(servers) =
        context.target_bootstrap_servers().filter(|servers| *servers != settings.target.bootstrap().join(","))
    else {
        return Ok(());
    };
    let failed = |cause: String| {
        TaskError::fatal(format!("connect to {servers}, where the worker's records go")).caused_by(cause)
    };
    let producers: ClientSettings =
        settings.target.clone().with("bootstrap.servers", servers).map_err(|cause| failed(cause.to_string()))?;
    let worker = RawClient::connect(&producers).await.map_err(|cause| {
        not_done(format!("the cluster at {servers}, where the worker's records go, cannot be reached"), cause)
    })?;
    match (worker.cluster_id(), target.cluster_id()) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(TaskError::fatal(format!(
            "records would go to cluster {theirs} ({servers}) and topics to cluster {ours} ({}); let target.cluster.bootstrap.servers name the worker's own cluster, or set producer.override.bootstrap.servers to the target's",
            settings.target.bootstrap().join(",")
        ))),
        _ => Ok(()),
    }
}

fn log_unused(context: &Arc<dyn ConnectorContext>, config: &RawConfig, settings: &Settings) {
    let connector = context.connector();
    differs::tell(connector, &differs::OF_SOURCE, config);
    for key in config_def().keys().iter().filter(|key| config.contains_key(&key.name)) {
        if let Fate::NoSuchPart(why) = key.fate {
            info!(connector, setting = key.name, "setting has no effect: {why}");
        }
    }
    for (side, client) in [("source.cluster.", &settings.source), ("target.cluster.", &settings.target)] {
        for name in unused_client_settings(client) {
            info!(
                connector,
                setting = format!("{side}{name}"),
                "setting has no effect: batches are fetched without the consumer that it is for"
            );
        }
    }
}

impl Link {
    fn dealt(&self) -> std::sync::MutexGuard<'_, Topics> {
        self.dealt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copied(&self) -> std::sync::MutexGuard<'_, Topics> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apart(&self) -> std::sync::MutexGuard<'_, Apart> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the link's status which topics do not follow in everything.
    fn show_apart(&self) {
        let Settings { source_alias, target_alias, .. } = &self.settings;
        figures::link(source_alias, target_alias).keeps_apart(self.apart().causes());
    }

    /// The topics that are followed, and of them what can be copied now.
    async fn deal(&self) -> Result<(Topics, Topics), TaskError> {
        let found = self.look().await?;
        let topics = followed(&self.dealt(), found, self.settings.refresh.is_some());
        let ready = self.prepare(&topics).await?;
        Ok((topics, ready))
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a topic of the source is called on the target.
    fn remote_topic(&self, topic: &TopicName) -> Result<TopicName, InvalidTopicName> {
        match self.names().get(topic) {
            Some(name) => Ok(name.clone()),
            None => self.settings.policy.remote_topic(topic),
        }
    }
}
