//! `GET /connectors/{c}/offsets`: how far a connector is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as JsonValue, json};
use twinstream_connect_api::{PluginKind, RawConfig};
use twinstream_model::GroupId;

use super::error::ApiError;
use super::root::ready;
use super::{App, SharedApp};

pub(super) async fn list(State(app): State<SharedApp>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let app = ready(&app)?;
    app.must_exist(&name)?;
    let config = app.configs.state().config(&name).cloned().unwrap_or_default();
    let offsets = match app.plugins.of(&config).map(|plugin| plugin.kind()) {
        Some(PluginKind::Source) => source_offsets(app, &name),
        Some(PluginKind::Sink) => sink_offsets(app, &name, &config).await?,
        None => {
            let text = format!("Connector {name} is of a class that this worker does not have");
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text));
        }
    };
    Ok(Json(json!({ "offsets": offsets })).into_response())
}

fn source_offsets(app: &App, name: &str) -> Vec<JsonValue> {
    let state = app.offsets.state();
    state.all(name).map(|(partition, offset)| json!({"partition": partition, "offset": offset})).collect()
}

/// A sink's offsets are those of its consumer group.
async fn sink_offsets(app: &App, name: &str, config: &RawConfig) -> Result<Vec<JsonValue>, ApiError> {
    let group = config.get("consumer.override.group.id").cloned().unwrap_or_else(|| format!("connect-{name}"));
    let committed = app.admin.raw().committed_offsets(&GroupId::from(group)).await.map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("offsets of connector {name} cannot be read: {error}"))
    })?;
    let entry = |(tp, commit): (&twinstream_model::TopicPartition, &twinstream_client::CommitOffset)| {
        json!({
            "partition": {"kafka_topic": tp.topic.as_str(), "kafka_partition": tp.partition.0},
            "offset": {"kafka_offset": commit.offset.0},
        })
    };
    Ok(committed.iter().map(entry).collect())
}
