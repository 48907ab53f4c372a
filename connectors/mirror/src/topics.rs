//! Topics of the target: made with as many partitions as the source's, grown with them, and given the settings that
//! were changed on the source.
//!
//! A topic is copied only once its counterpart is there, so that a broker which makes topics by itself never makes it
//! with other partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;
use twinstream_client::raw::kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use twinstream_client::raw::kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use twinstream_client::raw::kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use twinstream_client::raw::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use twinstream_client::raw::kafka_protocol::messages::{
    CreatePartitionsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
};
use twinstream_client::raw::kafka_protocol::protocol::StrBytes;
use twinstream_client::raw::{ClusterView, Node};
use twinstream_client::{ClientError, NewTopic, RawClient};
use twinstream_model::{ErrorCode, TopicName};

use crate::words::counted;

/// Resource type of topics in config requests.
const TOPIC: i8 = 2;
/// Source of a setting that somebody changed on the topic itself.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Topics that one request grows: one of a link with thousands of them stays small, and ends long before its deadline.
const GROWN_AT_ONCE: usize = 200;
/// What a topic is a mirror of is shown among its settings, and is none that follows.
const MARKS: &str = "twinstream.mirror.";

/// Settings of a topic that were changed from their defaults.
pub(crate) type Changed = BTreeMap<String, String>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicsError {
    #[error("{what}")]
    Client { what: String, source: ClientError },
}

pub(crate) fn during(what: impl Into<String>) -> impl FnOnce(ClientError) -> TopicsError {
    let what = what.into();
    move |source| TopicsError::Client { what, source }
}

/// Topics that could not be made or grown, with the cluster's reason.
pub(crate) type Failures = BTreeMap<TopicName, ClientError>;

/// What came of bringing the target's topics in step.
#[derive(Debug, Default)]
pub(crate) struct Ensured {
    /// Topics that are not there.
    pub unmade: Failures,
    /// Topics that have fewer partitions than they should.
    pub ungrown: Failures,
}

/// What a topic of the target should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedTopic {
    pub partitions: u32,
    /// Replicas of the source's topic.
    pub replicas: i16,
    /// For a new one.
    pub configs: Changed,
}

/// What the target has of these topics now.
pub(crate) async fn look_up(target: &RawClient, names: &[TopicName]) -> Result<Arc<ClusterView>, TopicsError> {
    if names.is_empty() {
        return Ok(target.view());
    }
    target.refresh(names).await.map_err(during("look up topics on the target"))
}

