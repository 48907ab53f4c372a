//! A planned change of places whose other site dies in the middle: the originals are fenced, and nobody leads.

use serde_json::json;
use twinstream_model::ErrorCode;
use twinstream_testkit::faults::turn;
use twinstream_testkit::load::{Protocol, Transactor};
use twinstream_testkit::wait_until;

use crate::sites::{Names, PATIENCE, Sites, at, cli, report_of, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_whose_target_died_is_undone_by_a_failover_of_the_way_back() {
    let _turn = turn().await;
    let mut sites = Sites::start(Names::Kept).await;
    let east = sites.east.bootstrap();
    sites.link().await;
    let mut book = write(&east, "orders", "first", 5).await;
    sites.wait_for_mirrored(&book).await;
    wait_until("the link runs", PATIENCE, || async { sites.link_state().await == "RUNNING" }).await;
    let worker = sites.worker.rest.base().to_owned();
    let refused = cli(&["link", "failover", "west:east", "-w", &worker]);
    assert!(refused.0 == 1 && refused.1.contains("no topic of 'east' is fenced for it"), "{refused:?}");

    // An open transaction, and no time to wait for its end: the reversal stands between its steps.
    let mut transactor = Transactor::new(&east, "payments", Protocol::Second, PATIENCE);
    transactor.init().await.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let written = transactor.write(&at("orders", 0), None, Some("open")).await;
    written.unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let (code, text) = cli(&["link", "reverse", "east->west", "-w", &worker, "--timeout", "1"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nobody is written to") && text.contains("twinstream link failover west:east"), "{text}");
    let refusal = transactor.write(&at("orders", 0), None, Some("fenced")).await.expect_err("a fenced topic");
    assert!(format!("{refusal:?}").contains(&format!("{:?}", ErrorCode::PolicyViolation)), "{refusal:?}");

    sites.west.broker(1).kill();
    let (code, text) = cli(&["link", "reverse", "east->west", "-w", &worker, "--timeout", "1"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("twinstream link failover west:east"), "{text}");

    let dry = report_of(&["failover", "west:east", "--dry-run"], &worker);
    assert_eq!((&dry["source"], &dry["topics"][0]["now"]), (&json!("away"), &json!("source leads")), "{dry}");
    let report = report_of(&["failover", "west:east"], &worker);
    assert_eq!((&report["done"], &report["rpo"]["exact"]), (&json!(true), &json!(false)), "{report}");
    assert!(report["next"].to_string().contains("link east->west goes on"), "{report}");
    book.extend(write(&east, "orders", "taken again", 3).await);

    // The other site is back, and follows as before.
    sites.west.broker(1).start().await;
    sites.west.wait_ready().await;
    sites.wait_for_mirrored(&book).await;
    let refused = cli(&["link", "failover", "west:east", "-w", &worker]);
    assert_eq!(refused.0, 0, "once more is harmless: {refused:?}");
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation));
}
