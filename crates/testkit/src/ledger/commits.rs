//! The judge of coordinators of groups (fault 27): the broker that coordinates is killed while offsets are committed.
//!
//! Picture: six groups, all with the same coordinator because their names have the same hash: two members each of
//! librdkafka and of Java, in both group protocols, and for each client one that commits without being a member. Every
//! commit is synchronous, has metadata of its own and is written down with the answer. The coordinator is killed, stays
//! away until every group commits again, and returns.
//!
//! Judged: the coordinator that takes over knows every offset that was acknowledged before the kill; members are given
//! offsets that are not below those; in the end every acknowledged commit is a record of `__consumer_offsets`, as Kafka's
//! formatter reads it, in the order in which it was acknowledged, and nothing else is.

mod books; // the answers, and the log of commits

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use books::{Book, log_of_commits};
use twinstream_model::GroupId;

use super::clients::{By, Client, Clients, Stop};
use super::scene::{Scene, Victim, group_of_first_partition};
use super::{Report, Side, apart, conclude, median_and_max};
use crate::wait::wait_until;

const TOPIC: &str = "numbers";
const PARTITIONS: i32 = 2;
/// Between the return of one broker and the end of the next.
const CALM: Duration = Duration::from_secs(2);
/// For Kafka's brokers, which are missed after nine seconds, and clients that look for a coordinator again.
const BACK_WITHIN: Duration = Duration::from_secs(120);
const CONSOLE: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const FORMATTER: &str = "org.apache.kafka.tools.consumer.OffsetsMessageFormatter";

#[derive(Clone, Debug)]
pub struct Options {
    pub kills: usize,
    /// Only these kinds of committers, by the beginning of their names; all if there are none.
    pub only: Vec<String>,
}

/// Who commits: the name, the client, the protocol.
const KINDS: [(&str, By, &str); 6] = [
    ("librdkafka-classic", By::Librdkafka, "classic"),
    ("librdkafka-consumer", By::Librdkafka, "consumer"),
    ("librdkafka-simple", By::Librdkafka, "simple"),
    ("java-classic", By::Java, "classic"),
    ("java-consumer", By::Java, "consumer"),
    ("java-simple", By::Java, "simple"),
];

struct Committers {
    kind: &'static str,
    group: String,
    client: Client,
    /// How long it was without an answer, one for each kill.
    silences: Vec<Duration>,
}

/// Both sides one after the other, with their figures; whether ours are clean.
pub async fn run(sides: &[Side], options: &Options) -> bool {
    let mut reports = Vec::new();
    for side in sides {
        let (side, options) = (*side, options.clone());
        reports.push((side, apart(side, async move { judge(side, &options).await }).await));
    }
    conclude("commits of groups while their coordinator is killed", &reports)
}

/// One run against three brokers.
pub async fn judge(side: Side, options: &Options) -> Report {
    let clients = Clients::new();
    let mut scene = Scene::start(side).await;
    let mut report = Report { subject: scene.subject.name(), ..Report::default() };
    scene.create(TOPIC, PARTITIONS).await;
    let stop = Stop::new(&scene, "committers");
    let mut committers = start(&scene, &clients, options, &stop);
    until_all_commit(&mut committers, &BTreeMap::new()).await;

    for _ in 0..options.kills {
        tokio::time::sleep(CALM).await;
        kill(&mut scene, &mut committers, &mut report).await;
    }
    scene.until_in_sync().await;

    stop.give();
    for committers in &mut committers {
        report.faults.extend(committers.client.ended().await);
    }
    judge_books(&scene, &clients, &committers, &mut report).await;
    report.tell(format!("{} kills of the coordinator; silence of each group, median / max:", scene.kills));
    for committers in &committers {
        report.tell(format!("  {:<22} {}", committers.kind, median_and_max(&committers.silences)));
    }
    let all: Vec<Duration> = committers.iter().flat_map(|committers| committers.silences.clone()).collect();
    report.tell(format!("  {:<22} {}", "all", median_and_max(&all)));
    if !report.is_good() {
        scene.subject.folder().keep();
    }
    report
}

fn start(scene: &Scene, clients: &Clients, options: &Options, stop: &Stop) -> Vec<Committers> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| name.starts_with(only));
    let kinds = KINDS.into_iter().filter(|(name, ..)| wanted(name));
    let start = |(kind, by, protocol): (&'static str, By, &str)| {
        let group = group_of_first_partition(kind);
        // Nobody shares partitions with one who is no member.
        let members = if protocol == "simple" { &["a"][..] } else { &["a", "b"] };
        let arguments = [&[TOPIC, stop.path(), &group, protocol], members].concat();
        let client = clients.start(scene, kind, by, "commit", &arguments);
        Committers { kind, group, client, silences: Vec::new() }
    };
    kinds.map(start).collect()
}

