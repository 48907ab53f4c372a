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
//! No feature is advertised: transactions v2, consumer groups of KIP-848 and share groups are switched on by
//! finalized features, and none of them is served yet.

use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use twinstream_model::ErrorCode;

use crate::context::{Broker, RequestContext};
use crate::handlers::SERVED;

/// The first version that carries the client's software name.
const SOFTWARE_NAME_SINCE: i16 = 3;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if ctx.api_version >= SOFTWARE_NAME_SINCE
        && !(is_software_token(&request.client_software_name) && is_software_token(&request.client_software_version))
    {
        ctx.count_error(ErrorCode::InvalidRequest);
        return answer(ErrorCode::InvalidRequest);
    }
    answer(ErrorCode::None)
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
        .with_finalized_features_epoch(-1)
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
