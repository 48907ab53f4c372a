//! Integration tests of Python clients against our brokers; `cargo xtask judge kafka-python` and `confluent-kafka` run them
//! against Apache Kafka's too.

use twinstream_testkit::suites::librdkafka::Protocol;
use twinstream_testkit::suites::python::{Options, Suite, run};

async fn passes(suite: Suite, only: &[&str]) -> bool {
    let only = only.iter().map(|name| (*name).to_owned()).collect();
    run(&Options { suites: vec![suite], with_ours: true, with_kafka: false, only }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_pythons_own_tests_end_as_the_list_says() {
    assert!(passes(Suite::KafkaPython, &[]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_users_of_confluent_kafka_rely_on_holds() {
    assert!(passes(Suite::Behaviours(Protocol::Classic), &[]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_users_of_confluent_kafka_rely_on_holds_in_groups_of_the_new_protocol() {
    assert!(passes(Suite::Behaviours(Protocol::Consumer), &["test_groups.py"]).await);
}
