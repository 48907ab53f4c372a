//! `/compatibility...`: would this schema be accepted?

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::json;

use super::{Answer, App, Params, answer, body};
use crate::rules::{self, VersionRef};

/// Against the versions that the subject's level asks for.
pub(super) async fn all(
    State(app): State<App>,
    Path(subject): Path<String>,
    params: Params,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    check(&app, &subject, None, &params, &headers, &bytes)
}

/// Against one version.
pub(super) async fn one(
    State(app): State<App>,
    Path((subject, version)): Path<(String, String)>,
    params: Params,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    check(&app, &subject, Some(VersionRef::parse(&version)?), &params, &headers, &bytes)
}

fn check(
    app: &App,
    subject: &str,
    against: Option<VersionRef>,
    params: &Params,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Answer {
    let submitted = body::submitted(bytes, headers, params.flag("normalize"))?;
    let level = app.settings.level;
    let checked = app.store.read(|state| rules::check_compatibility(state, subject, against, &submitted, level))??;
    let mut object = json!({"is_compatible": checked.compatible});
    if params.flag("verbose") {
        object["messages"] = json!(checked.messages);
    }
    answer(object)
}
