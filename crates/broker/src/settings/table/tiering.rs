//! Tiered storage.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("follower.fetch.last.tiered.offset.enable", Kind::Boolean, Some("false"))
        .not_yet("Tiered storage: follower fetch last tiered offset enable."),
    Setting::new("log.local.retention.bytes", Kind::Long, Some("-2"))
        .at_least(-2)
        .not_yet("Tiered storage: log local retention bytes."),
    Setting::new("log.local.retention.ms", Kind::Long, Some("-2"))
        .at_least(-2)
        .not_yet("Tiered storage: log local retention ms."),
    Setting::new("remote.fetch.max.wait.ms", Kind::Int, Some("500"))
        .at_least(1)
        .not_yet("Tiered storage: remote fetch max wait ms."),
    Setting::new("remote.list.offsets.request.timeout.ms", Kind::Long, Some("30000"))
        .at_least(1)
        .not_yet("Tiered storage: remote list offsets request timeout ms."),
    Setting::new("remote.log.index.file.cache.total.size.bytes", Kind::Long, Some("1073741824"))
        .at_least(1)
        .not_yet("Tiered storage: remote log index file cache total size bytes."),
    Setting::new("remote.log.index.file.cache.ttl.ms", Kind::Long, Some("900000"))
        .at_least(-1)
        .not_yet("Tiered storage: remote log index file cache ttl ms."),
    Setting::new("remote.log.manager.copier.thread.pool.size", Kind::Int, Some("10"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager copier thread pool size."),
    Setting::new("remote.log.manager.copy.max.bytes.per.second", Kind::Long, Some("9223372036854775807"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager copy max bytes per second."),
    Setting::new("remote.log.manager.copy.quota.window.num", Kind::Int, Some("11"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager copy quota window num."),
    Setting::new("remote.log.manager.copy.quota.window.size.seconds", Kind::Int, Some("1"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager copy quota window size seconds."),
    Setting::new("remote.log.manager.expiration.thread.pool.size", Kind::Int, Some("10"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager expiration thread pool size."),
    Setting::new("remote.log.manager.fetch.max.bytes.per.second", Kind::Long, Some("9223372036854775807"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager fetch max bytes per second."),
    Setting::new("remote.log.manager.fetch.quota.window.num", Kind::Int, Some("11"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager fetch quota window num."),
    Setting::new("remote.log.manager.fetch.quota.window.size.seconds", Kind::Int, Some("1"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager fetch quota window size seconds."),
    Setting::new("remote.log.manager.follower.thread.pool.size", Kind::Int, Some("2"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager follower thread pool size."),
    Setting::new("remote.log.manager.task.interval.ms", Kind::Long, Some("30000"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager task interval ms."),
    Setting::new("remote.log.manager.task.retry.backoff.max.ms", Kind::Long, Some("30000"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager task retry backoff max ms."),
    Setting::new("remote.log.manager.task.retry.backoff.ms", Kind::Long, Some("500"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager task retry backoff ms."),
    Setting::new("remote.log.manager.task.retry.jitter", Kind::Double, Some("0.2"))
        .fraction(0.0, 0.5)
        .not_yet("Tiered storage: remote log manager task retry jitter."),
    Setting::new("remote.log.manager.thread.pool.size", Kind::Int, Some("2"))
        .at_least(1)
        .not_yet("Tiered storage: remote log manager thread pool size."),
    Setting::new("remote.log.metadata.custom.metadata.max.bytes", Kind::Int, Some("128"))
        .at_least(0)
        .not_yet("Tiered storage: remote log metadata custom metadata max bytes."),
    Setting::new("remote.log.metadata.manager.class.name", Kind::String, Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"))
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("remote.log.metadata.manager.class.path", Kind::String, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("remote.log.metadata.manager.impl.prefix", Kind::String, Some("rlmm.config."))
        .not_yet("Tiered storage: remote log metadata manager impl prefix."),
    Setting::new("remote.log.metadata.manager.listener.name", Kind::String, None)
        .not_yet("Tiered storage: remote log metadata manager listener name."),
    Setting::new("remote.log.reader.max.pending.tasks", Kind::Int, Some("100"))
        .at_least(1)
        .not_yet("Tiered storage: remote log reader max pending tasks."),
    Setting::new("remote.log.reader.threads", Kind::Int, Some("10"))
        .at_least(1)
        .not_yet("Tiered storage: remote log reader threads."),
    Setting::new("remote.log.storage.manager.class.name", Kind::String, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("remote.log.storage.manager.class.path", Kind::String, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("remote.log.storage.manager.impl.prefix", Kind::String, Some("rsm.config."))
        .not_yet("Tiered storage: remote log storage manager impl prefix."),
    Setting::new("remote.log.storage.system.enable", Kind::Boolean, Some("false"))
        .refused("Tiered storage.", "tiered storage comes with a later release"),
];