/// Kills the coordinator once, and judges the one that takes over.
async fn kill(scene: &mut Scene, committers: &mut [Committers], report: &mut Report) {
    let group = committers[0].group.clone();
    let id = scene.kill_and_leave(&Victim::GroupCoordinator(group)).await;
    let (killed, killed_ms) = (Instant::now(), now_ms());
    let before: BTreeMap<&'static str, Book> = books_of(committers);
    until_all_commit(committers, &before).await;
    eprintln!("all commit again after {:.2} s", killed.elapsed().as_secs_f64());
    for committers in &*committers {
        let known = scene.raw.committed_offsets(&GroupId::from(committers.group.as_str())).await;
        let known = known.unwrap_or_else(|error| panic!("the offsets of {}: {error}", committers.group));
        for (partition, acknowledged) in before[committers.kind].newest_acknowledged() {
            let found = known.iter().find(|(at, _)| at.partition.0 == partition).map(|(_, commit)| commit.offset.0);
            if found < Some(acknowledged) {
                report.faults.push(format!(
                    "lost commit: {}, partition {partition}: {acknowledged} was acknowledged before the kill of broker \
                     {id}, the next coordinator has {found:?}",
                    committers.group
                ));
            }
        }
    }
    scene.bring_back(id).await;
    scene.until_in_sync().await;
    // What the return costs counts as well.
    let until_ms = now_ms();
    for committers in committers {
        let book = Book::of(&committers.client.text());
        committers.silences.push(book.longest_silence(killed_ms, until_ms));
    }
}

fn books_of(committers: &[Committers]) -> BTreeMap<&'static str, Book> {
    committers.iter().map(|committers| (committers.kind, Book::of(&committers.client.text()))).collect()
}

/// Waits until each group has commits on each partition that began after what is in these books.
async fn until_all_commit(committers: &mut [Committers], before: &BTreeMap<&'static str, Book>) {
    let from = now_ms();
    wait_until("every group commits", BACK_WITHIN, || {
        let whole = committers.iter_mut().all(|committers| {
            let running = committers.client.is_running();
            assert!(running, "{} ended too early:\n{}", committers.kind, committers.client.recent_text());
            let begins_after = if before.is_empty() { 0 } else { from };
            let partitions = Book::of(&committers.client.recent_text()).partitions_acknowledged_since(begins_after);
            partitions == usize::try_from(PARTITIONS).expect("a few")
        });
        async move { whole }
    })
    .await;
}

async fn judge_books(scene: &Scene, clients: &Clients, committers: &[Committers], report: &mut Report) {
    let arguments = ["--bootstrap-server", &scene.bootstrap, "--topic", "__consumer_offsets", "--from-beginning"];
    let reads = ["--timeout-ms", "15000", "--formatter", FORMATTER, "--isolation-level", "read_committed"];
    let (kafka, arguments) = (clients.kafka.clone(), [&arguments[..], &reads].concat());
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let printed = tokio::task::spawn_blocking(move || {
        kafka.text(CONSOLE, &arguments.iter().map(String::as_str).collect::<Vec<_>>()) //
    });
    let log = log_of_commits(&printed.await.expect("Kafka's console consumer")).unwrap_or_else(|fault| {
        report.faults.push(fault);
        BTreeMap::new()
    });
    let (mut acknowledged, mut failed, mut stored) = (0, 0, 0);
    for committers in committers {
        let book = Book::of(&committers.client.text());
        let nothing = Vec::new();
        let log = log.get(&committers.group).unwrap_or(&nothing);
        acknowledged += book.acknowledged();
        failed += book.failed();
        stored += log.len();
        report.faults.extend(book.faults(log).into_iter().map(|fault| format!("{}: {fault}", committers.group)));
        let known = scene.raw.committed_offsets(&GroupId::from(committers.group.as_str())).await;
        let known = known.unwrap_or_else(|error| panic!("the offsets of {}: {error}", committers.group));
        for (partition, commit) in known {
            let newest = log.iter().rev().find(|record| record.partition == partition.partition.0);
            let newest = newest.map(|record| (record.offset, record.metadata.as_str()));
            if newest != Some((commit.offset.0, commit.metadata.trim_end_matches('\0'))) {
                let group = &committers.group;
                report.faults.push(format!("{group}: {partition} is {commit:?} for clients, {newest:?} in the log"));
            }
        }
    }
    report.tell(format!("commits: {acknowledged} acknowledged, {failed} failed, {stored} in the log"));
    if acknowledged == 0 {
        report.faults.push("nothing was committed".to_owned());
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(now.as_millis()).expect("a time of today")
}
