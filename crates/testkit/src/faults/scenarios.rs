//! The scenarios: what is broken, in which order, and what must hold meanwhile.
//!
//! Numbers are those of the list of faults; several may have the same. Time bounds here are those of a debug build on a
//! busy machine, and catch a cluster that does not recover by itself. `cargo xtask judge failover` measures.

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Report, Subject, Trial};
use crate::cluster::{Cluster, ClusterOptions};
use crate::history::What;
use crate::load::LoadOptions;
use crate::nemesis::{End, files};
use crate::operator::SETTLES_WITHIN;
use crate::wait::wait_until;

/// A dead process is noticed by its closed connection.
const DEAD_WITHIN: Duration = Duration::from_secs(3);
/// A hung or cut-off one by its silence.
const SILENT_WITHIN: Duration = Duration::from_secs(6);
/// All brokers read their logs first.
const RESTARTED_WITHIN: Duration = Duration::from_secs(15);
/// Links that are cut here and there heal, and connections that hang are given up.
const MENDED_WITHIN: Duration = Duration::from_secs(20);
/// Where a broker keeps the log of the metadata quorum, in its data folder.
const QUORUM_FOLDER: &str = "metadata-quorum";

type Steps<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One way to break a cluster.
pub struct Scenario {
    pub name: &'static str,
    /// In the list of faults.
    pub number: u8,
    pub about: &'static str,
    brokers: usize,
    voters: usize,
    network: bool,
    settings: &'static [(&'static str, &'static str)],
    steps: for<'a> fn(&'a mut Trial) -> Steps<'a>,
}

const THREE: Scenario =
    Scenario { name: "", number: 0, about: "", brokers: 3, voters: 3, network: false, settings: &[], steps: quiet };

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "quiet", number: 1, about: "nothing breaks", steps: quiet, ..THREE },
    Scenario {
        name: "leader-killed",
        number: 2,
        about: "SIGKILL of partition leaders, also of the one that leads the quorum",
        steps: leader_killed,
        ..THREE
    },
    Scenario { name: "all-killed", number: 3, about: "SIGKILL of all at once", steps: all_killed, ..THREE },
    Scenario {
        name: "leader-hung",
        number: 6,
        about: "SIGSTOP of a partition leader, SIGCONT when another one leads",
        steps: leader_hung,
        ..THREE
    },
    Scenario {
        name: "controller-hung",
        number: 7,
        about: "SIGSTOP of the leader of the quorum",
        steps: controller_hung,
        ..THREE
    },
    Scenario {
        name: "leader-cut-from-followers",
        number: 8,
        about: "a partition leader that only clients reach",
        network: true,
        steps: leader_cut_from_followers,
        ..THREE
    },
    Scenario {
        name: "leader-cut-from-controller",
        number: 9,
        about: "a partition leader that the leader of the quorum does not hear",
        network: true,
        steps: leader_cut_from_controller,
        ..THREE
    },
    Scenario {
        name: "bridges",
        number: 10,
        about: "bridges, one-way links and random cuts among five",
        brokers: 5,
        voters: 5,
        network: true,
        steps: bridges,
        ..THREE
    },
    Scenario {
        name: "rolling-restart",
        number: 12,
        about: "SIGTERM and start of each; no error reaches a client, preferred leaders lead again",
        settings: &[("leader.imbalance.check.interval.seconds", "2")],
        steps: rolling_restart,
        ..THREE
    },
    Scenario {
        name: "last-replica",
        number: 13,
        about: "one after the other is killed until none is in sync; they return in any order",
        steps: last_replica,
        ..THREE
    },
    Scenario {
        name: "torn-tail",
        number: 15,
        about: "the end of a killed follower's log is cut off",
        steps: torn_tail,
        ..THREE
    },
    Scenario {
        name: "metadata-damaged",
        number: 16,
        about: "a flipped bit or a cut in the metadata log of a voter; it heals, or refuses to start",
        steps: metadata_damaged,
        ..THREE
    },
    Scenario {
        name: "answers-lost",
        number: 25,
        about: "requests arrive, answers do not, connections are reset, and the leader dies",
        network: true,
        steps: answers_lost,
        ..THREE
    },
    Scenario {
        name: "reassignment",
        number: 30,
        about: "partitions move and change their number of replicas, moves are cancelled, brokers die meanwhile",
        brokers: 4,
        steps: reassignment,
        ..THREE
    },
    Scenario {
        name: "voter-wiped",
        number: 31,
        about: "a voter returns with an empty disk, another one dies at once",
        steps: voter_wiped,
        ..THREE
    },
    Scenario {
        name: "voter-behind",
        number: 31,
        about: "a voter misses more of the metadata log than is kept, and is sent a snapshot",
        steps: voter_behind,
        ..THREE
    },
];

