//! Ends and added partitions that arrive when their producer has long gone on over another connection.

use std::time::Duration;

use twinstream_testkit::faults::late::{Anomaly, Of, Protocol, Row, Storm, play};
use twinstream_testkit::faults::turn;

fn assert_good(rows: &[Row]) {
    for row in rows {
        eprintln!("{row}");
    }
    let bad: Vec<String> = rows.iter().filter(|row| !row.is_good()).map(|row| format!("{row}")).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_of_the_past_neither_ends_nor_extends_a_transaction() {
    let _turn = turn().await;
    let rows = play(Of::Ours).await;
    assert_good(&rows);
    // What no server can see in the first protocol is seen here: a judge that finds nothing there would find nothing.
    assert!(rows.iter().any(|row| !row.promised && !row.anomalies.is_empty()));
    // Who is taken for late and is not goes on, over another connection.
    let fenced = rows.iter().flat_map(|row| &row.anomalies).find(|anomaly| matches!(anomaly, Anomaly::Fenced(_)));
    assert_eq!(fenced, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_whole_while_the_network_holds_their_ends() {
    let _turn = turn().await;
    let mut rows = Vec::new();
    for protocol in Protocol::ALL {
        let storm = Storm { of: Of::Ours, protocol, brokers: 1, time: Duration::from_secs(5), seed: 23 };
        rows.push(storm.run().await);
    }
    assert_good(&rows);
}
