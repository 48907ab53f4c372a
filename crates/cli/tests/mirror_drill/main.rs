//! Disaster drills: two clusters, a worker downstream, and commands as an operator types them.
//!
//! What clients upstream were told is written in books; after each change of places the books are held against what the
//! cluster that leads has, and against what the command has printed.

mod abandoned; // a change of places whose other site dies
mod at_once; // two commands at a time, and one whose worker or caller dies in the middle
mod defaults;
mod elsewhere; // links without settings
mod generic; // copies that do not keep the source's offsets
mod guards; // what planned verbs do not leave behind
mod hangs; // a source whose brokers keep their connections and do not answer
mod made_anew; // a topic that was deleted at the source
mod reports;
mod rests; // topics that nobody writes to between two changes of places
mod sites;
mod turned_groups; // groups of the side that gives up what diverged
mod turned_settings; // of topics, when sites change places

use std::collections::BTreeMap;

use serde_json::json;
use twinstream_model::ErrorCode;
use twinstream_testkit::faults::turn;
use twinstream_testkit::links::mirrored::same;
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::records::{create_topic, read_committed};
use twinstream_testkit::{Cluster, Rest, wait_until};

use crate::sites::{Load, Names, PARTITIONS, PATIENCE, Sites, at, cli, report_of, write};

/// The value of a record in a transaction.
const PAYMENT: &str = "a payment";

