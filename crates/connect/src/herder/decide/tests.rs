use super::*;
use crate::state::configs::{connector_record, deletion_records, fencing_record, target_record, task_records};
use crate::state::{Replay as _, StateRecord};

const LIVE: &[&str] = &["parts"];

fn config(value: &str) -> RawConfig {
    RawConfig::from([("k".to_owned(), value.to_owned())])
}

/// A world where steps are taken as the herder takes them.
#[derive(Default)]
struct World {
    stored: ConfigState,
    connectors: BTreeMap<String, RunningConnector>,
    tasks: BTreeMap<TaskId, RunningTask>,
    is_exactly_once: bool,
}

impl World {
    fn store(&mut self, records: impl IntoIterator<Item = StateRecord>) -> Vec<Step> {
        for record in records {
            self.stored.replay(&record.key, record.value.as_deref()).unwrap();
        }
        self.reconcile()
    }

    fn settle(&mut self, name: &str) -> Vec<Step> {
        self.connectors.get_mut(name).unwrap().settled = true;
        self.reconcile()
    }

    fn reconcile(&mut self) -> Vec<Step> {
        let connectors = self.connectors.iter().map(|(name, running)| (name.as_str(), running)).collect();
        let steps = steps(&self.stored, connectors, self.tasks.iter().collect(), |_| self.is_exactly_once);
        for step in &steps {
            self.take(step.clone());
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::FenceTasks(name) => {
                self.tasks.retain(|id, _| id.connector != name);
                self.connectors.get_mut(&name).unwrap().is_fencing = true;
            }
            Step::RunConnector(name) => {
                let config = self.stored.config(&name).unwrap().clone();
                let target = TargetState::Started;
                self.connectors.insert(
                    name,
                    RunningConnector {
                        config,
                        target,
                        settled: false,
                        incarnation: 0,
                        live_keys: LIVE,
                        is_fencing: false,
                    },
                );
            }
            Step::ParkConnector(name, target) => {
                let config = self.stored.config(&name).unwrap().clone();
                self.connectors.insert(
                    name,
                    RunningConnector {
                        config,
                        target,
                        settled: true,
                        incarnation: 0,
                        live_keys: LIVE,
                        is_fencing: false,
                    },
                );
            }
            Step::DropConnector(name) => _ = self.connectors.remove(&name),
            Step::RunTask(id) => {
                let connector = self.stored.config(&id.connector).unwrap().clone();
                let task = self.stored.task(&id).unwrap().clone();
                let paused = self.stored.target(&id.connector) == TargetState::Paused;
                self.tasks.insert(id, RunningTask { connector, task, paused });
            }
            Step::RetuneTask(id) => {
                let task = self.stored.task(&id).unwrap().clone();
                self.tasks.get_mut(&id).unwrap().task = task;
            }
            Step::DropTask(id) => _ = self.tasks.remove(&id),
            Step::SwitchTask(id, paused) => self.tasks.get_mut(&id).unwrap().paused = paused,
        }
    }
}

fn running_connector_with_two_tasks() -> World {
    let mut world = World::default();
    world.store([connector_record("c", &config("1"))]);
    world.store(task_records("c", &[config("t0"), config("t1")]));
    world.settle("c");
    assert!(world.reconcile().is_empty());
    world
}

#[test]
fn a_new_connector_runs_and_its_tasks_follow_their_commit() {
    let mut world = World::default();
    assert_eq!(world.store([connector_record("c", &config("1"))]), [Step::RunConnector("c".into())]);
    let records = task_records("c", &[config("t0"), config("t1")]);
    assert_eq!(world.store(records[..2].to_vec()), []);
    let started = world.store(records[2..].to_vec());
    assert_eq!(started, [Step::RunTask(TaskId::new("c", 0)), Step::RunTask(TaskId::new("c", 1))]);
}

#[test]
fn a_restart_brings_the_same_things_to_life() {
    let mut restarted = World { stored: running_connector_with_two_tasks().stored, ..World::default() };
    let steps = restarted.reconcile();
    let tasks = [0, 1].map(|task| Step::RunTask(TaskId::new("c", task)));
    assert_eq!(steps, [[Step::RunConnector("c".into())].as_slice(), &tasks].concat());
}

#[test]
fn a_changed_configuration_restarts_each_task_once() {
    let mut world = running_connector_with_two_tasks();
    assert_eq!(world.store([connector_record("c", &config("2"))]), [Step::RunConnector("c".into())]);
    assert_eq!(world.store(task_records("c", &[config("t0b"), config("t1")])), []);
    let steps = world.settle("c");
    assert_eq!(steps, [Step::RunTask(TaskId::new("c", 0)), Step::RunTask(TaskId::new("c", 1))]);
    assert!(world.reconcile().is_empty());
}

#[test]
fn only_tasks_whose_own_configuration_changed_restart() {
    let mut world = running_connector_with_two_tasks();
    let steps = world.store(task_records("c", &[config("t0"), config("t1b")]));
    assert_eq!(steps, [Step::RunTask(TaskId::new("c", 1))]);
}

