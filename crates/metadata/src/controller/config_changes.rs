//! Changing the configs of topics, brokers, groups and subscriptions to client metrics.
//!
//! Invariants: a resource changes wholly or not at all; a request costs about what it is long, for nothing else is decided meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use twinstream_model::{ErrorCode, NodeId, TopicName};

use super::{
    Controller, Decision, Defaults, Mode,
    change::{Change, Election},
    draft::Draft,
    min_isr,
    mirrors::{MirrorError, take_mirror_settings},
    rules::is_about_leaders,
};
use crate::{
    configs::{self, ConfigError, Kind, client_metrics, format_list, groups, parse_list},
    image::{ConfigResource, Image},
    record::Record,
};

/// What to do with one config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    Set,
    Delete,
    /// Adds items to a list.
    Append,
    /// Takes items from a list.
    Subtract,
}

/// One change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSetting {
    pub name: String,
    pub operation: ConfigOperation,
    pub value: Option<String>,
}

/// A resource with its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterResource {
    pub resource: ConfigResource,
    pub settings: Vec<ConfigSetting>,
}

/// What the broker's settings table says about changing a broker setting while it runs.
pub trait BrokerConfigs {
    /// Whether the value is fine and takes effect at once on this kind of resource; answers it in the form that is stored.
    fn check(&self, resource: &ConfigResource, name: &str, value: &str) -> Result<String, String>;
    /// The default of a list setting, whatever the settings of single brokers say; `None` when the setting is no list.
    fn list_default(&self, name: &str) -> Option<String>;
}

/// Why the configs of a resource were not changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AlterError {
    #[error("no topic is called {0}")]
    UnknownTopic(TopicName),
    #[error("broker {0} is not registered")]
    UnknownBroker(NodeId),
    #[error("the request names the same resource more than once")]
    DuplicateResource,
    #[error("the request names config {0} more than once")]
    DuplicateName(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Broker(String),
    /// A rule of groups or of subscriptions to client metrics.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error("{0}")]
    Refused(String),
    #[error("config {0} is no list, so nothing can be appended to it or subtracted from it")]
    NotAList(String),
    #[error("no value was given for config {0}")]
    NoValue(String),
}

impl AlterError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownBroker(_)
            | Self::DuplicateResource
            | Self::DuplicateName(_)
            | Self::Broker(_)
            | Self::Refused(_)
            | Self::NoValue(_) => ErrorCode::InvalidRequest,
            Self::Config(_) | Self::Invalid(_) | Self::Mirror(_) | Self::NotAList(_) => ErrorCode::InvalidConfig,
        }
    }
}

impl From<client_metrics::Refusal> for AlterError {
    fn from(refusal: client_metrics::Refusal) -> Self {
        match refusal {
            client_metrics::Refusal::Request(message) => Self::Refused(message),
            client_metrics::Refusal::Config(message) => Self::Invalid(message),
        }
    }
}

impl Controller {
    /// Decides about each resource of an IncrementalAlterConfigs request, in its order. A resource changes wholly or not at all.
    pub fn alter_configs(
        &self,
        resources: &[AlterResource],
        mode: Mode,
        broker: &dyn BrokerConfigs,
        defaults: Defaults<'_>,
    ) -> Decision<Vec<Result<(), AlterError>>> {
        self.decide_configs(resources, mode, |image, change| incremental(image, change, broker, defaults))
    }

    /// Decides about each resource of an AlterConfigs request: what is named is set, everything else goes back to its default.
    pub fn replace_configs(
        &self,
        resources: &[AlterResource],
        mode: Mode,
        broker: &dyn BrokerConfigs,
        defaults: Defaults<'_>,
    ) -> Decision<Vec<Result<(), AlterError>>> {
        self.decide_configs(resources, mode, |image, change| {
            let named: BTreeSet<&str> = change.settings.iter().map(|setting| setting.name.as_str()).collect();
            let stored = image.configs(&change.resource).map(|(name, _)| name);
            let dropped = stored.filter(|name| !named.contains(name)).map(|name| ConfigSetting {
                name: name.to_owned(),
                operation: ConfigOperation::Delete,
                value: None,
            });
            let settings = change.settings.iter().cloned().chain(dropped).collect();
            let change = AlterResource { resource: change.resource.clone(), settings };
            incremental(image, &change, broker, defaults)
        })
    }