/// A scenario by its name; the panic lists all.
pub fn by_name(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap_or_else(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        panic!("no scenario `{name}`; there are {}", names.join(", "))
    })
}

impl Scenario {
    /// Tries it on a new cluster of ours.
    pub async fn run(&self, seed: u64) -> Report {
        let name = format!("{} (seed {seed})", self.name);
        eprintln!("--- fault {}, {name}: {}", self.number, self.about);
        let mut options = ClusterOptions::replicated().voters(self.voters);
        if self.network {
            options = options.network();
        }
        for (name, value) in self.settings {
            options = options.set(name, *value);
        }
        let cluster = Cluster::start_with(self.brokers, options).await;
        let load = LoadOptions::new(super::trial::TOPIC, 3);
        let mut trial = Trial::start(&name, Subject::Ours(cluster), seed, load).await;
        (self.steps)(&mut trial).await;
        trial.finish().await
    }
}

fn quiet(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        trial.wait_acknowledged(3_000).await;
    })
}

fn leader_killed(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for round in 0..4 {
            let partition = trial.any_partition();
            if round % 2 == 1 {
                let controller = trial.operator.controller().await;
                trial.step(format!("broker {controller}, which leads the quorum, gets partition {partition}"));
                trial.operator.lead_by(&trial.options.topic, partition, controller).await;
            }
            let leader = trial.leader(partition).await;
            trial.kill(leader);
            trial.all_writable(DEAD_WITHIN).await;
            trial.start_broker(leader).await;
            trial.whole().await;
        }
    })
}

fn all_killed(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..3 {
            trial.kill_all();
            for id in 1..=trial.subject.size() {
                trial.spawn(id);
            }
            trial.all_writable(RESTARTED_WITHIN).await;
            trial.whole().await;
        }
    })
}

fn leader_hung(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.pause(leader);
            trial.all_writable(SILENT_WITHIN).await;
            let more = trial.dice.between(0, 3_000);
            trial.run_for(Duration::from_millis(more)).await;
            trial.resume(leader);
            trial.all_writable(SILENT_WITHIN).await;
            trial.whole().await;
        }
    })
}

fn controller_hung(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let controller = trial.operator.controller().await;
            trial.pause(controller);
            trial.all_writable(SILENT_WITHIN).await;
            let next = trial.operator.controller().await;
            trial.tell(format!("broker {next} leads the quorum"));
            if next == controller {
                trial
                    .complain(format!("broker {controller} hangs, and brokers still call it the leader of the quorum"));
            }
            trial.resume(controller);
            trial.all_writable(SILENT_WITHIN).await;
            trial.whole().await;
        }
    })
}

fn leader_cut_from_followers(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.step(format!("cut {leader} from all brokers; clients reach it"));
            let links = trial.subject.network().links_to_brokers(leader);
            trial.subject.network().cut(&links);
            trial.all_writable(SILENT_WITHIN).await;
            mend(trial).await;
        }
    })
}

