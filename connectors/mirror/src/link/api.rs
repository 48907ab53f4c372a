//! The paths below `/links`.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /links` | every link with its state |
//! | `GET /links/ui` | a page for browsers that shows all links and refreshes itself |
//! | `GET /links/A->B` | one link: connectors, failures, partitions, groups, limits, settings |
//! | `PUT /links/A->B` | makes its connectors, or gives them new settings; the body is a flat configuration without class, name and aliases |
//! | `DELETE /links/A->B` | deletes its connectors; topics and offsets stay |
//! | `PUT /links/A->B/pause`, `/resume`, `/stop` | the same of all its connectors |
//! | `GET /links/A->B/lag` | how far each partition is behind, in records, bytes and milliseconds |
//! | `PUT /links/A->B/verify` | compares both sides; `?topics=` regular expressions, `?timeout=` seconds |
//! | `PUT /links/A->B/failover`, `/promote`, `/reverse`, `/failback` | changes who leads, and reports what that costs; `?topics=`, `?timeout=` seconds, called again until `done` |
//!
//! `A:B` names the same link. With `?dry-run` a change is checked and told, and not made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use twinstream_connect_api::{
    ApiAnswer, ApiRefusal, ApiRequest, Extension, Method, Page, RawConfig, Wanted, WorkerApi, async_trait,
};

use super::ops::{self, Verb};
use super::state::{Left, Member, standing, state_of};
use super::{LinkName, Members, Part, SOURCE_ALIAS, TARGET_ALIAS, cycles, lag, limits, links, overview, page, verify};
use crate::config::{RETURNS, Settings};
use crate::engine::standing::Standing;
use crate::figures::{self, Mode};
use crate::observer::now_ms;

/// What a link's name and its parts say, so that a configuration must not.
const FROM_NAME: [&str; 4] = [SOURCE_ALIAS, TARGET_ALIAS, "connector.class", "name"];

/// The extension of the worker's REST API.
pub struct Links;

/// What becomes of mirrors when their link is deleted.
const STAY_MIRRORS: &str = "these topics stay mirrors, which take records from nobody else: make the link again, or let producers in with \
    `kafka-configs --alter --entity-type topics --entity-name TOPIC --add-config twinstream.mirror.state=promoted`";

#[async_trait]
impl Extension for Links {
    fn path(&self) -> &'static str {
        "links"
    }

    fn pages(&self) -> &'static [Page] {
        &page::PAGES
    }

    async fn answer(&self, worker: Arc<dyn WorkerApi>, request: ApiRequest) -> Result<ApiAnswer, ApiRefusal> {
        let worker = worker.as_ref();
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let Some((link, rest)) = path.split_first() else {
            return match request.method {
                Method::Get => Ok(ApiAnswer::ok(all(worker))),
                _ => Err(ApiRefusal::new(405, "links are listed by GET /links, and made by PUT /links/A->B")),
            };
        };
        let link = LinkName::parse(link).map_err(ApiRefusal::bad_request)?;
        check_query(&request, rest)?;
        match (request.method, rest) {
            (Method::Get, []) => Ok(ApiAnswer::ok(one(worker, &link)?)),
            (Method::Put, []) => put(worker, &link, &request).await,
            (Method::Delete, []) => delete(worker, &link, &request).await,
            (Method::Put, ["pause"]) => want(worker, &link, Wanted::Paused, &request).await,
            (Method::Put, ["resume"]) => want(worker, &link, Wanted::Running, &request).await,
            (Method::Put, ["stop"]) => want(worker, &link, Wanted::Stopped, &request).await,
            (Method::Put, ["verify"]) => compare(worker, &link, &request).await,
            (Method::Get, ["lag"]) => Ok(ApiAnswer::ok(behind(worker, &link).await?)),
            (Method::Put, [verb]) if Verb::parse(verb).is_some() => {
                let verb = Verb::parse(verb).unwrap_or(Verb::Failover);
                ops::answer(worker, &link, verb, &request).await
            }
            (_, []) => Err(ApiRefusal::new(405, "a link knows GET, PUT and DELETE")),
            (_, ["pause" | "resume" | "stop" | "verify" | "failover" | "promote" | "reverse" | "failback"]) => {
                Err(ApiRefusal::new(405, "use PUT"))
            }
            (_, ["lag"]) => Err(ApiRefusal::new(405, "use GET")),
            (_, [verb, ..]) => Err(ApiRefusal::not_found(format!("a link has no '{verb}'"))),
        }
    }
}

