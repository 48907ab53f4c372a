//! What is changed about records on their way over a link between clusters of real processes: where they have been, so that
//! two sites write to one topic and mirror each other; and how they are packed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::protocol::batch::{BatchBuilder, batches};
use twinstream_client::protocol::compression::Compression;
use twinstream_client::raw::{FetchFrom, FetchOptions, OffsetAt};
use twinstream_client::{CommitOffset, ConsumerRecord, RawClient};
use twinstream_model::{ErrorCode, GroupId, Offset};
use twinstream_testkit::records::{client_settings, create_topic, first_partition, read_all, read_committed};
use twinstream_testkit::{Cluster, Folder, Worker, WorkerOptions, wait_until, wait_until_some};

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "orders";
const PATH: &str = "twinstream.path";
const PATHS: (&str, &str) = ("twinstream.provenance.headers.enabled", "true");

/// A site: its name, its cluster, and a client of it.
struct Site {
    name: &'static str,
    cluster: Cluster,
    client: RawClient,
}

impl Site {
    async fn start(name: &'static str) -> Self {
        let cluster = Cluster::start(1).await;
        let client = RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("a client");
        create_topic(&cluster.bootstrap(), TOPIC, 1).await;
        Self { name, cluster, client }
    }

    fn id(&self) -> String {
        self.client.cluster_id().expect("our clusters have ids")
    }