/// Makes the target's topics, of which `view` tells, follow `wanted`; `marked` gives a new topic its mark, or says why it cannot be
/// made. Without `replication_factor` a new topic gets the source's, bounded by the brokers that the target has. A topic that cannot be
/// grown is there all the same, with the partitions that it has.
pub(crate) async fn ensure(
    target: &RawClient,
    view: &ClusterView,
    wanted: &BTreeMap<TopicName, WantedTopic>,
    replication_factor: Option<i16>,
    marked: impl Fn(NewTopic) -> Result<NewTopic, String>,
) -> Result<Ensured, TopicsError> {
    let mut unmade = Failures::new();
    let (mut missing, mut short) = (Vec::new(), Vec::new());
    let brokers = i16::try_from(view.brokers.len()).unwrap_or(i16::MAX);
    for (name, wanted_topic) in wanted {
        let partitions = &wanted_topic.partitions;
        match view.topics.get(name) {
            None => match marked(new_topic(name, wanted_topic, replication_factor, brokers)) {
                Ok(topic) => missing.push(topic),
                Err(reason) => {
                    let what = format!("make topic {name}");
                    unmade.insert(name.clone(), ClientError::Library { what, reason, retriable: false });
                }
            },
            Some(known) if known.partitions.len() < *partitions as usize => short.push((name.clone(), *partitions)),
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        let made = target.create_topics(&missing, false).await.map_err(during("make topics on the target"))?;
        for (name, result) in made {
            match result {
                Ok(made) => tracing::info!(topic = %name, partitions = made.partitions, "topic made on the target"),
                Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
                Err(error) => drop(unmade.insert(name, error)),
            }
        }
    }
    Ok(Ensured { unmade, ungrown: grow(target, &short).await })
}

fn new_topic(name: &TopicName, wanted: &WantedTopic, replication_factor: Option<i16>, brokers: i16) -> NewTopic {
    let factor = replication_factor.unwrap_or_else(|| factor_like(wanted.replicas, brokers));
    let mut topic = NewTopic::new(name.clone(), i32::try_from(wanted.partitions).unwrap_or(i32::MAX), factor);
    topic.configs = wanted.configs.clone();
    topic
}

/// Which of the source's topics have settings that are read before copies are made: those whose copy is not there yet, whether
/// or not later changes follow. Pure.
pub(crate) fn to_be_made(remotes: &BTreeMap<TopicName, TopicName>, view: &ClusterView) -> Vec<TopicName> {
    let missing = remotes.iter().filter(|(remote, _)| !view.topics.contains_key(*remote));
    missing.map(|(_, topic)| topic.clone()).collect()
}

/// As many replicas as the source has, as far as there are brokers; the target's default where one does not know.
fn factor_like(replicas: i16, brokers: i16) -> i16 {
    match replicas.min(brokers) {
        0 => -1,
        factor => factor,
    }
}

/// Grows topics, many at once. A target that does not answer is not asked for the rest: that one comes with the next try, so
/// that growing takes no longer than one question that nobody answers.
async fn grow(target: &RawClient, short: &[(TopicName, u32)]) -> Failures {
    let mut failures = Failures::new();
    for (done, some) in short.chunks(GROWN_AT_ONCE).enumerate() {
        match target.request(Node::Controller, &grown(some)).await {
            Ok(answer) => failures.extend(not_grown(some, &answer.results)),
            Err(cause) => {
                failures.extend(unasked(&short[done * GROWN_AT_ONCE..], &cause));
                break;
            }
        }
    }
    for (name, partitions) in short.iter().filter(|(name, _)| !failures.contains_key(name)) {
        tracing::info!(topic = %name, partitions, "topic grown on the target");
    }
    failures
}

fn grown(topics: &[(TopicName, u32)]) -> CreatePartitionsRequest {
    let topic = |(name, partitions): &(TopicName, u32)| {
        CreatePartitionsTopic::default()
            .with_name(StrBytes::from_string(name.to_string()).into())
            .with_count(i32::try_from(*partitions).unwrap_or(i32::MAX))
            .with_assignments(None)
    };
    CreatePartitionsRequest::default().with_topics(topics.iter().map(topic).collect()).with_timeout_ms(30_000)
}

fn growing((name, partitions): &(TopicName, u32)) -> String {
    format!("grow topic {name} to {}", counted(*partitions, "partition"))
}

/// Topics of a request that its answer does not say have grown. Pure.
fn not_grown(asked: &[(TopicName, u32)], results: &[CreatePartitionsTopicResult]) -> Failures {
    let judged = |topic: &(TopicName, u32)| match results.iter().find(|result| result.name.as_str() == topic.0.as_str())
    {
        Some(result) => check(growing(topic), result.error_code, result.error_message.as_deref()).err(),
        None => {
            let reason = "the target's answer does not name it".to_owned();
            Some(ClientError::Library { what: growing(topic), reason, retriable: true })
        }
    };
    asked.iter().filter_map(|topic| Some((topic.0.clone(), judged(topic)?))).collect()
}

/// Those of a request that came to nothing, and of all behind it. Pure.
fn unasked(topics: &[(TopicName, u32)], cause: &ClientError) -> Failures {
    let reason = cause.to_string();
    let failure = |topic: &(TopicName, u32)| ClientError::Library {
        what: growing(topic),
        reason: reason.clone(),
        retriable: true,
    };
    topics.iter().map(|topic| (topic.0.clone(), failure(topic))).collect()
}

/// What was changed on these topics, without what `excluded` names.
pub(crate) async fn changed_configs(
    client: &RawClient,
    topics: &[TopicName],
    excluded: Option<&Regex>,
) -> Result<BTreeMap<TopicName, Changed>, TopicsError> {
    let (found, unread) = read_configs(client, topics, excluded).await?;
    match unread.into_values().next() {
        None => Ok(found),
        Some(cause) => Err(during("read topic settings")(cause)),
    }
}

/// As [`changed_configs`], with those topics apart whose settings the cluster does not tell.
pub(crate) async fn read_configs(
    client: &RawClient,
    topics: &[TopicName],
    excluded: Option<&Regex>,
) -> Result<(BTreeMap<TopicName, Changed>, Failures), TopicsError> {
    if topics.is_empty() {
        return Ok((BTreeMap::new(), Failures::new()));
    }
    let resource = |topic: &TopicName| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_string()))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
    let answer = client.request(Node::Any, &request).await.map_err(during("read topic settings"))?;
    Ok(told(&answer.results, excluded))
}

