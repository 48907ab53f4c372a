//! Topics that rest: nothing is written between one change of places and the next, so neither site hears of the other's epochs by
//! records.

use serde_json::json;
use twinstream_testkit::faults::turn;
use twinstream_testkit::links::mirrored::same;
use twinstream_testkit::wait_until;

use crate::sites::{Names, PARTITIONS, PATIENCE, Sites, at, report_of, told, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_rested_between_two_failovers_gives_up_exactly_what_parted() {
    let _turn = turn().await;
    let sites = Sites::start(Names::Kept).await;
    let (east, west) = (sites.east.bootstrap(), sites.west.bootstrap());
    sites.link().await;
    let mut kept = write(&east, "orders", "first", 5).await;
    sites.wait_for_mirrored(&kept).await;
    let worker = sites.worker.rest.base().to_owned();
    let done = |report: &serde_json::Value| assert_eq!(report["done"], json!(true), "{report}");

    // The first disaster: both sites have been promoted once when it is over.
    done(&report_of(&["failover", "east->west"], &worker));
    kept.extend(write(&west, "orders", "in the west", 3).await);
    done(&report_of(&["failback", "east->west", "--timeout", "60"], &worker));

    // The second one, before another record was written; the producers of the east do not hear of it.
    done(&report_of(&["failover", "east->west"], &worker));
    write(&east, "orders", "given up", 4).await;
    kept.extend(write(&west, "orders", "in the west again", 6).await);
    let dry = report_of(&["failback", "east->west", "--dry-run"], &worker);
    assert!(
        told(&dry).values().all(|partition| partition.given_up == Some(4) && partition.to_copy == Some(6)),
        "{dry}"
    );
    let report = report_of(&["failback", "east->west", "--timeout", "60"], &worker);
    done(&report);
    assert!(told(&report).values().all(|partition| partition.given_up == Some(4)), "{report}");

    wait_until("the link runs", PATIENCE, || async { sites.link_state().await == "RUNNING" }).await;
    kept.extend(write(&east, "orders", "afterwards", 2).await);
    sites.wait_for_mirrored(&kept).await;
    assert_eq!((sites.upstream().await, sites.downstream().await), (kept.clone(), kept));
    let (upstream, downstream) = sites.clients().await;
    for partition in 0..PARTITIONS {
        let size = same(&upstream, &downstream, &at("orders", partition)).await;
        size.unwrap_or_else(|difference| panic!("{difference}"));
    }
}