fn leader_cut_from_controller(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let partition = trial.any_partition();
            let controller = trial.operator.controller().await;
            let mut leader = trial.leader(partition).await;
            if leader == controller {
                let followers = trial.operator.partition(&trial.options.topic, partition).await.followers();
                leader = *trial.dice.pick(&followers);
                trial.step(format!("broker {leader}, which does not lead the quorum, gets partition {partition}"));
                trial.operator.lead_by(&trial.options.topic, partition, leader).await;
            }
            trial.step(format!("cut {leader} from {controller}, which leads the quorum"));
            trial.subject.network().cut(&[(End::Broker(leader), End::Broker(controller))]);
            trial.all_writable(SILENT_WITHIN).await;
            mend(trial).await;
        }
    })
}

fn bridges(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        for round in 0..4 {
            let nodes = trial.dice.shuffled(&all);
            match round % 3 {
                0 => {
                    trial.step(format!("bridge: {:?} and {:?} meet only in {}", &nodes[..2], &nodes[3..], nodes[2]));
                    let links = nodes[..2].iter().flat_map(|one| {
                        nodes[3..].iter().map(|other| (End::Broker(*one), End::Broker(*other))) //
                    });
                    trial.subject.network().cut(&links.collect::<Vec<_>>());
                }
                1 => {
                    trial.step(format!("one way: nothing from {} arrives at other brokers", nodes[0]));
                    for (from, to) in trial.subject.network().links_to_brokers(nodes[0]) {
                        trial.subject.network().cut_one_way(from, to);
                    }
                }
                _ => {
                    let mut cuts = Vec::new();
                    for pair in nodes.windows(2) {
                        if trial.dice.coin() {
                            cuts.push((End::Broker(pair[0]), End::Broker(pair[1])));
                        }
                    }
                    trial.step(format!("cut {cuts:?}"));
                    trial.subject.network().cut(&cuts);
                }
            }
            let time = trial.dice.between(2_000, 6_000);
            trial.run_for(Duration::from_millis(time)).await;
            mend(trial).await;
        }
    })
}

/// Links work again, and nobody but the brokers does anything about what is left.
async fn mend(trial: &mut Trial) {
    trial.step("all links work");
    trial.subject.network().heal();
    trial.all_writable(MENDED_WITHIN).await;
    trial.whole().await;
}

fn rolling_restart(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for id in 1..=trial.subject.size() {
            trial.stop(id).await;
            trial.start_broker(id).await;
            trial.all_writable(DEAD_WITHIN).await;
            trial.whole().await;
        }
        let errors = trial.recorder().events().into_iter().filter_map(|event| match event.what {
            What::Failed { reason, .. } | What::Unknown { reason, .. } => Some(reason),
            _ => None,
        });
        for reason in errors.collect::<Vec<_>>() {
            trial.complain(format!("a restart reached a client: {reason}"));
        }
        let topic = trial.options.topic.clone();
        wait_until("preferred leaders lead again", SETTLES_WITHIN, || async {
            let states = trial.operator.partitions(&topic).await;
            !states.is_empty() && states.values().all(|state| state.leader == state.replicas.first().copied())
        })
        .await;
    })
}

fn last_replica(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let all: Vec<usize> = (1..=trial.subject.size()).collect();
            for id in trial.dice.shuffled(&all) {
                trial.kill(id);
                let pause = trial.dice.between(0, 1_500);
                trial.run_for(Duration::from_millis(pause)).await;
            }
            for id in trial.dice.shuffled(&all) {
                trial.start_broker(id).await;
                let pause = trial.dice.between(0, 1_500);
                trial.run_for(Duration::from_millis(pause)).await;
            }
            trial.all_writable(RESTARTED_WITHIN).await;
            trial.whole().await;
        }
    })
}

