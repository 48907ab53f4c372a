//! Every worker setting of Kafka Connect with its fate here.

use twinstream_connect_api::{ConfigKey, ConfigType, Importance, Validator};

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Effect,
    /// Our design has no such part: accepted, logged once at the start with the reason.
    NoSuchPart(&'static str),
    /// Any value other than the default is an error.
    Refused(&'static str),
}

pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: ConfigType,
    /// `None` for required ones, and for optional ones (see `optional`).
    pub(crate) default: Option<&'static str>,
    pub(crate) optional: bool,
    pub(crate) fate: Fate,
    /// Handed to the Kafka clients as well.
    pub(crate) client: bool,
    pub(crate) min: Option<i64>,
    pub(crate) doc: &'static str,
}

impl Setting {
    pub(crate) fn key(&self) -> ConfigKey {
        let key = match (self.default, self.optional) {
            (Some(default), _) => ConfigKey::with_default(self.name, self.kind, default, Importance::Medium, self.doc),
            (None, true) => ConfigKey::optional(self.name, self.kind, Importance::Medium, self.doc),
            (None, false) => ConfigKey::required(self.name, self.kind, Importance::High, self.doc),
        };
        match self.min {
            Some(min) => key.check(Validator::AtLeast(min)),
            None => key,
        }
    }
}

const fn setting(name: &'static str, kind: ConfigType, default: &'static str, doc: &'static str) -> Setting {
    Setting { name, kind, default: Some(default), optional: false, fate: Fate::Effect, client: false, min: None, doc }
}

const fn required(name: &'static str, kind: ConfigType, doc: &'static str) -> Setting {
    Setting { name, kind, default: None, optional: false, fate: Fate::Effect, client: false, min: None, doc }
}

const fn optional(name: &'static str, kind: ConfigType, doc: &'static str) -> Setting {
    Setting { name, kind, default: None, optional: true, fate: Fate::Effect, client: false, min: None, doc }
}

const fn at_least(mut row: Setting, min: i64) -> Setting {
    row.min = Some(min);
    row
}

const fn client(mut row: Setting) -> Setting {
    row.client = true;
    row
}

const fn no_such_part(name: &'static str, reason: &'static str) -> Setting {
    let mut row = optional(name, ConfigType::String, reason);
    row.fate = Fate::NoSuchPart(reason);
    row
}

const fn refused(name: &'static str, default: &'static str, reason: &'static str) -> Setting {
    let mut row = setting(name, ConfigType::String, default, reason);
    row.fate = Fate::Refused(reason);
    row
}

const SINGLE_WORKER: &str = "a group has one worker in this release, so nothing is balanced between workers";
const NO_PLUGIN_PATH: &str = "connectors are built into the binary, nothing is loaded from disk";

use ConfigType::{Boolean, Class, Int, List, Long, String as Text};

