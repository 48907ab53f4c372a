//! Keys of transactions in a compacted topic, while its broker is killed and stopped.

use twinstream_testkit::faults::compaction::{Size, compact};
use twinstream_testkit::faults::late::Of;
use twinstream_testkit::faults::turn;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_committed_value_of_each_key_outlives_cleaning_and_restarts() {
    let _turn = turn().await;
    let row = compact(Of::Ours, Size::SHORT, 29).await;
    eprintln!("{row}");
    assert!(row.is_good(), "{row}");
}
