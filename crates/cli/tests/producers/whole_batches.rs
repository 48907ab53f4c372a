//! Whole batches through the raw client, while answers get lost, requests come late and leaders die.

use std::time::Duration;

use bytes::Bytes;
use twinstream_client::protocol::batch::{BatchBuilder, ProducerStamp, batches};
use twinstream_client::protocol::mirror::{MirrorSource, tell_source};
use twinstream_client::raw::kafka_protocol::messages::CreateTopicsRequest;
use twinstream_client::raw::kafka_protocol::messages::create_topics_request::CreatableTopic;
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{AlignedAppend, BatchSender, Delivered, FetchFrom, FetchOptions, Node, Outgoing};
use twinstream_client::{Admin, ClientError, NewTopic, RawClient};
use twinstream_model::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicPartition,
};
use twinstream_testkit::faults::turn;
use twinstream_testkit::nemesis::{Act, Proxy};
use twinstream_testkit::{Cluster, ClusterOptions, peer, records};
use uuid::Uuid;

const PRODUCE: i16 = 0;
const TOPICS: [&str; 2] = ["left", "right"];
const PARTITIONS: i32 = 3;
const RECORDS: i64 = 3;
const UNDER_WAY: usize = 60;
/// How many offsets a run of an aligned link takes.
const STRIDE: i64 = 10;

/// One partition's batches, numbered from 0, and the offsets that were told.
struct Row {
    at: TopicPartition,
    sent: i64,
    told: Vec<Offset>,
}

struct Copier {
    sender: BatchSender,
    rows: Vec<Row>,
    under_way: usize,
    /// With it batches go to mirrors, at offsets of their own.
    link: Option<Uuid>,
}

impl Copier {
    async fn connect(bootstrap: &str) -> Self {
        let places = TOPICS.iter().flat_map(|topic| (0..PARTITIONS).map(|index| (records::topic_name(topic), index)));
        let row = |(topic, index)| Row { at: TopicPartition::new(topic, index), sent: 0, told: Vec::new() };
        // Small requests, so that many are under way.
        let settings = records::client_settings(bootstrap, &[("max.request.size", "4096")]);
        let sender = BatchSender::connect(&settings).await.expect("sender");
        Self { sender, rows: places.map(row).collect(), under_way: 0, link: None }
    }

    /// Sends batches in turn until each partition has had so many; returns when all have arrived.
    async fn send_up_to(&mut self, count: i64) {
        let mut turn = 0;
        loop {
            while self.under_way < UNDER_WAY && self.rows.iter().any(|row| row.sent < count) {
                let index = turn % self.rows.len();
                turn += 1;
                self.send(index, count);
            }
            if self.sender.is_empty() {
                return;
            }
            let delivered = self.sender.next().await;
            self.arrived(delivered.unwrap_or_else(|failure| panic!("{failure}: {}", failure.error)));
        }
    }

    fn send(&mut self, index: usize, count: i64) {
        let row = &mut self.rows[index];
        if row.sent == count {
            return;
        }
        let (number, ticket) = (row.sent, (index as u64) << 32 | row.sent as u64);
        row.sent += 1;
        self.under_way += 1;
        let aligned = self.link.map(|link| AlignedAppend {
            link,
            from: Offset(number * STRIDE),
            log_start: Offset(0),
            source_epoch: epoch_of(number),
            high_watermark: Offset(count * STRIDE),
            last_epoch: LeaderEpoch::NONE,
            cut: false,
        });
        let bytes = if aligned.is_some() { run(number) } else { batch(number) };
        self.sender.send(&row.at, Outgoing { ticket, bytes, records: RECORDS as u32, aligned });
    }

    fn arrived(&mut self, delivered: Delivered) {
        self.under_way -= 1;
        let row = &mut self.rows[(delivered.ticket >> 32) as usize];
        let number = (delivered.ticket & 0xffff_ffff) as usize;
        assert_eq!(number, row.told.len(), "{}: acknowledged in order", row.at);
        row.told.push(delivered.base_offset);
        if self.link.is_some() {
            assert!(delivered.log_end >= Some(Offset(row.told.len() as i64 * STRIDE)), "{delivered:?}");
        }
    }

