//! A worker that is at neither site: it pushes whichever way a link leads.

use serde_json::json;
use twinstream_model::ErrorCode;
use twinstream_testkit::faults::turn;

use crate::sites::{Names, Sites, report_of, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_change_places_and_back_by_a_worker_that_is_at_neither() {
    let _turn = turn().await;
    let sites = Sites::start_with_worker_elsewhere(Names::Kept).await;
    sites.link().await;
    let mut book = write(&sites.east.bootstrap(), "orders", "first", 20).await;
    sites.wait_for_mirrored(&book).await;
    let worker = sites.worker.rest.base().to_owned();

    let report = report_of(&["failover", "east->west"], &worker);
    assert_eq!((&report["done"], &report["rpo"]["records"]), (&json!(true), &json!(0)), "{report}");
    book.extend(write(&sites.west.bootstrap(), "orders", "in the west", 10).await);
    let report = report_of(&["failback", "east->west"], &worker);
    assert_eq!(report["done"], json!(true), "{report}");
    assert_eq!(sites.upstream().await, book, "what the west wrote is home");
    assert_eq!(sites.refusal_downstream().await, Some(ErrorCode::PolicyViolation));

    book.extend(write(&sites.east.bootstrap(), "orders", "in the east again", 10).await);
    let report = report_of(&["reverse", "east->west"], &worker);
    assert_eq!(report["done"], json!(true), "{report}");
    book.extend(write(&sites.west.bootstrap(), "orders", "in the west again", 10).await);
    let report = report_of(&["reverse", "west->east"], &worker);
    assert_eq!(report["done"], json!(true), "{report}");
    assert_eq!(sites.upstream().await, book);
    book.extend(write(&sites.east.bootstrap(), "orders", "in the east at last", 10).await);
    sites.wait_for_mirrored(&book).await;
    assert_eq!(sites.downstream().await, book);
}
