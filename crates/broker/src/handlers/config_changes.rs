//! What AlterConfigs and IncrementalAlterConfigs share: which resource is meant, who may change it, and the decision.
//!
//! Picture: the broker that a client asks refuses what only it can tell ([`refused_here`]), and answers changes of its log levels.
//! All else goes to the active controller, which decides about it ([`decide`]). [`in_order`] makes one answer of both.

use std::sync::Arc;

use twinstream_metadata::ConfigResource;
use twinstream_metadata::controller::{AlterResource, ConfigSetting, Mode};
use twinstream_model::{ErrorCode, NodeId, TopicName};

use super::config_view::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::context::{Broker, Operation, RequestContext, Resource};
use crate::controller::{DecideError, DynamicBrokerConfigs};
use crate::settings::{Settings, live};

/// How the settings of a request are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// What is named changes.
    Incremental,
    /// What is not named goes back to its default.
    Replace,
}

/// One resource of a request, still in the wire's terms.
pub(super) struct Wanted {
    pub(super) resource_type: i8,
    pub(super) resource_name: String,
    pub(super) settings: Result<Vec<ConfigSetting>, Refusal>,
}

pub(super) type Refusal = (ErrorCode, String);
pub(super) type Answer = Result<(), Refusal>;

const ALTER: Operation = Operation::AlterConfigs;

/// Decides about all resources, in the order of the request.
pub(super) async fn decide(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    wanted: Vec<Wanted>,
    mode: Mode,
    change: Change,
) -> Result<Vec<Answer>, DecideError> {
    let mut answers: Vec<Answer> = vec![Ok(()); wanted.len()];
    let mut changes = Vec::new();
    for (at, wanted) in wanted.into_iter().enumerate() {
        match check(broker, ctx, wanted) {
            Ok(resource) => changes.push((at, resource)),
            Err(refusal) => answers[at] = Err(refusal),
        }
    }
    let resources: Vec<AlterResource> = changes.iter().map(|(_, resource)| resource.clone()).collect();
    let decided = broker
        .controller
        .decide(move |controller, defaults| match change {
            Change::Incremental => controller.alter_configs(&resources, mode, &DynamicBrokerConfigs, defaults),
            Change::Replace => controller.replace_configs(&resources, mode, &DynamicBrokerConfigs, defaults),
        })
        .await?;
    for ((at, _), answer) in changes.into_iter().zip(decided) {
        answers[at] = answer.map_err(|error| (error.code(), error.to_string()));
    }
    Ok(answers)
}

fn check(broker: &Broker, ctx: &RequestContext, wanted: Wanted) -> Result<AlterResource, Refusal> {
    let resource = resource(&wanted)?;
    let (allowed, code) = match &resource {
        ConfigResource::Topic(name) => {
            let topic = Resource::Topic(name.as_str());
            (broker.authorize(ctx, ALTER, topic), ErrorCode::TopicAuthorizationFailed)
        }
        ConfigResource::Group(name) => {
            let group = Resource::Group(name);
            (broker.authorize(ctx, ALTER, group), ErrorCode::GroupAuthorizationFailed)
        }
        _ => {
            let cluster = Resource::Cluster;
            (broker.authorize(ctx, ALTER, cluster), ErrorCode::ClusterAuthorizationFailed)
        }
    };
    if !allowed {
        return Err((code, code.text().to_owned()));
    }
    Ok(AlterResource { resource, settings: wanted.settings? })
}

/// One answer for each resource in the order of the request: those that were made here, and in the gaps the controller's.
pub(super) fn in_order<T>(here: Vec<Option<T>>, by_controller: Vec<T>) -> Vec<T> {
    let mut by_controller = by_controller.into_iter();
    here.into_iter().filter_map(|answer| answer.or_else(|| by_controller.next())).collect()
}

/// Why this broker does not send a change on. A change of one broker's settings is that broker's to check, as in Kafka: it knows what
/// they are about, like its directories. `None` where the controller decides, which also says what names no broker at all.
pub(super) fn refused_here(
    broker: &Broker,
    ctx: &RequestContext,
    resource_type: i8,
    wanted: impl FnOnce() -> Wanted,
) -> Option<Refusal> {
    if resource_type != BROKER || !broker.authorize(ctx, ALTER, Resource::Cluster) {
        return None;
    }
    let wanted = wanted();
    let resource = resource(&wanted).ok()?;
    let settings = wanted.settings.as_ref().map_or(&[][..], Vec::as_slice);
    let refusal = check_broker(&broker.settings, &resource, settings).err()?;
    Some((ErrorCode::InvalidRequest, refusal))
}

fn check_broker(own: &Settings, resource: &ConfigResource, settings: &[ConfigSetting]) -> Result<(), String> {
    match resource {
        ConfigResource::Broker(node) if *node != own.node.id => {
            Err(format!("Unexpected broker id, expected {}, but received {node}", own.node.id))
        }
        _ => check_cordons(own, resource, settings),
    }
}

/// `cordoned.log.dirs` is about directories of this broker (KIP-1066).
fn check_cordons(own: &Settings, resource: &ConfigResource, settings: &[ConfigSetting]) -> Result<(), String> {
    let Some(cordons) = settings.iter().find(|setting| setting.name == live::CORDONED) else { return Ok(()) };
    let Some(value) = &cordons.value else { return Ok(()) };
    if *resource == ConfigResource::BrokerDefault {
        return Err(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: [{}]",
            cordons.name
        ));
    }
    let strangers = live::strangers(own, value);
    match strangers.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "All entries in {} must be present in log.dirs or log.dir. Missing entries : {}",
            cordons.name,
            strangers.join(",")
        )),
    }
}

fn resource(wanted: &Wanted) -> Result<ConfigResource, Refusal> {
    let invalid = |message: String| (ErrorCode::InvalidRequest, message);
    let name = wanted.resource_name.as_str();
    match wanted.resource_type {
        TOPIC if name.is_empty() => Err(invalid("Default topic resources are not allowed.".to_owned())),
        TOPIC => {
            let parsed = TopicName::parse(name);
            parsed.map(ConfigResource::Topic).map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))
        }
        BROKER if name.is_empty() => Ok(ConfigResource::BrokerDefault),
        BROKER => {
            let node = name.parse().ok().filter(|node| *node >= 0).map(NodeId);
            let broken = || invalid(format!("broker id must be a whole number, {name:?} is not"));
            node.map(ConfigResource::Broker).ok_or_else(broken)
        }
        BROKER_LOGGER => {
            Err(invalid("log levels change with IncrementalAlterConfigs, one by one (KIP-412)".to_owned()))
        }
        GROUP if name.is_empty() => Err(invalid("Default group resources are not allowed.".to_owned())),
        GROUP => Ok(ConfigResource::Group(name.to_owned())),
        CLIENT_METRICS if name.is_empty() => Err(invalid("Subscription name can't be empty".to_owned())),
        CLIENT_METRICS => Ok(ConfigResource::ClientMetrics(name.to_owned())),
        other => Err(invalid(format!("configs of resource type {other} are not served by this release"))),
    }
}
