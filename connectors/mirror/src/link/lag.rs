//! How far a link is behind its source: asked at both ends when somebody wants to know, not guessed from what tasks said.
//!
//! The position of a partition is the one that the worker has stored, so it may be `offset.flush.interval.ms` behind what is
//! on the target already: a lag is never shown smaller than it is. What was never copied lacks everything that the source
//! has. A partition whose leader does not answer shows no numbers and says why.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use twinstream_client::raw::OffsetAt;
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiRefusal, OffsetMap};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::config::Settings;
use crate::offsets::next_of;

/// What is asked of the source.
struct Ends {
    start: Result<Offset, ClientError>,
    end: Result<Offset, ClientError>,
}

/// One partition's numbers, or why there are none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lag {
    Known {
        /// The next record to copy; none when nothing was copied yet.
        position: Option<Offset>,
        end: Offset,
        records: i64,
    },
    Unknown(String),
}

/// The lag of each partition of the source that the link copies.
pub(super) async fn lags(
    settings: &Settings,
    stored: &[(OffsetMap, OffsetMap)],
) -> Result<BTreeMap<TopicPartition, Lag>, ApiRefusal> {
    let away = |cause: ClientError| {
        let text = format!("source cluster '{}' cannot be asked: {}", settings.source_alias, trace_of(&cause));
        ApiRefusal::new(502, text)
    };
    let client = RawClient::connect(&settings.source).await.map_err(away)?;
    let view = client.refresh_all().await.map_err(away)?;
    let copied = |topic: &TopicName| settings.filter.copies(topic.as_str(), &settings.policy, &settings.target_alias);
    let partitions: Vec<TopicPartition> = view
        .topics
        .values()
        .filter(|topic| !topic.internal && copied(&topic.name))
        .flat_map(|topic| topic.partitions.keys().map(|index| TopicPartition::new(topic.name.clone(), *index)))
        .collect();
    let mut starts = client.list_offsets(&partitions, OffsetAt::Earliest).await.map_err(away)?;
    let mut ends = client.list_offsets(&partitions, OffsetAt::Latest).await.map_err(away)?;
    let positions = positions(&settings.source_alias, stored);
    let one = |partition: TopicPartition| {
        let unasked = || Err(ClientError::Closed { what: "the source did not answer for this partition".to_owned() });
        let ends = Ends {
            start: starts.remove(&partition).unwrap_or_else(unasked),
            end: ends.remove(&partition).unwrap_or_else(unasked),
        };
        let lag = lag(positions.get(&partition), ends);
        (partition, lag)
    };
    Ok(partitions.into_iter().map(one).collect())
}

/// The next offset of each partition, or what is wrong with the stored one.
fn positions(alias: &str, stored: &[(OffsetMap, OffsetMap)]) -> BTreeMap<TopicPartition, Result<Offset, String>> {
    let mut positions = BTreeMap::new();
    for (partition, offset) in stored {
        let topic = partition.get("topic").and_then(Json::as_str).and_then(|name| TopicName::parse(name).ok());
        let index = partition.get("partition").and_then(Json::as_i64).and_then(|index| i32::try_from(index).ok());
        let is_ours = partition.get("cluster").and_then(Json::as_str) == Some(alias);
        let (Some(topic), Some(index), true) = (topic, index, is_ours) else { continue };
        let partition = TopicPartition::new(topic, PartitionIndex(index));
        match next_of(&partition, Some(offset)) {
            Ok(Some(next)) => _ = positions.insert(partition, Ok(next)),
            Ok(None) => {}
            Err(cause) => _ = positions.insert(partition, Err(cause.trace())),
        }
    }
    positions
}

fn lag(position: Option<&Result<Offset, String>>, ends: Ends) -> Lag {
    let (start, end) = match (ends.start, ends.end) {
        (Ok(start), Ok(end)) => (start, end),
        (Err(cause), _) | (_, Err(cause)) => return Lag::Unknown(trace_of(&cause)),
    };
    let position = match position {
        None => None,
        Some(Ok(position)) => Some(*position),
        Some(Err(cause)) => return Lag::Unknown(cause.clone()),
    };
    // What the source has removed can be copied by nobody, and is no lag.
    let from = position.unwrap_or(start).max(start);
    Lag::Known { position, end, records: (end.0 - from.0).max(0) }
}

/// `records` is the sum; `unknown` counts the partitions that could not be asked.
pub(super) fn json_of(lags: &BTreeMap<TopicPartition, Lag>) -> Json {
    let (mut records, mut unknown) = (0_i64, 0);
    let partitions: Vec<Json> = lags
        .iter()
        .map(|(partition, lag)| {
            let mut json = json!({"topic": partition.topic.as_str(), "partition": partition.partition.0});
            match lag {
                Lag::Known { position, end, records: lag } => {
                    records = records.saturating_add(*lag);
                    json["position"] = json!(position.map(|position| position.0));
                    json["end"] = json!(end.0);
                    json["records"] = json!(lag);
                }
                Lag::Unknown(cause) => {
                    unknown += 1;
                    json["error"] = json!(cause);
                }
            }
            json
        })
        .collect();
    json!({"records": records, "unknown": unknown, "partitions": partitions})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{source_offset, source_partition};

    fn at(index: i32) -> TopicPartition {
        TopicPartition::new(TopicName::parse("t").unwrap(), PartitionIndex(index))
    }

    fn ends(start: i64, end: i64) -> Ends {
        Ends { start: Ok(Offset(start)), end: Ok(Offset(end)) }
    }

    #[test]
    fn what_the_source_has_removed_or_never_had_is_no_lag() {
        let lag_of = |position: Option<i64>, start, end| {
            let position = position.map(|position| Ok(Offset(position)));
            match lag(position.as_ref(), ends(start, end)) {
                Lag::Known { records, .. } => records,
                Lag::Unknown(cause) => panic!("{cause}"),
            }
        };
        assert_eq!(lag_of(Some(7), 0, 10), 3);
        assert_eq!(lag_of(Some(2), 5, 10), 5, "removed before they were copied");
        assert_eq!(lag_of(None, 5, 10), 5, "never copied");
        assert_eq!(lag_of(Some(12), 0, 10), 0, "the source was cut");
    }

    #[test]
    fn only_offsets_of_this_source_are_positions() {
        let stored = [
            (source_partition("east", &at(0)), source_offset(Offset(4))),
            (source_partition("west", &at(1)), source_offset(Offset(9))),
        ];
        assert_eq!(positions("east", &stored), BTreeMap::from([(at(0), Ok(Offset(4)))]));
    }

    #[test]
    fn partition_that_cannot_be_asked_shows_why_and_no_number() {
        let silent = Ends { start: Ok(Offset(0)), end: Err(ClientError::Closed { what: "nobody leads".to_owned() }) };
        let lags = BTreeMap::from([(at(0), lag(None, silent)), (at(1), lag(None, ends(0, 3)))]);
        let json = json_of(&lags);
        assert_eq!((&json["records"], &json["unknown"]), (&json!(3), &json!(1)), "{json}");
        assert!(json["partitions"][0]["records"].is_null(), "{json}");
    }
}
