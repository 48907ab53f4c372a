//! Leader balance, transactions, quotas, policies, metrics.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("auto.leader.rebalance.enable", Kind::Boolean, Some("true"))
        .effect("Move leaderships back to the first of each partition's replicas when too many are elsewhere."),
    Setting::new("leader.imbalance.check.interval.seconds", Kind::Long, Some("300"))
        .at_least(1)
        .effect("How often the controller looks whether leaderships should move back."),
    Setting::new("leader.imbalance.per.broker.percentage", Kind::Int, Some("10"))
        .between(0, 100)
        .effect("Share of a broker's preferred partitions that others may lead before leaderships move back."),
    Setting::new("num.replica.alter.log.dirs.threads", Kind::Int, None)
        .at_least(1)
        .effect("Directories into which replicas of other directories are copied at once; as many as there are if it is not set."),
    Setting::new("transaction.max.timeout.ms", Kind::Int, Some("900000"))
        .at_least(1)
        .effect("Longest transaction that a producer may ask for."),
    Setting::new("transactional.id.expiration.ms", Kind::Int, Some("604800000"))
        .at_least(1)
        .effect("How long a transactional id that nobody uses is kept."),
    Setting::new("transaction.state.log.num.partitions", Kind::Int, Some("50"))
        .at_least(1)
        .effect("Partitions of `__transaction_state` when it is created."),
    Setting::new("transaction.state.log.replication.factor", Kind::Short, Some("3"))
        .at_least(1)
        .effect("Replicas of `__transaction_state` when it is created; until so many brokers are there, transactions have to wait."),
    Setting::new("transaction.state.log.min.isr", Kind::Int, Some("2"))
        .at_least(1)
        .effect("min.insync.replicas of `__transaction_state` when it is created."),
    Setting::new("transaction.state.log.segment.bytes", Kind::Int, Some("104857600"))
        .at_least(1)
        .effect("segment.bytes of `__transaction_state` when it is created."),
    Setting::new("transaction.state.log.load.buffer.size", Kind::Int, Some("5242880"))
        .at_least(1)
        .no_such_part("The transaction log is loaded through the ordinary read path."),
    Setting::new("transaction.abort.timed.out.transaction.cleanup.interval.ms", Kind::Int, Some("10000"))
        .at_least(1)
        .effect("How late a transaction that has run out of time may be aborted."),
    Setting::new("transaction.remove.expired.transaction.cleanup.interval.ms", Kind::Int, Some("3600000"))
        .at_least(1)
        .effect("How often transactional ids that nobody uses are looked for."),
    Setting::new("transaction.partition.verification.enable", Kind::Boolean, Some("true"))
        .effect("Ask the coordinator before the first append of a transaction, for producers that speak the protocol before transaction version 2.")
        .at_run_time(),
    Setting::new("transaction.two.phase.commit.enable", Kind::Boolean, Some("false"))
        .not_yet("Allow transactions that an outside system commits."),
    Setting::new("add.partitions.to.txn.retry.backoff.ms", Kind::Int, Some("20"))
        .at_least(1)
        .no_such_part("The coordinator answers as soon as the transaction before has ended and need not be asked again."),
    Setting::new("add.partitions.to.txn.retry.backoff.max.ms", Kind::Int, Some("100"))
        .at_least(0)
        .effect("How long a batch waits to be added to its transaction while the one before has not ended yet; then its producer has to send again."),
    Setting::new("quota.window.num", Kind::Int, Some("11"))
        .at_least(1)
        .not_yet("Windows over which quotas are measured."),
    Setting::new("quota.window.size.seconds", Kind::Int, Some("1"))
        .at_least(1)
        .not_yet("Length of such a window."),
    Setting::new("alter.log.dirs.replication.quota.window.num", Kind::Int, Some("11"))
        .at_least(1)
        .not_yet("Windows over which moves between directories are measured."),
    Setting::new("alter.log.dirs.replication.quota.window.size.seconds", Kind::Int, Some("1"))
        .at_least(1)
        .not_yet("Length of such a window."),
    Setting::new("controller.quota.window.num", Kind::Int, Some("11"))
        .at_least(1)
        .not_yet("Windows over which controller quotas are measured."),
    Setting::new("controller.quota.window.size.seconds", Kind::Int, Some("1"))
        .at_least(1)
        .not_yet("Length of such a window."),
    Setting::new("client.quota.callback.class", Kind::Class, None)
        .refused("A class that decides quotas.", "Java classes cannot be loaded"),
    Setting::new("create.topic.policy.class.name", Kind::Class, None)
        .refused("A class that judges new topics.", "Java classes cannot be loaded"),
    Setting::new("alter.config.policy.class.name", Kind::Class, None)
        .refused("A class that judges config changes.", "Java classes cannot be loaded"),
    Setting::new("metric.reporters", Kind::List, Some("org.apache.kafka.common.metrics.JmxReporter"))
        .no_such_part("Metrics are served in Prometheus' format on twinstream.metrics.listener.")
        .at_run_time(),
    Setting::new("kafka.metrics.reporters", Kind::List, Some(""))
        .no_such_part("Metrics are served in Prometheus' format on twinstream.metrics.listener."),
    Setting::new("kafka.metrics.polling.interval.secs", Kind::Int, Some("10"))
        .at_least(1)
        .no_such_part("Metrics are served in Prometheus' format on twinstream.metrics.listener."),
    Setting::new("metrics.num.samples", Kind::Int, Some("2"))
        .at_least(1)
        .no_such_part("Metrics are counters; the scraper makes rates of them."),
    Setting::new("metrics.recording.level", Kind::String, Some("INFO"))
        .no_such_part("All metrics are always recorded."),
    Setting::new("metrics.sample.window.ms", Kind::Long, Some("30000"))
        .at_least(1)
        .no_such_part("Metrics are counters; the scraper makes rates of them."),
];
