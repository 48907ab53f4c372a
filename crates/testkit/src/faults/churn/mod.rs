//! Churn: members of both group protocols in one group, in processes that are killed without a goodbye.
//!
//! Picture: a group begins with classic members, takes in members of the consumer protocol (KIP-848) and ends with classic
//! ones alone, so it is migrated both ways while it works. In between members are killed, others come, some are static and
//! return under their name; where there are several brokers, the one that coordinates is killed along with members in every
//! second round. A producer writes all the time, a watcher asks for the committed offsets.
//!
//! What must hold: every record is read at least once; a committed offset never goes back, neither as the watcher sees it
//! nor in the log of `__consumer_offsets`; no two living members have a partition at the same time; a static member that
//! returns in time gets what it had; and the group settles soon after the coordinator can know that a member is dead.
//!
//! Against our brokers and Apache Kafka's, by the same script.

mod books; // what members wrote down
mod commits; // what was committed, as the log has it
mod member; // one process
mod writer; // one record after the other

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use twinstream_client::RawClient;
use twinstream_client::raw::GroupListing;
use twinstream_model::GroupId;

use books::{Book, Entries};
use commits::Watcher;
pub use member::be_member_if_told;
use member::{Order, Protocol};
use writer::Writer;

use super::late::Of;
use super::{Dice, Subject};
use crate::apart::apart;
use crate::cluster::{Cluster, ClusterOptions};
use crate::operator::{Operator, SETTLES_WITHIN};
use crate::peer;
use crate::process::Process;
use crate::program::Program;
use crate::records::client_settings;
use crate::wait::{wait_until, wait_until_some};

const TOPIC: &str = "churned";
const GROUP: &str = "churners";
/// After which a silent member counts as dead.
const SESSION: Duration = Duration::from_secs(6);
/// Every so many rounds the coordinator is killed, if somebody can take its place.
const ROUNDS_FOR_A_COORDINATOR: usize = 2;
/// Brokers that are enough for the death of one.
const BROKERS_TO_LOSE_ONE: usize = 3;
/// At the members' books.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SETTINGS: [(&str, &str); 6] = [
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.heartbeat.interval.ms", "300"),
    ("group.consumer.min.session.timeout.ms", "3000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "3"),
];

#[derive(Clone, Debug)]
pub struct Options {
    pub of: Vec<Of>,
    pub size: Size,
    /// How long a group may take to settle beyond the session timeout.
    pub settles_within: Duration,
    pub seed: u64,
}

/// How much is going on.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub brokers: usize,
    pub partitions: i32,
    /// Half of them classic.
    pub members: usize,
    pub rounds: usize,
    /// So many die in a round, and as many come.
    pub victims: usize,
}

impl Size {
    pub const SHORT: Self = Self { brokers: 3, partitions: 16, members: 8, rounds: 2, victims: 3 };
    pub const LONG: Self = Self { brokers: 3, partitions: 40, members: 20, rounds: 8, victims: 5 };
}

/// One line of the judge's table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub subject: &'static str,
    pub members: usize,
    pub killed: usize,
    /// Brokers, each of them while it coordinated.
    pub coordinators_killed: usize,
    /// After each round, beyond the session timeout.
    pub settled: Vec<Duration>,
    pub records: usize,
    pub reread: u64,
    pub commits: usize,
    pub faults: Vec<String>,
}

impl Row {
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_good() { "ok    " } else { "FAILED" };
        let mut settled = self.settled.clone();
        settled.sort();
        let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
        let (median, max) = (seconds(settled.get(settled.len() / 2)), seconds(settled.last()));
        write!(
            f,
            "{mark} {:<18} {} members, {} killed, and {} coordinators; settles {median:.2} s median, {max:.2} s max beyond \
             the session timeout; {} records, {} read again, {} commits in the log",
            self.subject, self.members, self.killed, self.coordinators_killed, self.records, self.reread, self.commits
        )?;
        for fault in &self.faults {
            write!(f, "\n         {fault}")?;
        }
        Ok(())
    }
}

