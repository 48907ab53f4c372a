//! Kafka's own verifiable programs, VerifiableProducer and VerifiableConsumer, while brokers are killed.
//!
//! Picture: producers with acks=all and idempotence write numbers; two groups of several consumers, one of each group
//! protocol, read them and commit what they have read. Killed are the coordinators of both groups and leaders of
//! partitions, in turn, and once in a while a consumer, whose place another one takes.
//!
//! Judged is what these clients promise: of a producer, that every acknowledged record is in the log once, where its
//! acknowledgement says (exactly once); of a group, that each record of the log reached one of its members (at least
//! once), the same one at the same offset, and that acknowledged commits, of which there are some, never go back and
//! never pass what was read. A program that ends without being told to is a fault as well.

mod events; // what the programs print

use std::time::{Duration, Instant};

use events::{Group, Produced, log_of};

use super::clients::{By, Client, Clients, Stop};
use super::scene::{Return, Scene, Victim};
use super::{Report, Side, apart, conclude};
use crate::wait::wait_until;

const TOPIC: &str = "verified";
const PARTITIONS: i32 = 4;
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const CONSUMER: &str = "org.apache.kafka.tools.VerifiableConsumer";
/// Records a second, of each producer.
const RATE: &str = "100";
const CALM: Duration = Duration::from_secs(3);
/// Every so many kills of brokers a consumer is killed as well.
const BROKERS_FOR_A_CONSUMER: usize = 3;
const BEGINS_WITHIN: Duration = Duration::from_secs(120);
/// A member that was killed is missed after its session; then another one reads what it had.
const READ_WITHIN: Duration = Duration::from_secs(180);

#[derive(Clone, Debug)]
pub struct Options {
    /// How long brokers are killed.
    pub time: Duration,
    pub producers: usize,
    /// Of each group.
    pub members: usize,
}

/// Members of one group, those that were killed included, which come first.
struct Team {
    group: &'static str,
    protocol: &'static str,
    members: Vec<Client>,
    killed: usize,
}

/// Both sides one after the other, with their figures; whether ours are clean.
pub async fn run(sides: &[Side], options: &Options) -> bool {
    let mut reports = Vec::new();
    for side in sides {
        let (side, options) = (*side, options.clone());
        reports.push((side, apart(side, async move { judge(side, &options).await }).await));
    }
    conclude("Kafka's verifiable programs while brokers are killed", &reports)
}

/// One run against three brokers.
pub async fn judge(side: Side, options: &Options) -> Report {
    let clients = Clients::new();
    let mut scene = Scene::start(side).await;
    let mut report = Report { subject: scene.subject.name(), ..Report::default() };
    scene.create(TOPIC, PARTITIONS).await;
    let mut producers = start_producers(&scene, &clients, options.producers);
    let team = |group, protocol| Team { group, protocol, members: Vec::new(), killed: 0 };
    let mut teams = [team("verified-classic", "classic"), team("verified-consumer", "consumer")];
    for team in &mut teams {
        for _ in 0..options.members {
            team.join(&scene, &clients);
        }
    }
    until_all_read(&mut teams).await;

    kill_brokers(&mut scene, &clients, &mut teams, options, &mut report).await;
    scene.until_in_sync().await;

    let mut produced = Produced::default();
    for producer in &mut producers {
        report.faults.extend(producer.stop().await);
        produced.add(&producer.text());
    }
    judge_all(&scene, &clients, &produced, &mut teams, &mut report).await;
    report.tell(format!(
        "{} kills of brokers, {} of consumers",
        scene.kills,
        teams.iter().map(|t| t.killed).sum::<usize>()
    ));
    if !report.is_good() {
        scene.subject.folder().keep();
    }
    report
}

fn start_producers(scene: &Scene, clients: &Clients, count: usize) -> Vec<Client> {
    let settings = scene.subject.folder().path().join("producer.properties");
    // The program itself does not retry unless it is told so, and would then not be idempotent either.
    let text = "enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=300000\n";
    std::fs::write(&settings, text).expect("write the settings of a producer");
    let settings = settings.display().to_string();
    let start = |number: usize| {
        let prefix = number.to_string();
        let what = ["--topic", TOPIC, "--throughput", RATE, "--acks", "-1", "--repeating-keys", "50"];
        let how = ["--value-prefix", &prefix, "--command-config", &settings];
        clients.start_tool(scene, &format!("producer-{number}"), PRODUCER, &[&what[..], &how].concat())
    };
    (0..count).map(start).collect()
}

