//! One group with members of both protocols, in processes that are killed, migrated there and back while it works.

use std::time::Duration;

use twinstream_testkit::Program;
use twinstream_testkit::faults::churn::{Options, Size, be_member_if_told, churn};
use twinstream_testkit::faults::late::Of;

/// What the members of the test below run: this one, in processes of their own. Without being told it is nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_process() {
    be_member_if_told().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_offsets_never_go_back_and_static_members_keep_their_partitions_whoever_is_killed() {
    let program = Program::this(&["--exact", "mixed::member_process", "--nocapture"]);
    // Twice what is promised, for a machine that does other things.
    let options = Options { of: vec![Of::Ours], size: Size::SHORT, settles_within: Duration::from_secs(20), seed: 26 };
    let row = churn(Of::Ours, &options, &program).await;
    assert!(row.is_good() && row.coordinators_killed > 0, "{row}");
    eprintln!("{row}");
}