/// One run on each side; whether all that is promised of ours holds.
pub async fn run(options: &Options, program: &Program) -> bool {
    let mut rows = Vec::new();
    for of in &options.of {
        let (of, options, program) = (*of, options.clone(), program.clone());
        let broken = |fault| Row { subject: of.name(), faults: vec![fault], ..Row::default() };
        rows.push(apart(async move { churn(of, &options, &program).await }).await.unwrap_or_else(broken));
    }
    eprintln!("\nmembers of both group protocols that come, go and die");
    for row in &rows {
        eprintln!("  {row}");
    }
    rows.iter().filter(|row| row.subject == Subject::OURS).all(Row::is_good)
}

/// One run.
pub async fn churn(of: Of, options: &Options, program: &Program) -> Row {
    let mut group = Group::start(of, options, program).await;
    group.gather().await;
    for round in 0..options.size.rounds {
        group.kill_some(round).await;
    }
    group.statics_return().await;
    group.become_classic().await;
    group.finish().await
}

/// A member that lives, and its book.
struct Living {
    order: Order,
    process: Process,
    book: Book,
}

struct Group {
    subject: Subject,
    operator: Operator,
    client: RawClient,
    program: Program,
    size: Size,
    dice: Dice,
    writer: Writer,
    watcher: Watcher,
    members: BTreeMap<String, Living>,
    /// Books of the dead and of those that left.
    closed: Vec<Book>,
    next: usize,
    killed: usize,
    coordinators_killed: usize,
    settles_within: Duration,
    settled: Vec<Duration>,
    faults: Vec<String>,
}

