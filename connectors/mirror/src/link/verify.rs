//! `PUT /links/A->B/verify`: what is asked for, and the sum of what the link's connectors answer.
//!
//! One request takes no longer than `timeout`; what is not compared by then is UNFINISHED and says how far it is. The body of
//! the next request may name those offsets, so a comparison of any size is made of short requests, and holds nothing here
//! between them.

use std::collections::BTreeMap;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiAnswer, ApiRefusal, ApiRequest, RawConfig};
use twinstream_model::{PartitionIndex, TopicName, TopicPartition};

use super::LinkName;
use crate::config::Settings;
use crate::policy::full_match;
use crate::verify::demand;

/// A worker gives its own answers 90 seconds; the last stretch and the way back need some.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(30);
/// Connectors with transforms change records on purpose.
const TRANSFORMS: [&str; 2] = ["transforms", "predicates"];

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    topics: Regex,
    from: BTreeMap<TopicPartition, i64>,
    timeout: Duration,
}

pub(super) fn asked(request: &ApiRequest) -> Result<Asked, ApiRefusal> {
    let topics: Vec<String> = match request.query.get("topics").map(String::as_str) {
        None | Some("") => vec![".*".to_owned()],
        Some(list) => {
            list.split(',').map(|pattern| pattern.trim().to_owned()).filter(|pattern| !pattern.is_empty()).collect()
        }
    };
    let topics = full_match(&topics).map_err(|why| ApiRefusal::bad_request(format!("topics: {why}")))?;
    let timeout = match request.query.get("timeout") {
        None => TIMEOUT,
        Some(text) => match text.trim_end_matches('s').parse() {
            Ok(seconds) if (1..=TIMEOUT_MAX.as_secs()).contains(&seconds) => Duration::from_secs(seconds),
            _ => {
                let most = TIMEOUT_MAX.as_secs();
                return Err(ApiRefusal::bad_request(format!(
                    "timeout={text} is not 1 to {most} seconds; ask again for the rest"
                )));
            }
        },
    };
    let mut from = BTreeMap::new();
    for entry in request.body["from"].as_array().into_iter().flatten() {
        let read = || {
            let topic = TopicName::parse(entry["topic"].as_str()?).ok()?;
            let index = i32::try_from(entry["partition"].as_i64()?).ok()?;
            let offset = entry["offset"].as_i64().filter(|offset| *offset >= 0)?;
            Some((TopicPartition::new(topic, PartitionIndex(index)), offset))
        };
        let (partition, offset) = read().ok_or_else(|| {
            ApiRefusal::bad_request(format!(
                "from: {entry} is not {{\"topic\": .., \"partition\": .., \"offset\": ..}}"
            ))
        })?;
        from.insert(partition, offset);
    }
    Ok(Asked { topics, from, timeout })
}

/// Compares what these connectors copy, or says for a dry run what would be compared.
pub(super) async fn answer(
    link: &LinkName,
    connectors: Vec<(String, RawConfig)>,
    asked: Asked,
    dry_run: bool,
) -> Result<ApiAnswer, ApiRefusal> {
    let until = Instant::now() + asked.timeout;
    let mut answers = Vec::new();
    for (name, config) in connectors {
        let settings = Settings::parse(&config)
            .map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))?;
        if let Some(key) =
            TRANSFORMS.into_iter().find(|key| config.get(*key).is_some_and(|text| !text.trim().is_empty()))
        {
            return Err(ApiRefusal::conflict(format!(
                "connector {name} has {key}, which change records on their way, so both sides differ on purpose"
            )));
        }
        // Of partitions that were begun before, only those are meant.
        let wanted = |topic: &TopicName| {
            let begun = asked.from.is_empty() || asked.from.keys().any(|partition| partition.topic == *topic);
            begun && asked.topics.is_match(topic.as_str())
        };
        let answered = match dry_run {
            true => demand::plan(settings, wanted).await,
            false => demand::verify(settings, wanted, &asked.from, until).await,
        };
        let answered = answered
            .map_err(|cause| ApiRefusal::new(502, format!("a cluster cannot be asked: {}", trace_of(&cause))))?;
        answers.push(answered);
    }
    Ok(ApiAnswer::ok(joined(link, answers, dry_run)))
}

fn joined(link: &LinkName, answers: Vec<Json>, dry_run: bool) -> Json {
    let mut answers = answers.into_iter();
    let mut all = answers.next().unwrap_or_else(|| json!({"partitions": [], "left_out": []}));
    for answer in answers {
        for list in ["partitions", "left_out"] {
            let more = answer[list].as_array().cloned().unwrap_or_default();
            if let Some(known) = all[list].as_array_mut() {
                known.extend(more);
            }
        }
    }
    if !dry_run {
        let states =
            all["partitions"].as_array().into_iter().flatten().filter_map(|partition| partition["state"].as_str());
        all["state"] = json!(demand::worst(states));
    }
    all["link"] = json!(link.to_string());
    all["dry_run"] = json!(dry_run);
    all
}

#[cfg(test)]
mod tests {
    use twinstream_connect_api::Method;

    use super::*;

    fn request(query: &[(&str, &str)], body: Json) -> ApiRequest {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ApiRequest { method: Method::Put, path: Vec::new(), query, body }
    }

    #[test]
    fn what_was_begun_is_asked_for_by_its_offsets() {
        let body = json!({"from": [{"topic": "t", "partition": 3, "offset": 70}]});
        let asked = asked(&request(&[("topics", "a, t.*"), ("timeout", "5s")], body)).unwrap();
        let at = TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(3));
        assert_eq!((asked.from, asked.timeout), (BTreeMap::from([(at, 70)]), Duration::from_secs(5)));
        assert!(asked.topics.is_match("tx") && asked.topics.is_match("a") && !asked.topics.is_match("xt"));
    }

    #[test]
    fn what_is_wrong_in_a_request_is_named() {
        let refused = |query: &[(&str, &str)], body| asked(&request(query, body)).unwrap_err().message;
        assert!(refused(&[("timeout", "3600")], Json::Null).contains("60 seconds"));
        assert!(refused(&[("topics", "(")], Json::Null).contains("topics"));
        assert!(refused(&[], json!({"from": [{"topic": "t"}]})).contains("offset"));
    }

    #[test]
    fn the_worst_partition_is_the_state_of_all() {
        let part = |state: &str| json!({"state": state, "partitions": [{"state": state}], "left_out": []});
        let link = LinkName::parse("a->b").unwrap();
        let all = joined(&link, vec![part("EQUAL"), part("DIFFERENT"), part("BEHIND")], false);
        assert_eq!((&all["state"], all["partitions"].as_array().map(Vec::len)), (&json!("DIFFERENT"), Some(3)));
        assert_eq!(joined(&link, Vec::new(), false)["state"], "EQUAL");
    }
}
