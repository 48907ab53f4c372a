//! The judge of coordinators of groups (fault 27): the broker that coordinates is killed while offsets are committed.
//!
//! Picture: six groups, all with the same coordinator because their names have the same hash: two members each of
//! librdkafka and of Java, in both group protocols, and for each client one that commits without being a member. Every
//! commit is synchronous, has metadata of its own and is written down with the answer. Before every kill each group also
//! commits in a partition that rests from then on. The coordinator is killed, stays away until every group commits again,
//! and returns; then one member of every group leaves and comes back.
//!
//! Judged: the coordinator that takes over knows every offset that was acknowledged before the kill. Offsets that go on
//! say little of that, since the next commit is above the last whatever was forgotten; those that rest, of this kill and
//! of all before, must be what they were. The member that comes back is given a partition, and no member is given less
//! than was acknowledged. In the end every acknowledged commit is a record of `__consumer_offsets`, as Kafka's formatter
//! reads it, in the order in which it was acknowledged, and nothing else is.
//!
//! Told, not judged: questions for committed offsets that a client of librdkafka did not ask its brokers, so that another
//! client had to (`committed` in `ledger.py` has the reason).

mod books; // the answers, and the log of commits

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use books::{Book, log_of_commits};
use twinstream_client::CommitOffset;
use twinstream_model::{GroupId, TopicPartition};

use super::clients::{By, Client, Clients, Stop};
use super::scene::{Scene, Victim, group_of_first_partition};
use super::{Report, Side, apart, conclude, median_and_max};
use crate::wait::wait_until;

const TOPIC: &str = "numbers";
const PARTITIONS: i32 = 2;
/// Of this topic each group commits one partition more before each kill: the first is the one behind those of `TOPIC`, so
/// that numbers tell the topics apart.
const RESTING: &str = "numbers-rest";
/// Of each group, but for those of one who is no member. The first one commits what rests, the last one comes back.
const MEMBERS: [&str; 2] = ["a", "b"];
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
    /// Whether they are members, and not one who only commits.
    has_members: bool,
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
    let kills = i32::try_from(options.kills).expect("a few");
    scene.create(RESTING, PARTITIONS + kills).await;
    let stop = Stop::new(&scene, "committers");
    let mut committers = start(&scene, &clients, options, &stop);
    until_all_commit(&mut committers, 0).await;

    for number in PARTITIONS..PARTITIONS + kills {
        tokio::time::sleep(CALM).await;
        rest(&mut committers, &stop, number).await;
        kill(&mut scene, &mut committers, &mut report).await;
        come_back(&mut committers, &stop, number).await;
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
        let members = if protocol == "simple" { &MEMBERS[..1] } else { &MEMBERS[..] };
        let arguments = [&[TOPIC, stop.path(), &group, protocol], members].concat();
        let client = clients.start(scene, kind, by, "commit", &arguments);
        Committers { kind, group, client, has_members: members.len() > 1, silences: Vec::new() }
    };
    kinds.map(start).collect()
}

/// Kills the coordinator once, and judges the one that takes over.
async fn kill(scene: &mut Scene, committers: &mut [Committers], report: &mut Report) {
    let group = committers[0].group.clone();
    let id = scene.kill_and_leave(&Victim::GroupCoordinator(group)).await;
    let (killed, killed_ms) = (Instant::now(), now_ms());
    let before: Vec<Book> = committers.iter().map(|committers| Book::of(&committers.client.text())).collect();
    until_all_commit(committers, killed_ms).await;
    eprintln!("all commit again after {:.2} s", killed.elapsed().as_secs_f64());
    for (committers, before) in committers.iter().zip(before) {
        let known = known_of(scene, &committers.group).await;
        let offsets = known.iter().map(|(at, commit)| (at.partition.0, commit.offset.0)).collect();
        let forgotten = before.forgotten(&offsets, PARTITIONS).into_iter();
        let group = &committers.group;
        report.faults.extend(forgotten.map(|fault| format!("lost commit: {group}, kill of broker {id}: {fault}")));
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

/// Has each group commit in the resting partition of this number.
async fn rest(committers: &mut [Committers], stop: &Stop, number: i32) {
    stop.ask("rest", number);
    until_all("every group has an offset that rests", committers, |_, book| {
        book.resting(PARTITIONS).get(&number) == Some(&i64::from(number))
    })
    .await;
}

/// Has the last member of each group leave and come back: what it is given then is what the coordinator knows that took
/// over.
async fn come_back(committers: &mut [Committers], stop: &Stop, number: i32) {
    stop.ask("again", number);
    let member = format!("{}:{number}", MEMBERS[MEMBERS.len() - 1]);
    let from = now_ms();
    until_all("the member that came back is given partitions", committers, |committers, book| {
        !committers.has_members || book.is_given_to(&member)
    })
    .await;
    until_all_commit(committers, from).await;
}

/// Waits until each group has commits on each partition that began at this time or later.
async fn until_all_commit(committers: &mut [Committers], from: u64) {
    until_all("every group commits", committers, |_, book| {
        let partitions = book.partitions_acknowledged_since(from);
        (0..PARTITIONS).all(|partition| partitions.contains(&partition))
    })
    .await;
}

/// Waits until what each group printed last is so.
async fn until_all(what: &str, committers: &mut [Committers], is_so: impl Fn(&Committers, &Book) -> bool) {
    wait_until(what, BACK_WITHIN, || {
        let whole = committers.iter_mut().all(|committers| {
            let (running, recent) = (committers.client.is_running(), committers.client.recent_text());
            assert!(running, "{} ended too early:\n{recent}", committers.kind);
            is_so(committers, &Book::of(&recent))
        });
        async move { whole }
    })
    .await;
}

/// What its coordinator knows of a group.
async fn known_of(scene: &Scene, group: &str) -> BTreeMap<TopicPartition, CommitOffset> {
    let known = scene.raw.committed_offsets(&GroupId::from(group)).await;
    known.unwrap_or_else(|error| panic!("the offsets of {group}: {error}"))
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
    let (mut acknowledged, mut failed, mut stored, mut resting, mut anew) = (0, 0, 0, 0, 0);
    for committers in committers {
        let text = committers.client.text();
        let book = Book::of(&text);
        anew += text.lines().filter(|line| line.starts_with("anew ")).count();
        resting += book.resting(PARTITIONS).len();
        let nothing = Vec::new();
        let log = log.get(&committers.group).unwrap_or(&nothing);
        acknowledged += book.acknowledged();
        failed += book.failed();
        stored += log.len();
        report.faults.extend(book.faults(log).into_iter().map(|fault| format!("{}: {fault}", committers.group)));
        for (partition, commit) in known_of(scene, &committers.group).await {
            let newest = log.iter().rev().find(|record| record.partition == partition.partition.0);
            let newest = newest.map(|record| (record.offset, record.metadata.as_str()));
            if newest != Some((commit.offset.0, commit.metadata.trim_end_matches('\0'))) {
                let group = &committers.group;
                report.faults.push(format!("{group}: {partition} is {commit:?} for clients, {newest:?} in the log"));
            }
        }
    }
    report.tell(format!("commits: {acknowledged} acknowledged, {failed} failed, {stored} in the log"));
    report.tell(format!("offsets that rest, asked for after every kill since: {resting}"));
    report.tell(format!("questions for offsets that another client asked, for librdkafka's _DESTROY: {anew}"));
    if acknowledged == 0 {
        report.faults.push("nothing was committed".to_owned());
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    u64::try_from(now.as_millis()).expect("a time of today")
}
