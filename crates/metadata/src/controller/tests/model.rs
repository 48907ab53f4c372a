//! Random verbs on a small cluster with imagined logs: whatever happens, nobody is elected cleanly who lacks a committed record.
//!
//! Picture: every broker has a log per partition, a list of record numbers. A leader appends and commits by the rules of
//! replication (the whole ISR has it, the ISR is not below the minimum, the ELR is empty); followers copy its log; crashes, losses of
//! power and wiped disks do to the logs what they do. The controller knows nothing of it. Leader and controller may take
//! `min.insync.replicas` for different numbers, as nodes with different settings do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NODES: i32 = 4;
const TOPICS: [&str; 3] = ["a", "b", "c"];

type Log = Vec<u64>;

#[derive(Clone, Debug)]
enum Step {
    Append {
        topic: usize,
    },
    Fetch {
        topic: usize,
        node: i32,
    },
    Commit {
        topic: usize,
    },
    /// The leader drops followers that lag behind, or whom it has not heard of.
    Shrink {
        topic: usize,
        keep: u8,
    },
    /// The leader takes in a follower that has caught up.
    Grow {
        topic: usize,
        node: i32,
    },
    /// Whatever a confused leader may ask for.
    AskAnything {
        topic: usize,
        node: i32,
        isr: u8,
        stale: bool,
    },
    Kill {
        node: i32,
    },
    Start {
        node: i32,
        fate: Fate,
    },
    Silence {
        nodes: u8,
    },
    Leave {
        node: i32,
    },
    Elect {
        topic: usize,
        kind: ElectionKind,
    },
    Balance,
    Reassign {
        topic: usize,
        target: Option<u8>,
        first: i32,
    },
    MinIsr {
        topic: Option<usize>,
        min: usize,
    },
    AllowUnclean {
        topic: usize,
        allow: bool,
    },
    TakeOver,
    Unregister {
        node: i32,
    },
    /// A replica finds a hole, steps aside, cuts its log there if it may, and comes back.
    Hole {
        topic: usize,
        node: i32,
        at: usize,
        comes_back: bool,
    },
    DoWhatIsLeft,
}

/// What a restart finds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    PageCacheKept,
    CleanReboot,
    PowerLoss { kept: usize },
    Wiped,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = || 0..TOPICS.len();
    let node = || 1..=NODES;
    let fate = prop_oneof![
        4 => Just(Fate::PageCacheKept),
        1 => Just(Fate::CleanReboot),
        2 => (0usize..20).prop_map(|kept| Fate::PowerLoss { kept }),
        1 => Just(Fate::Wiped),
    ];
    let kind = prop_oneof![3 => Just(ElectionKind::Preferred), 1 => Just(ElectionKind::Unclean)];
    let step = prop_oneof![
        8 => topic().prop_map(|topic| Step::Append { topic }),
        10 => (topic(), node()).prop_map(|(topic, node)| Step::Fetch { topic, node }),
        8 => topic().prop_map(|topic| Step::Commit { topic }),
        3 => (topic(), any::<u8>()).prop_map(|(topic, keep)| Step::Shrink { topic, keep }),
        6 => (topic(), node()).prop_map(|(topic, node)| Step::Grow { topic, node }),
        2 => (topic(), node(), any::<u8>(), any::<bool>())
            .prop_map(|(topic, node, isr, stale)| Step::AskAnything { topic, node, isr, stale }),
        5 => node().prop_map(|node| Step::Kill { node }),
        8 => (node(), fate).prop_map(|(node, fate)| Step::Start { node, fate }),
        1 => any::<u8>().prop_map(|nodes| Step::Silence { nodes }),
        2 => node().prop_map(|node| Step::Leave { node }),
        2 => (topic(), kind).prop_map(|(topic, kind)| Step::Elect { topic, kind }),
        1 => Just(Step::Balance),
        2 => (topic(), proptest::option::of(any::<u8>()), node())
            .prop_map(|(topic, target, first)| Step::Reassign { topic, target, first }),
        2 => (proptest::option::of(topic()), 1usize..4).prop_map(|(topic, min)| Step::MinIsr { topic, min }),
        1 => (topic(), any::<bool>()).prop_map(|(topic, allow)| Step::AllowUnclean { topic, allow }),
        1 => Just(Step::TakeOver),
        1 => node().prop_map(|node| Step::Unregister { node }),
        3 => (topic(), node(), 0usize..20, any::<bool>())
            .prop_map(|(topic, node, at, comes_back)| Step::Hole { topic, node, at, comes_back }),
        4 => Just(Step::DoWhatIsLeft),
    ];
    proptest::collection::vec(step, 1..160)
}

