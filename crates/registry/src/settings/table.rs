//! The one table of Confluent's registry settings and what each means here.

/// What happens to a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Effect,
    /// Accepted, logged once, without effect: our design has no such part.
    NoSuchPart(&'static str),
    /// Cannot be honoured, and ignoring it would change what the user gets. An empty value is accepted.
    Refused(&'static str),
}

use Fate::{Effect, NoSuchPart, Refused};

const TLS: &str = "this release is built without TLS and SASL";
const LATER_LEADER: &str = "leader election between registries comes with a later release; run one that is written to";

/// Name, default, fate; sorted by name.
pub(crate) const TABLE: &[(&str, &str, Fate)] = &[
    ("access.control.allow.headers", "", Refused("CORS comes with a later release")),
    ("access.control.allow.methods", "", Refused("CORS comes with a later release")),
    ("access.control.allow.origin", "", Refused("CORS comes with a later release")),
    ("authentication.method", "NONE", Effect),
    ("avro.compatibility.level", "", Effect),
    ("compression.enable", "true", NoSuchPart("answers are small and sent as they are")),
    ("debug", "false", NoSuchPart("the log level is set with RUST_LOG")),
    ("host.name", "", NoSuchPart("followers would need it, and there are none yet")),
    ("inter.instance.headers.whitelist", "", NoSuchPart(LATER_LEADER)),
    ("inter.instance.listener.name", "", NoSuchPart(LATER_LEADER)),
    ("inter.instance.protocol", "http", NoSuchPart(LATER_LEADER)),
    ("kafkastore.bootstrap.servers", "", Effect),
    ("kafkastore.connection.url", "", Refused("there is no ZooKeeper; set kafkastore.bootstrap.servers")),
    ("kafkastore.group.id", "", NoSuchPart("the topic is read without a group")),
    ("kafkastore.init.timeout.ms", "60000", Effect),
    ("kafkastore.security.protocol", "PLAINTEXT", Effect),
    ("kafkastore.timeout.ms", "30000", Effect),
    ("kafkastore.topic", "_schemas", Effect),
    ("kafkastore.topic.replication.factor", "3", Effect),
    ("kafkastore.topic.skip.validation", "false", Effect),
    ("kafkastore.update.handlers", "", Refused("Java classes cannot be loaded")),
    ("kafkastore.write.max.retries", "5", Effect),
    ("leader.connect.timeout.ms", "60000", NoSuchPart(LATER_LEADER)),
    ("leader.eligibility", "true", Effect),
    ("leader.read.timeout.ms", "60000", NoSuchPart(LATER_LEADER)),
    ("listeners", "http://0.0.0.0:8081", Effect),
    ("master.eligibility", "true", Effect),
    ("metric.reporters", "", NoSuchPart("metrics are served on /metrics")),
    ("metrics.jmx.prefix", "", NoSuchPart("metrics are served on /metrics")),
    ("metrics.num.samples", "2", NoSuchPart("metrics are served on /metrics")),
    ("metrics.recording.level", "INFO", NoSuchPart("metrics are served on /metrics")),
    ("metrics.sample.window.ms", "30000", NoSuchPart("metrics are served on /metrics")),
    ("mode.mutability", "true", Effect),
    ("port", "", Refused("use listeners=http://host:port")),
    ("request.logger.name", "", NoSuchPart("requests are logged by tracing at debug level")),
    ("resource.extension.class", "", Refused("Java classes cannot be loaded")),
    ("resource.static.locations", "", Refused("files are not served")),
    ("response.mediatype.default", "application/vnd.schemaregistry.v1+json", Effect),
    ("response.mediatype.preferred", "", NoSuchPart("the Accept header decides")),
    ("schema.cache.expiry.secs", "300", NoSuchPart("all schemas are in memory")),
    ("schema.cache.size", "1000", NoSuchPart("all schemas are in memory")),
    ("schema.canonicalize.on.consume", "", NoSuchPart("schemas of other spellings are compared as parsed")),
    ("schema.compatibility.level", "BACKWARD", Effect),
    ("schema.providers", "", Refused("Java classes cannot be loaded")),
    ("schema.registry.group.id", "schema-registry", NoSuchPart(LATER_LEADER)),
    ("schema.registry.inter.instance.protocol", "http", NoSuchPart(LATER_LEADER)),
    ("schema.registry.resource.extension.class", "", Refused("Java classes cannot be loaded")),
    ("schema.search.default.limit", "1000", Effect),
    ("schema.search.max.limit", "1000", Effect),
    ("shutdown.graceful.ms", "1000", Effect),
    ("twinstream.kafkastore.mirrored", "auto", Effect),
];

/// Prefixes of settings that only TLS and SASL read; refused unless empty.
pub(crate) const SECURITY_PREFIXES: [&str; 4] = ["kafkastore.ssl.", "kafkastore.sasl.", "ssl.", "authentication."];

pub(crate) const SECURITY_NOTE: &str = TLS;

pub(crate) fn find(name: &str) -> Option<(&'static str, Fate)> {
    TABLE.iter().find(|row| row.0 == name).map(|(_, default, fate)| (*default, *fate))
}

/// The known name that is closest to `name`, when one is close enough to be a likely typo.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let (steps, found) = TABLE.iter().map(|(known, ..)| (distance(name, known), *known)).min()?;
    (steps <= 2 + name.len() / 4).then_some(found)
}

/// Levenshtein distance over bytes; names are ASCII and short.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut current = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let swap = previous[j] + usize::from(a != *b);
            current.push(swap.min(previous[j + 1] + 1).min(current[j] + 1));
        }
        previous = current;
    }
    previous[right.len()]
}