/// What an answer tells of settings, and of which topics it tells none. Pure.
fn told(results: &[DescribeConfigsResult], excluded: Option<&Regex>) -> (BTreeMap<TopicName, Changed>, Failures) {
    let (mut found, mut unread) = (BTreeMap::new(), Failures::new());
    for result in results {
        let Ok(name) = TopicName::parse(&result.resource_name) else { continue };
        match check(format!("read settings of topic {name}"), result.error_code, result.error_message.as_deref()) {
            Ok(()) => _ = found.insert(name, changed(result, excluded)),
            Err(cause) => _ = unread.insert(name, cause),
        }
    }
    (found, unread)
}

fn changed(result: &DescribeConfigsResult, excluded: Option<&Regex>) -> Changed {
    result
        .configs
        .iter()
        .filter(|config| {
            config.config_source == DYNAMIC_TOPIC_CONFIG
                && !config.is_sensitive
                && !config.name.starts_with(MARKS)
                && !excluded.is_some_and(|excluded| excluded.is_match(&config.name))
        })
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect()
}

/// The steps from what the target has to what it should have; `None` for a value means back to the default. Pure.
pub(crate) fn difference(wanted: &Changed, present: &Changed, excluded: &Regex) -> Vec<(String, Option<String>)> {
    let names: BTreeSet<&String> =
        wanted.keys().chain(present.keys()).filter(|name| !excluded.is_match(name)).collect();
    names
        .into_iter()
        .filter(|name| wanted.get(*name) != present.get(*name))
        .map(|name| (name.clone(), wanted.get(name).cloned()))
        .collect()
}

/// Applies differences on the target; settings that the target refuses are named.
pub(crate) async fn alter(
    target: &RawClient,
    changes: &BTreeMap<TopicName, Vec<(String, Option<String>)>>,
) -> Result<Failures, TopicsError> {
    let resources: Vec<AlterConfigsResource> = changes
        .iter()
        .map(|(topic, steps)| {
            let steps = steps.iter().map(|(name, value)| {
                AlterableConfig::default()
                    .with_name(StrBytes::from_string(name.clone()))
                    .with_config_operation(if value.is_some() { SET } else { DELETE })
                    .with_value(value.clone().map(StrBytes::from_string))
            });
            AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(StrBytes::from_string(topic.to_string()))
                .with_configs(steps.collect())
        })
        .collect();
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    let answer =
        target.request(Node::Controller, &request).await.map_err(during("change topic settings on the target"))?;
    let mut failures = Failures::new();
    for response in &answer.responses {
        let Ok(name) = TopicName::parse(&response.resource_name) else { continue };
        if let Err(error) =
            check(format!("change settings of topic {name}"), response.error_code, response.error_message.as_deref())
        {
            failures.insert(name, error);
        }
    }
    Ok(failures)
}

fn check(what: String, code: i16, detail: Option<&str>) -> Result<(), ClientError> {
    match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Broker { what, code, detail: detail.map(str::to_owned) }),
    }
}

#[cfg(test)]
mod tests {
    use twinstream_client::raw::TopicInfo;
    use twinstream_client::raw::kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

    use super::*;

