//! What idempotent and transactional producers are promised while requests, answers, leaders and files get lost.
//!
//! Short versions of judges that `cargo xtask judge` runs for longer, and against Apache Kafka.

mod compaction; // of transactions and tombstones
mod late; // requests of transactions that the network held
mod repeats; // batches that are sent again
mod whole_batches; // copied into a cluster
