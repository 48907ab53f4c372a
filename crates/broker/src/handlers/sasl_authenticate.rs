//! SaslAuthenticate (key 36), versions 0-2.
//!
//! v1 session lifetime (KIP-368); v2 flexible.
//!
//! On a PLAINTEXT listener every client is who it is from the start: ILLEGAL_SASL_STATE, in Kafka's words. Listeners that authenticate
//! are not served yet, the settings refuse them.

use std::sync::Arc;

use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use twinstream_model::ErrorCode;

use super::config_view::text;
use crate::context::{Broker, RequestContext};

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    ctx: &RequestContext,
    _request: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    refusal(ctx, ErrorCode::IllegalSaslState, "SaslAuthenticate request received after successful authentication")
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: SaslAuthenticateRequest,
    code: ErrorCode,
) -> SaslAuthenticateResponse {
    refusal(ctx, code, code.text())
}

fn refusal(ctx: &RequestContext, code: ErrorCode, message: &str) -> SaslAuthenticateResponse {
    ctx.count_error(code);
    SaslAuthenticateResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
}