    #[test]
    fn what_a_topic_is_a_mirror_of_does_not_follow() {
        let config = |name: &'static str| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str("1")))
                .with_config_source(DYNAMIC_TOPIC_CONFIG)
        };
        let marks = ["link", "source.cluster", "source.topic", "source.topic.id", "state"];
        let marks = marks.map(|part| format!("{MARKS}{part}"));
        let mut configs = vec![config("retention.ms")];
        configs.extend(marks.map(|name| config("x").with_name(StrBytes::from_string(name))));
        let found = changed(&DescribeConfigsResult::default().with_configs(configs), None);
        assert_eq!(found, Changed::from([("retention.ms".to_owned(), "1".to_owned())]));
    }

    #[test]
    fn a_topic_whose_settings_may_not_be_read_keeps_none_of_the_others() {
        let result = |name: &'static str, code: ErrorCode| {
            let result = DescribeConfigsResult::default().with_resource_name(StrBytes::from_static_str(name));
            result.with_error_code(code.code())
        };
        let results = [result("secret", ErrorCode::TopicAuthorizationFailed), result("open", ErrorCode::None)];
        let (found, unread) = told(&results, None);
        assert_eq!(found.into_keys().map(|name| name.to_string()).collect::<Vec<_>>(), ["open"]);
        let (name, cause) = unread.into_iter().next().unwrap();
        assert!(name.as_str() == "secret" && cause.to_string().contains("secret"), "{cause}");
    }

    #[test]
    fn topics_grow_many_at_once_and_one_that_cannot_stops_no_other() {
        let name = |text: &str| TopicName::parse(text).unwrap();
        let asked = [(name("a"), 6), (name("b"), 9), (name("c"), 2)];
        let request = grown(&asked);
        let counts: Vec<(&str, i32)> = request.topics.iter().map(|topic| (topic.name.as_str(), topic.count)).collect();
        assert_eq!(counts, [("a", 6), ("b", 9), ("c", 2)]);
        let result = |name: &'static str, code: ErrorCode| {
            let result = CreatePartitionsTopicResult::default().with_name(StrBytes::from_static_str(name).into());
            result.with_error_code(code.code())
        };
        let results = [result("b", ErrorCode::InvalidPartitions), result("a", ErrorCode::None)];
        let failed = not_grown(&asked, &results);
        let told: Vec<String> = failed.values().map(ToString::to_string).collect();
        assert_eq!(failed.keys().map(TopicName::as_str).collect::<Vec<_>>(), ["b", "c"]);
        assert!(told[0].contains("grow topic b to 9 partitions") && told[1].contains("does not name it"), "{told:?}");
        let cause = ClientError::Timeout { what: "ask".to_owned(), after: std::time::Duration::from_secs(60) };
        let failed = unasked(&asked[1..], &cause);
        assert_eq!(failed.keys().map(TopicName::as_str).collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn topics_are_made_as_the_source_has_them_and_only_those_that_are_not_there() {
        let name = |text: &str| TopicName::parse(text).unwrap();
        let remotes = BTreeMap::from([(name("a.new"), name("new")), (name("a.old"), name("old"))]);
        let mut view = ClusterView::default();
        let (id, internal) = (twinstream_model::TopicId::NONE, false);
        let old = TopicInfo { name: name("a.old"), id, internal, partitions: BTreeMap::new() };
        view.topics.insert(name("a.old"), Arc::new(old));
        assert_eq!(to_be_made(&remotes, &view), [name("new")]);
        let configs = Changed::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let wanted = WantedTopic { partitions: 6, replicas: 3, configs: configs.clone() };
        let made = |factor, brokers| {
            let topic = new_topic(&name("a.new"), &wanted, factor, brokers);
            assert_eq!((topic.partitions, &topic.configs), (6, &configs));
            topic.replication_factor
        };
        assert_eq!((made(None, 5), made(None, 2), made(Some(1), 5), made(Some(-1), 5)), (3, 2, 1, -1));
    }

    #[test]
    fn a_new_topic_gets_the_replicas_of_the_source_as_far_as_there_are_brokers() {
        assert_eq!((factor_like(3, 5), factor_like(3, 1), factor_like(1, 3)), (3, 1, 1));
        assert_eq!(factor_like(0, 3), -1, "the source did not say");
    }
}