    /// Every record once and in order, where it was said to be.
    async fn check(&self, bootstrap: &str) {
        let name = |number: i64, record| Bytes::from(format!("{number}.{record}"));
        for topic in TOPICS {
            let found = records::read_all(bootstrap, topic).await;
            for row in self.rows.iter().filter(|row| row.at.topic.as_str() == topic) {
                let here = found.iter().filter(|record| record.partition == row.at.partition);
                let values: Vec<Bytes> = here.filter_map(|record| record.value.clone()).collect();
                let sent: Vec<Bytes> =
                    (0..row.sent).flat_map(|number| (0..RECORDS).map(move |record| name(number, record))).collect();
                assert_eq!(values, sent, "{}", row.at);
                let offsets: Vec<Offset> = (0..row.sent).map(|number| Offset(number * RECORDS)).collect();
                assert_eq!(row.told, offsets, "{}", row.at);
            }
        }
    }
}

/// A batch as some other log has it: other offsets, an epoch, a producer, a transaction.
fn batch(number: i64) -> Bytes {
    let stamp = ProducerStamp { id: ProducerId(70_000), epoch: ProducerEpoch(2), base_sequence: 9 };
    let builder = BatchBuilder::new().with_base_offset(Offset(1_000 + 7 * number)).with_leader_epoch(LeaderEpoch(12));
    filled(builder.with_producer(stamp).with_transactional(), number)
}

fn filled(mut builder: BatchBuilder, number: i64) -> Bytes {
    fill(&mut builder, number);
    Bytes::from(builder.build().expect("a batch"))
}

fn fill(builder: &mut BatchBuilder, number: i64) {
    for record in 0..RECORDS {
        builder.append(1_517_363_399_650 + number, None, Some(format!("{number}.{record}").as_bytes()), []);
    }
}

/// The source has another leader now and then.
fn epoch_of(number: i64) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(number / 40).expect("a small number"))
}

/// Two batches with a hole between them and one at the end, as compaction leaves them.
fn run(number: i64) -> Bytes {
    let at = |offset| {
        let builder = BatchBuilder::new().with_base_offset(Offset(offset));
        builder.with_leader_epoch(epoch_of(number))
    };
    let mut second = at(number * STRIDE + 6);
    fill(&mut second, number);
    second.end_at_delta(3);
    let second = Bytes::from(second.build().expect("a batch"));
    Bytes::from([filled(at(number * STRIDE), number), second].concat())
}

