//! `_bulk`: many operations in one body, each with its own result.
//!
//! The body is parsed whole before anything is applied: a malformed line is a 400 for the request, as in Elasticsearch,
//! so a client never has to guess which half was done. A malformed *document* is a result of its item. Operations are
//! grouped by index; the order within an index is kept.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::{AppState, Params, check_params, json_response, text_body};
use crate::error::ApiError;
use crate::version::VersionRule;
use crate::writer::{Action, Done, Op, OpResult, Outcome, Update, result_json};

const ID_BYTES_MAX: usize = 512;

/// One operation as the body has it.
struct Item {
    verb: Verb,
    index: String,
    op: Result<Op, ApiError>,
    id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Index,
    Create,
    Update,
    Delete,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Index => "index",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

pub(super) async fn bulk_all(
    state: AppState,
    params: Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    run(state, None, params, headers, body).await
}

pub(super) async fn bulk(
    state: AppState,
    Path(index): Path<String>,
    params: Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    run(state, Some(index), params, headers, body).await
}

async fn run(
    State(app): AppState,
    index: Option<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_params(&params, &[])?;
    let started = std::time::Instant::now();
    let text = text_body(&headers, body)?;
    let _admitted = app.admit(text.len())?;
    let items = parse(&text, index.as_deref())?;
    drop(text);
    let mut results: Vec<Option<OpResult>> = Vec::with_capacity(items.len());
    let mut heads = Vec::with_capacity(items.len());
    let mut groups: BTreeMap<String, (Vec<usize>, Vec<Op>)> = BTreeMap::new();
    for (at, item) in items.into_iter().enumerate() {
        heads.push((item.verb, item.index.clone(), item.id));
        match item.op {
            Ok(op) => {
                results.push(None);
                let (places, ops) = groups.entry(item.index).or_default();
                places.push(at);
                ops.push(op);
            }
            Err(error) => results.push(Some(Err(error))),
        }
    }
    let mut running = JoinSet::new();
    for (name, (places, ops)) in groups {
        let app = std::sync::Arc::clone(&app);
        running.spawn(async move {
            let only_deletes = ops.iter().all(|op| op.action == Action::Delete && op.version == VersionRule::Internal);
            let index = if only_deletes { app.catalog.get(&name) } else { app.catalog.get_or_create(&name).await };
            let outcome = match index {
                Ok(index) => index.write(ops).await,
                Err(error) => Err(error),
            };
            (places, outcome)
        });
    }
    while let Some(joined) = running.join_next().await {
        let (places, outcome) = joined.map_err(|cause| ApiError::internal(format!("bulk failed: {cause}")))?;
        match outcome {
            Ok(done) => places.into_iter().zip(done).for_each(|(at, result)| results[at] = Some(result)),
            Err(error) => places.into_iter().for_each(|at| results[at] = Some(Err(error.clone()))),
        }
    }
    let mut errors = false;
    let mut shown = Vec::with_capacity(heads.len());
    for ((verb, index, id), result) in heads.into_iter().zip(results) {
        let result = result.unwrap_or_else(|| Err(ApiError::internal("operation was not run")));
        errors |= result.is_err();
        let mut item = Map::new();
        item.insert(verb.name().to_owned(), item_json(&index, id.as_deref(), &result));
        shown.push(Value::Object(item));
    }
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json_response(200, &json!({ "took": took, "errors": errors, "items": shown })))
}

/// The body of one result, here and in the single-document calls.
pub(super) fn item_json(index: &str, id: Option<&str>, result: &OpResult) -> Value {
    match result {
        Ok(done) => json!({
            "_index": index,
            "_id": id,
            "_version": done.version,
            "result": result_json(done.outcome),
            "_shards": { "total": 1, "successful": 1, "failed": 0 },
            "_seq_no": done.seq_no,
            "_primary_term": 1,
            "status": status(done),
        }),
        Err(error) => json!({ "_index": index, "_id": id, "status": error.status, "error": error.cause() }),
    }
}

pub(super) fn status(done: &Done) -> u16 {
    match done.outcome {
        Outcome::Created => 201,
        Outcome::NotFound => 404,
        Outcome::Updated | Outcome::Deleted | Outcome::Noop => 200,
    }
}

