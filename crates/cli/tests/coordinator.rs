//! What a consumer group keeps when the broker that coordinates it is killed: every commit that was acknowledged.
//!
//! One producer writes numbers, one member of a group reads them and commits by hand. The coordinator is killed again and
//! again; before each kill some of its groups, which have no members, commit once and never again. Judges: the broker that
//! takes over knows every offset whose commit was acknowledged, and those of all groups at rest as they were; the member,
//! which leaves and comes back after each kill, never gets a record below such an offset again; at the end it has seen
//! every number that was acknowledged to the producer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use twinstream_client::{
    Admin, CommitOffset, Consumer, ConsumerEvent, ConsumerRecord, NewTopic, Producer, ProducerRecord,
};
use twinstream_model::{ErrorCode, GroupId, NodeId, Offset, PartitionIndex, TopicPartition};
use twinstream_testkit::records::{client_settings, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, wait_until};

const TOPIC: &str = "numbers";
const GROUP: &str = "readers";
const PARTITIONS: i32 = 3;
const KILLS: usize = 4;
/// So many groups come to rest before each kill.
const RESTING: usize = 3;
const SEND_EVERY: Duration = Duration::from_millis(3);
const COMMIT_EVERY: Duration = Duration::from_millis(20);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// What happened so far, as clients know it.
#[derive(Default)]
struct Progress {
    /// Numbers whose production was acknowledged.
    produced: BTreeSet<u64>,
    consumed: BTreeSet<u64>,
    /// The offsets whose commit was acknowledged.
    committed: BTreeMap<TopicPartition, Offset>,
    commits: u64,
    /// How often the member had come back when it committed last.
    returns: usize,
    faults: Vec<String>,
}

type Shared = Arc<Mutex<Progress>>;

/// Produces numbers until told to stop.
async fn produce(bootstrap: String, progress: Shared, stop: Arc<AtomicBool>) {
    let fast = [("retry.backoff.ms", "20"), ("reconnect.backoff.ms", "20"), ("linger.ms", "1")];
    let producer = Producer::connect(&client_settings(&bootstrap, &fast)).await.expect("a producer");
    let mut sent = Vec::new();
    let mut pace = tokio::time::interval(SEND_EVERY);
    for number in 0u64.. {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = number.to_string();
        let record = ProducerRecord::new(topic_name(TOPIC), Some(value.clone().into()), Some(value.into()));
        let delivery = producer.enqueue(&record).await.expect("room in the queue");
        let progress = Arc::clone(&progress);
        sent.push(tokio::spawn(async move {
            if delivery.wait().await.is_ok() {
                progress.lock().unwrap().produced.insert(number);
            }
        }));
    }
    for delivery in sent {
        delivery.await.expect("a delivery");
    }
}

async fn member(bootstrap: &str) -> Consumer {
    let by_hand = [("group.id", GROUP), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let consumer = Consumer::connect(&client_settings(bootstrap, &by_hand)).await.expect("a consumer");
    consumer.subscribe(&[TOPIC.to_owned()]).await.expect("a subscription");
    consumer
}

/// Reads as the only member of the group and commits what it has read, until told to stop; leaves and comes back each time
/// that `returns` grows.
async fn consume(bootstrap: String, progress: Shared, returns: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let mut consumer = member(&bootstrap).await;
    let mut read: BTreeMap<TopicPartition, CommitOffset> = BTreeMap::new();
    let (mut last_commit, mut returned) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let wanted = returns.load(Ordering::Relaxed);
        if wanted > returned {
            consumer.close().await.expect("a clean goodbye");
            (consumer, returned) = (member(&bootstrap).await, wanted);
            read.clear();
        }
        for event in consumer.next_batch(COMMIT_EVERY).await {
            match event {
                ConsumerEvent::Record(record) => note(&progress, &record, &mut read),
                ConsumerEvent::Error { error, fatal: true } => panic!("the consumer failed: {error}"),
                ConsumerEvent::Revoked(_) => read.clear(), // whoever reads them next commits them
                _ => {}
            }
        }
        if last_commit.elapsed() >= COMMIT_EVERY && !read.is_empty() {
            last_commit = Instant::now();
            if consumer.commit(&read).await.is_ok() {
                let mut progress = progress.lock().unwrap();
                progress.commits += 1;
                progress.returns = returned;
                progress.committed.extend(read.iter().map(|(at, commit)| (at.clone(), commit.offset)));
            }
        }
    }
    consumer.close().await.expect("a clean goodbye");
}

fn note(progress: &Shared, record: &ConsumerRecord, read: &mut BTreeMap<TopicPartition, CommitOffset>) {
    let mut progress = progress.lock().unwrap();
    let at = record.topic_partition();
    if let Some(committed) = progress.committed.get(&at).filter(|committed| record.offset < **committed) {
        let fault = format!("{at}: got offset {} although {committed} was committed", record.offset);
        progress.faults.push(fault);
    }
    let number = record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    progress.consumed.insert(number.expect("a number"));
    read.insert(at, record.offset.next().into());
}

/// What was committed once for groups without members.
type Resting = BTreeMap<GroupId, BTreeMap<TopicPartition, CommitOffset>>;