#[test]
fn a_task_is_only_told_of_a_change_in_live_keys() {
    let mut world = running_connector_with_two_tasks();
    let with = |value: &str, parts: &str| {
        let mut config = config(value);
        config.insert("parts".to_owned(), parts.to_owned());
        config
    };
    let steps = world.store(task_records("c", &[config("t0"), with("t1", "1,2")]));
    assert_eq!(steps, [Step::RetuneTask(TaskId::new("c", 1))]);
    let steps = world.store(task_records("c", &[with("t0b", "3"), with("t1", "1")]));
    assert_eq!(steps, [Step::RunTask(TaskId::new("c", 0)), Step::RetuneTask(TaskId::new("c", 1))]);
    assert!(world.reconcile().is_empty());
    // What concerns the connector concerns every task of it.
    world.store([connector_record("c", &config("2"))]);
    world.store(task_records("c", &[with("t0b", "3"), with("t1", "7")]));
    let steps = world.settle("c");
    assert_eq!(steps, [Step::RunTask(TaskId::new("c", 0)), Step::RunTask(TaskId::new("c", 1))]);
}

#[test]
fn tasks_with_transactions_start_when_all_before_them_are_fenced() {
    let mut world = World { is_exactly_once: true, ..World::default() };
    world.store([connector_record("c", &config("1"))]);
    assert_eq!(world.store(task_records("c", &[config("t0"), config("t1")])), [], "the connector is not settled");
    assert_eq!(world.settle("c"), [Step::FenceTasks("c".into())]);
    assert!(world.reconcile().is_empty(), "once is enough");
    let started = world.store([fencing_record("c", 2)]);
    world.connectors.get_mut("c").unwrap().is_fencing = false;
    assert_eq!(started, [0, 1].map(|task| Step::RunTask(TaskId::new("c", task))));
    // Any change stops all of them first.
    assert_eq!(
        world.store(task_records("c", &[config("t0")])),
        [Step::DropTask(TaskId::new("c", 1)), Step::FenceTasks("c".into())]
    );
    assert!(world.tasks.is_empty());
    let waits = |world: &World| [true, false].map(|once| awaits_fencing(&world.stored, "c", |_| once));
    assert_eq!(waits(&world), [true, false], "nor does a task start because somebody asks for it");
    assert_eq!(world.store([fencing_record("c", 1)]), [Step::RunTask(TaskId::new("c", 0))]);
    assert_eq!(waits(&world), [false, false]);
    // A restart finds them fenced: each task fences the one before it.
    let stored = world.stored.clone();
    let mut restarted = World { stored, is_exactly_once: true, ..World::default() };
    assert_eq!(restarted.reconcile(), [Step::RunConnector("c".into()), Step::RunTask(TaskId::new("c", 0))]);
    // One that died before the round was over finds it still to be done, and starts none before.
    let mut stored = world.stored.clone();
    for record in task_records("c", &[config("t0"), config("t1")]) {
        stored.replay(&record.key, record.value.as_deref()).unwrap();
    }
    let mut restarted = World { stored, is_exactly_once: true, ..World::default() };
    assert_eq!(restarted.reconcile(), [Step::RunConnector("c".into())]);
    assert_eq!(restarted.settle("c"), [Step::FenceTasks("c".into())]);
}

#[test]
fn pause_keeps_tasks_and_stop_takes_them_away() {
    let mut world = running_connector_with_two_tasks();
    let steps = world.store([target_record("c", TargetState::Paused)]);
    assert!(steps.contains(&Step::ParkConnector("c".into(), TargetState::Paused)));
    assert!(steps.contains(&Step::SwitchTask(TaskId::new("c", 1), true)));
    world.store([target_record("c", TargetState::Started)]);
    assert!(world.tasks.values().all(|task| !task.paused));
    world.store([target_record("c", TargetState::Stopped)]);
    assert!(world.tasks.is_empty());
    assert_eq!(world.connectors["c"].target, TargetState::Stopped);
}

#[test]
fn fewer_tasks_drop_the_rest_and_deletion_drops_all() {
    let mut world = running_connector_with_two_tasks();
    let steps = world.store(task_records("c", &[config("t0")]));
    assert_eq!(steps, [Step::DropTask(TaskId::new("c", 1))]);
    world.store(deletion_records("c"));
    assert!(world.tasks.is_empty() && world.connectors.is_empty());
}

#[test]
fn tasks_of_an_inconsistent_commit_wait_for_the_connector() {
    let mut world = World::default();
    let records = task_records("c", &[config("t0"), config("t1")]);
    let mut stored = vec![connector_record("c", &config("1"))];
    stored.extend(records[1..].iter().cloned());
    assert_eq!(world.store(stored), [Step::RunConnector("c".into())]);
    world.store(task_records("c", &[config("t0")]));
    assert_eq!(world.tasks.len(), 1);
}
