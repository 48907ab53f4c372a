//! Kafka's own applications on our brokers: Streams, MirrorMaker 2, Connect. What they do is told in
//! `testkit::suites::applications`; `cargo xtask judge applications` runs it longer, and against Apache Kafka as well.

use twinstream_testkit::suites::applications::{Effort, Part, Side};

async fn judge(part: Part, effort: Effort) {
    eprintln!("{}", part.run(Side::Ours, effort).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_counts_every_word_once_though_a_broker_and_an_application_are_killed() {
    judge(Part::Streams, Effort { brokers: 3, kills: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirror_maker_copies_topics_records_and_groups_once_though_it_is_killed() {
    judge(Part::Mirror, Effort { brokers: 1, kills: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_workers_take_over_from_each_other_and_do_what_rest_asks_for() {
    judge(Part::Connect, Effort { brokers: 1, kills: 1 }).await;
}