/// Has some groups of this coordinator commit, in the end less than at first. Nothing moves them on from there, so that a
/// coordinator that forgets what it had cannot be told it again.
async fn come_to_rest(admin: &Admin, coordinator: NodeId, kill: usize, resting: &mut Resting) {
    let mut groups = 0;
    for number in 0.. {
        let group = GroupId::from(format!("resting-{kill}-{number}").as_str());
        if admin.raw().find_coordinator(&group).await.expect("a coordinator") != coordinator {
            continue;
        }
        let at = TopicPartition::new(topic_name(TOPIC), PartitionIndex(0));
        for offset in [1000 + number, number] {
            let commit = CommitOffset { offset: Offset(offset), metadata: format!("before kill {kill}") };
            let commits = BTreeMap::from([(at.clone(), commit)]);
            admin.raw().commit_offsets(&group, &commits).await.expect("a commit");
            resting.insert(group.clone(), commits);
        }
        groups += 1;
        if groups == RESTING {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_commit_is_lost_when_the_coordinator_is_killed() {
    let mut cluster = Cluster::start_with(3, ClusterOptions::replicated()).await;
    let bootstrap = cluster.bootstrap();
    let admin = Admin::connect(&client_settings(&bootstrap, &[])).await.expect("an admin client");
    let topic = NewTopic::new(topic_name(TOPIC), PARTITIONS, 3);
    admin.create_topic(&topic).await.expect("a topic with three replicas");
    let (progress, stop) = (Shared::default(), Arc::new(AtomicBool::new(false)));
    let (stop_producer, group) = (Arc::new(AtomicBool::new(false)), GroupId::from(GROUP));
    let producer = tokio::spawn(produce(bootstrap.clone(), progress.clone(), stop_producer.clone()));
    let returns = Arc::new(AtomicUsize::new(0));
    let consumer = tokio::spawn(consume(bootstrap.clone(), progress.clone(), returns.clone(), stop.clone()));
    let commits = || progress.lock().unwrap().commits;
    wait_until("the group commits", SETTLED_WITHIN, || async { commits() > 5 }).await;

    let mut resting = Resting::new();
    for kill in 1..=KILLS {
        wait_until("everything is in sync", SETTLED_WITHIN, || all_in_sync(&admin)).await;
        let coordinator = admin.raw().find_coordinator(&group).await.expect("a coordinator");
        come_to_rest(&admin, coordinator, kill, &mut resting).await;
        let id = usize::try_from(coordinator.0).expect("a node id");
        cluster.broker(id).kill();
        let (killed, before) = (Instant::now(), commits());
        let acknowledged = progress.lock().unwrap().committed.clone();
        wait_until("commits are acknowledged again", SETTLED_WITHIN, || async { commits() > before + 1 }).await;
        eprintln!("kill {kill}: broker {id}, commits again after {} ms", killed.elapsed().as_millis());

        let known = admin.raw().committed_offsets(&group).await.expect("the committed offsets");
        for (at, offset) in acknowledged {
            let found = known.get(&at).map(|commit| commit.offset);
            assert!(found >= Some(offset), "{at}: {offset} was committed, the new coordinator knows {found:?}");
        }
        for (group, commits) in &resting {
            let known = admin.raw().committed_offsets(group).await.expect("the committed offsets");
            assert_eq!(known, *commits, "{group} is at rest, after kill {kill}");
        }
        cluster.broker(id).start().await;
        returns.store(kill, Ordering::Relaxed);
        wait_until("the member that came back commits", SETTLED_WITHIN, || async {
            progress.lock().unwrap().returns == kill
        })
        .await;
    }

    stop_producer.store(true, Ordering::Relaxed);
    producer.await.expect("the producer");
    wait_until("everything that was produced is consumed", SETTLED_WITHIN, || async {
        let progress = progress.lock().unwrap();
        progress.produced.is_subset(&progress.consumed)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    consumer.await.expect("the consumer");
    let progress = progress.lock().unwrap();
    assert_eq!(progress.faults, Vec::<String>::new());
    assert!(progress.produced.len() > 100, "{} numbers were produced", progress.produced.len());
}

/// Whether every partition, those of committed offsets included, has all its replicas in sync.
async fn all_in_sync(admin: &Admin) -> bool {
    let Ok(topics) = admin.topics().await else { return false };
    let mut partitions = topics.values().flat_map(|topic| topic.partitions.values());
    partitions.all(|partition| partition.leader.is_some() && partition.isr.len() == partition.replicas.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_wait_until_there_are_brokers_for_all_copies_of_their_offsets() {
    let options = ClusterOptions::default().set("offsets.topic.replication.factor", "3");
    let mut cluster = Cluster::start_with(1, options).await;
    let (first, group) = (cluster.bootstrap(), GroupId::from(GROUP));
    let admin = Admin::connect(&client_settings(&first, &[("default.api.timeout.ms", "1500")])).await.expect("admin");
    let refused = admin.raw().find_coordinator(&group).await.expect_err("one broker is not enough");
    assert_eq!(refused.code(), Some(ErrorCode::CoordinatorNotAvailable), "{refused}");
    let log = cluster.broker(1).log_text();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("no consumer group can be served yet")).collect();
    assert_eq!(told.len(), 1, "told once, however often clients ask:\n{log}");
    for fact in ["replication_factor=3", "brokers=1", "start more brokers, or set offsets.topic.replication.factor"] {
        assert!(told[0].contains(fact), "{fact} is missing in {}", told[0]);
    }

    cluster.add_broker().await;
    cluster.add_broker().await;
    let admin = Admin::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("an admin client");
    admin.raw().find_coordinator(&group).await.expect("a coordinator, without a restart of anything");
    let offsets = admin.topic(&topic_name("__consumer_offsets")).await.expect("metadata").expect("the topic");
    assert!(offsets.partitions.values().all(|partition| partition.replicas.len() == 3));
}
