//! Settings of what follows beside topics: ACLs, and quotas of clients.

use std::time::Duration;

use twinstream_connect_api::{Config, ConfigDef, ConfigKey, ConfigType, Importance, Validator};
use twinstream_model::InvalidTopicName;

use super::{AclSettings, Extent};
use crate::config::interval;
use crate::policy::Policy;

const ENABLED: &str = "sync.topic.acls.enabled";
const INTERVAL: &str = "sync.topic.acls.interval.seconds";
const EXTENT: &str = "twinstream.sync.acls";
const QUOTAS: &str = "twinstream.sync.quotas.enabled";
const QUOTAS_INTERVAL: &str = "twinstream.sync.quotas.interval.seconds";

impl AclSettings {
    /// `None`: rules do not follow.
    pub(crate) fn read(
        config: &Config,
        source_alias: &str,
        policy: &Policy,
    ) -> Result<Option<AclSettings>, InvalidTopicName> {
        let (extent, note_topic) = (Extent::parse(config.string(EXTENT)), policy.acls_topic(source_alias)?);
        Ok(every(config, ENABLED, INTERVAL).map(|every| AclSettings { every, extent, note_topic }))
    }
}

/// How often quotas are compared; `None`: they do not follow.
pub(crate) fn quotas_every(config: &Config) -> Option<Duration> {
    every(config, QUOTAS, QUOTAS_INTERVAL)
}

fn every(config: &Config, switch: &str, key: &str) -> Option<Duration> {
    interval(config, key).filter(|_| config.bool(switch))
}

fn key(name: &str, kind: ConfigType, default: &str, doc: &str) -> ConfigKey {
    ConfigKey::with_default(name, kind, default, Importance::Low, doc)
}

pub(crate) fn keys(def: ConfigDef) -> ConfigDef {
    use ConfigType::{Boolean, Long, String};
    let seconds = |name: &str, doc: &str| key(name, Long, "5", doc);
    def.define(key(ENABLED, Boolean, "true", "Whether copies get the ACLs of their topics, without the right to write."))
        .define(seconds(INTERVAL, "How often they are compared; never if it is not above 0. MirrorMaker's default is 600."))
        .define(
            key(EXTENT, String, "topics", "What is copied of ACLs. `topics`: as MirrorMaker, those of single topics, and nothing is ever deleted. `full`: also those of beginnings of names and of all topics (`*`); what the link made goes when the source has it no more.")
                .check(Validator::OneOf(&Extent::NAMES))
                .recommended(&Extent::NAMES),
        )
        .define(key(QUOTAS, Boolean, "false", "Whether the target gets the quotas of users and client ids that the source has. The source's numbers win, and none is taken away; of two links that lead against each other only one may do it."))
        .define(seconds(QUOTAS_INTERVAL, "How often they are compared; never if it is not above 0."))
}
