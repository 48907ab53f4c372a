//! `/connector-plugins`.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value as JsonValue, json};
use twinstream_connect_api::Plugin;

use super::error::ApiError;
use super::root::ready;
use super::{App, SharedApp, body};
use crate::converters;
use crate::plugins;

type Answer = Result<Response, ApiError>;

pub(super) async fn list(State(app): State<SharedApp>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let app = ready(&app)?;
    let entry = |class: &str, kind: &str, version: &str| json!({"class": class, "type": kind, "version": version});
    let own = env!("CARGO_PKG_VERSION");
    let connector = |plugin: &Plugin| entry(&plugin.class, plugin.kind().name(), &plugin.version);
    let mut all: Vec<JsonValue> = app.plugins.iter().map(connector).collect();
    if query.get("connectorsOnly").is_some_and(|value| value.eq_ignore_ascii_case("false")) {
        all.extend(converters::classes().map(|class| entry(class, "converter", own)));
        all.extend(converters::header::CLASSES.iter().map(|class| entry(class, "header_converter", own)));
    }
    Ok(Json(all).into_response())
}

fn find<'a>(app: &'a App, name: &str) -> Result<&'a Plugin, ApiError> {
    app.plugins.find(name).ok_or_else(|| ApiError::not_found(format!("Unknown plugin {name}.")))
}

pub(super) async fn config(State(app): State<SharedApp>, Path(name): Path<String>) -> Answer {
    let app = ready(&app)?;
    if converters::unknown_class(&name).is_none() {
        return Ok(Json(Vec::<JsonValue>::new()).into_response());
    }
    let plugin = find(app, &name)?;
    // The plugin's own keys, without those that every connector has.
    let keys: Vec<JsonValue> = plugin.config_def.keys().iter().map(|key| plugin.config_def.key_json(key)).collect();
    Ok(Json(keys).into_response())
}

pub(super) async fn validate(State(app): State<SharedApp>, Path(name): Path<String>, body: Bytes) -> Answer {
    let app = ready(&app)?;
    let mut config = body::config(&body)?;
    if let Some(class) = config.get("connector.class") {
        let asked = app.plugins.find(&name).map(|plugin| &plugin.class);
        if asked.is_none() || app.plugins.find(class).map(|plugin| &plugin.class) != asked {
            let text = format!("Included connector type {class} does not match request type {name}");
            return Err(ApiError::bad_request(text));
        }
    } else {
        config.insert("connector.class".to_owned(), name.clone());
    }
    let validation = plugins::validate(&app.plugins, &app.settings, &config).await?;
    let class = find(app, &name).map(|plugin| plugin.class.clone())?;
    Ok(Json(validation.to_json(if name.contains('.') { &class } else { &name })).into_response())
}