impl Team {
    fn join(&mut self, scene: &Scene, clients: &Clients) {
        let name = format!("{}-{}", self.group, self.members.len());
        let what = ["--topic", TOPIC, "--group-id", self.group, "--group-protocol", self.protocol, "--verbose"];
        // In the other protocol the brokers decide after what time a killed member is missed.
        let how: &[&str] = if self.protocol == "classic" { &["--session-timeout", "10000"] } else { &[] };
        self.members.push(clients.start_tool(scene, &name, CONSUMER, &[&what[..], how].concat()));
    }

    /// Kills the oldest member that was not killed yet; another one takes its place. What is wrong with it, if it did not
    /// run any more.
    fn replace(&mut self, scene: &Scene, clients: &Clients) -> Option<String> {
        let oldest = &mut self.members[self.killed];
        eprintln!("killing {}", oldest.name);
        let early = oldest.kill();
        self.killed += 1;
        self.join(scene, clients);
        early
    }

    /// Whether the group has got so many different records, after a while.
    async fn reads(&self, records: usize) -> bool {
        let until = Instant::now() + READ_WITHIN;
        while self.read().len() < records {
            if Instant::now() > until {
                return false;
            }
            // Books of long runs are long.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        true
    }

    fn read(&self) -> Group {
        let mut group = Group::default();
        for member in &self.members {
            group.add(&member.name, &member.text());
        }
        group
    }
}

async fn until_all_read(teams: &mut [Team]) {
    wait_until("both groups read", BEGINS_WITHIN, || {
        let whole = teams.iter_mut().all(|team| {
            assert!(team.members.iter_mut().all(Client::is_running), "a consumer ended too early");
            team.members.iter().all(|member| member.text().contains("partitions_assigned")) && team.read().len() > 20
        });
        async move { whole }
    })
    .await;
}

async fn kill_brokers(
    scene: &mut Scene,
    clients: &Clients,
    teams: &mut [Team],
    options: &Options,
    report: &mut Report,
) {
    let until = Instant::now() + options.time;
    let mut victims: Vec<Victim> = teams.iter().map(|team| Victim::GroupCoordinator(team.group.to_owned())).collect();
    victims.push(Victim::Leader(TOPIC.to_owned(), 0));
    let ways = [Return::WhenMissed, Return::AtOnce];
    for (number, (victim, back)) in victims.iter().cycle().zip(ways.into_iter().cycle()).enumerate() {
        if Instant::now() >= until {
            return;
        }
        scene.kill(victim, back).await;
        if number % BROKERS_FOR_A_CONSUMER == BROKERS_FOR_A_CONSUMER - 1 {
            let turn = number / BROKERS_FOR_A_CONSUMER % teams.len();
            report.faults.extend(teams[turn].replace(scene, clients));
        }
        tokio::time::sleep(CALM).await;
    }
}

async fn judge_all(scene: &Scene, clients: &Clients, produced: &Produced, teams: &mut [Team], report: &mut Report) {
    let stop = Stop::new(scene, "at-once");
    stop.give();
    let arguments = [TOPIC, "read_committed", stop.path()];
    let mut reader = clients.start(scene, "last", By::Librdkafka, "read", &arguments);
    report.faults.extend(reader.ended().await);
    let log = log_of(&reader.text());
    report.tell(format!(
        "producers: {} acknowledged, {} failed, {} in the log",
        produced.acknowledged(),
        produced.failed(),
        log.len()
    ));
    report.faults.extend(produced.faults(&log));
    for team in teams {
        if !team.reads(log.len()).await {
            report.faults.push(format!("{}: not everything was read in {READ_WITHIN:?}", team.group));
        }
        for member in &mut team.members[team.killed..] {
            report.faults.extend(member.stop().await);
        }
        let group = team.read();
        let again = group.deliveries() - group.len();
        let (group_name, commits) = (team.group, group.commits());
        report.tell(format!(
            "{group_name}: {} of {} records read, {again} of them again, {commits} commits",
            group.len(),
            log.len()
        ));
        report.faults.extend(group.faults(&log).into_iter().map(|fault| format!("{group_name}: {fault}")));
    }
}
