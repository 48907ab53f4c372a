//! ApiVersions (key 18), versions 0-4.
//!
//! v1 throttle time; v2 quota rule; v3 client software name and version, features, flexible body (KIP-511, KIP-584);
//! v4 shows features whose minimum is 0.
//!
//! The answer is the handler table itself, with one deliberate difference: Produce is advertised from v0 although
//! v0-2 are refused, because librdkafka turns compression off when the minimum is not 0 (KAFKA-18659).
//! A version that we do not know is answered in v0 form with UNSUPPORTED_VERSION and our ranges, so that a newer
//! client can step down (KIP-511). The response header is v0 always.
//!
//! Features come from the metadata: supported levels are those of this release, finalized ones those of the cluster, with
//! the last replayed entry of the metadata log as their epoch. Clients before v4 cannot read a supported level 0, so
//! features that begin there are left out for them (KAFKA-17492).

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use twinstream_metadata::{Image, features};
use twinstream_model::ErrorCode;

use crate::context::{Broker, RequestContext};
use crate::handlers::SERVED;
use crate::handlers::config_view::text;

/// The first version that carries the client's software name.
const SOFTWARE_NAME_SINCE: i16 = 3;
/// The first version whose clients can read a supported level 0.
const LEVEL_ZERO_SINCE: i16 = 4;
const NO_EPOCH: i64 = -1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if ctx.api_version >= SOFTWARE_NAME_SINCE
        && !(is_software_token(&request.client_software_name) && is_software_token(&request.client_software_version))
    {
        ctx.count_error(ErrorCode::InvalidRequest);
        return answer(ErrorCode::InvalidRequest);
    }
    // The count first: the image may be newer than it, never older.
    let epoch = broker.controller.applied();
    with_features(answer(ErrorCode::None), ctx.api_version, &broker.image.load(), epoch)
}

pub(crate) fn error_response(
    _ctx: &RequestContext,
    _request: ApiVersionsRequest,
    code: ErrorCode,
) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(code.code())
}

/// The answer to a version that we do not know; to be encoded as v0.
pub(crate) fn fallback() -> ApiVersionsResponse {
    answer(ErrorCode::UnsupportedVersion)
}

fn answer(code: ErrorCode) -> ApiVersionsResponse {
    let api_keys = if code == ErrorCode::InvalidRequest { Vec::new() } else { advertised() };
    ApiVersionsResponse::default()
        .with_error_code(code.code())
        .with_api_keys(api_keys)
        .with_finalized_features_epoch(NO_EPOCH)
}

/// Adds what this release supports and, once the metadata is known, what the cluster has.
fn with_features(answer: ApiVersionsResponse, version: i16, image: &Image, epoch: u64) -> ApiVersionsResponse {
    let shown = features::served().filter(|feature| feature.min > 0 || version >= LEVEL_ZERO_SINCE);
    let supported = shown.map(|feature| {
        SupportedFeatureKey::default()
            .with_name(text(feature.name))
            .with_min_version(feature.min)
            .with_max_version(feature.max)
    });
    let answer = answer.with_supported_features(supported.collect());
    if image.cluster_id().is_none() {
        return answer;
    }
    let levels = features::served().map(|feature| (feature.name, image.feature_level(feature.name)));
    let finalized = levels.filter(|(_, level)| *level > 0).map(|(name, level)| {
        FinalizedFeatureKey::default().with_name(text(name)).with_min_version_level(level).with_max_version_level(level)
    });
    answer
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(i64::try_from(epoch).unwrap_or(i64::MAX))
}

fn advertised() -> Vec<ApiVersion> {
    let mut rows: Vec<ApiVersion> = SERVED
        .iter()
        .map(|row| {
            let min = if row.key == ApiKey::Produce as i16 { 0 } else { row.min };
            ApiVersion::default().with_api_key(row.key).with_min_version(min).with_max_version(row.max)
        })
        .collect();
    rows.sort_by_key(|row| row.api_key);
    rows
}

/// KIP-511's rule for names and versions: alphanumeric at both ends, and `.` or `-` inside.
fn is_software_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends_are_alphanumeric =
        bytes.first().is_some_and(u8::is_ascii_alphanumeric) && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    ends_are_alphanumeric && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests;