    /// Writes records, which are named by the site and their number, in batches of this codec.
    async fn write(&self, numbers: std::ops::Range<usize>, codec: Compression) {
        for numbers in numbers.collect::<Vec<_>>().chunks(7) {
            let mut builder = BatchBuilder::new().with_compression(codec);
            for number in numbers {
                let value = format!("{} {number} {}", self.name, "and so on, ".repeat(number % 50));
                let headers = [(&b"of"[..], Some(self.name.as_bytes()))];
                builder.append(1_700_000_000_000 + *number as i64, None, Some(value.as_bytes()), headers);
            }
            let batch = Bytes::from(builder.build().expect("a batch"));
            self.client.produce_batch(&first_partition(TOPIC), batch).await.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    async fn end(&self) -> Option<i64> {
        let partition = first_partition(TOPIC);
        let ends = self.client.list_offsets_now(std::slice::from_ref(&partition), OffsetAt::Latest).await.ok()?;
        ends[&partition].as_ref().ok().map(|end| end.0)
    }

    async fn until_it_ends_at(&self, end: usize) {
        wait_until(&format!("{} has {end} records", self.name), PATIENCE, || async {
            self.end().await.is_some_and(|found| found >= end as i64)
        })
        .await;
    }

    async fn read(&self) -> Vec<ConsumerRecord> {
        read_all(&self.cluster.bootstrap(), TOPIC).await
    }

    async fn commit(&self, group: &str, offset: i64) {
        let offsets = BTreeMap::from([(first_partition(TOPIC), CommitOffset::from(Offset(offset)))]);
        let group = GroupId::from(group);
        self.client.commit_offsets(&group, &offsets).await.unwrap_or_else(|error| panic!("{group}: {error}"));
    }

    async fn committed(&self, group: &str) -> Option<i64> {
        match self.client.committed_offsets(&GroupId::from(group)).await {
            Ok(found) => found.get(&first_partition(TOPIC)).map(|commit| commit.offset.0),
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => None,
            Err(error) => panic!("offsets of {group}: {error}"),
        }
    }
}

fn value(record: &ConsumerRecord) -> String {
    String::from_utf8_lossy(record.value.as_deref().expect("a value")).into_owned()
}

/// A worker in the west: it pulls from the east, and pushes to it.
struct Sites {
    east: Site,
    west: Site,
    worker: Worker,
    _folder: Folder,
}

impl Sites {
    async fn start(more: &[(&str, &str)]) -> Self {
        let (east, west) = tokio::join!(Site::start("east"), Site::start("west"));
        let folder = Folder::new();
        let options = WorkerOptions::default().set("offset.flush.interval.ms", "500");
        let options = more.iter().fold(options, |options, (name, value)| options.set(name, *value));
        let worker = Worker::start(&folder, &west.cluster.bootstrap(), options).await;
        Self { east, west, worker, _folder: folder }
    }

    fn link(&self, from: &Site, to: &Site, more: &[(&str, &str)]) -> Value {
        let mut config = json!({
            "source.cluster.bootstrap.servers": from.cluster.bootstrap(),
            "target.cluster.bootstrap.servers": to.cluster.bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "offset-syncs.topic.location": "target",
            "refresh.topics.interval.seconds": "1",
            "refresh.groups.interval.seconds": "1",
            "heartbeats.replication.enabled": "false",
            "topics": TOPIC,
        });
        if to.name == "east" {
            config["producer.override.bootstrap.servers"] = to.cluster.bootstrap().into();
        }
        for (name, value) in more {
            config[*name] = Value::from(*value);
        }
        config
    }

    /// Waits until the connector's place is behind this offset of the source.
    async fn until_stored(&self, connector: &str, last: i64) {
        wait_until(&format!("{connector} has passed {last}"), PATIENCE, || async {
            let offsets = self.worker.rest.get(&format!("/connectors/{connector}/offsets")).await.good();
            offsets["offsets"][0]["offset"]["offset"] == last
        })
        .await;
    }

    /// Compares both sides of a link, to the end of what the source has.
    async fn verified(&self, link: &str) -> Value {
        wait_until_some(&format!("{link} is compared to its end"), PATIENCE, || async {
            let answer = self.worker.rest.put(&format!("/links/{link}/verify?topics={TOPIC}"), &json!({})).await.good();
            let partition = answer["partitions"][0].clone();
            assert_ne!(partition["state"], "DIFFERENT", "{partition}");
            (partition["state"] == "EQUAL").then_some(partition)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_write_to_the_same_topic_and_each_has_every_record_once() {
    let mut sites = Sites::start(&[]).await;
    let (east, west) = (&sites.east, &sites.west);
    east.write(0..100, Compression::Zstd).await;
    west.write(0..60, Compression::None).await;
    let rest = &sites.worker.rest;
    rest.put("/links/east->west", &sites.link(east, west, &[PATHS])).await.good();
    // Only one of both would let them go round.
    let refused = rest.put("/links/west->east", &sites.link(west, east, &[])).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body["message"].as_str().is_some_and(|why| why.contains("(west->east lacks it)")), "{refused:?}");
    rest.put("/links/west->east", &sites.link(west, east, &[PATHS])).await.good();

    for round in 0..4 {
        east.write(100 + round * 25..125 + round * 25, Compression::Lz4).await;
        west.write(60 + round * 20..80 + round * 20, Compression::Gzip).await;
    }
    east.until_it_ends_at(340).await;
    west.until_it_ends_at(340).await;
    sites.worker.server.stop().await;
    sites.worker.server.start().await;
    sites.worker.wait_ready().await;
    // Behind these nothing that was written before can still come.
    let (east, west) = (&sites.east, &sites.west);
    east.write(200..201, Compression::None).await;
    west.until_it_ends_at(341).await;
    west.write(140..141, Compression::None).await;
    east.until_it_ends_at(342).await;
    east.write(201..202, Compression::None).await;
    west.until_it_ends_at(343).await;

    let (eastern, western) = (east.read().await, west.read().await);
    for (site, other, records) in [(east, west, &eastern), (west, east, &western)] {
        assert_eq!(records.len(), 343, "{}: each record once, and no other", site.name);
        assert_eq!(records.iter().map(value).collect::<BTreeSet<_>>().len(), 343, "{}", site.name);
        for (origin, expected) in [("east", 202), ("west", 141)] {
            let of: Vec<&ConsumerRecord> = records.iter().filter(|record| value(record).starts_with(origin)).collect();
            assert_eq!(of.len(), expected, "{origin} in {}", site.name);
            assert!(of.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp), "in the order of {origin}");
            let path = (origin != site.name).then(|| other.id());
            for record in of {
                let headers: Vec<(&str, Option<&[u8]>)> =
                    record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref())).collect();
                let own = ("of", Some(origin.as_bytes()));
                let path = path.as_ref().map(|path| (PATH, Some(path.as_bytes())));
                assert_eq!(headers, [own].into_iter().chain(path).collect::<Vec<_>>(), "{}", value(record));
            }
        }
    }
    let verified = sites.verified("east:west").await;
    assert_eq!((&verified["records"], &verified["mode"]), (&json!(202), &json!("generic")), "{verified}");
    assert_eq!(sites.verified("west:east").await["records"], 141);
    // The last record of the west came from the east: it is passed, and not looked at again after a restart.
    sites.until_stored("west->east.MirrorSourceConnector", 342).await;
    groups_stand_where_they_miss_nothing(east, west, &eastern, &western).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_been_at_the_target_is_passed_in_transactions_too() {
    let sites = Sites::start(&[("exactly.once.source.support", "enabled")]).await;
    let (east, west) = (&sites.east, &sites.west);
    let path = format!("elsewhere,{}", west.id());
    let echoes = async |count: usize| {
        let mut builder = BatchBuilder::new();
        for _ in 0..count {
            builder.append(1, None, Some(b"of the west"), [(PATH.as_bytes(), Some(path.as_bytes()))]);
        }
        let batch = Bytes::from(builder.build().expect("a batch"));
        east.client.produce_batch(&first_partition(TOPIC), batch).await.unwrap_or_else(|error| panic!("{error}"));
    };
    echoes(5).await;
    let eos = [("source.consumer.isolation.level", "read_committed"), ("transaction.boundary", "interval")];
    let mut config = sites.link(east, west, &[PATHS, eos[0], eos[1]]);
    let of = [
        ("connector.class", "org.apache.kafka.connect.mirror.MirrorSourceConnector"),
        ("source.cluster.alias", "east"),
        ("target.cluster.alias", "west"),
    ];
    of.into_iter().for_each(|(name, value)| config[name] = value.into());
    sites.worker.rest.put("/connectors/link/config", &config).await.good();
    // Nothing but a place is in this transaction.
    sites.until_stored("link", 4).await;
    assert_eq!(west.end().await, Some(0));
    east.write(0..10, Compression::Lz4).await;
    echoes(5).await;
    sites.until_stored("link", 19).await;
    let copied = read_committed(&west.cluster.bootstrap(), TOPIC).await;
    assert_eq!(copied.iter().map(value).collect::<BTreeSet<_>>().len(), 10, "the site's own, once");
    assert!(copied.len() == 10 && copied.iter().all(|record| value(record).starts_with("east")));
    assert_eq!(sites.verified("east:west").await["records"], 10);
}

/// A reader of one site goes on at the other with every record that it has not seen, and stays where it is at its own.
async fn groups_stand_where_they_miss_nothing(
    east: &Site,
    west: &Site,
    eastern: &[ConsumerRecord],
    western: &[ConsumerRecord],
) {
    for at in [40, 170, 343_usize] {
        let group = format!("billing-{at}");
        east.commit(&group, at as i64).await;
        let place = wait_until_some(&format!("{group} is in the west"), PATIENCE, || west.committed(&group)).await;
        let seen: BTreeSet<String> = eastern[..at].iter().map(value).collect();
        let lacks = |records: &[ConsumerRecord]| records.iter().map(value).filter(|it| !seen.contains(it)).count();
        assert_eq!(lacks(&western[..place as usize]), 0, "{group} misses records before {place}");
        // It goes on with the first that it lacks of either site, or behind the last that it has of one.
        let next = |origin: &str| {
            let last =
                western.iter().rposition(|record| value(record).starts_with(origin) && seen.contains(&value(record)));
            last.map_or(0, |last| last + 1)
        };
        let first = western.iter().position(|record| !seen.contains(&value(record))).unwrap_or(western.len());
        let least = next("east").min(next("west"));
        assert!((least..=first).contains(&(place as usize)), "{group} is at {place} of {least} to {first}");
    }
    // The way back has looked at all groups once this one is there, and has left the others where they are.
    west.commit("of-the-west", 30).await;
    wait_until("the other way is followed", PATIENCE, || async { east.committed("of-the-west").await.is_some() }).await;
    for at in [40, 170, 343] {
        assert_eq!(east.committed(&format!("billing-{at}")).await, Some(at));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_packed_anew_for_a_narrow_line_is_read_by_clients_and_is_equal() {
    let sites = Sites::start(&[]).await;
    let (east, west) = (&sites.east, &sites.west);
    for (codec, at) in Compression::ALL.into_iter().zip(0..) {
        east.write(at * 100..at * 100 + 100, codec).await;
    }
    let config = |mode: &'static str| {
        let more = [("twinstream.link.mode", mode), ("producer.override.compression.type", "zstd")];
        sites.link(east, west, &more)
    };
    let refused = sites.worker.rest.put("/links/east->west", &config("aligned")).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let why = refused.body["message"].as_str().unwrap_or_default();
    assert!(why.contains("producer.override.compression.type") && why.contains("keep the source's bytes"), "{why}");
    sites.worker.rest.put("/links/east->west", &config("generic")).await.good();
    west.until_it_ends_at(500).await;

    let content = |records: Vec<ConsumerRecord>| -> Vec<_> {
        records.into_iter().map(|r| (r.offset, r.key, r.value, r.headers, r.timestamp)).collect()
    };
    assert_eq!(content(west.read().await), content(east.read().await), "librdkafka reads the same on both sides");
    assert_eq!(sites.verified("east:west").await["records"], 500);
    assert_eq!(codecs(&west.client).await, BTreeSet::from(["zstd"]), "whatever producers have used");
    assert_eq!(codecs(&east.client).await.len(), 5);
}

/// The codecs of all batches of the topic.
async fn codecs(client: &RawClient) -> BTreeSet<&'static str> {
    let (partition, mut next, mut found) = (first_partition(TOPIC), Offset(0), BTreeSet::new());
    let leader = client.leader(&partition).await.expect("a leader");
    loop {
        let wanted = FetchFrom::new(partition.clone(), next);
        let options = FetchOptions { wait_max: Duration::ZERO, ..FetchOptions::default() };
        let answer = client.fetch_batches(leader, &[wanted], &options).await.expect("an answer").remove(0);
        assert_eq!(answer.error, ErrorCode::None);
        for batch in batches(&answer.batches).map_while(Result::ok) {
            next = batch.header().next_offset();
            found.insert(batch.attributes().compression().expect("a codec").name());
        }
        if next >= answer.high_watermark {
            return found;
        }
    }
}