async fn create_topics(bootstrap: &str, replicas: i16) {
    let admin = Admin::connect(&records::client_settings(bootstrap, &[])).await.expect("admin client");
    for topic in TOPICS {
        let topic = NewTopic::new(records::topic_name(topic), PARTITIONS, replicas);
        admin.create_topic(&topic).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Every third answer is lost, at one byte or another, and now and then a request comes late.
fn disturb(proxies: &[Proxy]) {
    for proxy in proxies {
        let mut produced = 0;
        proxy.rule(move |asked| {
            produced += usize::from(asked.key == PRODUCE);
            match produced % 9 {
                _ if asked.key != PRODUCE => Act::Pass,
                0 | 6 => Act::CutAnswer(produced % 40),
                3 => Act::Hold(Duration::from_millis(30)),
                _ => Act::Pass,
            }
        });
    }
}

async fn acts(proxies: &[Proxy]) -> usize {
    let mut acts = 0;
    for proxy in proxies {
        proxy.calm().await;
        acts += proxy.acts();
    }
    acts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_dead_leaders_neither_double_nor_reorder_whole_batches() {
    let _turn = turn().await;
    let (mut cluster, proxies) = Cluster::start_behind_proxies(3, ClusterOptions::replicated()).await;
    let bootstrap = proxies.iter().map(Proxy::address).collect::<Vec<_>>().join(",");
    create_topics(&bootstrap, 3).await;
    let mut copier = Copier::connect(&bootstrap).await;
    copier.send_up_to(5).await;
    disturb(&proxies);
    copier.send_up_to(100).await;

    let admin = Admin::connect(&records::client_settings(&bootstrap, &[])).await.expect("admin client");
    let info = admin.topic(&records::topic_name("left")).await.expect("metadata").expect("the topic");
    let NodeId(leader) = info.partitions[&PartitionIndex(0)].leader.expect("a leader");
    let leader = usize::try_from(leader).expect("a node id");
    cluster.broker(leader).kill();
    copier.send_up_to(200).await;
    cluster.broker(leader).start().await;
    copier.send_up_to(300).await;
    assert!(acts(&proxies).await > 20);
    copier.check(&bootstrap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_of_apache_kafka_neither_double_nor_reorder_whole_batches() {
    let _turn = turn().await;
    let (_kafka, proxies) = peer::kafka().cluster_behind_proxies(1, &[]).await;
    let bootstrap = proxies[0].address();
    create_topics(&bootstrap, 1).await;
    let mut copier = Copier::connect(&bootstrap).await;
    disturb(&proxies);
    copier.send_up_to(200).await;
    assert!(acts(&proxies).await > 20);
    copier.check(&bootstrap).await;
}

/// Topics that only this link may append to.
async fn create_mirrors(client: &RawClient, link: Uuid) {
    let topic = |name: &str| {
        let (topic_id, cluster) = (TopicId(Uuid::from_u128(7)), "upstream".to_owned());
        let source = MirrorSource { link, cluster, topic: records::topic_name(name), topic_id };
        let mut topic = CreatableTopic::default()
            .with_name(StrBytes::from_string(name.to_owned()).into())
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(3);
        tell_source(&mut topic, &source);
        topic
    };
    let topics = TOPICS.iter().map(|name| topic(name)).collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000);
    let answer = client.request(Node::Controller, &request).await.expect("an answer");
    assert!(answer.topics.iter().all(|topic| topic.error_code == 0), "{answer:?}");
}

/// The log of a partition up to an offset, byte for byte.
async fn log_of(client: &RawClient, at: &TopicPartition, end: i64) -> Vec<u8> {
    let (mut log, mut next) = (Vec::new(), 0);
    while next < end {
        let from = FetchFrom::new(at.clone(), Offset(next));
        let fetch = || async {
            let leader = client.leader(at).await?;
            let fetched = client.fetch_batches(leader, std::slice::from_ref(&from), &FetchOptions::default()).await?;
            match fetched[0].error {
                error if error.is_error() => Err(ClientError::broker("fetch", error)),
                _ => Ok(fetched[0].batches.clone()),
            }
        };
        for batch in batches(&client.retry(fetch).await.expect("batches")) {
            let batch = batch.expect("whole batches");
            next = batch.header().next_offset().0;
            log.extend_from_slice(batch.bytes());
        }
    }
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aligned_copies_are_the_source_byte_for_byte_whatever_answers_and_leaders_do() {
    let _turn = turn().await;
    let (mut cluster, proxies) = Cluster::start_behind_proxies(3, ClusterOptions::replicated()).await;
    let bootstrap = proxies.iter().map(Proxy::address).collect::<Vec<_>>().join(",");
    let client = RawClient::connect(&records::client_settings(&bootstrap, &[])).await.expect("client");
    let link = Uuid::from_u128(20_000);
    create_mirrors(&client, link).await;
    let mut copier = Copier::connect(&bootstrap).await;
    copier.link = Some(link);
    disturb(&proxies);
    copier.send_up_to(100).await;
    let leader = client.leader(&copier.rows[0].at).await.expect("a leader");
    let leader = usize::try_from(leader.0).expect("a node id");
    cluster.broker(leader).kill();
    copier.send_up_to(200).await;
    cluster.broker(leader).start().await;
    copier.send_up_to(300).await;
    assert!(acts(&proxies).await > 20);
    for row in &copier.rows {
        let source: Vec<u8> = (0..row.sent).flat_map(run).collect();
        assert!(log_of(&client, &row.at, row.sent * STRIDE).await == source, "{} differs from its source", row.at);
    }
}
