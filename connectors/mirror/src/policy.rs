//! Names: what a topic is called on the other side, and which topics are copied at all. Pure.
//!
//! `DefaultReplicationPolicy` puts the source's alias before the name (`src.earthquakes`); the prefix is also what
//! prevents cycles: a topic whose path of prefixes names the target came from there. `IdentityReplicationPolicy` keeps
//! names and so cannot see cycles.

use regex::Regex;
use twinstream_model::{InvalidTopicName, TopicName};

pub(crate) const HEARTBEATS: &str = "heartbeats";

#[derive(Debug, Clone)]
pub struct Policy {
    source_alias: String,
    separator: String,
    /// Between the parts of the names of MirrorMaker's own topics.
    internal: String,
    identity: bool,
}

impl Policy {
    pub fn default_named(source_alias: &str, separator: &str) -> Policy {
        let (source_alias, separator) = (source_alias.to_owned(), separator.to_owned());
        Policy { source_alias, internal: separator.clone(), separator, identity: false }
    }

    /// Whether names of MirrorMaker's own topics take the separator, or always a dot (KIP-949).
    #[must_use]
    pub fn internal_separator(self, enabled: bool) -> Policy {
        let internal = if enabled { self.separator.clone() } else { ".".to_owned() };
        Policy { internal, ..self }
    }

    /// `mm2-offset-syncs.<other>.internal`.
    pub fn offset_syncs_topic(&self, other: &str) -> Result<TopicName, InvalidTopicName> {
        self.own_topic("mm2-offset-syncs", other)
    }

    /// `mm2-offset-map.<source>.internal`: our own, named so that MirrorMaker's filters leave it alone.
    pub fn offset_map_topic(&self, source: &str) -> Result<TopicName, InvalidTopicName> {
        self.own_topic("mm2-offset-map", source)
    }

    /// `mm2-acls.<source>.internal`: which rules a link made.
    pub fn acls_topic(&self, source: &str) -> Result<TopicName, InvalidTopicName> {
        self.own_topic("mm2-acls", source)
    }

    /// `<source>.checkpoints.internal`.
    pub fn checkpoints_topic(&self, source: &str) -> Result<TopicName, InvalidTopicName> {
        self.own_topic(source, "checkpoints")
    }

    fn own_topic(&self, first: &str, second: &str) -> Result<TopicName, InvalidTopicName> {
        let separator = &self.internal;
        TopicName::parse(&format!("{first}{separator}{second}{separator}internal"))
    }

    /// What 4.3.1 takes for MirrorMaker's own (KIP-1074): `mm2*.internal` and `*.checkpoints.internal`. Users' topics may
    /// end in `internal` as well.
    fn is_own_topic(&self, topic: &str) -> bool {
        let Some(name) = topic.strip_suffix("internal").and_then(|name| name.strip_suffix(self.internal.as_str()))
        else {
            return false;
        };
        let is_checkpoints = || name.strip_suffix("checkpoints").is_some_and(|name| name.ends_with(&self.internal));
        name.starts_with("mm2") || is_checkpoints()
    }

    pub fn identity(source_alias: &str, separator: &str) -> Policy {
        Policy { identity: true, ..Policy::default_named(source_alias, separator) }
    }

    pub fn is_identity(&self) -> bool {
        self.identity
    }

    /// The topic's name on the target.
    pub fn remote_topic(&self, topic: &TopicName) -> Result<TopicName, InvalidTopicName> {
        if self.identity && !self.is_heartbeats(topic.as_str()) {
            return Ok(topic.clone());
        }
        TopicName::parse(&format!("{}{}{}", self.source_alias, self.separator, topic.as_str()))
    }

    /// What the names of topics on the target begin with whose names at the source begin so.
    pub(crate) fn remote_prefix(&self, prefix: &str) -> String {
        if self.identity { prefix.to_owned() } else { format!("{}{}{prefix}", self.source_alias, self.separator) }
    }

    /// What a topic that was copied from `alias` is called there.
    pub(crate) fn upstream_of(&self, topic: &TopicName, alias: &str) -> Option<TopicName> {
        let (source, upstream) = self.prefix(topic.as_str()).filter(|_| !self.identity)?;
        TopicName::parse(upstream).ok().filter(|_| source == alias)
    }

    /// The alias that a name begins with, if there is one.
    fn prefix<'t>(&self, topic: &'t str) -> Option<(&'t str, &'t str)> {
        topic.split_once(self.separator.as_str()).filter(|_| !self.separator.is_empty())
    }

    pub(crate) fn is_heartbeats(&self, topic: &str) -> bool {
        let mut name = topic;
        while let Some((_, upstream)) = self.prefix(name) {
            name = upstream;
        }
        name == HEARTBEATS
    }

    /// Whether the topic came from `target`, directly or over others. Heartbeats, which are copied unasked, also are of the
    /// source itself: copied once more each time, their names would grow without end where two aliases stand for one cluster.
    fn is_cycle(&self, topic: &str, target: &str) -> bool {
        let is_heartbeats = self.is_heartbeats(topic);
        if self.identity && !is_heartbeats {
            return false;
        }
        let mut name = topic;
        while let Some((alias, upstream)) = self.prefix(name) {
            if alias == target || is_heartbeats && alias == self.source_alias {
                return true;
            }
            name = upstream;
        }
        false
    }
}

/// Which topics of the source are copied.
#[derive(Debug, Clone)]
pub struct TopicFilter {
    include: Regex,
    exclude: Regex,
    heartbeats: bool,
}

impl TopicFilter {
    pub fn new(include: &[String], exclude: &[String], heartbeats: bool) -> Result<TopicFilter, String> {
        Ok(TopicFilter { include: full_match(include)?, exclude: full_match(exclude)?, heartbeats })
    }

    /// Whether groups of a topic are followed that was copied from the target: it is wanted, and is not copied back.
    pub(crate) fn follows_back(&self, topic: &str, policy: &Policy) -> bool {
        let wanted = self.include.is_match(topic) && !self.exclude.is_match(topic);
        wanted && !is_internal(topic) && !policy.is_own_topic(topic)
    }

    pub fn copies(&self, topic: &str, policy: &Policy, target_alias: &str) -> bool {
        let wanted = self.include.is_match(topic) && !self.exclude.is_match(topic);
        let heartbeats = self.heartbeats && policy.is_heartbeats(topic);
        (wanted || heartbeats)
            && !is_internal(topic)
            && !policy.is_own_topic(topic)
            && !policy.is_cycle(topic, target_alias)
    }
}

/// Kafka's own topics.
fn is_internal(topic: &str) -> bool {
    topic.starts_with("__") || topic.starts_with('.')
}

/// One expression that matches whole names, as Java's `matches` does; an empty list matches nothing.
pub(crate) fn full_match(patterns: &[String]) -> Result<Regex, String> {
    if patterns.is_empty() {
        return Regex::new("[^\\s\\S]").map_err(|cause| cause.to_string());
    }
    for pattern in patterns {
        Regex::new(pattern).map_err(|cause| {
            let last = cause.to_string().lines().last().unwrap_or_default().trim().to_owned();
            let hint = match last.contains("look-around") || last.contains("backreferences") {
                true => "; say what is to be left out in the setting that ends in .exclude",
                false => "",
            };
            format!("'{pattern}' is no regular expression that this program knows: {last}{hint}")
        })?;
    }
    let any = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect::<Vec<_>>().join("|");
    Regex::new(&format!("^(?:{any})$")).map_err(|cause| cause.to_string())
}