    fn decide_configs(
        &self,
        resources: &[AlterResource],
        mode: Mode,
        decide: impl Fn(&Image, &AlterResource) -> Result<Vec<Record>, AlterError>,
    ) -> Decision<Vec<Result<(), AlterError>>> {
        let mut draft = self.draft();
        let mut answers = Vec::with_capacity(resources.len());
        let mut seen = BTreeSet::new();
        let named = resources.iter().map(|change| &change.resource);
        let repeated: BTreeSet<&ConfigResource> = named.filter(|resource| !seen.insert(*resource)).collect();
        for change in resources {
            if repeated.contains(&change.resource) {
                answers.push(Err(AlterError::DuplicateResource));
                continue;
            }
            answers.push(decide(&draft.image, change).map(|records| {
                for record in records {
                    draft.push(record);
                }
            }));
        }
        self.follow_configs(&mut draft);
        mode.decide(draft, answers)
    }

    /// Leaders and ELRs as the changed configs want them, in the same batch: a smaller `min.insync.replicas` ends an ELR, before
    /// the leader commits without its members. What does not fit is left to the sweep.
    pub(super) fn follow_configs(&self, draft: &mut Draft) {
        let about_leaders = |record: &Record| matches!(record, Record::Config { name, .. } if is_about_leaders(name));
        if !draft.records.iter().any(about_leaders) {
            return;
        }
        let policy = self.policy(&draft.image);
        let brokers = self.brokers_without(draft, &[]);
        draft.walk(&policy, |partition, rules| {
            (partition.leader.is_none() || !partition.elr.is_empty()).then_some(())?;
            Change::of(partition).settle(rules(), Election::IfNeeded, &brokers)
        });
    }
}

fn incremental(
    image: &Image,
    change: &AlterResource,
    broker: &dyn BrokerConfigs,
    defaults: Defaults<'_>,
) -> Result<Vec<Record>, AlterError> {
    check_exists(image, &change.resource)?;
    let (change, promotion) = &take_mirror_settings(image, change)?;
    let old: BTreeMap<String, String> =
        image.configs(&change.resource).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut new = old.clone();
    let mut seen = BTreeSet::new();
    for setting in &change.settings {
        if !seen.insert(&setting.name) {
            return Err(AlterError::DuplicateName(setting.name.clone()));
        }
        match next_value(&change.resource, setting, &old, broker, defaults)? {
            Some(value) => new.insert(setting.name.clone(), value),
            None => new.remove(&setting.name),
        };
    }
    match &change.resource {
        ConfigResource::Topic(_) => configs::check_together(&new, defaults)?,
        ConfigResource::Group(_) => groups::check_together(&new, defaults).map_err(AlterError::Invalid)?,
        _ => {}
    }
    min_isr::check(change)?;
    let mut records = difference(&change.resource, &old, &new);
    records.extend(promotion.clone());
    Ok(records)
}

fn check_exists(image: &Image, resource: &ConfigResource) -> Result<(), AlterError> {
    match resource {
        ConfigResource::Topic(name) if image.topic(name).is_none() => Err(AlterError::UnknownTopic(name.clone())),
        ConfigResource::Broker(node) if image.broker(*node).is_none() => Err(AlterError::UnknownBroker(*node)),
        _ => Ok(()),
    }
}

/// The value after the change, `None` for back to the default.
fn next_value(
    resource: &ConfigResource,
    setting: &ConfigSetting,
    old: &BTreeMap<String, String>,
    broker: &dyn BrokerConfigs,
    defaults: Defaults<'_>,
) -> Result<Option<String>, AlterError> {
    let name = &setting.name;
    let given = || setting.value.as_deref().ok_or_else(|| AlterError::NoValue(name.clone()));
    let value = match setting.operation {
        // As in Kafka, nobody needs to know the name: what an older release stored must be removable, too.
        ConfigOperation::Delete => return Ok(None),
        ConfigOperation::Set => given()?.to_owned(),
        ConfigOperation::Append | ConfigOperation::Subtract => {
            let current = match old.get(name) {
                Some(value) => value.clone(),
                None => list_default(resource, name, broker, defaults)?,
            };
            edit_list(resource, setting.operation, name, &current, given()?, broker)?
        }
    };
    check_value(resource, name, &value, broker).map(Some)
}