/// What may be in the query of a request that changes something, by the rest of its path.
fn check_query(request: &ApiRequest, rest: &[&str]) -> Result<(), ApiRefusal> {
    let (flags, values): (&[&str], &[&str]) = match (request.method, rest) {
        (Method::Get, _) => return Ok(()),
        (_, ["failover" | "promote" | "reverse" | "failback" | "verify"]) => (&["dry-run"], &["topics", "timeout"]),
        _ => (&["dry-run"], &[]),
    };
    request.check_query(flags, values)
}

fn all(worker: &dyn WorkerApi) -> Json {
    let summary = |(link, members): (LinkName, Members)| summary(worker, &link, &members);
    Json::Array(links(worker).into_iter().map(summary).collect())
}

fn members_of(worker: &dyn WorkerApi, link: &LinkName) -> Result<Members, ApiRefusal> {
    links(worker).remove(link).ok_or_else(|| {
        ApiRefusal::not_found(format!("link {link} does not exist: no mirror connector has these two aliases"))
    })
}

fn reported(worker: &dyn WorkerApi, members: &Members) -> Vec<Member> {
    let member = |(part, name): &(Part, String)| Member {
        part: *part,
        name: name.clone(),
        wanted: worker.wanted(name).unwrap_or(Wanted::Running),
        status: worker.status(name),
    };
    members.iter().map(member).collect()
}

fn summary(worker: &dyn WorkerApi, link: &LinkName, members: &Members) -> Json {
    let members = reported(worker, members);
    let figures = figures::link(&link.source, &link.target);
    let (seen, refused) = (figures.partitions(), figures.refused());
    let (state, cause) = state_of(&members, &seen, &Left { gone: figures.gone().len(), refused: &refused });
    let (stand, held) = standing(&seen);
    json!({
        "link": link.to_string(),
        "source": link.source,
        "target": link.target,
        "state": state.name(),
        "state_cause": cause,
        "way_back": leads_back(worker, &members),
        "partitions_held": held,
        "partitions_standing": stand,
        "connectors": members.iter().map(Member::json).collect::<Vec<_>>(),
    })
}

/// Whether the link was made to bring home what copies got after a fail-over; it stands still between two of those.
fn leads_back(worker: &dyn WorkerApi, members: &[Member]) -> bool {
    let mut sources = members.iter().filter(|member| member.part == Part::Source);
    sources.any(|member| {
        worker
            .config(&member.name)
            .is_some_and(|config| config.get(RETURNS).is_some_and(|value| value.eq_ignore_ascii_case("true")))
    })
}

fn one(worker: &dyn WorkerApi, link: &LinkName) -> Result<Json, ApiRefusal> {
    let members = members_of(worker, link)?;
    let mut json = summary(worker, link, &members);
    let configs: Map<String, Json> = members
        .iter()
        .filter_map(|(part, name)| Some((part.name().to_owned(), json!(worker.shown_config(name)?))))
        .collect();
    json["configs"] = Json::Object(configs);
    let figures = figures::link(&link.source, &link.target);
    let now = now_ms();
    json["partitions"] = overview::partitions(&figures.partitions_at(now), now);
    json["groups"] = overview::groups(&figures.groups(), now);
    json["limits"] = Json::Array(limits_of(worker, &members, now));
    for (list, topics) in [("topics_refused", figures.refused()), ("topics_apart", figures.apart())] {
        json[list] = topics.iter().map(|(topic, cause)| json!({"topic": topic.as_str(), "cause": cause})).collect();
    }
    let gone = figures.gone();
    json["topics_gone"] = gone
        .iter()
        .map(|(topic, since)| json!({"topic": topic.as_str(), "gone_for_ms": (now - since).max(0)}))
        .collect();
    let acls = figures.acls();
    if !acls.is_empty() {
        json["acls"] = json!(acls);
    }
    Ok(json)
}

