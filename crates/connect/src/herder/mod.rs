//! The herder: makes what runs equal to what is wanted.
//!
//! Picture: one actor owns all running connectors and tasks. Requests of the REST API become records of the config topic;
//! once they are replayed, [`decide`] compares the stored state with what runs and names the steps, which the herder takes.
//! A restart replays the same records and takes the same steps. Readers never ask the herder: they read the stored states
//! and the statuses, so nothing that hangs here or in a connector delays a GET.
//! Invariants: only the herder writes to the config topic; a step never waits for a connector's code, whose calls run in
//! actors of their own.

mod connector;
mod decide;
mod fencing;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{Plugin, PluginKind, RawConfig, TaskError};

use crate::plugins::{Plugins, task_config};
use crate::runner::{self, Shared, TaskHandle, TaskSpec, Want};
use crate::state::TaskId;
use crate::state::configs::{self, ConfigState, TargetState};
use crate::state::statuses::RunState;
use crate::store::{StateLog, StoreError};
use connector::ConnectorHandle;
use decide::{RunningConnector, RunningTask, Step};

/// Requests and events that may wait for the herder.
const QUEUE: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HerderError {
    #[error("Connector {0} already exists")]
    AlreadyExists(String),
    #[error("Connector {0} not found")]
    NotFound(String),
    #[error("Unknown connector {0}")]
    UnknownConnector(String),
    #[error("Unknown connector: {0}")]
    UnknownConnectorToRestart(String),
    #[error("Unknown task: {0}")]
    UnknownTask(TaskId),
    #[error("the configuration could not be stored: {}", trace_of(.0))]
    Store(#[from] StoreError),
    #[error("the worker is shutting down")]
    Gone,
}

/// What the REST API asks for. Configurations were validated before.
pub(crate) enum Request {
    Create {
        name: String,
        config: RawConfig,
        target: Option<TargetState>,
    },
    /// `true` in the answer if the connector is new.
    Put {
        name: String,
        config: RawConfig,
    },
    Delete {
        name: String,
    },
    Target {
        name: String,
        target: TargetState,
    },
    Restart {
        name: String,
        include_tasks: bool,
        only_failed: bool,
    },
    RestartTask {
        id: TaskId,
    },
    /// Whether the herder still gets to its requests.
    Ping,
}

type Answer = Result<bool, HerderError>;

/// What connector actors tell.
pub(crate) enum Event {
    TaskConfigs {
        connector: String,
        incarnation: u64,
        configs: Vec<RawConfig>,
    },
    /// All tasks that may have held transactions are fenced, for a set of so many new ones.
    Fenced {
        connector: String,
        incarnation: u64,
        tasks: Vec<RawConfig>,
    },
}

enum Message {
    Request(Request, oneshot::Sender<Answer>),
    Event(Event),
    Shutdown(oneshot::Sender<()>),
}

/// Where events of connector actors go.
#[derive(Clone)]
pub(crate) struct Events(mpsc::Sender<Message>);

impl Events {
    pub(crate) async fn send(&self, event: Event) {
        // An error means that the herder is gone, and with it the need.
        self.0.send(Message::Event(event)).await.ok();
    }
}

/// Sends requests to the herder. Clones talk to the same one.
#[derive(Clone)]
pub(crate) struct HerderHandle {
    messages: mpsc::Sender<Message>,
}

impl HerderHandle {
    pub(crate) async fn request(&self, request: Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Request(request, answer)).await.map_err(|_| HerderError::Gone)?;
        answered.await.map_err(|_| HerderError::Gone)?
    }

    /// Stops all tasks and connectors; returns when they have stopped.
    pub(crate) async fn shutdown(&self) {
        let (done, finished) = oneshot::channel();
        if self.messages.send(Message::Shutdown(done)).await.is_ok() {
            finished.await.ok(); // an error means that it has ended already
        }
    }
}

