//! Readers that keep a fetch session with a leader: one story, told to a broker of ours and to one of Apache Kafka, which must
//! answer alike.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, batches};
use twinstream_client::raw::{
    AppendedBatch, EpochEnd, EpochQuestion, FetchFrom, FetchOptions, FetchedPartition, Fetcher, NewTopic,
};
use twinstream_client::{Admin, RawClient};
use twinstream_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicId, TopicName, TopicPartition};
use twinstream_testkit::peer::{self, KafkaCluster};
use twinstream_testkit::records::{client_settings, create_topic, topic_name};
use twinstream_testkit::{Cluster, ClusterOptions, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
/// As long as an answer without news takes.
const WAIT: Duration = Duration::from_millis(200);
const PARTITIONS: i32 = 40;
const SLOTS: &str = "max.incremental.fetch.session.cache.slots";
/// Small pages show that they are turned.
const PAGES: (&str, &str) = ("max.request.partition.size.limit", "3");

enum Site {
    Ours(Box<Cluster>),
    Kafka(Box<KafkaCluster>),
}

impl Site {
    fn bootstrap(&self) -> String {
        match self {
            Self::Ours(cluster) => cluster.bootstrap(),
            Self::Kafka(cluster) => cluster.bootstrap(),
        }
    }

    /// Whether there is room for one session only, which shows who has it. Kafka deals its slots out to eight tables and
    /// picks one of them by chance.
    fn has_one_slot(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    async fn client(&self) -> RawClient {
        RawClient::connect(&client_settings(&self.bootstrap(), &[])).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn crash_and_restart(&mut self) {
        match self {
            Self::Ours(cluster) => cluster.broker(1).crash_and_restart().await,
            Self::Kafka(cluster) => {
                cluster.kill(1);
                cluster.spawn(1);
                cluster.wait_for_port(1).await;
            }
        }
    }
}

fn at(topic: &str, index: i32) -> TopicPartition {
    TopicPartition::new(topic_name(topic), index)
}

async fn fetcher(client: &RawClient, of: &TopicPartition) -> Fetcher {
    let leader = client.retry(|| client.leader(of)).await.unwrap_or_else(|error| panic!("{error}"));
    Fetcher::new(client.clone(), leader, FetchOptions { wait_max: WAIT, ..FetchOptions::default() })
}

async fn append(client: &RawClient, to: &TopicPartition, value: &str) -> AppendedBatch {
    let mut builder = BatchBuilder::new();
    builder.append(1_517_363_399_650, None, Some(value.as_bytes()), []);
    let batch = Bytes::from(builder.build().expect("a batch"));
    client.produce_batch(to, batch).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn next(fetcher: &mut Fetcher) -> Vec<FetchedPartition> {
    fetcher.fetch_next().await.unwrap_or_else(|error| panic!("{error}"))
}

/// The answers up to one that this says is the end; errors of the whole call are waited out.
async fn until(
    what: &str,
    fetcher: &mut Fetcher,
    mut is_end: impl FnMut(&FetchedPartition) -> bool,
) -> FetchedPartition {
    let start = Instant::now();
    loop {
        match fetcher.fetch_next().await {
            Ok(fetched) => match fetched.into_iter().find(&mut is_end) {
                Some(end) => return end,
                None => tokio::task::yield_now().await,
            },
            Err(error) => assert!(error.is_retriable(), "{what}: {error}"),
        }
        assert!(start.elapsed() < PATIENCE, "{what}: did not happen within {PATIENCE:?}");
    }
}

/// Fetches until every partition has answered without an error, then says which partitions the next answer names.
async fn settled(fetcher: &mut Fetcher, partitions: usize) -> BTreeSet<i32> {
    let mut answered = BTreeSet::new();
    until("every partition answers", fetcher, |fetched| {
        if fetched.error == ErrorCode::None {
            answered.insert(fetched.partition.clone());
        }
        answered.len() == partitions
    })
    .await;
    next(fetcher).await.iter().map(|fetched| fetched.partition.partition.0).collect()
}

async fn only_what_changes_travels(site: &Site) {
    create_topic(&site.bootstrap(), "many", PARTITIONS).await;
    let client = site.client().await;
    let mut fetcher = fetcher(&client, &at("many", 0)).await;
    (0..PARTITIONS).for_each(|index| fetcher.want(FetchFrom::new(at("many", index), Offset(0))));
    assert_eq!(settled(&mut fetcher, PARTITIONS as usize).await, BTreeSet::new(), "no news, no partitions");

    append(&client, &at("many", 7), "seven").await;
    let fetched = until("the record comes", &mut fetcher, |fetched| !fetched.batches.is_empty()).await;
    assert_eq!((fetched.partition, fetched.error, fetched.high_watermark), (at("many", 7), ErrorCode::None, Offset(1)));
    assert_ne!(fetched.topic_id, TopicId::NONE);
    assert_eq!(batches(&fetched.batches).count(), 1);
    let again = next(&mut fetcher).await;
    assert_eq!(again.iter().map(|found| &found.partition).collect::<Vec<_>>(), [&at("many", 7)], "nobody moved it");
    fetcher.want(FetchFrom::new(at("many", 7), Offset(1)));
    assert_eq!(next(&mut fetcher).await, []);

    fetcher.unwant(&at("many", 7));
    append(&client, &at("many", 7), "unread").await;
    append(&client, &at("many", 8), "eight").await;
    let fetched = until("the record comes", &mut fetcher, |fetched| !fetched.batches.is_empty()).await;
    assert_eq!(fetched.partition, at("many", 8));
    fetcher.want(FetchFrom::new(at("many", 8), Offset(1)));
    fetcher.want(FetchFrom::new(at("many", 7), Offset(1)));
    let fetched = next(&mut fetcher).await;
    assert_eq!(fetched.iter().map(|found| &found.partition).collect::<Vec<_>>(), [&at("many", 7)]);

    fetcher.want(FetchFrom::new(at("many", 7), Offset(2)));
    assert_eq!(next(&mut fetcher).await, []);
    let dropped = tokio::time::timeout(Duration::ZERO, fetcher.fetch_next()).await;
    assert!(dropped.is_err(), "nothing had come");
    assert_eq!(
        settled(&mut fetcher, PARTITIONS as usize).await,
        BTreeSet::new(),
        "a new session in the old one's place"
    );
    fetcher.close().await;
}

async fn who_gets_no_session_reads_all_the_same(site: &Site) {
    let client = site.client().await;
    let (mut first, mut second) = (fetcher(&client, &at("many", 0)).await, fetcher(&client, &at("many", 0)).await);
    let all: BTreeMap<_, _> =
        (0..PARTITIONS).map(|index| (at("many", index), FetchFrom::new(at("many", index), Offset(2)))).collect();
    let wanted: BTreeMap<_, _> = all.into_iter().filter(|(partition, _)| partition.partition.0 >= 10).collect();
    wanted.values().for_each(|from| first.want(FetchFrom { offset: Offset(0), ..from.clone() }));
    assert_eq!(settled(&mut first, wanted.len()).await, BTreeSet::new(), "the last session was ended, there is room");
    wanted.values().for_each(|from| second.want(FetchFrom { offset: Offset(0), ..from.clone() }));
    let travels = if site.has_one_slot() { (10..PARTITIONS).collect() } else { BTreeSet::new() };
    assert_eq!(settled(&mut second, wanted.len()).await, travels, "without a session all of it travels each time");

    append(&client, &at("many", 20), "for both").await;
    for fetcher in [&mut first, &mut second] {
        let fetched = until("the record comes", fetcher, |fetched| !fetched.batches.is_empty()).await;
        assert_eq!(fetched.partition, at("many", 20));
    }
    first.close().await;
    second.close().await;
}

async fn a_topic_made_anew_is_told_from_the_old_one(site: &Site) {
    create_topic(&site.bootstrap(), "anew", 1).await;
    let client = site.client().await;
    let admin = Admin::connect(&client_settings(&site.bootstrap(), &[])).await.expect("admin client");
    let name = topic_name("anew");
    append(&client, &at("anew", 0), "old").await;
    let mut fetcher = fetcher(&client, &at("anew", 0)).await;
    fetcher.want(FetchFrom::new(at("anew", 0), Offset(0)));
    let old = until("the old record comes", &mut fetcher, |fetched| !fetched.batches.is_empty()).await.topic_id;

    admin.delete_topics(std::slice::from_ref(&name)).await.expect("an answer")[&name].as_ref().expect("deleted");
    wait_until("the topic is gone", PATIENCE, || async { matches!(admin.topic(&name).await, Ok(None)) }).await;
    create_topic(&site.bootstrap(), "anew", 1).await;
    append(&client, &at("anew", 0), "new").await;
    // The old one only, and at an offset that the new one has too.
    fetcher.want(FetchFrom { topic_id: old, ..FetchFrom::new(at("anew", 0), Offset(0)) });
    let refused = until("the old topic is refused", &mut fetcher, |fetched| fetched.error != ErrorCode::None).await;
    // Kafka remembers in a session what name an id had, and then finds another id under it.
    let errors = [ErrorCode::UnknownTopicId, ErrorCode::InconsistentTopicId];
    assert!(errors.contains(&refused.error) && refused.batches.is_empty(), "{:?}", refused.error);

    fetcher.want(FetchFrom::new(at("anew", 0), Offset(0)));
    let fresh = until("the new record comes", &mut fetcher, |fetched| !fetched.batches.is_empty()).await;
    assert_ne!(fresh.topic_id, old);
    let described = client.describe_topics(std::slice::from_ref(&name)).await.expect("an answer");
    assert_eq!(described[&name].as_ref().expect("described").id, fresh.topic_id);
    fetcher.close().await;
}

async fn what_does_not_exist_is_said_once_and_holds_nobody_up(site: &Site) {
    let client = site.client().await;
    let mut fetcher = fetcher(&client, &at("many", 0)).await;
    fetcher.want(FetchFrom::new(at("many", 7), Offset(0)));
    fetcher.want(FetchFrom::new(at("never-was", 0), Offset(0)));
    let refused = next(&mut fetcher).await;
    assert_eq!(refused.len(), 1);
    assert_eq!((&refused[0].partition, refused[0].error), (&at("never-was", 0), ErrorCode::UnknownTopicOrPartition));
    let fetched = next(&mut fetcher).await;
    assert_eq!(fetched.iter().map(|found| &found.partition).collect::<Vec<_>>(), [&at("many", 7)]);
    fetcher.unwant(&at("many", 7));
    assert!(fetcher.wants_nothing());
    assert_eq!(next(&mut fetcher).await, []);
    fetcher.close().await;
}

async fn a_leader_that_comes_back_is_read_on(site: &mut Site) {
    let client = site.client().await;
    let mut fetcher = fetcher(&client, &at("many", 0)).await;
    (0..PARTITIONS).for_each(|index| fetcher.want(FetchFrom::new(at("many", index), Offset(2))));
    // Some answer that their logs end before: they are in the session all the same.
    _ = next(&mut fetcher).await;
    site.crash_and_restart().await;
    (0..PARTITIONS).for_each(|index| fetcher.want(FetchFrom::new(at("many", index), Offset(0))));
    let mut found = BTreeSet::new();
    until("all records are read again", &mut fetcher, |fetched| {
        if !fetched.batches.is_empty() {
            found.insert(fetched.partition.partition.0);
        }
        found.len() == 3
    })
    .await;
    assert_eq!(found, BTreeSet::from([7, 8, 20]));
    fetcher.close().await;
}

async fn a_reader_that_stands_where_the_log_never_was_is_told_where_it_parts(site: &Site) {
    let client = site.client().await;
    let partition = at("many", 7);
    let epochs = [0, 1_000].map(LeaderEpoch);
    let ask = |epoch| {
        let (client, question) = (client.clone(), EpochQuestion::new(partition.clone(), epoch));
        async move { client.epoch_ends(&[question]).await?.pop_first().expect("an answer").1 }
    };
    let first = client.retry(|| ask(epochs[0])).await.expect("an end").expect("epoch 0 was there");
    assert_eq!(first, EpochEnd { epoch: LeaderEpoch(0), end: Offset(2) });
    assert_eq!(
        (first.parted(LeaderEpoch(0), Offset(2)), first.parted(LeaderEpoch(0), Offset(5))),
        (None, Some(Offset(2)))
    );
    assert_eq!(client.retry(|| ask(epochs[1])).await.expect("an answer"), None, "no such epoch yet");
    let strange =
        client.epoch_ends(&[EpochQuestion::new(at("never-was", 0), LeaderEpoch(0))]).await.expect("an answer");
    let error = strange[&at("never-was", 0)].as_ref().expect_err("no such topic");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));

    let mut fetcher = fetcher(&client, &partition).await;
    fetcher.want(FetchFrom { last_epoch: LeaderEpoch(0), ..FetchFrom::new(partition.clone(), Offset(5)) });
    let parted = until("the leader tells", &mut fetcher, |fetched| fetched.diverging.is_some()).await;
    assert_eq!((parted.error, parted.diverging), (ErrorCode::None, Some((LeaderEpoch(0), Offset(2)))));
    fetcher.close().await;
}

async fn long_descriptions_come_page_by_page(site: &Site) {
    let client = site.client().await;
    let names = ["anew", "many", "never-was"].map(topic_name);
    let described = client.describe_topics(&names).await.expect("an answer");
    let topic = |name: &TopicName| described[name].as_ref();
    assert_eq!(topic(&names[0]).expect("described").partitions.len(), 1);
    let many = topic(&names[1]).expect("described");
    assert_eq!(many.partitions.len(), PARTITIONS as usize);
    assert!(many.partitions.values().all(|partition| partition.leader.is_some() && partition.isr.len() == 1));
    assert_eq!(topic(&names[2]).expect_err("missing").code(), Some(ErrorCode::UnknownTopicOrPartition));
    assert!(client.describe_topics(&[]).await.expect("an answer").is_empty());
}

async fn whole_story(mut site: Site) {
    only_what_changes_travels(&site).await;
    who_gets_no_session_reads_all_the_same(&site).await;
    a_topic_made_anew_is_told_from_the_old_one(&site).await;
    what_does_not_exist_is_said_once_and_holds_nobody_up(&site).await;
    long_descriptions_come_page_by_page(&site).await;
    a_reader_that_stands_where_the_log_never_was_is_told_where_it_parts(&site).await;
    a_leader_that_comes_back_is_read_on(&mut site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_with_a_broker_of_ours_say_only_what_changes_and_survive_what_happens() {
    let options = ClusterOptions::default().set(SLOTS, "1").set(PAGES.0, PAGES.1);
    whole_story(Site::Ours(Box::new(Cluster::start_with(1, options).await))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_with_apache_kafka_say_only_what_changes_and_survive_what_happens() {
    whole_story(Site::Kafka(Box::new(peer::kafka().cluster(1, &[PAGES]).await))).await;
}

/// No sessions here: whoever gets none reads all the same. A leader with a replica selector has no records for a reader whose rack has a replica: it names that replica.
async fn reader_follows_its_rack(site: &Site) {
    let admin = Admin::connect(&client_settings(&site.bootstrap(), &[])).await.expect("admin client");
    admin.create_topic(&NewTopic::new(topic_name("racks"), 1, 2)).await.expect("created");
    let (client, partition) = (site.client().await, at("racks", 0));
    append(&client, &partition, "for every rack").await;
    let leader = client.retry(|| client.leader(&partition)).await.expect("a leader");
    let follower = NodeId(3 - leader.0);
    let options = FetchOptions { wait_max: WAIT, rack: format!("rack-{follower}"), ..FetchOptions::default() };
    let mut fetcher = Fetcher::new(client.clone(), leader, options.clone());
    fetcher.want(FetchFrom::new(partition.clone(), Offset(0)));
    // The leader must have seen the follower at this offset first, else it answers itself.
    let sent_away = until("the leader names its follower", &mut fetcher, |fetched| fetched.read_from.is_some()).await;
    assert_eq!((sent_away.read_from, sent_away.batches.len()), (Some(follower), 0));
    fetcher.close().await;

    let mut fetcher = Fetcher::new(client, follower, options);
    fetcher.want(FetchFrom::new(partition, Offset(0)));
    let fetched = until("the follower serves the record", &mut fetcher, |fetched| !fetched.batches.is_empty()).await;
    assert_eq!((fetched.error, fetched.read_from), (ErrorCode::None, None));
    fetcher.close().await;
}

const SELECTOR: (&str, &str) = ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_ours_sends_a_reader_to_the_replica_in_its_rack() {
    let options = ClusterOptions::default().set(SLOTS, "0").set(SELECTOR.0, SELECTOR.1);
    let options = options.set_on(1, "broker.rack", "rack-1").set_on(2, "broker.rack", "rack-2");
    reader_follows_its_rack(&Site::Ours(Box::new(Cluster::start_with(2, options).await))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_sends_a_reader_to_the_replica_in_its_rack() {
    let settings = [SELECTOR, (SLOTS, "0"), ("broker.rack", "rack-{id}")];
    reader_follows_its_rack(&Site::Kafka(Box::new(peer::kafka().cluster(2, &settings).await))).await;
}
