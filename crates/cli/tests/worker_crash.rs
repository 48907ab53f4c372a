//! The worker is killed with SIGKILL while it mirrors and indexes; nothing may be missing afterwards.

mod earthquakes;

use std::time::Duration;

use earthquakes::{EVENTS, Site};
use serde_json::json;
use twinstream_testkit::{Cluster, Folder, Registry, Search, Worker, WorkerOptions, records, wait_until};

const DRAINED_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_survive_two_kills_of_the_worker_while_it_mirrors_and_indexes() {
    let folder = Folder::new();
    let (upstream, downstream) = tokio::join!(Cluster::start(1), Cluster::start(1));
    let registry = Registry::start(&folder, &downstream.bootstrap()).await;
    let search = Search::start(&folder).await;
    let mut worker = Worker::start(&folder, &downstream.bootstrap(), WorkerOptions::default()).await;
    let site = Site { bootstrap: upstream.bootstrap(), registry: registry.rest.base().to_owned() };
    records::create_topic(&upstream.bootstrap(), "earthquakes", 3).await;

    let mirror = earthquakes::mirror_config(&upstream.bootstrap(), &downstream.bootstrap());
    worker.rest.put("/connectors/mirror/config", &mirror).await.good();
    let sink = json!({
        "connector.class": "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector",
        "tasks.max": "2",
        "topics": "src.earthquakes",
        "connection.url": search.rest.base(),
        "key.ignore": "false",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "io.confluent.connect.avro.AvroConverter",
        "value.converter.schema.registry.url": registry.rest.base(),
        "consumer.override.metadata.max.age.ms": "1000",
    });
    worker.rest.put("/connectors/search/config", &sink).await.good();

    // Each kill falls between the first and the last event by construction: the rest is produced only after it.
    let third = EVENTS / 3;
    site.produce(0..third).await;
    wait_until("the first events are indexed", DRAINED_WITHIN, || async { earthquakes::count(&search.rest).await > 0 })
        .await;
    worker.server.kill();
    site.produce(third..2 * third).await;
    // Counted while no worker runs: a fast one must not have finished before we look.
    let before = earthquakes::count(&search.rest).await;
    worker.server.start().await;
    worker.wait_ready().await;
    wait_until("more events are indexed", DRAINED_WITHIN, || async { earthquakes::count(&search.rest).await > before })
        .await;
    worker.server.kill();
    let rest = tokio::spawn({
        let site = site.clone();
        async move { site.produce(2 * third..EVENTS).await }
    });
    worker.server.start().await;
    worker.wait_ready().await;
    rest.await.expect("the last third is produced");

    wait_until("all events are indexed", DRAINED_WITHIN, || async { earthquakes::count(&search.rest).await >= EVENTS })
        .await;
    assert_eq!(earthquakes::count(&search.rest).await, EVENTS, "ids are keys, so no event is indexed twice");
    let mirrored = records::read_all(&downstream.bootstrap(), "src.earthquakes").await;
    assert_eq!(records::keys(&mirrored), earthquakes::keys(), "every event is downstream");
    let sent = records::read_all(&upstream.bootstrap(), "earthquakes").await;
    for record in &sent {
        let found = mirrored.iter().any(|copy| {
            copy.partition == record.partition
                && copy.key == record.key
                && copy.value == record.value
                && copy.timestamp == record.timestamp
        });
        assert!(found, "upstream record {}@{} is downstream as it was", record.topic_partition(), record.offset);
    }
}