/// The limits that count now. Settings that cannot be read show up as a failure of their connector.
fn limits_of(worker: &dyn WorkerApi, members: &Members, now_ms: i64) -> Vec<Json> {
    let sources = members.iter().filter(|(part, _)| *part == Part::Source);
    let settings = sources.filter_map(|(_, name)| Settings::parse(&worker.config(name)?).ok());
    settings.flat_map(|settings| limits::in_force(&settings, now_ms.div_euclid(1_000))).collect()
}

/// The connectors that a link of this name has, or will have: one of each part.
fn planned(worker: &dyn WorkerApi, link: &LinkName) -> Result<Members, ApiRefusal> {
    let known = links(worker).remove(link).unwrap_or_default();
    let name = |part: Part| {
        let mut names = known.iter().filter(|(of, _)| *of == part).map(|(_, name)| name.clone());
        let name = names.next().unwrap_or_else(|| part.connector(link));
        match names.next() {
            None => Ok((part, name)),
            Some(other) => Err(ApiRefusal::conflict(format!(
                "link {link} has several connectors of one class ({name}, {other}), so it is not clear whose settings these are; configure them one by one"
            ))),
        }
    };
    Part::ALL.into_iter().map(name).collect()
}

async fn put(worker: &dyn WorkerApi, link: &LinkName, request: &ApiRequest) -> Result<ApiAnswer, ApiRefusal> {
    let given = texts(&request.body)?;
    let planned = planned(worker, link)?;
    let mut configs = Vec::new();
    for (part, name) in &planned {
        let mut config = given.clone();
        config.insert("name".to_owned(), name.clone());
        config.insert("connector.class".to_owned(), part.full_class());
        config.insert(SOURCE_ALIAS.to_owned(), link.source.clone());
        config.insert(TARGET_ALIAS.to_owned(), link.target.clone());
        // All are checked before the first is stored, so that a wrong setting leaves no half of a link.
        worker.check(&config).await.map_err(|refusal| about(*part, refusal))?;
        if *part == Part::Source {
            cycles::refuse(worker, link, &config).await?;
        }
        configs.push((*part, name, config));
    }
    let names: Vec<&String> = planned.iter().map(|(_, name)| name).collect();
    if request.flag("dry-run") {
        return Ok(ApiAnswer::ok(json!({"link": link.to_string(), "dry_run": true, "connectors": names})));
    }
    let mut is_new = false;
    for (part, name, config) in configs {
        is_new |= worker.put(name, config).await.map_err(|refusal| about(part, refusal))?;
    }
    let body = summary(worker, link, &planned);
    Ok(if is_new { ApiAnswer::created(body) } else { ApiAnswer::ok(body) })
}

fn about(part: Part, refusal: ApiRefusal) -> ApiRefusal {
    ApiRefusal::new(refusal.status, format!("{} of the link: {}", part.class(), refusal.message))
}

/// A flat configuration; scalars become texts, as Connect reads them.
fn texts(body: &Json) -> Result<RawConfig, ApiRefusal> {
    let Json::Object(entries) = body else {
        return Err(ApiRefusal::bad_request("the body must be a JSON object with the settings of the link"));
    };
    let mut config = RawConfig::new();
    for (key, value) in entries {
        if FROM_NAME.contains(&key.as_str()) {
            return Err(ApiRefusal::bad_request(format!("{key} follows from the name of the link, leave it out")));
        }
        let text = match value {
            Json::Null => continue,
            Json::String(text) => text.clone(),
            Json::Bool(_) | Json::Number(_) => value.to_string(),
            Json::Array(_) | Json::Object(_) => {
                return Err(ApiRefusal::bad_request(format!("{key} must be a text, a number or true or false")));
            }
        };
        config.insert(key.clone(), text);
    }
    Ok(config)
}