fn known(resource: &ConfigResource, name: &str) -> Result<(), AlterError> {
    match resource {
        ConfigResource::Topic(_) if configs::find(name).is_none() => Err(configs::unknown(name).into()),
        ConfigResource::Group(_) if groups::find(name).is_none() => Err(AlterError::Invalid(groups::unknown(name))),
        ConfigResource::ClientMetrics(_) if client_metrics::find(name).is_none() => {
            Err(client_metrics::unknown(name).into())
        }
        _ => Ok(()),
    }
}

fn check_value(
    resource: &ConfigResource,
    name: &str,
    value: &str,
    broker: &dyn BrokerConfigs,
) -> Result<String, AlterError> {
    match resource {
        ConfigResource::Topic(_) => Ok(configs::check_value(name, Some(value))?),
        ConfigResource::Group(_) => groups::check_value(name, value).map_err(AlterError::Invalid),
        ConfigResource::ClientMetrics(_) => Ok(client_metrics::check_value(name, value)?),
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
            broker.check(resource, name, value).map_err(AlterError::Broker)
        }
    }
}

fn list_default(
    resource: &ConfigResource,
    name: &str,
    broker: &dyn BrokerConfigs,
    defaults: Defaults<'_>,
) -> Result<String, AlterError> {
    let not_a_list = || AlterError::NotAList(name.to_owned());
    match resource {
        ConfigResource::Topic(_) => {
            let config = configs::find(name).ok_or_else(|| configs::unknown(name))?;
            if config.kind != Kind::List {
                return Err(not_a_list());
            }
            Ok(configs::inherited(config, defaults))
        }
        ConfigResource::Group(_) => known(resource, name).and(Err(not_a_list())),
        ConfigResource::ClientMetrics(_) => {
            known(resource, name)?;
            let list = client_metrics::find(name).filter(|config| config.kind == Kind::List);
            list.map(|config| config.default.to_owned()).ok_or_else(not_a_list)
        }
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault => broker.list_default(name).ok_or_else(not_a_list),
    }
}

fn edit_list(
    resource: &ConfigResource,
    operation: ConfigOperation,
    name: &str,
    current: &str,
    value: &str,
    broker: &dyn BrokerConfigs,
) -> Result<String, AlterError> {
    let is_list = match resource {
        ConfigResource::Topic(_) => configs::find(name).is_some_and(|config| config.kind == Kind::List),
        ConfigResource::Group(_) => false,
        ConfigResource::ClientMetrics(_) => client_metrics::find(name).is_some_and(|config| config.kind == Kind::List),
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault => broker.list_default(name).is_some(),
    };
    if !is_list {
        return Err(AlterError::NotAList(name.to_owned()));
    }
    let mut items = parse_list(current);
    let given = parse_list(value);
    if operation == ConfigOperation::Subtract {
        let given: BTreeSet<String> = given.into_iter().collect();
        items.retain(|item| !given.contains(item));
    } else {
        let mut known: BTreeSet<String> = items.iter().cloned().collect();
        items.extend(given.into_iter().filter(|item| known.insert(item.clone())));
    }
    Ok(format_list(&items))
}

fn difference(
    resource: &ConfigResource,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<Record> {
    let record = |name: &String, value: Option<&String>| Record::Config {
        resource: resource.clone(),
        name: name.clone(),
        value: value.cloned(),
    };
    let set = new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(*value))
        .map(|(name, value)| record(name, Some(value)));
    let removed = old.keys().filter(|name| !new.contains_key(*name)).map(|name| record(name, None));
    set.chain(removed).collect()
}
