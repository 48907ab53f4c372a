//! How far a link is behind its source: the source is asked when somebody wants to know, and says where it ends now.
//!
//! The position of a partition is what its task has seen acknowledged, if the task runs in this worker; else the one that the
//! worker has stored, which may be `offset.flush.interval.ms` behind what is on the target already. So a lag is never shown
//! smaller than it is. What was never copied lacks everything that the source has. A partition whose leader does not answer
//! shows no numbers and says why. Bytes are estimated from the last records, and the time is how long the next record has
//! waited at most; both are known where the task runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use twinstream_client::raw::{ClusterView, OffsetAt};
use twinstream_client::{ClientError, RawClient};
use twinstream_connect_api::error::trace_of;
use twinstream_connect_api::{ApiRefusal, OffsetMap};
use twinstream_model::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::config::Settings;
use crate::figures::{self, Seen};
use crate::observer::now_ms;
use crate::offsets::next_of;
use crate::returns;

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
        bytes: Option<i64>,
        ms: Option<i64>,
        verified: Option<Offset>,
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
    let copied = copied_topics(settings, &client, &view).await.map_err(away)?;
    let partitions: Vec<TopicPartition> = view
        .topics
        .values()
        .filter(|topic| copied.contains(&topic.name))
        .flat_map(|topic| topic.partitions.keys().map(|index| TopicPartition::new(topic.name.clone(), *index)))
        .collect();
    let mut starts = client.list_offsets(&partitions, OffsetAt::Earliest).await.map_err(away)?;
    let mut ends = client.list_offsets(&partitions, OffsetAt::Latest).await.map_err(away)?;
    let positions = positions(&settings.source_alias, stored);
    let seen = figures::link(&settings.source_alias, &settings.target_alias).partitions();
    let seen: BTreeMap<&TopicPartition, &Seen> = seen.iter().map(|seen| (&seen.source, seen)).collect();
    let one = |partition: TopicPartition| {
        let unasked = || Err(ClientError::Closed { what: "the source did not answer for this partition".to_owned() });
        let ends = Ends {
            start: starts.remove(&partition).unwrap_or_else(unasked),
            end: ends.remove(&partition).unwrap_or_else(unasked),
        };
        let lag = lag(positions.get(&partition), seen.get(&partition).copied(), ends);
        (partition, lag)
    };
    Ok(partitions.into_iter().map(one).collect())
}

/// The next offset of each partition, or what is wrong with the stored one.
pub(super) fn positions(
    alias: &str,
    stored: &[(OffsetMap, OffsetMap)],
) -> BTreeMap<TopicPartition, Result<Offset, String>> {
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

/// The topics of the source that the link copies.
async fn copied_topics(
    settings: &Settings,
    source: &RawClient,
    view: &ClusterView,
) -> Result<BTreeSet<TopicName>, ClientError> {
    let topics = view.topics.values().filter(|topic| !topic.internal).map(|topic| topic.name.clone());
    if !settings.returns {
        let Settings { filter, policy, target_alias, .. } = settings;
        return Ok(topics.filter(|topic| filter.copies(topic.as_str(), policy, target_alias)).collect());
    }
    let topics: Vec<TopicName> = topics.collect();
    let (marks, target) = tokio::join!(source.mirror_marks(&topics), RawClient::connect(&settings.target));
    let home = target?.cluster_id();
    let (names, _) = returns::coming_home(&marks?, home.as_deref(), &settings.filter, &settings.policy);
    Ok(names.into_keys().collect())
}

fn lag(position: Option<&Result<Offset, String>>, seen: Option<&Seen>, ends: Ends) -> Lag {
    let (start, end) = match (ends.start, ends.end) {
        (Ok(start), Ok(end)) => (start, end),
        (Err(cause), _) | (_, Err(cause)) => return Lag::Unknown(trace_of(&cause)),
    };
    let position = match position {
        None => None,
        Some(Ok(position)) => Some(*position),
        Some(Err(cause)) => return Lag::Unknown(cause.clone()),
    };
    // A task that runs here has seen more; what a former one has seen may be of a log that was made anew.
    let live = seen.filter(|seen| seen.is_live);
    let position = position.max(live.and_then(|seen| seen.arrived)).filter(|position| *position >= Offset(0));
    // What the source has removed can be copied by nobody, and is no lag.
    let from = position.unwrap_or(start).max(start);
    let records = (end.0 - from.0).max(0);
    let (bytes, ms) = match live {
        _ if records == 0 => (Some(0), Some(0)),
        // What came since the last word of the source waits for less than that.
        Some(seen) => (
            seen.record_bytes.map(|each| (records as f64 * each) as i64),
            if seen.lag.records == 0 {
                Some(seen.contact_ms.map_or(0, |at| (now_ms() - at).max(0)))
            } else {
                seen.lag.ms
            },
        ),
        None => (None, None),
    };
    Lag::Known { position, end, records, bytes, ms, verified: seen.and_then(|seen| seen.verified) }
}

/// `records` and `bytes` are sums, `ms` is the worst partition's; null where one does not know. `unknown` counts the partitions that could not be asked.
pub(super) fn json_of(lags: &BTreeMap<TopicPartition, Lag>) -> Json {
    let (mut records, mut bytes, mut ms, mut unknown) = (0_i64, Some(0_i64), Some(0_i64), 0);
    let partitions: Vec<Json> = lags
        .iter()
        .map(|(partition, lag)| {
            let mut json = json!({"topic": partition.topic.as_str(), "partition": partition.partition.0});
            match lag {
                Lag::Known { position, end, records: lag, bytes: lag_bytes, ms: lag_ms, verified } => {
                    records = records.saturating_add(*lag);
                    bytes = bytes.zip(*lag_bytes).map(|(all, one)| all.saturating_add(one));
                    ms = ms.zip(*lag_ms).map(|(all, one)| all.max(one));
                    json["bytes"] = json!(lag_bytes);
                    json["ms"] = json!(lag_ms);
                    json["verified"] = json!(verified.map(|verified| verified.0));
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
    json!({"records": records, "bytes": bytes, "ms": ms, "unknown": unknown, "partitions": partitions})
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
            match lag(position.as_ref(), None, ends(start, end)) {
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
        let lags = BTreeMap::from([(at(0), lag(None, None, silent)), (at(1), lag(None, None, ends(0, 3)))]);
        let json = json_of(&lags);
        assert_eq!((&json["records"], &json["unknown"]), (&json!(3), &json!(1)), "{json}");
        assert!(json["partitions"][0]["records"].is_null(), "{json}");
    }
}