/// How the upstream site is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its brokers die, in the middle of the load.
    Killed,
    /// The way from the link to it is cut, and its producers go on.
    CutOff,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_died_is_failed_over_and_failed_back_without_losing_what_was_mirrored() {
    let _turn = turn().await;
    drill(Loss::Killed, Names::Kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_was_cut_off_while_its_producers_went_on_gives_up_exactly_what_was_told() {
    let _turn = turn().await;
    drill(Loss::CutOff, Names::Prefixed).await;
}

async fn drill(loss: Loss, names: Names) {
    let mut sites = Sites::start(names).await;
    let (east, west) = sites.topics();
    sites.link().await;
    let mut load = Load::start(&sites.east.bootstrap(), &east);
    load.wait_for(60).await;
    let group = load.middle();
    sites.commit_upstream("billing", &group).await;
    sites.wait_for_group_downstream("billing", &group).await;

    // The last thing that is quiet: whatever was acknowledged by now is mirrored.
    let early = load.book();
    sites.wait_for_mirrored(&early).await;
    match loss {
        Loss::Killed => {
            sites.east.broker(1).kill();
            load.wait_for_trouble().await;
        }
        Loss::CutOff => {
            sites.doors[0].silence();
            let (before, mut more) = (load.book().len(), 0);
            while more < 40 {
                load.wait_for(before + 40).await;
                more = load.book().len() - before;
            }
            load.stop().await;
        }
    }
    let book = load.book();

    // A dry run tells, and touches nothing.
    let worker = sites.worker.rest.base().to_owned();
    let dry = report_of(&["failover", "east->west", "--dry-run"], &worker);
    assert_eq!((&dry["done"], &dry["source"]), (&json!(true), &json!("away")), "{dry}");
    assert_eq!(sites.link_state().await, "RUNNING");
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation));

    let (code, text) = cli(&["link", "failover", "east->west", "-w", &worker]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("failover of link east->west: done") && text.contains("next: "), "{text}");
    assert!(text.contains("twinstream link failback east->west"), "{text}");
    let again = report_of(&["failover", "east->west"], &worker);
    assert_eq!(again["done"], json!(true), "once more is harmless: {again}");

    // What is there is what was acknowledged, at its offset; what the report calls mirrored is all that is there.
    let mirrored = sites.ends_downstream().await;
    let told = sites::told(&again);
    let there = sites.downstream().await;
    for (at, value) in &book {
        let is_mirrored = at.1 < mirrored[&at.0];
        assert_eq!(there.get(at).map(String::as_str), is_mirrored.then_some(value.as_str()), "{at:?}");
    }
    assert!(early.keys().all(|at| at.1 < mirrored[&at.0]));
    let mut lost = 0;
    for (partition, end) in &mirrored {
        let told = told[partition];
        assert_eq!(told.mirrored, Some(*end), "{again}");
        // The source's last word is not from the future, and covers everything that was mirrored.
        let source_end = told.source_end.expect("the link has heard of it");
        assert_eq!(told.lost, Some((source_end - end).max(0)), "{again}");
        lost += told.lost.unwrap_or(0);
    }
    assert_eq!((&again["rpo"]["records"], &again["rpo"]["exact"]), (&json!(lost), &json!(false)), "{again}");
    // All that was acknowledged before the source's last word is in what it said then.
    let as_of = again["rpo"]["as_of_ms"].as_i64().expect("the time of its last word");
    for (at, told_at) in load.told_at() {
        let known = told[&at.0].source_end.unwrap_or(0);
        assert!(told_at >= as_of || at.1 < known, "{at:?} was acknowledged at {told_at}, before {as_of}: {again}");
    }

    // The group goes on at its very record, downstream.
    let mut stood = group.clone();
    let (read, position) = sites.read_downstream("billing").await;
    for (partition, from) in &stood {
        let expected: Vec<_> = there.iter().filter(|(at, _)| at.0 == *partition && at.1 >= *from).collect();
        let got: Vec<_> = read.iter().filter(|(at, _)| at.0 == *partition).collect();
        assert_eq!(got, expected, "partition {partition} from {from}");
    }
    stood.clone_from(&position);
    let written = write(&sites.west.bootstrap(), &west, "written in the west", 25).await;

    // The site is back, with what only it has.
    match loss {
        Loss::Killed => sites.east.broker(1).start().await,
        Loss::CutOff => sites.doors[0].mend(),
    }
    sites.east.wait_ready().await;
    let upstream_ends = sites.ends_upstream().await;
    // Asked again it tells what the site has that nobody else got, and takes no group back to where it stood before.
    let again = report_of(&["failover", "east->west"], &worker);
    assert_eq!(sites.group_downstream("billing").await, stood, "{again}");
    let plan = report_of(&["failback", "east->west", "--dry-run"], &worker);
    let mut given_up = 0;
    for (partition, told) in sites::told(&plan) {
        let (end, parted) = (upstream_ends[&partition], mirrored[&partition]);
        assert_eq!(told.given_up, Some(end - parted), "{plan}");
        assert_eq!(told.to_copy, Some(25), "{plan}");
        given_up += end - parted;
    }
    let lost_records = book.keys().filter(|at| at.1 >= mirrored[&at.0]).count() as i64;
    assert_eq!(plan["rpo"]["records"], json!(given_up), "{plan}");
    assert_eq!((&again["rpo"]["records"], &again["rpo"]["exact"]), (&json!(given_up), &json!(true)), "{again}");
    assert!((lost_records..=lost_records + load.unanswered()).contains(&given_up), "{lost_records} lost: {plan}");
    if loss == Loss::CutOff {
        assert!(lost_records >= 40, "producers went on: {lost_records}");
    }

    let copied = sites.watch_copies("west");
    if loss == Loss::CutOff {
        // Without time for it the first call only begins; then the worker dies, and the next call goes on.
        let (code, text) = cli(&["link", "failback", "east->west", "-w", &worker, "--timeout", "0"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("NOT done") && text.contains("call again"), "{text}");
        sites.worker.crash_and_restart().await;
    }
    let (code, text) = cli(&["link", "failback", "east->west", "-w", &worker, "--timeout", "120"]);
    assert_eq!(code, 0, "{text}\n{}", sites.worker.server.log_text());
    assert!(text.contains("failback of link east->west: done"), "{text}");
    let copied = copied.most();
    assert!((1..=25 * i64::from(PARTITIONS)).contains(&copied), "{copied} records came home");

    // East has what was mirrored, then what the west wrote; nothing of what it had to give up.
    let home = sites.upstream().await;
    for (at, value) in book.iter().filter(|(at, _)| at.1 < mirrored[&at.0]).chain(&written) {
        assert_eq!(home.get(at), Some(value), "{at:?}");
    }
    assert_eq!(home, sites.downstream().await);
    assert_eq!(sites.group_upstream("billing").await, stood, "the group goes home");

    // East leads, and the link mirrors on.
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation));
    let on = write(&sites.east.bootstrap(), &east, "written in the east again", 10).await;
    sites.wait_for_mirrored(&on).await;
    let (read, _) = sites.read_upstream("billing").await;
    let expected: BTreeMap<_, _> = written.into_iter().chain(on).collect();
    assert_eq!(read, expected, "the group goes on at the record behind its last one");
    if names == Names::Kept {
        for partition in 0..PARTITIONS {
            let (upstream, downstream) = sites.clients().await;
            let size = same(&upstream, &downstream, &at(&east, partition)).await;
            size.unwrap_or_else(|difference| panic!("{difference}"));
        }
    }
    wait_until("the link runs", PATIENCE, || async { sites.link_state().await == "RUNNING" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_prints_is_exact_while_the_source_answers() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, _) = sites.topics();
    sites.link().await;
    let first = write(&sites.east.bootstrap(), &east, "first", 10).await;
    sites.wait_for_mirrored(&first).await;
    let worker = sites.worker.rest.base().to_owned();
    let (code, text) = cli(&["link", "stop", "east->west", "-w", &worker]);
    assert_eq!(code, 0, "{text}");
    wait_until("the link has stopped", PATIENCE, || async { sites.link_state().await == "STOPPED" }).await;
    write(&sites.east.bootstrap(), &east, "never mirrored", 7).await;
    let lost = 7 * i64::from(PARTITIONS);

    // Promotion waits for what is missing, and does nothing when it does not come.
    let (code, text) = cli(&["link", "promote", "east->west", "-w", &worker, "--timeout", "2"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(&format!("{lost} records")) && text.contains("failover"), "{text}");
    assert!(text.contains("is STOPPED and copies nothing") && text.contains("link resume east->west"), "{text}");
    let dry = report_of(&["failover", "east->west", "--dry-run"], &worker);
    assert_eq!((&dry["rpo"]["records"], &dry["rpo"]["exact"]), (&json!(lost), &json!(true)), "{dry}");
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation), "nothing was changed");

    let (code, text) = cli(&["link", "failover", "east->west", "-w", &worker]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("lost: {lost} records in {PARTITIONS} partitions (exact")), "{text}");
    assert_eq!(sites.refusal_downstream().await, None);
    assert_eq!(sites.downstream().await.len(), first.len() + 1, "and what was written just now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_change_places_under_load_without_losing_a_record() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, west) = sites.topics();
    sites.link().await;
    let worker = sites.worker.rest.base().to_owned();
    let mut load = Load::start(&sites.east.bootstrap(), &east);
    load.wait_for(40).await;
    let group = load.middle();
    sites.commit_upstream("billing", &group).await;
    sites.wait_for_mirrored(&load.book()).await;

    let dry = report_of(&["reverse", "east->west", "--dry-run"], &worker);
    assert_eq!(dry["done"], json!(true), "{dry}");
    let before = load.book().len();
    load.wait_for(before + 5).await; // nobody is fenced by a dry run
    let (code, text) = cli(&["link", "promote", "east->west", "-w", &worker, "--topics", "no-such-topic"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("no topic that was asked for"), "{text}");

    // A transaction that is open when the old leader is fenced, and committed afterwards.
    let mut transactor = Transactor::new(&sites.east.bootstrap(), "payments", Protocol::Second, PATIENCE);
    transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let written = transactor.write(&at(&east, 0), None, Some(PAYMENT)).await;
    written.unwrap_or_else(|refusal| panic!("{refusal:?}"));

    let command = worker.clone();
    let reversing = tokio::task::spawn_blocking(move || {
        cli(&["link", "reverse", "east->west", "-w", &command, "--timeout", "120"])
    });
    load.wait_for_trouble().await;
    transactor.end(true).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let (code, text) = reversing.await.expect("an answer");
    assert_eq!(code, 0, "{text}\n{}", sites.worker.server.log_text());
    let committed = read_committed(&sites.west.bootstrap(), &west).await;
    let payments = committed.iter().filter(|record| record.value.as_deref() == Some(PAYMENT.as_bytes())).count();
    assert_eq!(payments, 1, "what was answered as committed is committed where the west leads");
    assert_eq!(load.trouble(), Some(ErrorCode::PolicyViolation), "the old leader says what it is now");
    assert_eq!(load.acknowledged_after_trouble(), 0, "from one moment on");
    let book = load.book();
    let there = sites.downstream().await;
    for (at, value) in &book {
        assert_eq!(there.get(at), Some(value), "{at:?} was acknowledged");
    }
    assert_eq!(there.len(), book.len() + payments, "and nothing else is there");
    assert_eq!(sites.group_downstream("billing").await, group);

    // The west leads, and the east follows.
    let written = write(&sites.west.bootstrap(), &west, "in the west", 10).await;
    wait_until("the east follows", PATIENCE, || async {
        let home = sites.upstream().await;
        written.iter().all(|(at, value)| home.get(at) == Some(value))
    })
    .await;
    let (code, text) = cli(&["link", "reverse", "west->east", "-w", &worker, "--timeout", "120"]);
    assert_eq!(code, 0, "{text}\n{}", sites.worker.server.log_text());
    let on = write(&sites.east.bootstrap(), &east, "in the east", 10).await;
    sites.wait_for_mirrored(&on).await;
    assert_eq!(sites.upstream().await, sites.downstream().await);
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_were_not_failed_over_keep_what_only_their_source_has() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, west) = sites.topics();
    create_topic(&sites.east.bootstrap(), "still", PARTITIONS).await;
    sites.link_topics("orders,still").await;
    let first = write(&sites.east.bootstrap(), &east, "first", 5).await;
    let still = write(&sites.east.bootstrap(), "still", "first", 5).await;
    sites.wait_for_mirrored(&first).await;
    let copy = async || sites::records(&sites.west.bootstrap(), "still").await;
    wait_until("the other topic is mirrored", PATIENCE, || async { copy().await == still }).await;

    let worker = sites.worker.rest.base().to_owned();
    let report = report_of(&["failover", "east->west", "--topics", "orders"], &worker);
    assert_eq!(report["topics"].as_array().map(Vec::len), Some(1), "{report}");
    let more = write(&sites.east.bootstrap(), "still", "only in the east", 5).await;
    let written = write(&sites.west.bootstrap(), &west, "in the west", 5).await;
    let (code, text) = cli(&["link", "failback", "east->west", "-w", &worker, "--timeout", "120"]);
    assert_eq!(code, 0, "{text}\n{}", sites.worker.server.log_text());

    let all: BTreeMap<_, _> = still.into_iter().chain(more).collect();
    assert_eq!(sites::records(&sites.east.bootstrap(), "still").await, all);
    wait_until("the other topic is mirrored on", PATIENCE, || async { copy().await == all }).await;
    let home = sites.upstream().await;
    assert_eq!(home, first.into_iter().chain(written).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_would_lead_round_is_refused_by_cluster_ids() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    sites.link().await;
    let rest: &Rest = &sites.worker.rest;
    let link = |source: &Cluster, target: &Cluster, topics: &str| {
        json!({
            "source.cluster.bootstrap.servers": source.bootstrap(),
            "target.cluster.bootstrap.servers": target.bootstrap(),
            "producer.override.bootstrap.servers": target.bootstrap(),
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "topics": topics,
        })
    };
    // By its own door and under another name it is the same cluster.
    let (source, target) = (&sites.west, &sites.east);
    for (name, topics) in [("west->east", "orders"), ("here->there", ".*")] {
        let refused = rest.put(&format!("/links/{name}"), &link(source, target, topics)).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        let why = refused.body["message"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("round") && why.contains("east->west"), "{why}");
    }
    let refused = rest.put("/links/west->again", &link(source, source, "orders")).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body["message"].as_str().unwrap_or_default().contains("same cluster"), "{}", refused.body);
    let links = rest.get("/links").await.good();
    assert_eq!(links.as_array().map(Vec::len), Some(1), "{links}");
    rest.put("/links/west->east?dry-run", &link(source, target, "invoices")).await.good();
}