#[rustfmt::skip] // one row per setting, so that the table stays a table
pub(crate) static SETTINGS: &[Setting] = &[
    client(required("bootstrap.servers", List, "brokers of the cluster that the worker belongs to")),
    required("group.id", Text, "names the worker's cluster; a second live worker with the same id is refused"),
    required("key.converter", Class, "converter of record keys for connectors without their own"),
    required("value.converter", Class, "converter of record values for connectors without their own"),
    setting("header.converter", Class, "org.apache.kafka.connect.storage.SimpleHeaderConverter", "converter of headers for connectors without their own"),
    required("config.storage.topic", Text, "topic that holds connector and task configurations"),
    setting("config.storage.replication.factor", Int, "3", "replicas of the config topic when the worker creates it; -1 takes the broker's default"),
    required("offset.storage.topic", Text, "topic that holds source offsets"),
    at_least(setting("offset.storage.partitions", Int, "25", "partitions of the offset topic when the worker creates it"), 1),
    setting("offset.storage.replication.factor", Int, "3", "replicas of the offset topic when the worker creates it; -1 takes the broker's default"),
    required("status.storage.topic", Text, "topic that holds connector and task states"),
    at_least(setting("status.storage.partitions", Int, "5", "partitions of the status topic when the worker creates it"), 1),
    setting("status.storage.replication.factor", Int, "3", "replicas of the status topic when the worker creates it; -1 takes the broker's default"),
    at_least(setting("session.timeout.ms", Int, "10000", "without a heartbeat for so long the worker counts as dead"), 1),
    at_least(setting("heartbeat.interval.ms", Int, "3000", "pause between two heartbeats of the worker"), 1),
    at_least(setting("rebalance.timeout.ms", Int, "60000", "how long the group waits for the worker to rejoin"), 1),
    at_least(setting("offset.flush.interval.ms", Long, "60000", "pause between two stores of offsets of a task"), 1),
    at_least(setting("offset.flush.timeout.ms", Long, "5000", "how long one store of offsets may take"), 1),
    at_least(setting("task.shutdown.graceful.timeout.ms", Long, "5000", "how long a task may take to stop before it is cut off"), 0),
    setting("listeners", List, "http://:8083", "where the REST API listens"),
    optional("rest.advertised.host.name", Text, "host under which others reach the REST API"),
    optional("rest.advertised.port", Int, "port under which others reach the REST API"),
    no_such_part("rest.advertised.listener", "one plain HTTP listener is served"),
    no_such_part("admin.listeners", "administration is part of the one listener"),
    client(optional("client.id", Text, "name of the clients in logs of brokers")),
    no_such_part("connect.protocol", SINGLE_WORKER),
    no_such_part("worker.sync.timeout.ms", SINGLE_WORKER),
    no_such_part("worker.unsync.backoff.ms", SINGLE_WORKER),
    no_such_part("scheduled.rebalance.max.delay.ms", SINGLE_WORKER),
    no_such_part("inter.worker.key.generation.algorithm", SINGLE_WORKER),
    no_such_part("inter.worker.key.size", SINGLE_WORKER),
    no_such_part("inter.worker.key.ttl.ms", SINGLE_WORKER),
    no_such_part("inter.worker.signature.algorithm", SINGLE_WORKER),
    no_such_part("inter.worker.verification.algorithms", SINGLE_WORKER),
    no_such_part("plugin.path", NO_PLUGIN_PATH),
    no_such_part("plugin.discovery", NO_PLUGIN_PATH),
    no_such_part("metric.reporters", "metrics are served under /metrics for Prometheus"),
    no_such_part("metrics.num.samples", "metrics are served under /metrics for Prometheus"),
    no_such_part("metrics.recording.level", "metrics are served under /metrics for Prometheus"),
    no_such_part("metrics.sample.window.ms", "metrics are served under /metrics for Prometheus"),
    no_such_part("auto.include.jmx.reporter", "there is no JVM"),
    no_such_part("topic.creation.enable", "topic.creation.* of connectors is not supported in this release, whatever is set here"),
    setting("exactly.once.source.support", Text, "disabled", "'enabled': records of source connectors and their offsets are one transaction; 'preparing': only configurations are written so, for a group whose workers are switched over one by one"),
    refused("config.providers", "", "config providers are not supported in this release, write the values themselves"),
    refused("rest.extension.classes", "", "REST extensions are Java classes and cannot be loaded"),
    refused("connector.client.config.override.policy", "All", "only the policy 'All' is supported in this release"),
    refused("access.control.allow.origin", "", "CORS headers are not supported in this release"),
    refused("access.control.allow.methods", "", "CORS headers are not supported in this release"),
    refused("response.http.headers.config", "", "extra response headers are not supported in this release"),
    refused("topic.tracking.enable", "false", "the topics that a connector uses are not tracked in this release, set it to 'false' or leave it out"),
    refused("topic.tracking.allow.reset", "false", "the topics that a connector uses are not tracked in this release, set it to 'false' or leave it out"),
    at_least(setting("twinstream.source.in.flight.max.bytes", Long, "67108864", "what all source tasks together may have sent to Kafka without an acknowledgement; the more tasks are busy, the less each of them gets, and a task with nothing under way may always go on"), 1),
    setting("twinstream.mask.passwords", Boolean, "true", "whether values of PASSWORD keys are hidden in answers of GET config"),
];
