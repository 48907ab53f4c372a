//! Verification when somebody asks: from the beginning, or from where the last answer ended, up to what both sides had when
//! it began, and no longer than the asker waits.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout_at};
use twinstream_client::ClientError;
use twinstream_connect_api::error::trace_of;
use twinstream_model::{TopicName, TopicPartition};

use super::walk::{Step, Walk};
use super::world::World;
use crate::config::Settings;
use crate::figures;

/// How a partition was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Everything that the source has is on the target.
    Equal,
    /// The same as far as the target has it.
    Behind,
    /// The time was over; ask again from `verified` on.
    Unfinished,
    /// It could not be compared.
    Unknown,
    Different,
}

impl State {
    const ALL: [State; 5] = [State::Equal, State::Behind, State::Unfinished, State::Unknown, State::Different];

    fn name(self) -> &'static str {
        match self {
            State::Equal => "EQUAL",
            State::Behind => "BEHIND",
            State::Unfinished => "UNFINISHED",
            State::Unknown => "UNKNOWN",
            State::Different => "DIFFERENT",
        }
    }
}

/// The state of all of these; nothing at all is equal.
pub(crate) fn worst<'a>(names: impl Iterator<Item = &'a str>) -> &'static str {
    let known = names.filter_map(|name| State::ALL.into_iter().find(|state| state.name() == name));
    known.max().unwrap_or(State::Equal).name()
}

/// What would be compared.
pub(crate) async fn plan(settings: Settings, wanted: impl Fn(&TopicName) -> bool) -> Result<Json, ClientError> {
    let found = World::connect(settings, true).await?.look(wanted).await?;
    let pair = |pair: &super::walk::Pair| {
        let (topic, target_topic) = (pair.there.topic.as_str(), pair.here.topic.as_str());
        json!({"topic": topic, "partition": pair.there.partition.0, "target_topic": target_topic, "mode": pair.mode.name()})
    };
    let partitions: Vec<Json> = found.pairs.iter().map(pair).collect();
    Ok(json!({"partitions": partitions, "left_out": left_out(&found.left_out)}))
}

fn left_out(topics: &BTreeMap<TopicName, String>) -> Vec<Json> {
    topics.iter().map(|(topic, why)| json!({"topic": topic.as_str(), "why": why})).collect()
}

/// Compares the partitions of these topics, one after the other. `from` are offsets of the source to begin with.
pub(crate) async fn verify(
    settings: Settings,
    wanted: impl Fn(&TopicName) -> bool,
    from: &BTreeMap<TopicPartition, i64>,
    until: Instant,
) -> Result<Json, ClientError> {
    let link = figures::link(&settings.source_alias, &settings.target_alias);
    let aliases = (settings.source_alias.clone(), settings.target_alias.clone());
    let open = async {
        let mut world = World::connect(settings, true).await?;
        world.read_map().await?;
        let found = world.look(wanted).await?;
        Ok::<_, ClientError>((world, found))
    };
    let (world, found) = match timeout_at(until, open).await {
        Ok(opened) => opened?,
        Err(_) => {
            let what = "the time of the request was over before both clusters had answered".to_owned();
            return Err(ClientError::Closed { what });
        }
    };
    let (mut all, mut worst) = (Vec::new(), State::Equal);
    for pair in found.pairs {
        let next = from.get(&pair.there).copied();
        let mut walk = Walk::new(pair, next);
        let result = one(&world, &mut walk, until).await;
        let mut json = report(&walk);
        let state = match result {
            Ok(_) if walk.told.differences > 0 => State::Different,
            Ok(state) => state,
            Err(cause) => {
                json["error"] = json!(trace_of(&cause));
                if walk.told.differences > 0 { State::Different } else { State::Unknown }
            }
        };
        json["state"] = json!(state.name());
        let figures = link.partition(&walk.pair.there, &walk.pair.here);
        if walk.told.differences > 0 {
            figures.differs(walk.told.differences);
            crate::metrics::differ(&aliases.0, &aliases.1, &walk.pair.here, walk.told.differences);
        }
        worst = worst.max(state);
        all.push(json);
    }
    Ok(json!({"state": worst.name(), "partitions": all, "left_out": left_out(&found.left_out)}))
}

async fn one(world: &World, walk: &mut Walk, until: Instant) -> Result<State, ClientError> {
    let mut end = None;
    loop {
        if Instant::now() >= until {
            return Ok(State::Unfinished);
        }
        let map = world.map(&walk.pair.there);
        let step = walk.step(&world.sides, map).await?;
        end = end.or(walk.told.source_end);
        let is_done = end.is_some_and(|end| walk.next.is_some_and(|next| next >= end));
        match step {
            _ if is_done => return Ok(State::Equal),
            Step::Moved { .. } => {}
            Step::AtEnd { .. } => return Ok(State::Behind),
        }
    }
}

fn report(walk: &Walk) -> Json {
    let told = &walk.told;
    let named = |difference: &super::Difference| json!({"source": difference.source, "target": difference.target, "what": difference.what.to_string()});
    json!({
        "topic": walk.pair.there.topic.as_str(),
        "partition": walk.pair.there.partition.0,
        "target_topic": walk.pair.here.topic.as_str(),
        "mode": walk.pair.mode.name(),
        "from": told.from,
        "verified": walk.next,
        "source_end": told.source_end,
        "records": told.records,
        "bytes": told.bytes,
        "removed": told.removed,
        "repeated": told.repeated,
        "unpaired": told.unpaired,
        "differences": told.differences,
        "first": told.named.iter().map(named).collect::<Vec<_>>(),
    })
}