impl Group {
    async fn start(of: Of, options: &Options, program: &Program) -> Self {
        let size = options.size;
        let subject = match of {
            Of::Ours => {
                let cluster = if size.brokers < 3 { ClusterOptions::default() } else { ClusterOptions::replicated() };
                let cluster = SETTINGS.iter().fold(cluster, |options, (name, value)| options.set(name, *value));
                Subject::Ours(Cluster::start_with(size.brokers, cluster).await)
            }
            Of::Kafka => Subject::Kafka(peer::kafka().cluster(size.brokers, &SETTINGS).await),
        };
        let bootstrap = subject.bootstrap();
        let operator = Operator::connect(&bootstrap, size.brokers).await;
        let replicas = i16::try_from(size.brokers.min(3)).expect("few brokers");
        operator.create_topic(TOPIC, size.partitions, replicas, &[]).await;
        let client = RawClient::connect(&client_settings(&bootstrap, &[])).await.expect("a broker that answers");
        let writer = Writer::start(&bootstrap, TOPIC, size.partitions).await;
        let watcher = Watcher::start(client.clone(), GroupId::from(GROUP));
        Self {
            subject,
            operator,
            client,
            program: program.clone(),
            size,
            dice: Dice::new(options.seed),
            writer,
            watcher,
            members: BTreeMap::new(),
            closed: Vec::new(),
            next: 0,
            killed: 0,
            coordinators_killed: 0,
            settles_within: options.settles_within,
            settled: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn join(&mut self, protocol: Protocol, instance: Option<&str>) {
        let name = format!("{}-{}", protocol.name(), self.next);
        self.next += 1;
        let order = Order {
            bootstrap: self.subject.bootstrap(),
            group: GROUP.to_owned(),
            topic: TOPIC.to_owned(),
            protocol,
            instance: instance.map(str::to_owned),
            session: SESSION,
        };
        let path = self.subject.folder().path().join(format!("member-{name}.book"));
        let process = order.start(&self.program, &name, &path);
        let book = Book { member: name.clone(), path, killed_us: None };
        self.members.insert(name, Living { order, process, book });
    }

    fn kill(&mut self, name: &str) {
        let mut living = self.members.remove(name).expect("a living member");
        living.process.kill();
        living.book.killed_us = Some(member::now_us());
        self.closed.push(living.book);
        self.killed += 1;
    }

    async fn leave(&mut self, name: &str) {
        let mut living = self.members.remove(name).expect("a living member");
        let status = living.process.stop().await;
        if !status.success() {
            self.faults.push(format!("{name} ended with {status}: {}", living.process.log_tail()));
        }
        self.closed.push(living.book);
    }

    /// Classic members first; then the others join, and the group is migrated.
    async fn gather(&mut self) {
        let half = self.size.members / 2;
        for number in 0..half {
            let instance = format!("classic-static-{number}");
            self.join(Protocol::Classic, (number < 2).then_some(instance.as_str()));
        }
        self.settle("classic members", Duration::ZERO).await;
        for number in half..self.size.members {
            let instance = format!("consumer-static-{number}");
            self.join(Protocol::Consumer, (number < half + 2).then_some(instance.as_str()));
        }
        self.settle("members of both protocols", Duration::ZERO).await;
        self.expect_kind("with members of both protocols", "consumer").await;
    }

    /// The group as it is listed.
    async fn listed(&self) -> GroupListing {
        let group = GroupId::from(GROUP);
        wait_until_some("the group is listed", SETTLES_WITHIN, || async {
            self.client.list_groups().await.ok()?.into_iter().find(|listing| listing.group == group)
        })
        .await
    }

    async fn expect_kind(&mut self, when: &str, expected: &str) {
        let kind = self.listed().await.kind;
        if !kind.eq_ignore_ascii_case(expected) {
            self.faults.push(format!("{when} the group is listed as `{kind}`"));
        }
    }

    /// The broker that coordinates, without a goodbye.
    async fn kill_coordinator(&mut self) -> usize {
        let id = usize::try_from(self.listed().await.coordinator.0).expect("a node id");
        eprintln!("    broker {id}, which coordinates, is killed");
        self.subject.kill(id);
        self.coordinators_killed += 1;
        id
    }

    async fn bring_back(&mut self, id: usize) {
        self.subject.spawn(id);
        self.subject.wait_for_port(id).await;
        self.operator.wait_whole(TOPIC, self.size.partitions).await;
    }

    /// Some die, others come in another mixture. A coordinator that takes over gives everybody a new session.
    async fn kill_some(&mut self, round: usize) {
        let takes_broker = self.size.brokers >= BROKERS_TO_LOSE_ONE && round % ROUNDS_FOR_A_COORDINATOR == 1;
        let broker = if takes_broker { Some(self.kill_coordinator().await) } else { None };
        let dynamic = self.members.iter().filter(|(_, living)| living.order.instance.is_none());
        let dynamic: Vec<String> = dynamic.map(|(name, _)| name.clone()).collect();
        let victims: Vec<String> = self.dice.shuffled(&dynamic).into_iter().take(self.size.victims).collect();
        for name in &victims {
            self.kill(name);
        }
        for number in 0..victims.len() {
            let protocol = if (number + round).is_multiple_of(2) { Protocol::Consumer } else { Protocol::Classic };
            self.join(protocol, None);
        }
        self.settle(&format!("round {round}: {} killed", victims.len()), SESSION).await;
        if let Some(id) = broker {
            self.bring_back(id).await;
        }
    }

    /// Static members go and come back under their names: a classic one is killed, one of the consumer protocol says that
    /// it will return, without which it is not let in before its session is over (KIP-848).
    async fn statics_return(&mut self) {
        for protocol in [Protocol::Classic, Protocol::Consumer] {
            let found = self.members.iter().find(|(_, living)| {
                living.order.protocol == protocol && living.order.instance.is_some() //
            });
            let (name, living) = found.expect("a static member");
            let (name, instance) = (name.clone(), living.order.instance.clone());
            let had = living.book.entries().owned;
            let others = self.owners_but(&name);
            match protocol {
                Protocol::Classic => self.kill(&name),
                Protocol::Consumer => self.leave(&name).await,
            }
            let number = self.next;
            self.join(protocol, instance.as_deref());
            self.settle(&format!("static {name} returns"), Duration::ZERO).await;
            let returned = format!("{}-{number}", protocol.name());
            let has = self.members[&returned].book.entries().owned;
            if has != had {
                self.faults.push(format!("static member {name} had {had:?} and got {has:?} when it returned"));
            }
            if self.owners_but(&returned) != others {
                self.faults.push(format!("partitions of others moved when static member {name} returned"));
            }
        }
    }

    /// The last member of the consumer protocol leaves, and the group is a classic one again.
    async fn become_classic(&mut self) {
        let leaving = self.members.iter().filter(|(_, living)| living.order.protocol == Protocol::Consumer);
        let leaving: Vec<String> = leaving.map(|(name, _)| name.clone()).collect();
        for name in &leaving {
            self.leave(name).await;
        }
        // A static member that leaves keeps its place until its session is over.
        self.settle("classic members alone", SESSION).await;
        self.expect_kind("with classic members alone", "classic").await;
    }

    fn entries(&self) -> BTreeMap<String, Entries> {
        self.members.iter().map(|(name, living)| (name.clone(), living.book.entries())).collect()
    }

    fn owners_but(&self, name: &str) -> BTreeMap<String, BTreeSet<i32>> {
        let others = self.entries().into_iter().filter(|(member, _)| member != name);
        others.map(|(member, entries)| (member, entries.owned)).collect()
    }

    /// Every partition has one owner, and shares are as even as they can be.
    fn is_settled(&self) -> bool {
        let owned: Vec<BTreeSet<i32>> = self.entries().into_values().map(|entries| entries.owned).collect();
        let partitions = usize::try_from(self.size.partitions).expect("a count");
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let (least, most) = (partitions / owned.len(), partitions.div_ceil(owned.len()));
        let total: usize = owned.iter().map(BTreeSet::len).sum();
        total == partitions && all.len() == partitions && owned.iter().all(|set| (least..=most).contains(&set.len()))
    }

    /// Waits until the group has settled; `known_after` is what the coordinator needs to know of a death.
    async fn settle(&mut self, what: &str, known_after: Duration) {
        let began = Instant::now();
        let deadline = began + known_after + SETTLES_WITHIN;
        while !self.is_settled() {
            if Instant::now() > deadline {
                let owned: Vec<(String, BTreeSet<i32>)> =
                    self.entries().into_iter().map(|(name, entries)| (name, entries.owned)).collect();
                self.faults.push(format!("{what}: does not settle: {owned:?}"));
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = began.elapsed().saturating_sub(known_after);
        eprintln!("    {what}: settled after {:.2} s", began.elapsed().as_secs_f64());
        if took > self.settles_within {
            self.faults.push(format!("{what}: settled {took:.1?} after the coordinator could know of it"));
        }
        if known_after > Duration::ZERO {
            self.settled.push(took);
        }
    }

    async fn finish(mut self) -> Row {
        let ends = self.writer.stop().await;
        let wanted: BTreeSet<(i32, i64)> =
            ends.iter().flat_map(|(partition, end)| (0..*end).map(|offset| (*partition, offset))).collect();
        let books: Vec<Book> =
            self.closed.iter().chain(self.members.values().map(|living| &living.book)).cloned().collect();
        wait_until("everything is read and committed", SETTLES_WITHIN, || async {
            let read: BTreeSet<(i32, i64)> = books.iter().flat_map(|book| book.entries().read).collect();
            read.is_superset(&wanted) && self.watcher.committed() == ends
        })
        .await;
        for name in self.members.keys().cloned().collect::<Vec<_>>() {
            self.leave(&name).await;
        }
        self.faults.extend(self.watcher.stop().await);
        self.faults.extend(books::shared(&self.closed));
        let acknowledged = self.closed.iter().map(|book| book.entries().committed);
        let (commits, faults) = commits::judge_log(&self.client, &self.subject, GROUP, TOPIC, acknowledged).await;
        self.faults.extend(faults);
        let reads: u64 = self.closed.iter().map(|book| book.entries().reads).sum();
        if !self.faults.is_empty() {
            self.subject.folder().keep();
        }
        Row {
            subject: self.subject.name(),
            members: self.size.members,
            killed: self.killed,
            coordinators_killed: self.coordinators_killed,
            settled: self.settled,
            records: wanted.len(),
            reread: reads - wanted.len() as u64,
            commits,
            faults: self.faults,
        }
    }
}