/// The nodes whose bit is set.
fn picked(bits: u8) -> Vec<i32> {
    (1..=NODES).filter(|node| bits & (1 << node) != 0).collect()
}

struct World {
    cluster: Cluster,
    logs: BTreeMap<(usize, NodeId), Log>,
    /// What some leader has committed.
    committed: Vec<Log>,
    /// What the leaders take `min.insync.replicas` for.
    leaders_min_isr: usize,
    /// Kernel boots and disks of each node.
    boots: BTreeMap<NodeId, u32>,
    disks: BTreeMap<NodeId, u128>,
    processes: BTreeMap<NodeId, bool>,
    next_record: u64,
    next_process: u128,
}

impl World {
    fn new(controllers_min_isr: usize, leaders_min_isr: usize, draft_bytes_max: usize) -> Self {
        let settings = ControllerSettings { min_insync_replicas: controllers_min_isr, ..ControllerSettings::default() };
        let mut cluster = Cluster::with(0, settings);
        cluster.controller.draft_bytes_max = draft_bytes_max;
        let mut world = Self {
            cluster,
            logs: BTreeMap::new(),
            committed: vec![Log::new(); TOPICS.len()],
            leaders_min_isr,
            boots: (1..=NODES).map(|node| (NodeId(node), 0)).collect(),
            disks: (1..=NODES).map(|node| (NodeId(node), node as u128)).collect(),
            processes: (1..=NODES).map(|node| (NodeId(node), false)).collect(),
            next_record: 0,
            next_process: 100,
        };
        for node in 1..=NODES {
            world.start(NodeId(node), Fate::CleanReboot);
        }
        for (topic, replicas) in TOPICS.into_iter().zip([[1, 2, 3], [2, 3, 4], [4, 1, 2]]) {
            world.cluster.create_one(assigned(topic, &[(0, &replicas)])).expect("all are up");
        }
        world
    }

    fn log(&mut self, topic: usize, node: NodeId) -> &mut Log {
        self.logs.entry((topic, node)).or_default()
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.processes[&node]
    }

    fn live_leader(&self, topic: usize) -> Option<NodeId> {
        self.cluster.first(TOPICS[topic]).leader.filter(|leader| self.is_alive(*leader))
    }

    /// Commits a decision and holds what it does against the rules.
    fn commit<T>(&mut self, decision: Decision<T>) -> T {
        let before = self.cluster.controller.image().clone();
        let effects = decision.effects.clone();
        let answer = self.cluster.commit(decision);
        let after = self.cluster.controller.image().clone();
        assert_eq!(Image::from_snapshot(&after.to_snapshot()).as_ref(), Ok(&after));
        for (topic, topic_name) in TOPICS.into_iter().enumerate() {
            let at = (name(topic_name), PartitionIndex(0));
            let Some(old) = before.partition(&at.0, at.1) else { continue };
            let new = after.partition(&at.0, at.1).expect("topics stay");
            self.check_change(topic, old, new, &effects, &after);
        }
        self.check_who_may_lead();
        answer
    }

    fn check_change(
        &mut self,
        topic: usize,
        old: &PartitionImage,
        new: &PartitionImage,
        effects: &Effects,
        after: &Image,
    ) {
        let changed = old != new;
        assert_eq!(new.partition_epoch > old.partition_epoch, changed, "{old:?} {new:?}");
        let replica_left = old.replicas.iter().any(|node| !new.replicas.contains(node));
        assert!(new.leader_epoch >= old.leader_epoch);
        if new.leader != old.leader || replica_left {
            assert!(new.leader_epoch > old.leader_epoch, "{old:?} {new:?}");
        }
        for node in new.isr.iter().filter(|node| !old.isr.contains(node)) {
            let broker = after.broker(*node).expect("a member is registered");
            assert!(broker.is_eligible(), "{node} joined: {old:?} {new:?}");
        }
        let at = at(TOPICS[topic], 0);
        let unclean = effects.unclean.iter().any(|(unclean, _)| *unclean == at);
        let last_known = effects.last_known.iter().any(|(last, _)| *last == at);
        let Some(leader) = new.leader.filter(|_| new.leader != old.leader) else {
            assert!(!unclean && !last_known);
            return;
        };
        if unclean || last_known {
            assert_eq!((new.isr.as_slice(), new.elr.len()), ([leader].as_slice(), 0));
            // Records are given up, and everybody was told.
            let log = self.log(topic, leader).clone();
            let kept = self.committed[topic].iter().zip(&log).take_while(|(left, right)| left == right).count();
            self.committed[topic].truncate(kept);
        } else {
            // A member that joined in the very change that completed a reassignment may lead at once.
            let completed = old.is_reassigning() && !new.is_reassigning() && old.target_replicas().contains(&leader);
            let may_lead = old.isr.contains(&leader) || old.elr.contains(&leader) || completed;
            assert!(may_lead, "{leader} leads cleanly: {old:?} {new:?}");
        }
    }