fn torn_tail(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let partition = trial.any_partition();
            let topic = trial.options.topic.clone();
            let followers = trial.operator.partition(&topic, partition).await.followers();
            let follower = *trial.dice.pick(&followers);
            trial.kill(follower);
            let bytes = trial.dice.between(1, 5_000);
            let segment = files::active_segment(&trial.subject.data(follower), &topic, partition);
            let left = files::cut_tail(&segment.expect("a replica has a segment"), bytes);
            trial.step(format!("the log of partition {partition} on {follower} is cut to {left} bytes"));
            trial.all_writable(DEAD_WITHIN).await;
            trial.start_broker(follower).await;
            trial.whole().await;
        }
    })
}

fn metadata_damaged(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for _ in 0..2 {
            let all: Vec<usize> = (1..=trial.subject.size()).collect();
            let victim = *trial.dice.pick(&all);
            trial.kill(victim);
            damage_quorum(trial, victim);
            trial.spawn(victim);
            if refuses(trial, victim).await {
                trial.step(format!("{victim} refuses to start, so its disk is emptied"));
                wipe(trial, victim);
                trial.subject.kill(victim);
                trial.subject.spawn(victim);
                trial.subject.wait_for_port(victim).await;
            }
            trial.all_writable(SILENT_WITHIN).await;
            trial.whole().await;
        }
    })
}

/// One bit, or the end of a file that is not empty.
fn damage_quorum(trial: &mut Trial, broker: usize) {
    let mut found = files::files_below(&trial.subject.data(broker).join(QUORUM_FOLDER));
    found.retain(|file| fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0));
    let file = trial.dice.pick(&found).clone();
    let length = fs::metadata(&file).map_or(1, |metadata| metadata.len());
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let at = trial.dice.between(0, length - 1);
    if trial.dice.coin() {
        trial.step(format!("a bit of {name} on {broker} is turned, at {at} of {length}"));
        files::flip_bit(&file, at);
    } else {
        trial.step(format!("{name} on {broker} is cut to {at} of {length} bytes"));
        files::cut_tail(&file, length - at);
    }
}

/// Whether the broker ends by itself instead of serving.
async fn refuses(trial: &mut Trial, broker: usize) -> bool {
    let began = std::time::Instant::now();
    loop {
        let running = trial.subject.process(broker).is_running();
        let topic = trial.options.topic.clone();
        let back = trial.operator.partitions(&topic).await.values().all(|state| state.isr.contains(&broker));
        if !running || back {
            return !running;
        }
        assert!(began.elapsed() < SETTLES_WITHIN, "broker {broker} neither serves nor ends");
        trial.run_for(Duration::from_millis(100)).await;
    }
}

fn wipe(trial: &Trial, broker: usize) {
    let data = trial.subject.data(broker);
    fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("empty {}: {error}", data.display()));
    fs::create_dir_all(&data).unwrap_or_else(|error| panic!("create {}: {error}", data.display()));
}

fn answers_lost(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        for round in 0..4 {
            let partition = trial.any_partition();
            let leader = trial.leader(partition).await;
            trial.step(format!("answers of {leader} are lost, its clients' connections are reset"));
            trial.subject.network().cut_one_way(End::Broker(leader), End::Clients);
            let time = trial.dice.between(50, 800);
            trial.run_for(Duration::from_millis(time)).await;
            trial.subject.network().reset_clients_of(leader);
            let time = trial.dice.between(50, 800);
            trial.run_for(Duration::from_millis(time)).await;
            if round % 2 == 1 {
                trial.kill(leader);
            }
            trial.step("all links work");
            trial.subject.network().heal();
            trial.all_writable(SILENT_WITHIN).await;
            if round % 2 == 1 {
                trial.start_broker(leader).await;
            }
            trial.whole().await;
        }
    })
}

