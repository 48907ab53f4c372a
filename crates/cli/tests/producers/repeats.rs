//! Batches that are sent again because their answer was lost: none is doubled, none is missing.

use twinstream_testkit::faults::late::Of;
use twinstream_testkit::faults::repeats::{Row, play, storm};
use twinstream_testkit::faults::turn;

fn assert_good(rows: &[Row]) {
    for row in rows {
        eprintln!("{row}");
    }
    let bad: Vec<String> = rows.iter().filter(|row| !row.is_good()).map(|row| format!("{row}")).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_whose_answer_was_lost_is_in_the_log_once() {
    let _turn = turn().await;
    assert_good(&play(Of::Ours, 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_leaders_know_the_batches_of_those_before_them() {
    let _turn = turn().await;
    assert_good(&[storm(Of::Ours, 2, 25).await]);
}
