//! The connector: watches the source's topics, keeps the target's in step, deals out partitions.
//!
//! `start` reaches both clusters once, so that a wrong address fails at once and by name. `task_configs` looks at the
//! source, makes what is missing on the target, and assigns. A watcher repeats the look every
//! `refresh.topics.interval.seconds` and asks for new task configurations when the list of partitions differs; another
//! compares settings. While a cluster is away the watchers only note it; tasks go on by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{error, info, warn};
use twinstream_client::raw::ClusterView;
use twinstream_client::{ClientError, NewTopic, RawClient};
use twinstream_connect_api::{Connector, ConnectorContext, Fate, RawConfig, TaskError, async_trait};
use twinstream_model::{InvalidTopicName, TopicId, TopicName, TopicPartition};

use crate::aligned::marks::Marking;
use crate::assignment::{assign, encode};
use crate::checkpoint::not_done;
use crate::config::{ASSIGNED, COUNT, NAMES, Settings, config_def, unused_client_settings};
use crate::figures;
use crate::returns::{self, Names};
use crate::topics::{self, Changed, TopicsError, WantedTopic};
use crate::verify::background;

/// Where MirrorMaker's default is a trap: setting, our default, its default.
const SAFER_DEFAULTS: [(&str, &str, &str); 3] = [
    ("replication.factor", "the source's", "2"),
    ("refresh.topics.interval.seconds", "2", "600"),
    ("sync.topic.configs.interval.seconds", "5", "600"),
];

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
    /// Names on the target of topics that come home.
    names: Mutex<Names>,
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
        let settings = Settings::parse(&config)
            .map_err(|cause| TaskError::fatal("read settings of the mirror").caused_by(cause))?;
        log_unused(&context, &config, &settings);
        let (source, target) = tokio::join!(RawClient::connect(&settings.source), RawClient::connect(&settings.target));
        let source = source.map_err(|cause| away("source", &settings.source_alias, cause))?;
        let target = target.map_err(|cause| away("target", &settings.target_alias, cause))?;
        if settings.policy.is_identity() && source.cluster_id().is_some() && source.cluster_id() == target.cluster_id()
        {
            return Err(TaskError::fatal(
                "source and target are the same cluster, and IdentityReplicationPolicy would copy each topic into itself; use another target or DefaultReplicationPolicy",
            ));
        }
        let link =
            Arc::new(Link { settings, source, target, dealt: Mutex::default(), names: Mutex::default(), context });
        let mut watchers = JoinSet::new();
        if link.settings.enabled
            && let Some(interval) = link.settings.refresh
        {
            watchers.spawn(watch_topics(Arc::clone(&link), interval));
        }
        if link.settings.enabled
            && let Some(interval) = link.settings.config_sync
        {
            watchers.spawn(sync_configs(Arc::clone(&link), interval));
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
        let topics = link.look().await?;
        let ready = link.prepare(&topics).await?;
        let tasks = assign(&ready, max_tasks);
        let count = tasks.len();
        info!(connector = link.context.connector(), topics = ready.len(), tasks = tasks.len(), "partitions dealt out");
        let Settings { source_alias, target_alias, .. } = &link.settings;
        figures::link(source_alias, target_alias).keep(|partition| ready.contains_key(&partition.topic));
        *link.dealt() = topics;
        let with_partitions = |partitions: Vec<TopicPartition>| {
            let mut config = running.config.clone();
            let topics: BTreeSet<&TopicName> = partitions.iter().map(|partition| &partition.topic).collect();
            let names: Names = link.names().iter().filter(|(topic, _)| topics.contains(topic)).map(pair).collect();
            if !names.is_empty() {
                config.insert(NAMES.to_owned(), returns::encode(&names));
            }
            config.insert(ASSIGNED.to_owned(), encode(&partitions));
            config.insert(COUNT.to_owned(), count.to_string());
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

fn log_unused(context: &Arc<dyn ConnectorContext>, config: &RawConfig, settings: &Settings) {
    let connector = context.connector();
    for (setting, ours, theirs) in SAFER_DEFAULTS.iter().filter(|(setting, ..)| !config.contains_key(*setting)) {
        info!(connector, setting, ours, theirs, "default is not MirrorMaker's");
    }
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

    /// The topics of the source that are copied.
    async fn look(&self) -> Result<Topics, TaskError> {
        let view = self
            .source
            .refresh_all()
            .await
            .map_err(|cause| TaskError::retriable("list topics of the source").caused_by(cause))?;
        let Settings { filter, policy, target_alias, returns, .. } = &self.settings;
        let names = if *returns { self.coming_home(&view).await? } else { Names::new() };
        let copied = view.topics.values().filter(|topic| {
            let copies = |name: &TopicName| match returns {
                true => names.contains_key(name),
                false => filter.copies(name.as_str(), policy, target_alias),
            };
            !topic.internal && !topic.partitions.is_empty() && copies(&topic.name)
        });
        Ok(copied
            .map(|topic| (topic.name.clone(), u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)))
            .collect())
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

    /// Looks which topics of the source come home.
    async fn coming_home(&self, view: &ClusterView) -> Result<Names, TaskError> {
        let topics: Vec<TopicName> = view.topics.keys().cloned().collect();
        let marks = self.source.mirror_marks(&topics).await;
        let marks = marks.map_err(|cause| TaskError::retriable("ask the source for its mirrors").caused_by(cause))?;
        let Settings { filter, policy, .. } = &self.settings;
        let (names, left) = returns::coming_home(&marks, self.target.cluster_id().as_deref(), filter, policy);
        for topic in left {
            warn!(connector = self.context.connector(), %topic, "another mirror of the same topic comes home, this one does not");
        }
        self.names().clone_from(&names);
        Ok(names)
    }

    /// Makes the target's topics; returns those that can be copied. One that the target refuses marks the connector
    /// FAILED; the others go on.
    async fn prepare(&self, topics: &Topics) -> Result<Topics, TaskError> {
        let names: Vec<TopicName> = topics.keys().cloned().collect();
        let configs = match self.settings.config_sync {
            Some(_) => topics::changed_configs(&self.source, &names, Some(&self.settings.properties_excluded))
                .await
                .map_err(passing)?,
            None => BTreeMap::new(),
        };
        let view = self.source.view();
        let replicas = |topic: &TopicName| {
            let partitions = view.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
            partitions.map(|partition| i16::try_from(partition.replicas.len()).unwrap_or(i16::MAX)).max().unwrap_or(0)
        };
        let mut wanted: BTreeMap<TopicName, WantedTopic> = BTreeMap::new();
        let mut sources: BTreeMap<TopicName, TopicName> = BTreeMap::new();
        let mut ready = topics.clone();
        for (topic, partitions) in topics {
            match self.remote_topic(topic) {
                Ok(remote) => {
                    let configs = configs.get(topic).cloned().unwrap_or_default();
                    let topic_wanted = WantedTopic { partitions: *partitions, replicas: replicas(topic), configs };
                    wanted.insert(remote.clone(), topic_wanted);
                    sources.insert(remote, topic.clone());
                }
                Err(cause) => {
                    self.context.raise_error(
                        TaskError::fatal(format!(
                            "topic {topic} cannot be copied: its name on the target is not legal"
                        ))
                        .caused_by(cause),
                    );
                    ready.remove(topic);
                }
            }
        }
        let aliases = (self.settings.source_alias.as_str(), self.settings.target_alias.as_str());
        let marking = Marking::learn(self.settings.link_mode, aliases, &self.target)
            .await
            .map_err(|cause| TaskError::retriable("ask the target for its features").caused_by(cause))?;
        let cluster = self.source.cluster_id();
        let marked = |topic: NewTopic| {
            let Some(source) = sources.get(&topic.name) else { return Ok(topic) };
            let id = view.topics.get(source).map_or(TopicId::NONE, |topic| topic.id);
            marking.new_topic(topic, cluster.as_deref(), source, id)
        };
        let factor = self.settings.replication_factor;
        let failures = topics::ensure(&self.target, &wanted, factor, marked).await.map_err(passing)?;
        for (remote, cause) in failures {
            let hint = "fix it there or change replication.factor or topics, then restart the connector";
            self.context.raise_error(
                TaskError::fatal(format!("topic {remote} cannot be made on the target, it is not copied; {hint}"))
                    .caused_by(cause),
            );
            if let Some(topic) = sources.get(&remote) {
                ready.remove(topic);
            }
        }
        Ok(ready)
    }

    /// Brings changed settings of copied topics over.
    async fn sync(&self) -> Result<(), TopicsError> {
        let names: Vec<TopicName> = self.dealt().keys().cloned().collect();
        let excluded = &self.settings.properties_excluded;
        let wanted = topics::changed_configs(&self.source, &names, Some(excluded)).await?;
        let remotes: BTreeMap<TopicName, Changed> = wanted
            .into_iter()
            .filter_map(|(topic, changed)| Some((self.remote_topic(&topic).ok()?, changed)))
            .collect();
        let remote_names: Vec<TopicName> = remotes.keys().cloned().collect();
        let present = topics::changed_configs(&self.target, &remote_names, None).await?;
        let mut changes = BTreeMap::new();
        for (remote, wanted) in &remotes {
            if let Some(present) = present.get(remote) {
                let steps = topics::difference(wanted, present, excluded);
                if !steps.is_empty() {
                    changes.insert(remote.clone(), steps);
                }
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        for (topic, cause) in topics::alter(&self.target, &changes).await? {
            warn!(connector = self.context.connector(), %topic, %cause, "settings are not copied");
        }
        Ok(())
    }
}

fn passing(cause: TopicsError) -> TaskError {
    TaskError::retriable("bring topics of the target in step").caused_by(cause)
}

async fn watch_topics(link: Arc<Link>, interval: Duration) {
    let mut away = false;
    loop {
        tokio::time::sleep(interval).await;
        match link.look().await {
            Err(cause) if away => tracing::debug!(cause = %cause.trace(), "source still away"),
            Err(cause) => {
                away = true;
                warn!(connector = link.context.connector(), cause = %cause.trace(), "new topics cannot be looked for");
            }
            Ok(topics) => {
                if std::mem::take(&mut away) {
                    info!(connector = link.context.connector(), "source is back, topics are looked for again");
                }
                let before = link.dealt().clone();
                if topics != before {
                    log_difference(&link, &before, &topics);
                    link.context.request_task_reconfiguration();
                }
            }
        }
    }
}

fn log_difference(link: &Link, before: &Topics, now: &Topics) {
    let connector = link.context.connector();
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.keys().collect(), now.keys().collect());
    for topic in old.difference(&new) {
        error!(connector, %topic, "topic is gone from the source, its copy stays on the target and gets nothing more");
    }
    for topic in new.difference(&old) {
        info!(connector, %topic, "new topic on the source");
    }
    for topic in old.intersection(&new).filter(|topic| before.get(**topic) != now.get(**topic)) {
        info!(connector, %topic, partitions = now.get(*topic), "topic has another number of partitions");
    }
}

async fn sync_configs(link: Arc<Link>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        if let Err(cause) = link.sync().await {
            warn!(
                connector = link.context.connector(),
                cause = twinstream_connect_api::error::trace_of(&cause),
                "topic settings are not compared"
            );
        }
    }
}
