//! The scenarios: what is broken, in which order, and what must hold meanwhile.
//!
//! Numbers are those of the list of faults; several may have the same. Time bounds here are those of a debug build on a
//! busy machine, and catch a cluster that does not recover by itself. `cargo xtask judge failover` measures.

mod clocks; // wall clocks that jump
mod coordinators; // of transactions, killed in the middle
mod disks; // damaged, lost, or behind
mod links; // cut
mod movements; // partitions that move
mod power; // machines that lose it, disks that fail
mod processes; // dead or hung
mod rivals; // producers with one name
mod state_log; // what a coordinator has written down
mod voters; // votes that go and come
mod zombies; // producers that hang while another one takes their name

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{Report, Subject, Trial};
use crate::cluster::{Cluster, ClusterOptions};
use crate::load::LoadOptions;
use crate::program::Program;

/// A dead process is noticed by its closed connection.
const DEAD_WITHIN: Duration = Duration::from_secs(3);
/// A hung or cut-off one by its silence.
const SILENT_WITHIN: Duration = Duration::from_secs(6);
/// All brokers read their logs first.
const RESTARTED_WITHIN: Duration = Duration::from_secs(15);
/// Links that are cut here and there heal, and connections that hang are given up.
const MENDED_WITHIN: Duration = Duration::from_secs(20);
/// Clients find their coordinators again, groups settle, transactions that were left end by their timeout.
const GO_ON_WITHIN: Duration = Duration::from_secs(60);

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
    clocks: bool,
    disks: bool,
    second_disks: bool,
    shims: bool,
    /// Whether clients work with transactions and groups.
    transactions: bool,
    settings: &'static [(&'static str, &'static str)],
    steps: for<'a> fn(&'a mut Trial) -> Steps<'a>,
}

const THREE: Scenario = Scenario {
    name: "",
    number: 0,
    about: "",
    brokers: 3,
    voters: 3,
    network: false,
    clocks: false,
    disks: false,
    second_disks: false,
    shims: false,
    transactions: false,
    settings: &[],
    steps: processes::quiet,
};