async fn delete(worker: &dyn WorkerApi, link: &LinkName, request: &ApiRequest) -> Result<ApiAnswer, ApiRefusal> {
    let members = members_of(worker, link)?;
    if request.flag("dry-run") {
        let names: Vec<&String> = members.iter().map(|(_, name)| name).collect();
        let mirrors = mirrors_of(link);
        let note = (!mirrors.is_empty()).then_some(STAY_MIRRORS);
        let body =
            json!({"link": link.to_string(), "dry_run": true, "connectors": names, "mirrors": mirrors, "note": note});
        return Ok(ApiAnswer::ok(body));
    }
    // Before tasks end, which take their figures with them.
    let mirrors = mirrors_of(link);
    for (_, name) in &members {
        match worker.delete(name).await {
            // Somebody else was faster: what is wanted is the case.
            Err(refusal) if refusal.status == 404 => {}
            done => done?,
        }
    }
    if mirrors.is_empty() {
        return Ok(ApiAnswer::no_content());
    }
    Ok(ApiAnswer::ok(json!({"link": link.to_string(), "mirrors": mirrors, "note": STAY_MIRRORS})))
}

/// Topics of the target that take records from this link alone, as far as tasks of this process have seen them.
fn mirrors_of(link: &LinkName) -> BTreeSet<String> {
    let seen = figures::link(&link.source, &link.target).partitions();
    let mirrors = seen.iter().filter(|seen| seen.mode == Some(Mode::Aligned) && seen.standing != Standing::Promoted);
    mirrors.map(|seen| seen.target.topic.to_string()).collect()
}

async fn want(
    worker: &dyn WorkerApi,
    link: &LinkName,
    wanted: Wanted,
    request: &ApiRequest,
) -> Result<ApiAnswer, ApiRefusal> {
    let members = members_of(worker, link)?;
    if request.flag("dry-run") {
        let change = |(_, name): &(Part, String)| json!({"connector": name, "from": worker.wanted(name).map(Wanted::name), "to": wanted.name()});
        let changes: Vec<Json> = members.iter().map(change).collect();
        return Ok(ApiAnswer::ok(json!({"link": link.to_string(), "dry_run": true, "changes": changes})));
    }
    for (_, name) in &members {
        worker.want(name, wanted).await?;
    }
    Ok(ApiAnswer::accepted())
}

/// The settings of the link's source connectors.
fn copying(worker: &dyn WorkerApi, link: &LinkName) -> Result<Vec<(String, RawConfig)>, ApiRefusal> {
    let sources = members_of(worker, link)?.into_iter().filter(|(part, _)| *part == Part::Source);
    let sources: Vec<_> = sources.map(|(_, name)| (name.clone(), worker.config(&name).unwrap_or_default())).collect();
    if sources.is_empty() {
        return Err(ApiRefusal::conflict(format!("link {link} has no MirrorSourceConnector, so it copies nothing")));
    }
    Ok(sources)
}

async fn compare(worker: &dyn WorkerApi, link: &LinkName, request: &ApiRequest) -> Result<ApiAnswer, ApiRefusal> {
    let asked = verify::asked(request)?;
    verify::answer(link, copying(worker, link)?, asked, request.flag("dry-run")).await
}

async fn behind(worker: &dyn WorkerApi, link: &LinkName) -> Result<Json, ApiRefusal> {
    let mut all = BTreeMap::new();
    for (name, config) in copying(worker, link)? {
        let settings = Settings::parse(&config)
            .map_err(|cause| ApiRefusal::new(500, format!("settings of connector {name}: {cause}")))?;
        all.extend(lag::lags(&settings, &worker.offsets(&name)).await?);
    }
    let mut json = lag::json_of(&all);
    json["link"] = json!(link.to_string());
    Ok(json)
}