fn parse(text: &str, default_index: Option<&str>) -> Result<Vec<Item>, ApiError> {
    if !text.ends_with('\n') {
        return Err(ApiError::illegal("The bulk request must be terminated by a newline [\\n]"));
    }
    let mut lines = text.lines().enumerate();
    let mut items = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        let malformed =
            |why: &str| ApiError::illegal(format!("Malformed action/metadata line [{}], {why}", number + 1));
        let head: Value = serde_json::from_str(line).map_err(|cause| malformed(&cause.to_string()))?;
        let (verb, meta) = match head.as_object().filter(|head| head.len() == 1).and_then(|head| head.iter().next()) {
            Some((verb, Value::Object(meta))) => (verb.as_str(), meta),
            _ => return Err(malformed("expected an object with one action")),
        };
        let verb = match verb {
            "index" => Verb::Index,
            "create" => Verb::Create,
            "update" => Verb::Update,
            "delete" => Verb::Delete,
            other => {
                return Err(malformed(&format!("expected one of [create, delete, index, update] but found [{other}]")));
            }
        };
        let source = match verb {
            Verb::Delete => None,
            _ => Some(lines.next().ok_or_else(|| malformed("its document is missing"))?.1),
        };
        items.push(item(verb, meta, source, default_index, &malformed)?);
    }
    if items.is_empty() {
        return Err(ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: no requests added;",
        ));
    }
    Ok(items)
}

fn item(
    verb: Verb,
    meta: &Map<String, Value>,
    source: Option<&str>,
    default_index: Option<&str>,
    malformed: &dyn Fn(&str) -> ApiError,
) -> Result<Item, ApiError> {
    let (mut index, mut id, mut version, mut version_type) = (default_index.map(str::to_owned), None, None, None);
    for (key, value) in meta {
        match (key.as_str(), value) {
            ("_index", Value::String(name)) => index = Some(name.clone()),
            ("_id", Value::Null) => {}
            ("_id", Value::String(text)) => id = Some(text.clone()),
            ("_id", Value::Number(number)) => id = Some(number.to_string()),
            ("version" | "_version", Value::Number(number)) => version = number.as_i64(),
            ("version_type" | "_version_type", Value::String(kind)) => version_type = Some(kind.as_str()),
            // There is one writer per index: an update never loses a race that it would have to repeat.
            ("retry_on_conflict" | "require_alias", _) => {}
            (other, _) => return Err(malformed(&format!("parameter [{other}] is unknown here or has a wrong type"))),
        }
    }
    let index = index.ok_or_else(|| {
        ApiError::new(400, "action_request_validation_exception", "Validation Failed: 1: index is missing;")
    })?;
    let id = match (verb, id) {
        (Verb::Index | Verb::Create, None) => Some(super::docs::generated_id()),
        (_, id) => id,
    };
    let op = make_op(verb, id.clone(), source, version, version_type);
    Ok(Item { verb, index, op, id })
}

pub(super) fn make_op(
    verb: Verb,
    id: Option<String>,
    source: Option<&str>,
    version: Option<i64>,
    version_type: Option<&str>,
) -> Result<Op, ApiError> {
    let invalid = |reason: &str| {
        ApiError::new(400, "action_request_validation_exception", format!("Validation Failed: 1: {reason};"))
    };
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| invalid("id is missing or empty"))?;
    if id.len() > ID_BYTES_MAX {
        return Err(ApiError::illegal(format!(
            "id is too long, must be no longer than {ID_BYTES_MAX} bytes but was: {}",
            id.len()
        )));
    }
    let version = VersionRule::parse(version, version_type)?;
    let action = match verb {
        Verb::Index => Action::Index { source: source.unwrap_or_default().to_owned(), create: false },
        Verb::Create => Action::Index { source: source.unwrap_or_default().to_owned(), create: true },
        Verb::Delete => Action::Delete,
        Verb::Update if version != VersionRule::Internal => {
            return Err(invalid("can't provide version in upsert request"));
        }
        Verb::Update => Action::Update(parse_update(source.unwrap_or_default())?),
    };
    Ok(Op { id, action, version })
}

fn parse_update(source: &str) -> Result<Update, ApiError> {
    let body: Value =
        serde_json::from_str(source).map_err(|cause| ApiError::parsing(format!("failed to parse update: {cause}")))?;
    let body = body.as_object().ok_or_else(|| ApiError::parsing("an update must be an object"))?;
    let mut update = Update { detect_noop: true, ..Update::default() };
    for (key, value) in body {
        match (key.as_str(), value) {
            ("doc", Value::Object(doc)) => update.doc = doc.clone(),
            ("upsert", Value::Object(doc)) => update.upsert = Some(doc.clone()),
            ("doc_as_upsert", Value::Bool(flag)) => update.doc_as_upsert = *flag,
            ("detect_noop", Value::Bool(flag)) => update.detect_noop = *flag,
            (other, _) => {
                return Err(ApiError::parsing(format!(
                    "[UpdateRequest] unknown field [{other}]; this embedded index knows doc, upsert, doc_as_upsert, detect_noop"
                )));
            }
        }
    }
    if !body.contains_key("doc") {
        return Err(ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: script or doc is missing;",
        ));
    }
    Ok(update)
}
