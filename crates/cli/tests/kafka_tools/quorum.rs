//! `kafka-metadata-quorum` against a quorum of three.

use std::fs;

use twinstream_testkit::{ClusterOptions, wait_until};

use crate::SETTLED_WITHIN;
use crate::bench::Bench;

const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";

/// The value of a line such as `LeaderId:   1`.
fn value(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in\n{status}")).trim().to_owned()
}

fn status(bench: &Bench) -> String {
    bench.text(QUORUM, &["describe", "--status"])
}

/// One row per replica: node, directory, log end, lag, last fetch, last caught up, status.
fn replication(bench: &Bench) -> Vec<Vec<String>> {
    let text = bench.text(QUORUM, &["describe", "--replication"]);
    let rows = text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect());
    rows.filter(|row: &Vec<String>| !row.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_command_shows_voters_positions_and_lags() {
    let mut bench = Bench::start_with(4, ClusterOptions::replicated()).await;
    let shown = status(&bench);
    assert_eq!(value(&shown, "ClusterId").len(), 22, "{shown}");
    let leader: usize = value(&shown, "LeaderId").parse().expect("an id");
    assert!((1..=3).contains(&leader), "a voter leads: {shown}");
    let epoch: i64 = value(&shown, "LeaderEpoch").parse().expect("an epoch");
    let voters = value(&shown, "CurrentVoters");
    assert!((1..=3).all(|id| voters.contains(&format!("\"id\": {id}"))) && !voters.contains("\"id\": 4"), "{shown}");
    assert!(value(&shown, "CurrentObservers").contains("\"id\": 4"), "{shown}");
    let committed: i64 = value(&shown, "HighWatermark").parse().expect("an offset");

    let rows = replication(&bench);
    let count = |status: &str| rows.iter().filter(|row| row[6] == status).count();
    assert_eq!((count("Leader"), count("Follower"), count("Observer")), (1, 2, 1), "{rows:?}");
    assert!(rows.iter().all(|row| row[1].len() == 22 && row[1] != "AAAAAAAAAAAAAAAAAAAAAA"), "directory ids: {rows:?}");
    assert!(rows.iter().all(|row| row[2].parse::<i64>().is_ok_and(|end| end + 100 > committed)), "{rows:?}");

    bench.cluster.broker(leader).kill();
    wait_until("another voter leads in a later epoch", SETTLED_WITHIN, || async {
        let shown = status(&bench);
        value(&shown, "LeaderId") != leader.to_string()
            && value(&shown, "LeaderEpoch").parse::<i64>().is_ok_and(|now| now > epoch)
    })
    .await;
    wait_until("the dead voter lags", SETTLED_WITHIN, || async {
        let rows = replication(&bench);
        let dead = rows.iter().find(|row| row[0] == leader.to_string());
        dead.is_some_and(|row| row[3].parse::<i64>().is_ok_and(|lag| lag > 0))
    })
    .await;
    bench.cluster.broker(leader).start().await;
    wait_until("the voter that came back has caught up", SETTLED_WITHIN, || async {
        let rows = replication(&bench);
        rows.iter().any(|row| row[0] == leader.to_string() && row[3] == "0" && row[6] == "Follower")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_command_removes_a_voter_that_is_gone() {
    let mut bench = Bench::start_with(3, ClusterOptions::replicated()).await;
    let rows = replication(&bench);
    let follower = rows.iter().find(|row| row[6] == "Follower").expect("a follower").clone();
    let (id, directory) = (follower[0].as_str(), follower[1].as_str());
    bench.cluster.broker(id.parse().expect("an id")).kill();

    let remove = |directory: &str| {
        let controller = ["--controller-id", id, "--controller-directory-id", directory];
        bench.outcome(QUORUM, &[&["remove-controller"], &controller[..]].concat())
    };
    let (ok, said) = remove("AAAAAAAAAAAAAAAAAAAAAQ");
    assert!(!ok && said.contains("VoterNotFoundException"), "another directory is another voter: {said}");
    let (ok, said) = remove(directory);
    assert!(ok && said.contains(&format!("KRaft controller {id}")), "{said}");
    let voters = value(&status(&bench), "CurrentVoters");
    assert!(!voters.contains(&format!("\"id\": {id}")), "{voters}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quorum_command_takes_a_vote_and_gives_it_back() {
    let bench = Bench::start_with(3, ClusterOptions::replicated()).await;
    let rows = replication(&bench);
    let follower = rows.iter().find(|row| row[6] == "Follower").expect("a follower").clone();
    let (id, directory) = (follower[0].as_str(), follower[1].as_str());
    let role = || replication(&bench).into_iter().find(|row| row[0] == id).map(|row| row[6].clone());
    let controller = ["--controller-id", id, "--controller-directory-id", directory];
    bench.text(QUORUM, &[&["remove-controller"], &controller[..]].concat());
    assert_eq!(role().as_deref(), Some("Observer"), "it follows on without a vote");

    // The tool reads who is to be added from the settings and the data directory of that node.
    let data = bench.cluster.data(id.parse().expect("an id"));
    let file = bench.cluster.folder().path().join("added.properties");
    let listeners = "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093";
    let settings = format!(
        "process.roles=broker,controller\nnode.id={id}\nlog.dirs={}\nlisteners={listeners}\n\
         controller.listener.names=CONTROLLER\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.quorum.bootstrap.servers=127.0.0.1:9093\n",
        data.display()
    );
    fs::write(&file, settings).expect("write the settings of a controller");
    let added = bench.text(QUORUM, &["--command-config", &file.display().to_string(), "add-controller"]);
    assert!(added.contains(&format!("Added controller {id}")), "{added}");
    assert_eq!(role().as_deref(), Some("Follower"));
}