    /// The point of it all: whoever may be elected has everything that was committed. A process that is down cannot be; what its
    /// disk has lost comes to light when it registers.
    fn check_who_may_lead(&self) {
        for (topic, committed) in self.committed.iter().enumerate() {
            let image = self.cluster.controller.image();
            let Some(partition) = image.partition(&name(TOPICS[topic]), PartitionIndex(0)) else { continue };
            for node in partition.isr.iter().chain(&partition.elr).filter(|node| self.processes[node]) {
                let log = self.logs.get(&(topic, *node)).cloned().unwrap_or_default();
                assert!(
                    log.starts_with(committed),
                    "{node} lacks records of {topic}: {log:?} {committed:?} {partition:?}"
                );
            }
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { topic } => self.append(topic),
            Step::Fetch { topic, node } => self.fetch(topic, NodeId(node)),
            Step::Commit { topic } => self.advance(topic),
            Step::Shrink { topic, keep } => self.shrink(topic, keep),
            Step::Grow { topic, node } => self.grow(topic, NodeId(node)),
            Step::AskAnything { topic, node, isr, stale } => self.ask_anything(topic, NodeId(node), isr, stale),
            Step::Kill { node } => self.kill(NodeId(node)),
            Step::Start { node, fate } => self.start(NodeId(node), fate),
            Step::Silence { nodes } => self.silence(nodes),
            Step::Leave { node } => self.leave(NodeId(node)),
            Step::Elect { topic, kind } => {
                let decision = self.cluster.controller.elect_leaders(kind, Some(&[at(TOPICS[topic], 0)]));
                self.commit(decision);
            }
            Step::Balance => {
                let decision = self.cluster.controller.balance_leaders(10);
                self.commit(decision);
            }
            Step::Reassign { topic, target, first } => self.reassign(topic, target, first),
            Step::MinIsr { topic, min } => {
                let resource = topic.map_or(ConfigResource::BrokerDefault, |topic| topic_resource(TOPICS[topic]));
                self.configure(resource, rules::MIN_ISR, &min.to_string());
            }
            Step::AllowUnclean { topic, allow } => {
                self.configure(topic_resource(TOPICS[topic]), rules::UNCLEAN_ELECTION, &allow.to_string());
            }
            Step::TakeOver => self.take_over(),
            Step::Unregister { node } => {
                let decision = self.cluster.controller.unregister_broker(NodeId(node));
                if self.commit(decision).is_ok() {
                    self.processes.insert(NodeId(node), false);
                }
            }
            Step::Hole { topic, node, at, comes_back } => self.find_hole(topic, NodeId(node), at, comes_back),
            Step::DoWhatIsLeft => self.do_what_is_left(),
        }
    }

    fn find_hole(&mut self, topic: usize, node: NodeId, at: usize, comes_back: bool) {
        let Some(broker) = self.cluster.controller.image().broker(node).filter(|_| self.is_alive(node)) else { return };
        let epoch = broker.epoch;
        let seen = self.cluster.seen_copy(TOPICS[topic]);
        let decision = self.cluster.controller.move_copies(node, epoch, CopyMove::StepAside, &[seen]);
        self.commit(decision).expect("a registered broker");
        let partition = self.cluster.first(TOPICS[topic]);
        let counts = partition.isr.contains(&node) || partition.elr.contains(&node);
        if counts || !partition.offline.contains(&node) || partition.leader.is_none() {
            return;
        }
        self.log(topic, node).truncate(at);
        if comes_back {
            let seen = self.cluster.seen_copy(TOPICS[topic]);
            let decision = self.cluster.controller.move_copies(node, epoch, CopyMove::ComeBack, &[seen]);
            self.commit(decision).expect("a registered broker");
            let after = self.cluster.first(TOPICS[topic]);
            assert!(after.leader_epoch > partition.leader_epoch && !after.offline.contains(&node));
        }
    }

    fn append(&mut self, topic: usize) {
        let Some(leader) = self.live_leader(topic) else { return };
        self.next_record += 1;
        let record = self.next_record;
        self.log(topic, leader).push(record);
    }

