//! Commands that meet: one of two wins and the other hears what is under way; one whose caller or worker dies in the middle is
//! called again and ends.

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use twinstream_model::ErrorCode;
use twinstream_testkit::faults::turn;
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::records::read_committed;
use twinstream_testkit::{Answer, Cluster, wait_until};

use crate::sites::{Book, Names, PATIENCE, Sites, at, report_of, write};

const FAILOVER: &str = "/links/east->west/failover";
const FAILBACK: &str = "/links/east->west/failback?timeout=60";
/// Needs the turn, and finds nothing to do.
const NOTHING: &str = "/links/east->west/failback?topics=no-such-topic";
const PAYMENT: &str = "a payment";

/// Two sites after a fail-over, both written to since: what has to be at home after a fail-back.
async fn parted() -> (Sites, Book) {
    let sites = Sites::start(Names::Kept).await;
    let (east, west) = (sites.east.bootstrap(), sites.west.bootstrap());
    sites.link().await;
    let mut kept = write(&east, "orders", "first", 10).await;
    sites.wait_for_mirrored(&kept).await;
    let report = report_of(&["failover", "east->west"], sites.worker.rest.base());
    assert_eq!(report["done"], json!(true), "{report}");
    write(&east, "orders", "given up", 4).await;
    kept.extend(write(&west, "orders", "in the west", 30).await);
    (sites, kept)
}

/// A transaction in the west that a fail-back has to wait for, once the west is fenced.
async fn open_transaction(sites: &Sites) -> Transactor {
    let mut transactor = Transactor::new(&sites.west.bootstrap(), "payments", Protocol::Second, PATIENCE);
    transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let written = transactor.write(&at("orders", 0), None, Some(PAYMENT)).await;
    written.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    transactor
}

async fn commit(transactor: &mut Transactor) {
    transactor.end(true).await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
}

fn call(sites: &Sites, path: &'static str) -> JoinHandle<Option<Answer>> {
    let rest = sites.worker.rest.clone();
    tokio::spawn(async move { rest.try_put(path, &Value::Null).await })
}

async fn wait_until_the_west_is_fenced(sites: &Sites) {
    wait_until("the west is fenced", PATIENCE, || async {
        sites.refusal_downstream().await == Some(ErrorCode::PolicyViolation)
    })
    .await;
}

async fn payments(site: &Cluster) -> usize {
    let records = read_committed(&site.bootstrap(), "orders").await;
    records.iter().filter(|record| record.value.as_deref() == Some(PAYMENT.as_bytes())).count()
}

fn message(answer: &Answer) -> &str {
    answer.body["message"].as_str().unwrap_or_default()
}

/// Both sites have the same, which is at least this, and the east leads.
async fn is_home(sites: &Sites, kept: &Book) {
    let home = sites.upstream().await;
    for (at, value) in kept {
        assert_eq!(home.get(at), Some(value), "{at:?}");
    }
    assert!(!home.values().any(|value| value.starts_with("given up")), "{home:?}");
    let on = write(&sites.east.bootstrap(), "orders", "in the east again", 2).await;
    sites.wait_for_mirrored(&on).await;
    assert_eq!(sites.upstream().await, sites.downstream().await);
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation), "the west follows");
    for site in [&sites.east, &sites.west] {
        assert_eq!(payments(site).await, 1, "what was answered as committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_in_the_middle_of_a_failback_hears_of_it_and_changes_nothing() {
    let _turn = turn().await;
    let (sites, kept) = parted().await;
    let mut transactor = open_transaction(&sites).await;
    let failback = call(&sites, FAILBACK);
    wait_until_the_west_is_fenced(&sites).await;

    let rest = &sites.worker.rest;
    for path in [FAILOVER, FAILBACK, "/links/west->east/reverse"] {
        let refused = rest.put(path, &Value::Null).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        assert!(message(&refused).contains("failback of link east->west is under way"), "{}", refused.body);
    }
    rest.put(&format!("{FAILOVER}?dry-run"), &Value::Null).await.good();
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation), "nothing was promoted");
    commit(&mut transactor).await;
    let report = failback.await.expect("a call").expect("an answer").good();
    assert_eq!(report["done"], json!(true), "{report}");
    is_home(&sites, &kept).await;

    // Two fail-overs at once: one does it.
    let (one, other) = tokio::join!(rest.put(FAILOVER, &Value::Null), rest.put(FAILOVER, &Value::Null));
    let (won, lost) = if one.is_good() { (one, other) } else { (other, one) };
    assert_eq!((won.status, &won.body["done"]), (200, &json!(true)), "{}", won.body);
    assert_eq!(lost.status, 409, "{}", lost.body);
    assert!(message(&lost).contains("failover of link east->west is under way"), "{}", lost.body);
    assert_eq!(sites.refusal_downstream().await, None);
    let again = rest.put(FAILOVER, &Value::Null).await.good();
    assert_eq!(again["done"], json!(true), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failback_whose_caller_goes_away_leaves_the_turn_to_a_failover() {
    let _turn = turn().await;
    let (sites, kept) = parted().await;
    let mut transactor = open_transaction(&sites).await;
    let failback = call(&sites, FAILBACK);
    wait_until_the_west_is_fenced(&sites).await;
    failback.abort();
    let rest = &sites.worker.rest;
    let failover = tokio::spawn({
        let rest = rest.clone();
        async move {
            loop {
                let answer = rest.put(FAILOVER, &Value::Null).await;
                if !message(&answer).contains("failback of link east->west is under way") {
                    return answer;
                }
            }
        }
    });
    wait_until("the fail-over has the turn", PATIENCE, || async {
        message(&rest.put(NOTHING, &Value::Null).await).contains("failover of link east->west is under way")
    })
    .await;
    // It waits for what the producers of the west have begun: an answer is kept.
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation));
    commit(&mut transactor).await;
    let report = failover.await.expect("a call").good();
    assert_eq!((&report["done"], &report["left"]), (&json!(true), &json!([])), "{report}");
    assert_eq!(sites.refusal_downstream().await, None, "the west leads again");
    assert_eq!(payments(&sites.west).await, 1, "what was answered as committed");
    let more = write(&sites.west.bootstrap(), "orders", "and more", 3).await;
    let report = rest.put(FAILBACK, &Value::Null).await.good();
    assert_eq!(report["done"], json!(true), "{report}");
    let home = sites.upstream().await;
    assert!(kept.iter().chain(&more).all(|(at, value)| home.get(at) == Some(value)), "{home:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failback_whose_worker_is_killed_in_the_middle_ends_when_it_is_called_again() {
    let _turn = turn().await;
    let (mut sites, kept) = parted().await;
    let mut transactor = open_transaction(&sites).await;

    // Once when the way back has just been made, once when nobody is written to.
    let first = call(&sites, FAILBACK);
    let rest = sites.worker.rest.clone();
    wait_until("the way back is there", PATIENCE, || async {
        rest.try_get("/links/west->east").await.is_some_and(|answer| answer.is_good())
    })
    .await;
    sites.worker.crash_and_restart().await;
    assert!(first.await.expect("a call").is_none(), "no answer from the dead");
    let second = call(&sites, FAILBACK);
    wait_until_the_west_is_fenced(&sites).await;
    sites.worker.crash_and_restart().await;
    assert!(second.await.expect("a call").is_none(), "no answer from the dead");

    commit(&mut transactor).await;
    let report = rest.put(FAILBACK, &Value::Null).await.good();
    assert_eq!(report["done"], json!(true), "{report}\n{}", sites.worker.server.log_text());
    is_home(&sites, &kept).await;
}