/// Spawns the herder; it brings what is stored to life at once.
pub(crate) fn spawn(configs: Arc<StateLog<ConfigState>>, plugins: Plugins, shared: Shared) -> HerderHandle {
    let (messages, queue) = mpsc::channel(QUEUE);
    let herder = Herder {
        configs,
        plugins,
        shared,
        events: Events(messages.clone()),
        connectors: BTreeMap::new(),
        tasks: BTreeMap::new(),
        ending: BTreeMap::new(),
        incarnation: 0,
    };
    tokio::spawn(herder.run(queue));
    HerderHandle { messages }
}

struct Herder {
    configs: Arc<StateLog<ConfigState>>,
    plugins: Plugins,
    shared: Shared,
    events: Events,
    connectors: BTreeMap<String, (RunningConnector, Option<ConnectorHandle>)>,
    tasks: BTreeMap<TaskId, (RunningTask, TaskHandle)>,
    /// Tasks that are stopping; a successor waits for them.
    ending: BTreeMap<TaskId, JoinHandle<()>>,
    incarnation: u64,
}

impl Herder {
    async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        self.forget_leftovers();
        self.reconcile();
        while let Some(message) = queue.recv().await {
            match message {
                Message::Request(request, answer) => {
                    let result = self.serve(request).await;
                    self.reconcile();
                    answer.send(result).ok(); // the caller may have given up
                }
                Message::Event(Event::TaskConfigs { connector, incarnation, configs }) => {
                    self.task_configs(&connector, incarnation, configs).await;
                    self.reconcile();
                }
                Message::Event(Event::Fenced { connector, incarnation, tasks }) => {
                    self.fenced(&connector, incarnation, &tasks).await;
                    self.reconcile();
                }
                Message::Shutdown(done) => {
                    self.stop_all().await;
                    done.send(()).ok(); // the caller may have given up
                    return;
                }
            }
        }
    }

    /// Statuses of connectors and tasks that are configured no longer.
    fn forget_leftovers(&self) {
        let configs = self.configs.state();
        let (connectors, tasks): (Vec<String>, Vec<TaskId>) = {
            let statuses = self.shared.statuses.read();
            let connectors = statuses.connectors().filter(|name| !configs.contains(name)).cloned().collect();
            let gone = |id: &TaskId| configs.task(id).is_none();
            (connectors, statuses.all_tasks().map(|(id, _)| id).filter(|id| gone(id)).cloned().collect())
        };
        connectors.iter().for_each(|name| self.shared.statuses.forget_connector(name));
        tasks.iter().for_each(|id| self.shared.statuses.forget_task(id));
    }

    async fn serve(&mut self, request: Request) -> Answer {
        match request {
            Request::Ping => Ok(true),
            Request::Create { name, config, target } => self.create(name, config, target).await,
            Request::Put { name, config } => {
                let created = !self.configs.state().contains(&name);
                self.configs.write(vec![configs::connector_record(&name, &config)]).await?;
                Ok(created)
            }
            Request::Delete { name } => {
                self.must_exist(&name, HerderError::NotFound)?;
                self.configs.write(configs::deletion_records(&name)).await?;
                Ok(true)
            }
            Request::Target { name, target } => {
                self.must_exist(&name, HerderError::UnknownConnector)?;
                self.set_target(&name, target).await
            }
            Request::Restart { name, include_tasks, only_failed } => {
                self.must_exist(&name, HerderError::UnknownConnectorToRestart)?;
                self.restart(&name, include_tasks, only_failed);
                Ok(true)
            }
            Request::RestartTask { id } => {
                self.must_exist(&id.connector, HerderError::UnknownConnectorToRestart)?;
                if self.configs.state().task(&id).is_none() {
                    return Err(HerderError::UnknownTask(id));
                }
                self.restart_task(&id);
                Ok(true)
            }
        }
    }

    fn must_exist(&self, name: &str, otherwise: fn(String) -> HerderError) -> Result<(), HerderError> {
        if self.configs.state().contains(name) { Ok(()) } else { Err(otherwise(name.to_owned())) }
    }

    async fn create(&mut self, name: String, config: RawConfig, target: Option<TargetState>) -> Answer {
        if self.configs.state().contains(&name) {
            return Err(HerderError::AlreadyExists(name));
        }
        let mut records = Vec::new();
        if let Some(target) = target {
            records.push(configs::target_record(&name, target)); // before the connector, so that it never starts first
        }
        records.push(configs::connector_record(&name, &config));
        self.configs.write(records).await?;
        Ok(true)
    }

    async fn set_target(&mut self, name: &str, target: TargetState) -> Answer {
        let (now, has_tasks) = {
            let state = self.configs.state();
            (state.target(name), !state.tasks(name).is_empty())
        };
        let mut records = Vec::new();
        if now != target {
            records.push(configs::target_record(name, target));
        }
        if target == TargetState::Stopped && has_tasks {
            records.extend(configs::task_records(name, &[])); // a stopped connector has no tasks
        }
        if !records.is_empty() {
            self.configs.write(records).await?;
        }
        Ok(true)
    }

    /// New task configurations of a connector: stored if they differ from what is stored.
    async fn task_configs(&mut self, name: &str, incarnation: u64, task_configs: Vec<RawConfig>) {
        let Some((running, _)) = self.connectors.get(name).filter(|(running, _)| running.incarnation == incarnation)
        else {
            return; // of a predecessor
        };
        let config = running.config.clone();
        let Some(plugin) = self.plugins.of(&config) else { return };
        let wanted: Vec<RawConfig> = task_configs.into_iter().map(|task| task_config(plugin, &config, task)).collect();
        let changed = {
            let state = self.configs.state();
            state.tasks(name) != wanted.as_slice() || state.is_inconsistent(name)
        };
        if changed && let Err(error) = self.configs.write(configs::task_records(name, &wanted)).await {
            let trace = format!("task configurations could not be stored\nCaused by: {}", trace_of(&error));
            tracing::error!(connector = name, trace, "connector failed");
            self.shared.statuses.set_connector(name, RunState::Failed, Some(trace), None);
            return;
        }
        if let Some((running, _)) = self.connectors.get_mut(name) {
            running.settled = true;
        }
    }

    fn reconcile(&mut self) {
        let steps = {
            let running_connectors = self.connectors.iter().map(|(name, (running, _))| (name.as_str(), running));
            let running_tasks = self.tasks.iter().map(|(id, (running, _))| (id, running));
            decide::steps(&self.configs.state(), running_connectors.collect(), running_tasks.collect(), |config| {
                self.is_exactly_once(config)
            })
        };
        for step in steps {
            self.take(step);
        }
        self.shared.metrics.connector_count.set(i64::try_from(self.connectors.len()).unwrap_or(i64::MAX));
        self.shared.metrics.task_count.set(i64::try_from(self.tasks.len()).unwrap_or(i64::MAX));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::RunConnector(name) => self.run_connector(&name, None),
            Step::ParkConnector(name, target) => self.park_connector(&name, target),
            Step::DropConnector(name) => {
                if let Some((_, handle)) = self.connectors.remove(&name) {
                    handle.into_iter().for_each(ConnectorHandle::stop_in_background);
                }
                self.shared.statuses.forget_connector(&name);
                tracing::info!(connector = name, "connector removed");
            }
            Step::RunTask(id) => self.run_task(&id),
            Step::DropTask(id) => {
                self.end_task(&id);
                self.shared.statuses.forget_task(&id);
                self.shared.metrics.forget_task(&id);
            }
            Step::FenceTasks(name) => self.fence_tasks(&name),
            Step::RetuneTask(id) => self.retune_task(&id),
            Step::SwitchTask(id, paused) => {
                if let Some((running, handle)) = self.tasks.get_mut(&id) {
                    running.paused = paused;
                    handle.want(if paused { Want::Pause } else { Want::Run });
                }
            }
        }
    }

    /// Starts a connector's actor in place of the one that runs. `state` is shown until it has started.
    fn run_connector(&mut self, name: &str, state: Option<RunState>) {
        let Some(config) = self.configs.state().config(name).cloned() else { return };
        let predecessor = self.connectors.remove(name).and_then(|(_, handle)| handle);
        self.incarnation += 1;
        let running = RunningConnector {
            config: config.clone(),
            target: TargetState::Started,
            settled: false,
            incarnation: self.incarnation,
            live_keys: self.plugins.of(&config).map_or(&[], live_keys),
            is_fencing: false,
        };
        let handle = match self.plugins.of(&config) {
            Some(plugin) => {
                let state = state.unwrap_or(RunState::Unassigned);
                self.shared.statuses.set_connector(name, state, None, Some(&plugin.version));
                let spec = connector::Spec {
                    name: name.to_owned(),
                    plugin: plugin.clone(),
                    config,
                    incarnation: self.incarnation,
                };
                Some(connector::spawn(self.shared.clone(), self.events.clone(), spec, predecessor))
            }
            None => {
                predecessor.into_iter().for_each(ConnectorHandle::stop_in_background);
                let class = config.get("connector.class").map_or("", String::as_str);
                let trace = TaskError::fatal(format!("connector class '{class}' is not part of this worker")).trace();
                self.shared.statuses.set_connector(name, RunState::Failed, Some(trace), None);
                None
            }
        };
        self.connectors.insert(name.to_owned(), (running, handle));
    }

    fn park_connector(&mut self, name: &str, target: TargetState) {
        let Some(config) = self.configs.state().config(name).cloned() else { return };
        if let Some((_, handle)) = self.connectors.remove(name) {
            handle.into_iter().for_each(ConnectorHandle::stop_in_background);
        }
        let state = if target == TargetState::Paused { RunState::Paused } else { RunState::Stopped };
        let version = self.plugins.of(&config).map(|plugin| plugin.version.as_str());
        self.shared.statuses.set_connector(name, state, None, version);
        self.incarnation += 1;
        let incarnation = self.incarnation;
        let running =
            RunningConnector { config, target, settled: true, incarnation, live_keys: &[], is_fencing: false };
        self.connectors.insert(name.to_owned(), (running, None));
    }

    fn run_task(&mut self, id: &TaskId) {
        self.run_task_as(id, RunState::Unassigned);
    }

    /// Starts a task's actor in place of the one that runs. `state` is shown until it has started.
    fn run_task_as(&mut self, id: &TaskId, state: RunState) {
        let (connector, task, target) = {
            let configs = self.configs.state();
            let (Some(connector), Some(task)) = (configs.config(&id.connector), configs.task(id)) else { return };
            (connector.clone(), task.clone(), configs.target(&id.connector))
        };
        self.end_task(id);
        let Some(plugin) = self.plugins.of(&connector).cloned() else {
            let trace = TaskError::fatal("the connector's class is not part of this worker").trace();
            self.shared.statuses.set_task(id, RunState::Failed, Some(trace), None);
            return;
        };
        self.shared.statuses.set_task(id, state, None, Some(&plugin.version));
        let paused = target == TargetState::Paused;
        let running = RunningTask { connector: connector.clone(), task: task.clone(), paused };
        let spec = TaskSpec { id: id.clone(), plugin, connector, task };
        let after = self.ending.remove(id).map(|ending| async move {
            ending.await.ok(); // an error means that stopping it panicked; it is gone all the same
        });
        let want = if paused { Want::Pause } else { Want::Run };
        let handle = runner::spawn(self.shared.clone(), spec, want, after);
        self.tasks.insert(id.clone(), (running, handle));
    }

    /// Tells a running task of its new configuration; one that has ended starts with it.
    fn retune_task(&mut self, id: &TaskId) {
        let Some(task) = self.configs.state().task(id).cloned() else { return };
        if let Some((running, handle)) = self.tasks.get_mut(id)
            && handle.retune(task.clone())
        {
            running.task = task;
        } else {
            self.run_task(id);
        }
    }

    fn is_exactly_once(&self, config: &RawConfig) -> bool {
        self.shared.settings.is_exactly_once()
            && self.plugins.of(config).is_some_and(|plugin| plugin.kind() == PluginKind::Source)
    }

    /// Stops the tasks that run here, then fences all that the last fencing record names.
    fn fence_tasks(&mut self, name: &str) {
        let here: Vec<TaskId> = self.tasks.keys().filter(|id| id.connector == name).cloned().collect();
        here.iter().for_each(|id| self.end_task(id));
        let own: Vec<TaskId> = self.ending.keys().filter(|id| id.connector == name).cloned().collect();
        let ending = own.iter().filter_map(|id| self.ending.remove(id)).collect();
        let (before, tasks) = {
            let configs = self.configs.state();
            (configs.transactional_tasks(name), configs.tasks(name).to_vec())
        };
        let Some((running, _)) = self.connectors.get_mut(name) else { return };
        running.is_fencing = true;
        let round = fencing::Round { connector: name.to_owned(), incarnation: running.incarnation, before, tasks };
        fencing::spawn(self.shared.clone(), self.events.clone(), round, ending);
    }

    /// Writes down that all before are fenced, if the set that was asked for is still the stored one.
    async fn fenced(&mut self, name: &str, incarnation: u64, tasks: &[RawConfig]) {
        let Some((running, _)) =
            self.connectors.get_mut(name).filter(|(running, _)| running.incarnation == incarnation)
        else {
            return; // of a predecessor
        };
        running.is_fencing = false;
        if self.configs.state().tasks(name) != tasks {
            return; // the next round is for the newer ones
        }
        if let Err(error) = self.configs.write(vec![configs::fencing_record(name, tasks.len())]).await {
            let trace = format!("the fencing of tasks could not be stored\nCaused by: {}", trace_of(&error));
            tracing::error!(connector = name, trace, "connector failed");
            self.shared.statuses.set_connector(name, RunState::Failed, Some(trace), None);
        }
    }

    /// Stops a task in the background; whoever starts it again waits for that.
    fn end_task(&mut self, id: &TaskId) {
        self.ending.retain(|_, ending| !ending.is_finished());
        let Some((_, handle)) = self.tasks.remove(id) else { return };
        let before = self.ending.remove(id);
        let ending = tokio::spawn(async move {
            handle.stop().await;
            if let Some(before) = before {
                before.await.ok(); // an error means that it is gone all the same
            }
        });
        self.ending.insert(id.clone(), ending);
    }

    fn restart(&mut self, name: &str, include_tasks: bool, only_failed: bool) {
        let (connector_failed, tasks): (bool, Vec<TaskId>) = {
            let statuses = self.shared.statuses.read();
            let is_failed = |state: RunState| state == RunState::Failed;
            let wanted = |state: RunState| !only_failed || is_failed(state);
            let tasks = statuses.tasks(name).filter(|(_, status)| wanted(status.state));
            let tasks = tasks.map(|(task, _)| TaskId::new(name, task)).collect();
            (statuses.connector(name).is_some_and(|status| is_failed(status.state)), tasks)
        };
        let started = self.configs.state().target(name) == TargetState::Started;
        if started && (!only_failed || connector_failed) {
            self.run_connector(name, Some(RunState::Restarting));
        }
        if include_tasks {
            tasks.iter().for_each(|id| self.restart_task(id));
        }
    }

    fn restart_task(&mut self, id: &TaskId) {
        if decide::awaits_fencing(&self.configs.state(), &id.connector, |config| self.is_exactly_once(config)) {
            tracing::info!(task = %id, "task starts anyway, when those before it are fenced");
            return;
        }
        self.run_task_as(id, RunState::Restarting);
    }

    async fn stop_all(&mut self) {
        let tasks: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for id in &tasks {
            self.end_task(id);
        }
        let connectors = std::mem::take(&mut self.connectors);
        let mut stopping = Vec::new();
        for (name, (_, handle)) in connectors {
            if let Some(handle) = handle {
                self.shared.statuses.set_connector(&name, RunState::Unassigned, None, None);
                stopping.push(tokio::spawn(handle.stop()));
            }
        }
        for ending in std::mem::take(&mut self.ending).into_values().chain(stopping) {
            ending.await.ok(); // an error means that it is gone all the same
        }
        for id in &tasks {
            self.shared.statuses.set_task(id, RunState::Unassigned, None, None);
        }
    }
}

/// Sinks are told of nothing: they have no such call.
fn live_keys(plugin: &Plugin) -> &'static [&'static str] {
    match plugin.kind() {
        PluginKind::Source => plugin.make_connector().live_keys(),
        PluginKind::Sink => &[],
    }
}
