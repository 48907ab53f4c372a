//! SaslHandshake (key 17), versions 0-1.
//!
//! v0 raw SASL frames follow; v1 they are wrapped in SaslAuthenticate (KIP-152).
//!
//! A PLAINTEXT listener has nothing to shake hands about: ILLEGAL_SASL_STATE without mechanisms, as from Kafka. Listeners that
//! authenticate are not served yet, the settings refuse them.

use std::sync::Arc;

use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use twinstream_model::ErrorCode;

use crate::context::{Broker, RequestContext};

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    error_response(ctx, request, ErrorCode::IllegalSaslState)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: SaslHandshakeRequest,
    code: ErrorCode,
) -> SaslHandshakeResponse {
    ctx.count_error(code);
    SaslHandshakeResponse::default().with_error_code(code.code())
}