    /// A follower takes over the leader's log; what the leader does not have is cut.
    fn fetch(&mut self, topic: usize, node: NodeId) {
        let partition = self.cluster.first(TOPICS[topic]);
        let Some(leader) = self.live_leader(topic) else { return };
        if self.is_alive(node) && node != leader && partition.replicas.contains(&node) {
            let log = self.log(topic, leader).clone();
            *self.log(topic, node) = log;
        }
    }

    /// The leader commits what its whole ISR has.
    fn advance(&mut self, topic: usize) {
        let partition = self.cluster.first(TOPICS[topic]);
        let Some(leader) = self.live_leader(topic) else { return };
        let min = self.leaders_min_isr.min(partition.replicas.len());
        if partition.isr.len() < min || !partition.elr.is_empty() {
            return;
        }
        let log = self.log(topic, leader).clone();
        let has = |log: &Log, other: &Log| log.iter().zip(other).take_while(|(left, right)| left == right).count();
        let reached = partition.isr.iter().map(|node| has(&log, self.log(topic, *node))).min().unwrap_or(0);
        if reached > self.committed[topic].len() {
            self.committed[topic] = log[..reached].to_vec();
        }
    }

    fn propose(&mut self, topic: usize, leader: NodeId, isr: &[NodeId]) {
        let isr: Vec<i32> = isr.iter().map(|node| node.0).collect();
        let change = self.cluster.isr_change(TOPICS[topic], &isr);
        let epoch = self.cluster.epoch_of(leader.0);
        let decision = self.cluster.controller.alter_partitions(leader, epoch, &[change]);
        let answer = self.commit(decision).expect("registered").remove(0);
        assert_ne!(answer, Err(ErrorCode::InvalidRequest));
    }

    fn shrink(&mut self, topic: usize, keep: u8) {
        let Some(leader) = self.live_leader(topic) else { return };
        let mut isr = self.cluster.first(TOPICS[topic]).isr;
        isr.retain(|node| *node == leader || keep & (1 << node.0) != 0);
        self.propose(topic, leader, &isr);
    }

    fn grow(&mut self, topic: usize, node: NodeId) {
        let Some(leader) = self.live_leader(topic) else { return };
        let partition = self.cluster.first(TOPICS[topic]);
        let (own, theirs) = (self.log(topic, leader).clone(), self.log(topic, node).clone());
        let has_caught_up = own.starts_with(&theirs) && theirs.len() >= self.committed[topic].len();
        let joins = partition.replicas.contains(&node) && !partition.isr.contains(&node) && self.is_alive(node);
        if has_caught_up && joins {
            let mut isr = partition.isr;
            isr.push(node);
            self.propose(topic, leader, &isr);
        }
    }

    fn ask_anything(&mut self, topic: usize, node: NodeId, isr: u8, stale: bool) {
        let Some(broker) = self.cluster.controller.image().broker(node).cloned() else { return };
        let partition = self.cluster.first(TOPICS[topic]);
        if partition.leader == Some(node) && !stale {
            return; // The present leader is not confused.
        }
        let mut change = self.cluster.isr_change(TOPICS[topic], &[]);
        change.isr = picked(isr).into_iter().map(|member| (NodeId(member), -1)).collect();
        change.partition_epoch -= i32::from(stale);
        let decision = self.cluster.controller.alter_partitions(node, broker.epoch, &[change]);
        assert!(decision.records.is_empty(), "{:?}", decision.records);
        assert!(decision.answer.expect("registered")[0].is_err());
    }

    fn kill(&mut self, node: NodeId) {
        self.processes.insert(node, false);
        let decision = self.cluster.controller.broker_gone(node);
        self.commit(decision);
    }

    /// A new process registers and reports, whether or not anybody has noticed the end of the old one.
    fn start(&mut self, node: NodeId, fate: Fate) {
        self.cluster.controller.connection_lost(node);
        self.next_process += 1;
        match fate {
            Fate::PageCacheKept => {}
            Fate::CleanReboot => *self.boots.entry(node).or_default() += 1,
            Fate::PowerLoss { kept } => {
                *self.boots.entry(node).or_default() += 1;
                (0..TOPICS.len()).for_each(|topic| self.log(topic, node).truncate(kept));
            }
            Fate::Wiped => {
                self.disks.insert(node, self.next_process);
                (0..TOPICS.len()).for_each(|topic| self.log(topic, node).clear());
            }
        }
        let registration = Registration {
            directories: vec![Uuid::from_u128(self.disks[&node])],
            boot_id: format!("boot-{}", self.boots[&node]),
            clean: fate == Fate::CleanReboot,
            ..registration(node.0, self.next_process)
        };
        self.processes.insert(node, false);
        for _ in 0..20 {
            let decision = self.cluster.controller.register_broker(&registration, self.cluster.now);
            match self.commit(decision) {
                Ok(registered) => {
                    self.processes.insert(node, true);
                    return self.beat(node, registered.epoch, false);
                }
                Err(error) => assert_eq!(error, BrokerError::StillLeaving(node)),
            }
        }
        panic!("the registration does not come to an end");
    }

