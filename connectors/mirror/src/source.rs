//! The connector: watches the source's topics, keeps the target's in step, deals out partitions.
//!
//! `start` reaches both clusters once, so that a wrong address fails at once and by name. `task_configs` looks at the
//! source, makes what is missing on the target, and assigns. Watchers (`watch`) repeat the look every
//! `refresh.topics.interval.seconds`, compare settings, and ask for new task configurations when something is to be dealt out
//! anew. While a cluster is away the watchers only note it; tasks go on by themselves.
//! Invariants: a topic that the target refuses stops no other topic and is tried again (`refusals`); nothing is dealt out
//! before its topic is on the target. Records and topics go to one and the same cluster.

mod deletions; // copies of what is gone
mod refusals; // what the target does not take
mod watch; // what runs beside the tasks

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::{info, warn};
use twinstream_client::raw::{ClusterView, MirrorMark};
use twinstream_client::{ClientError, ClientSettings, NewTopic, RawClient};
use twinstream_connect_api::{Connector, ConnectorContext, Fate, RawConfig, TaskError, async_trait};
use twinstream_model::{ErrorCode, InvalidTopicName, TopicId, TopicName, TopicPartition};

use self::refusals::Refusals;
use crate::aligned::LinkMode;

use crate::aligned::marks::Marking;
use crate::assignment::{assign, encode};
use crate::checkpoint::not_done;
use crate::config::{ASSIGNED, COUNT, LINK_MODE, NAMES, Settings, config_def, unused_client_settings};
use crate::differs;
use crate::figures;
use crate::quotas::QuotaSync;
use crate::returns::{self, Names};
use crate::topics::{self, Changed, TopicsError, WantedTopic};
use crate::verify::background;

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
    refusals: Mutex<Refusals>,
    /// Topics of the source that came from the target under the same name, and why they are not copied.
    echoes: Mutex<BTreeMap<TopicName, String>>,
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
        let link = Arc::new(Link {
            settings,
            source,
            target,
            dealt: Mutex::default(),
            names: Mutex::default(),
            refusals: Mutex::default(),
            echoes: Mutex::default(),
            started: Instant::now(),
            context,
        });
        let mut watchers = JoinSet::new();
        if link.settings.enabled
            && let Some(interval) = link.settings.refresh
        {
            watchers.spawn(watch::topics(Arc::clone(&link), interval));
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

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// Of topics that were dealt out, those whose copy is not whole on the target any more, with its name there.
    async fn lost(&self, dealt: &Topics) -> Result<Vec<(TopicName, TopicName)>, TaskError> {
        let wanted = dealt.keys().filter(|topic| !self.refusals().contains(topic));
        let remotes: Vec<(TopicName, TopicName)> =
            wanted.filter_map(|topic| Some((topic.clone(), self.remote_topic(topic).ok()?))).collect();
        if remotes.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<TopicName> = remotes.iter().map(|(_, remote)| remote.clone()).collect();
        let view = self.target.refresh(&names).await;
        let view = view.map_err(|cause| TaskError::retriable("list topics of the target").caused_by(cause))?;
        let is_lost = |topic: &TopicName, remote: &TopicName| match view.topics.get(remote) {
            None => view.topic_error(remote) == ErrorCode::UnknownTopicOrPartition,
            // Somebody made it again, with fewer partitions.
            Some(found) => dealt.get(topic).is_some_and(|wanted| found.partitions.len() < *wanted as usize),
        };
        Ok(remotes.into_iter().filter(|(topic, remote)| is_lost(topic, remote)).collect())
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
        let copied: Vec<_> = copied.collect();
        let echoes = match !returns && policy.is_identity() {
            true => self.came_from_the_target(copied.iter().map(|topic| topic.name.clone()).collect()).await?,
            false => BTreeMap::new(),
        };
        let copied = copied.into_iter().filter(|topic| !echoes.contains_key(&topic.name));
        let copied: Topics = copied
            .map(|topic| (topic.name.clone(), u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)))
            .collect();
        *self.echoes.lock().unwrap_or_else(PoisonError::into_inner) = echoes;
        Ok(copied)
    }

    /// Which of these topics of the source are mirrors of the target's own topics of the same name, promoted or not: copied back,
    /// their records would go round. Where the target's topic is a mirror, too, sites change places or did, and the marks say who
    /// leads. Only clusters of ours know that of their topics.
    async fn came_from_the_target(&self, topics: Vec<TopicName>) -> Result<BTreeMap<TopicName, String>, TaskError> {
        let failed = |cause| TaskError::retriable("ask both sides for mirrors").caused_by(cause);
        let (Some(source), Some(target)) = (self.source.cluster_id(), self.target.cluster_id()) else {
            return Ok(BTreeMap::new());
        };
        if topics.is_empty() || !self.source.knows_mirrors().await.map_err(failed)? {
            return Ok(BTreeMap::new());
        }
        let there = self.source.mirror_marks(&topics).await.map_err(failed)?;
        let is_theirs =
            |(topic, mark): &(&TopicName, &MirrorMark)| mark.source_cluster == target && mark.source_topic == **topic;
        let theirs: Vec<TopicName> = there.iter().filter(is_theirs).map(|(topic, _)| topic.clone()).collect();
        let here = match theirs.is_empty() {
            true => BTreeMap::new(),
            false => self.target.mirror_marks(&theirs).await.map_err(failed)?,
        };
        let why = |topic: &TopicName| {
            format!(
                "topic {topic} of the source is a mirror of the target's own topic, or was until it was promoted: its records would go round; use `twinstream link failback`, or leave it out of topics"
            )
        };
        let goes_round = |topic: &TopicName| here.get(topic).is_none_or(|mark| mark.source_cluster != source);
        Ok(theirs.into_iter().filter(goes_round).map(|topic| (topic.clone(), why(&topic))).collect())
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

    /// Makes the target's topics; returns those that can be copied. One that the target refuses is tried again later; the
    /// others go on.
    async fn prepare(&self, topics: &Topics) -> Result<Topics, TaskError> {
        let mut sources: BTreeMap<TopicName, TopicName> = BTreeMap::new();
        let mut refused = self.echoes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for topic in topics.keys() {
            match self.remote_topic(topic) {
                Ok(remote) => _ = sources.insert(remote, topic.clone()),
                Err(cause) => {
                    _ = refused.insert(topic.clone(), format!("its name on the target is not legal: {cause}"));
                }
            }
        }
        let remotes: Vec<TopicName> = sources.keys().cloned().collect();
        let present = topics::look_up(&self.target, &remotes).await.map_err(passing)?;
        // A copy is made as its topic is, also where later changes do not follow: one that is compacted, or kept for ever, must
        // not lose its records on the target.
        let new = topics::to_be_made(&sources, &present);
        let excluded = &self.settings.properties_excluded;
        let (configs, unread) = topics::read_configs(&self.source, &new, Some(excluded)).await.map_err(passing)?;
        sources.retain(|_, topic| !unread.contains_key(topic));
        refused.extend(unread.into_iter().map(|(topic, cause)| {
            let cause = twinstream_connect_api::error::trace_of(&cause);
            let hint = "let the link's user DESCRIBE_CONFIGS it, or leave it out of topics";
            (topic, format!("its settings cannot be read at the source: {cause}; {hint}"))
        }));
        let view = self.source.view();
        let replicas = |topic: &TopicName| {
            let partitions = view.topics.get(topic).into_iter().flat_map(|topic| topic.partitions.values());
            partitions.map(|partition| i16::try_from(partition.replicas.len()).unwrap_or(i16::MAX)).max().unwrap_or(0)
        };
        let wanted = |(remote, topic): (&TopicName, &TopicName)| {
            let configs = configs.get(topic).cloned().unwrap_or_default();
            let partitions = topics.get(topic).copied().unwrap_or(0);
            (remote.clone(), WantedTopic { partitions, replicas: replicas(topic), configs })
        };
        let wanted: BTreeMap<TopicName, WantedTopic> = sources.iter().map(wanted).collect();
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
        let failures = topics::ensure(&self.target, &present, &wanted, factor, marked).await.map_err(passing)?;
        for (remote, cause) in failures {
            if let Some(topic) = sources.get(&remote) {
                let hint = "change it there, or replication.factor or topics here";
                let cause = twinstream_connect_api::error::trace_of(&cause);
                refused.insert(topic.clone(), format!("topic {remote} cannot be made on the target: {cause}; {hint}"));
            }
        }
        let ready = topics.iter().filter(|(topic, _)| !refused.contains_key(*topic));
        let ready = ready.map(|(topic, partitions)| (topic.clone(), *partitions)).collect();
        for (topic, cause) in self.refusals().tried(refused, self.since_start()) {
            warn!(connector = self.context.connector(), %topic, cause, "topic is not copied, it is tried again");
        }
        let Settings { source_alias, target_alias, .. } = &self.settings;
        figures::link(source_alias, target_alias).refuses(self.refusals().causes());
        Ok(ready)
    }

    fn tell_unread(&self, side: &str, unread: topics::Failures) {
        for (topic, cause) in unread {
            let cause = twinstream_connect_api::error::trace_of(&cause);
            warn!(connector = self.context.connector(), side, %topic, cause, "settings of a topic are not compared");
        }
    }

    /// Brings changed settings of copied topics over.
    async fn sync(&self) -> Result<(), TopicsError> {
        let names: Vec<TopicName> = self.dealt().keys().cloned().collect();
        let excluded = &self.settings.properties_excluded;
        let (wanted, unread) = topics::read_configs(&self.source, &names, Some(excluded)).await?;
        self.tell_unread("source", unread);
        let refusals = self.refusals().causes();
        let remotes: BTreeMap<TopicName, Changed> = wanted
            .into_iter()
            .filter(|(topic, _)| !refusals.contains_key(topic))
            .filter_map(|(topic, changed)| Some((self.remote_topic(&topic).ok()?, changed)))
            .collect();
        let remote_names: Vec<TopicName> = remotes.keys().cloned().collect();
        let (present, unread) = topics::read_configs(&self.target, &remote_names, None).await?;
        self.tell_unread("target", unread);
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
