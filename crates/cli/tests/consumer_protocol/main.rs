//! Groups of the consumer protocol (KIP-848) with members that are not ours: Java's consumer and librdkafka's.
//!
//! The brokers assign; members only say what they want and what they have let go. Judges: no partition ever has two
//! owners, nothing that was acknowledged to a producer is missed, shares are as even as the assignor promises, and Kafka's
//! own tool describes the group as it would against Apache Kafka.

mod churn; // librdkafka's members come and go
mod java; // Java's members, and Kafka's tool
mod large; // 500 members on 1,000 partitions
mod member; // one member of librdkafka that keeps a ledger
mod migration; // from one protocol to the other
mod mixed; // both protocols at once, in processes that die

use std::time::Duration;

use twinstream_testkit::ClusterOptions;

const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// Members that are heard of often, so that a test need not wait long for what they are told.
fn lively(options: ClusterOptions) -> ClusterOptions {
    options
        .set("group.consumer.min.heartbeat.interval.ms", "100")
        .set("group.consumer.heartbeat.interval.ms", "200")
        .set("group.consumer.min.session.timeout.ms", "3000")
        .set("group.consumer.session.timeout.ms", "30000")
}