    fn beat(&mut self, node: NodeId, epoch: i64, wants_shutdown: bool) {
        let heartbeat = Heartbeat { wants_shutdown, ..beat_of(node.0, epoch) };
        let decision = self.cluster.controller.heartbeat(&heartbeat, self.cluster.now);
        if self.commit(decision).is_ok_and(|answer| answer.may_shut_down) {
            self.processes.insert(node, false);
        }
    }

    /// Some are not heard of for so long that their session ends.
    fn silence(&mut self, nodes: u8) {
        let silent = picked(nodes);
        for _ in 0..2 {
            self.cluster.now += Duration::from_secs(5);
            for node in (1..=NODES).filter(|node| !silent.contains(node)).map(NodeId) {
                let epoch = self.cluster.controller.image().broker(node).map(|broker| broker.epoch);
                if let Some(epoch) = epoch.filter(|_| self.is_alive(node)) {
                    self.beat(node, epoch, false);
                }
            }
            self.do_what_is_left();
        }
    }

    fn leave(&mut self, node: NodeId) {
        let epoch = self.cluster.controller.image().broker(node).map(|broker| broker.epoch);
        if let Some(epoch) = epoch.filter(|_| self.is_alive(node)) {
            self.beat(node, epoch, true);
        }
    }

    fn reassign(&mut self, topic: usize, target: Option<u8>, first: i32) {
        let known = |node: &i32| self.cluster.controller.image().broker(NodeId(*node)).is_some();
        let target = target.map(|bits| {
            let mut target: Vec<i32> = picked(bits).into_iter().filter(known).collect();
            target.sort_by_key(|node| (*node < first, *node));
            nodes(&target)
        });
        let decision = self.cluster.controller.alter_reassignments(&[(at(TOPICS[topic], 0), target)], true);
        self.commit(decision);
    }

    fn configure(&mut self, resource: ConfigResource, config: &str, value: &str) {
        let change = alteration(resource, &[(config, ConfigOperation::Set, Some(value))]);
        let controller = &self.cluster.controller;
        let decision = controller.alter_configs(&[change], Mode::Apply, &AnyBrokerConfig, &NoBrokerDefaults);
        self.commit(decision).remove(0).expect("a good value");
    }

    fn take_over(&mut self) {
        let controller = &self.cluster.controller;
        let (image, settings, bytes) =
            (controller.image.clone(), controller.settings.clone(), controller.draft_bytes_max);
        self.cluster.controller = Controller::new(image, settings, self.cluster.now);
        self.cluster.controller.draft_bytes_max = bytes;
    }

    fn do_what_is_left(&mut self) {
        for _ in 0..50 {
            if self.cluster.controller.session_deadline().is_none_or(|deadline| deadline > self.cluster.now) {
                return;
            }
            let decision = self.cluster.controller.expire_sessions(self.cluster.now);
            self.commit(decision);
            self.cluster.now += RETRY_PAUSE;
        }
        panic!("what is left to do does not come to an end");
    }

    /// All come back in good health: everything is led again, and nothing was lost on the way.
    fn heal(&mut self) {
        for node in 1..=NODES {
            self.start(NodeId(node), Fate::PageCacheKept);
        }
        self.do_what_is_left();
        for topic in TOPICS {
            let partition = self.cluster.first(topic);
            let is_lost = partition.isr.is_empty() && partition.elr.is_empty() && partition.last_known_leader.is_none();
            assert!(partition.leader.is_some() || is_lost, "{partition:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nobody_leads_cleanly_without_every_committed_record(
        steps in steps(),
        controllers_min_isr in 1usize..4,
        leaders_min_isr in 1usize..4,
        small_batches in any::<bool>(),
    ) {
        let draft_bytes_max = if small_batches { 1 } else { DRAFT_BYTES_MAX };
        let mut world = World::new(controllers_min_isr, leaders_min_isr, draft_bytes_max);
        for step in &steps {
            world.run(step);
        }
        world.heal();
    }
}
