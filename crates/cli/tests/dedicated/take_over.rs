//! A running MirrorMaker 2 is stopped, and ours goes on with its file at the very record; then the other way round.

use std::time::Duration;

use twinstream_testkit::{Cluster, Folder, Process, Server, free_port, peer, records};

use super::{produce, settings, tags, wait_for_keys};

const STOPPED_WITHIN: Duration = Duration::from_secs(60);
const MIRROR_MAKER: &str = "org.apache.kafka.connect.mirror.MirrorMaker";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_maker_is_taken_over_and_handed_back_without_a_record_twice() {
    let kafka = peer::kafka();
    let folder = Folder::new();
    let (source, target) = tokio::join!(Cluster::start(1), Cluster::start(1));
    records::create_topic(&source.bootstrap(), "orders", 1).await;
    let port = free_port();
    let more = [
        ("a->b.enabled", "true".to_owned()),
        ("topics", "orders".to_owned()),
        ("emit.heartbeats.enabled", "false".to_owned()),
        ("a->b.listeners", format!("http://127.0.0.1:{port}")), // MirrorMaker passes it over
    ];
    let settings = settings(&[("a", source.bootstrap()), ("b", target.bootstrap())], &more);
    let mut ours = Server::with_settings(&folder, "mirror", "mirror", port, &settings);
    let file = folder.path().join("mirror.properties").display().to_string();
    let theirs = |run: &str| {
        let command = kafka.application(folder.path(), MIRROR_MAKER, &[&file]);
        Process::spawn(run, command, &folder.path().join(format!("{run}.log")))
    };

    produce(&source.bootstrap(), "orders", "first", 100).await;
    let mut mirror_maker = theirs("mirror-maker-1");
    wait_for_keys(&target.bootstrap(), "a.orders", &tags(&["first"], 100)).await;
    stop(&mut mirror_maker).await;

    produce(&source.bootstrap(), "orders", "second", 100).await;
    ours.start().await;
    wait_for_keys(&target.bootstrap(), "a.orders", &tags(&["first", "second"], 100)).await;
    assert_eq!(records::read_all(&target.bootstrap(), "a.orders").await.len(), 200, "taken over at the record");
    ours.stop().await;

    produce(&source.bootstrap(), "orders", "third", 100).await;
    let mut mirror_maker = theirs("mirror-maker-2");
    wait_for_keys(&target.bootstrap(), "a.orders", &tags(&["first", "second", "third"], 100)).await;
    assert_eq!(records::read_all(&target.bootstrap(), "a.orders").await.len(), 300, "handed back at the record");
    stop(&mut mirror_maker).await;
}

/// SIGTERM; a JVM that was told to end says so with 143.
async fn stop(process: &mut Process) {
    let status = tokio::time::timeout(STOPPED_WITHIN, process.stop()).await.expect("MirrorMaker stops");
    assert!(status.success() || status.code() == Some(143), "{status}:\n{}", process.log_tail());
}
