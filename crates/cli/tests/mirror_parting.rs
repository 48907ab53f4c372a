//! Logs whose epochs are the same and whose records are not: a fail-back refuses them before it fences anybody.

use bytes::Bytes;
use serde_json::{Value, json};
use twinstream_client::RawClient;
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::raw::OffsetAt;
use twinstream_model::Offset;
use twinstream_testkit::records::{client_settings, create_topic, first_partition, read_all};
use twinstream_testkit::{Cluster, Folder, Rest, Worker, WorkerOptions, wait_until};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
const TOPIC: &str = "orders";

/// Three sites, sorted by their ids: those of a chain in this order promote into the same era.
struct Sites {
    clusters: [Cluster; 3],
    worker: Worker,
    /// The site that has the worker.
    own: usize,
    _folder: Folder,
}

impl Sites {
    async fn start(own: usize) -> Self {
        let (a, b, c) = tokio::join!(Cluster::start(1), Cluster::start(1), Cluster::start(1));
        let mut known = Vec::new();
        for cluster in [a, b, c] {
            known.push((client(&cluster).await.cluster_id().expect("an id"), cluster));
        }
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        let clusters: Vec<Cluster> = known.into_iter().map(|(_, cluster)| cluster).collect();
        let clusters: [Cluster; 3] = clusters.try_into().unwrap_or_else(|_| panic!("three sites"));
        let folder = Folder::new();
        let worker = Worker::start(&folder, &clusters[own].bootstrap(), WorkerOptions::default()).await;
        create_topic(&clusters[0].bootstrap(), TOPIC, 1).await;
        Self { clusters, worker, own, _folder: folder }
    }

    async fn link(&self, name: &str, from: usize, to: usize) {
        let mut config = json!({
            "source.cluster.bootstrap.servers": self.clusters[from].bootstrap(),
            "target.cluster.bootstrap.servers": self.clusters[to].bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "tasks.max": "1",
            "topics": TOPIC,
            "twinstream.link.mode": "aligned",
            "offset-syncs.topic.location": "target",
            "refresh.topics.interval.seconds": "1",
            "heartbeats.replication.enabled": "false",
            "sync.group.offsets.enabled": "false",
        });
        if to != self.own {
            config["producer.override.bootstrap.servers"] = self.clusters[to].bootstrap().into();
        }
        self.rest().put(&format!("/links/{name}"), &config).await.good();
    }

    fn rest(&self) -> &Rest {
        &self.worker.rest
    }

    async fn fail_over(&self, name: &str) {
        let report = self.rest().put(&format!("/links/{name}/failover?timeout=30"), &json!({})).await.good();
        assert_eq!(report["done"], json!(true), "{report}");
    }

    async fn wait_for(&self, site: usize, records: usize) {
        wait_until("the site has what was written", PATIENCE, || async {
            let at = [first_partition(TOPIC)];
            let ends = client(&self.clusters[site]).await.list_offsets_now(&at, OffsetAt::Latest).await;
            ends.is_ok_and(|ends| matches!(ends.get(&at[0]), Some(Ok(end)) if *end == Offset(records as i64)))
        })
        .await;
    }

    /// So many batches of one record, which tell where they were written.
    async fn write(&self, site: usize, records: usize) {
        let client = client(&self.clusters[site]).await;
        for number in 0..records {
            let mut builder = BatchBuilder::new();
            builder.append(1_700_000_000_000, None, Some(format!("site {site}, record {number}").as_bytes()), []);
            let batch = Bytes::from(builder.build().expect("a batch"));
            client.produce_batch(&first_partition(TOPIC), batch).await.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    async fn count(&self, site: usize) -> usize {
        read_all(&self.clusters[site].bootstrap(), TOPIC).await.len()
    }
}

async fn client(cluster: &Cluster) -> RawClient {
    RawClient::connect(&client_settings(&cluster.bootstrap(), &[])).await.expect("a client")
}

/// A fail-back of this link is refused, tried out and in earnest, with these words, and changes nothing.
async fn is_refused(sites: &Sites, name: &str, home: usize, words: &[&str]) {
    let before = sites.count(home).await;
    for query in ["?dry-run=true", "?timeout=20"] {
        let answer = sites.rest().put(&format!("/links/{name}/failback{query}"), &json!({})).await;
        assert_eq!(answer.status, 409, "{query}: {}", answer.body);
        let told = match &answer.body["message"] {
            Value::String(message) => message.clone(),
            _ => answer.body.to_string(),
        };
        words.iter().for_each(|word| assert!(told.contains(word), "{query}: {told} says {word}"));
    }
    // Nobody is fenced: it takes records as before.
    sites.write(home, 1).await;
    assert_eq!(sites.count(home).await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_of_a_chain_that_were_promoted_into_the_same_epoch_are_not_mixed() {
    let sites = Sites::start(1).await;
    sites.write(0, 10).await;
    sites.link("one->two", 0, 1).await;
    sites.wait_for(1, 10).await;
    sites.link("two->three", 1, 2).await;
    sites.wait_for(2, 10).await;
    sites.fail_over("two->three").await;
    sites.fail_over("one->two").await;
    sites.write(1, 4).await;
    sites.write(2, 6).await;
    is_refused(&sites, "two->three", 1, &["has two histories", "offset 13 of orders-0", "mirror it anew"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_leads_in_a_newer_epoch_is_not_fenced_for_one_that_cannot_cut_it() {
    let sites = Sites::start(0).await;
    sites.write(0, 10).await;
    sites.link("one->two", 0, 1).await;
    sites.link("one->three", 0, 2).await;
    sites.wait_for(1, 10).await;
    sites.wait_for(2, 10).await;
    sites.fail_over("one->two").await;
    sites.fail_over("one->three").await;
    sites.write(1, 4).await;
    let report = sites.rest().put("/links/one->two/failback?timeout=30", &json!({})).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    sites.write(0, 3).await;
    let words = ["orders-0 cannot give up what it has from offset 10 on", "which is not newer than epoch 3072"];
    is_refused(&sites, "one->three", 0, &words).await;
}