/// Acknowledged is what is on disks.
const HONEST: &[(&str, &str)] = &[("twinstream.flush", "ack")];
/// Room for the data of one broker that can lose its power.
const DISK_MEBIBYTES: u64 = 96;

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "quiet", number: 1, about: "nothing breaks", steps: processes::quiet, ..THREE },
    Scenario {
        name: "leader-killed",
        number: 2,
        about: "SIGKILL of partition leaders, also of the one that leads the quorum",
        steps: processes::leader_killed,
        ..THREE
    },
    Scenario { name: "all-killed", number: 3, about: "SIGKILL of all at once", steps: processes::all_killed, ..THREE },
    Scenario {
        name: "power-cut",
        number: 4,
        about: "the machine of a partition leader loses its power",
        disks: true,
        steps: power::of_a_leader,
        ..THREE
    },
    Scenario {
        name: "power-cut-all",
        number: 4,
        about: "all machines lose their power at once; acknowledged is what is on disks",
        disks: true,
        settings: HONEST,
        steps: power::of_all,
        ..THREE
    },
    Scenario {
        name: "power-cut-alone",
        number: 4,
        about: "the only machine loses its power, again and again; acknowledged is what is on its disk",
        brokers: 1,
        voters: 1,
        disks: true,
        settings: HONEST,
        steps: power::of_the_only_one,
        ..THREE
    },
    Scenario {
        name: "power-cut-while-hung",
        number: 5,
        about: "the machine of a partition leader loses its power while a follower hangs",
        disks: true,
        steps: power::while_a_follower_hangs,
        ..THREE
    },
    Scenario {
        name: "leader-hung",
        number: 6,
        about: "SIGSTOP of a partition leader, SIGCONT when another one leads",
        steps: processes::leader_hung,
        ..THREE
    },
    Scenario {
        name: "controller-hung",
        number: 7,
        about: "SIGSTOP of the leader of the quorum",
        steps: processes::controller_hung,
        ..THREE
    },
    Scenario {
        name: "leader-cut-from-followers",
        number: 8,
        about: "a partition leader that only clients reach",
        network: true,
        steps: links::leader_cut_from_followers,
        ..THREE
    },
    Scenario {
        name: "leader-cut-from-controller",
        number: 9,
        about: "a partition leader that the leader of the quorum does not hear",
        network: true,
        steps: links::leader_cut_from_controller,
        ..THREE
    },
    Scenario {
        name: "bridges",
        number: 10,
        about: "bridges, one-way links and random cuts among five",
        brokers: 5,
        voters: 5,
        network: true,
        steps: links::bridges,
        ..THREE
    },
    Scenario {
        name: "swizzle-clog",
        number: 11,
        about: "links between brokers, and to clients, are clogged one by one and cleared in any order; nobody is stuck",
        network: true,
        transactions: true,
        steps: links::swizzle_clog,
        ..THREE
    },
    Scenario {
        name: "rolling-restart",
        number: 12,
        about: "SIGTERM and start of each; no error reaches a client, preferred leaders lead again",
        settings: &[("leader.imbalance.check.interval.seconds", "2")],
        steps: processes::rolling_restart,
        ..THREE
    },
    Scenario {
        name: "last-replica",
        number: 13,
        about: "one after the other is killed until none is in sync; they return in any order",
        steps: processes::last_replica,
        ..THREE
    },
    Scenario {
        name: "torn-tail",
        number: 15,
        about: "the end of a killed follower's log is cut off",
        steps: disks::torn_tail,
        ..THREE
    },
    Scenario {
        name: "metadata-damaged",
        number: 16,
        about: "a flipped bit or a cut in the metadata log of a voter; it heals, or refuses to start",
        steps: disks::metadata_damaged,
        ..THREE
    },
    Scenario {
        name: "fsync-fails",
        number: 18,
        about: "the disk of a leader cannot flush any more; the broker stops, comes back and catches up",
        shims: true,
        settings: HONEST,
        steps: power::fsync_fails,
        ..THREE
    },
    Scenario {
        name: "writes-fail",
        number: 19,
        about: "writes of a leader are short, interrupted, and find no room in the middle of a batch",
        shims: true,
        steps: power::writes_fail,
        ..THREE
    },
    Scenario {
        name: "directory-fails",
        number: 20,
        about: "one of two log directories fails, is missing at a start, and comes back; the broker serves the other one",
        second_disks: true,
        steps: power::directory_fails,
        ..THREE
    },
    Scenario {
        name: "clock-jumps",
        number: 21,
        about: "the wall clock of a leader, then of the leader of the quorum, jumps by hours; nobody is fenced",
        clocks: true,
        steps: clocks::clock_jumps,
        ..THREE
    },
    Scenario {
        name: "transactions-quiet",
        number: 22,
        about: "transactions, and nothing breaks",
        transactions: true,
        steps: coordinators::quiet,
        ..THREE
    },
    Scenario {
        name: "coordinator-killed",
        number: 22,
        about: "SIGKILL of the coordinator of a transaction at each step of its end",
        brokers: 5,
        transactions: true,
        settings: coordinators::SETTINGS,
        steps: coordinators::killed_at_each_step,
        ..THREE
    },
    Scenario {
        name: "rivals",
        number: 24,
        about: "producers with one transactional id: the older one is fenced, whatever it is about to do",
        transactions: true,
        steps: rivals::fenced,
        ..THREE
    },
    Scenario {
        name: "zombies",
        number: 24,
        about: "processes with one transactional id: one hangs or dies in the middle, another one takes over",
        transactions: true,
        settings: &[("transaction.state.log.num.partitions", "1")],
        steps: zombies::take_over,
        ..THREE
    },
    Scenario {
        name: "epochs-exhausted",
        number: 24,
        about: "a transactional id whose producer id has no epochs left gets a new one",
        brokers: 1,
        voters: 1,
        transactions: true,
        settings: &[("transaction.state.log.num.partitions", "1")],
        steps: rivals::epochs_exhausted,
        ..THREE
    },
    Scenario {
        name: "answers-lost",
        number: 25,
        about: "requests arrive, answers do not, connections are reset, and the leader dies",
        network: true,
        steps: links::answers_lost,
        ..THREE
    },
    Scenario {
        name: "reassignment",
        number: 30,
        about: "partitions move and change their number of replicas, moves are cancelled, brokers die meanwhile",
        brokers: 4,
        steps: movements::reassignment,
        ..THREE
    },
    Scenario {
        name: "voter-wiped",
        number: 31,
        about: "a voter returns with an empty disk, another one dies at once",
        steps: disks::voter_wiped,
        ..THREE
    },
    Scenario {
        name: "voter-behind",
        number: 31,
        about: "a voter misses more of the metadata log than is kept, and is sent a snapshot",
        steps: disks::voter_behind,
        ..THREE
    },
    Scenario {
        name: "voters-change",
        number: 31,
        about: "a voter that is lost loses its vote and gets it back, while leaders of the quorum die",
        brokers: 5,
        voters: 5,
        network: true,
        steps: voters::voters_change,
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
        self.run_as(seed, Program::this(&[])).await
    }

    /// The same for a program that cannot be a client as it is, but with arguments.
    pub async fn run_as(&self, seed: u64, program: Program) -> Report {
        let options = if self.transactions { LoadOptions::transactional } else { LoadOptions::new };
        self.tried(seed, options(super::trial::TOPIC, 3), program).await
    }

    /// Tries it with another load.
    pub async fn run_with(&self, seed: u64, load: LoadOptions) -> Report {
        self.tried(seed, load, Program::this(&[])).await
    }

    async fn tried(&self, seed: u64, load: LoadOptions, program: Program) -> Report {
        let name = format!("{} (seed {seed})", self.name);
        eprintln!("--- fault {}, {name}: {}", self.number, self.about);
        let mut options = ClusterOptions::replicated().voters(self.voters);
        if self.brokers < 3 {
            options = options.replicas(1);
        }
        if self.disks {
            options = options.disks(DISK_MEBIBYTES);
        }
        if self.second_disks {
            options = options.second_disks(DISK_MEBIBYTES);
        }
        if self.shims {
            options = options.shims();
        }
        if self.network {
            options = options.network();
        }
        if self.clocks {
            options = options.clocks();
        }
        for (name, value) in self.settings {
            options = options.set(name, *value);
        }
        let cluster = Cluster::start_with(self.brokers, options).await;
        let mut trial = Trial::start(&name, Subject::Ours(cluster), seed, load).await;
        trial.program = program;
        (self.steps)(&mut trial).await;
        trial.finish().await
    }
}