fn reassignment(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        let topic = trial.options.topic.clone();
        for round in 0..5 {
            let partition = trial.any_partition();
            let before = trial.operator.partition(&topic, partition).await;
            // Three others, then all four, then three again.
            let count = if round % 3 == 1 { 4 } else { 3 };
            let target: Vec<usize> = trial.dice.shuffled(&all).into_iter().take(count).collect();
            trial.step(format!("partition {partition} moves from {:?} to {target:?}", before.replicas));
            trial.operator.reassign(&topic, partition, Some(&target)).await;
            let mut dead = None;
            match round % 5 {
                1 | 3 => dead = Some(trial.leader(partition).await),
                2 => dead = target.iter().find(|id| !before.replicas.contains(id)).copied(),
                4 => {
                    trial.step("the movement is cancelled");
                    trial.operator.reassign(&topic, partition, None).await;
                }
                _ => {}
            }
            if let Some(id) = dead {
                trial.kill(id);
                trial.all_writable(DEAD_WITHIN).await;
                trial.start_broker(id).await;
            }
            settled(trial).await;
            let after = trial.operator.partition(&topic, partition).await;
            let moved = same(&after.replicas, &target);
            let stayed = round % 5 == 4 && same(&after.replicas, &before.replicas);
            if !moved && !stayed {
                trial.complain(format!("partition {partition} is at {:?} in the end", after.replicas));
            }
        }
    })
}

/// No movement is under way, and all replicas are in sync.
async fn settled(trial: &Trial) {
    wait_until("movements end", SETTLES_WITHIN, || async {
        trial.operator.is_reassigning().await == Some(false) //
    })
    .await;
    trial.whole().await;
}

fn same(one: &[usize], other: &[usize]) -> bool {
    let sorted = |ids: &[usize]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    sorted(one) == sorted(other)
}

fn voter_wiped(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let all: Vec<usize> = (1..=trial.subject.size()).collect();
        for _ in 0..2 {
            let order = trial.dice.shuffled(&all);
            let (wiped, other) = (order[0], order[1]);
            trial.kill(wiped);
            trial.step(format!("the disk of {wiped} is emptied"));
            wipe(trial, wiped);
            trial.spawn(wiped);
            let pause = trial.dice.between(0, 1_500);
            trial.run_for(Duration::from_millis(pause)).await;
            trial.kill(other);
            // Whether this is writable depends on how far the newcomer got. That nothing is forgotten does not.
            let pause = trial.dice.between(1_000, 4_000);
            trial.run_for(Duration::from_millis(pause)).await;
            trial.start_broker(other).await;
            trial.all_writable(MENDED_WITHIN).await;
            trial.whole().await;
            all_vote(trial).await;
        }
    })
}

/// The newcomer has the vote of the one that it replaces.
async fn all_vote(trial: &Trial) {
    let voters = trial.subject.size();
    wait_until("all voters vote and have the whole log", SETTLES_WITHIN, || async {
        let Some(state) = trial.operator.quorum().await else { return false };
        state.voters.len() == voters && state.voters.values().all(|end| *end >= state.high_watermark)
    })
    .await;
}

/// Changes of a topic's settings: each is one entry of the metadata log; more than it keeps behind a snapshot.
const ENTRIES: usize = 6_000;
const WRITERS: usize = 16;

fn voter_behind(trial: &mut Trial) -> Steps<'_> {
    Box::pin(async move {
        let controller = trial.operator.controller().await;
        let others: Vec<usize> = trial.up().into_iter().filter(|id| *id != controller).collect();
        let behind = *trial.dice.pick(&others);
        trial.kill(behind);
        trial.step(format!("{ENTRIES} changes of settings"));
        let mut changing = JoinSet::new();
        for writer in 0..WRITERS {
            let (operator, topic) = (trial.operator.clone(), trial.options.topic.clone());
            changing.spawn(async move {
                for entry in (writer..ENTRIES).step_by(WRITERS) {
                    let value = (1_000_000_000 + entry).to_string();
                    operator.set_topic_config(&topic, "retention.ms", &value).await;
                }
            });
        }
        changing.join_all().await;
        trial.start_broker(behind).await;
        trial.whole().await;
        all_vote(trial).await;
        let leader = trial.operator.controller().await;
        trial.kill(leader);
        trial.all_writable(DEAD_WITHIN).await;
        trial.start_broker(leader).await;
        trial.whole().await;
    })
}
