//! What can go wrong between a client and a cluster.
//!
//! Every variant names the thing and the way out; [`ClientError::is_retriable`] says whether the same call may succeed
//! later without anybody changing anything. Types of rdkafka and reqwest do not leak through here.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use twinstream_model::ErrorCode;

use crate::settings::SettingsError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No bootstrap server could be talked to within the bound.
    #[error(
        "no bootstrap server answers, tried for {} ms: {attempts}; check `bootstrap.servers` and that a broker listens there",
        within.as_millis()
    )]
    Unreachable { attempts: String, within: Duration },
    /// One connection failed or was closed; another try makes a new one.
    #[error("connection to {address}: {reason}")]
    Connection { address: String, reason: String },
    /// The cluster answered with an error code.
    #[error("{what}: {} ({}){}", code.text(), code.name(), detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default())]
    Broker { what: String, code: ErrorCode, detail: Option<String> },
    #[error("{what}: no answer within {} ms", after.as_millis())]
    Timeout { what: String, after: Duration },
    /// Broker and client have no version of this request in common.
    #[error("broker {address} serves {api} in versions {broker}, this client speaks {ours}")]
    UnsupportedVersion { address: String, api: String, broker: String, ours: String },
    #[error("answer of {address} to {api} cannot be read: {reason}")]
    Malformed { address: String, api: String, reason: String },
    /// librdkafka failed in a way that has no code of the wire protocol.
    #[error("{what}: {reason}")]
    Library { what: String, reason: String, retriable: bool },
    #[error("record is too large: {reason}")]
    TooLarge { reason: String },
    #[error("{what}: the client is closed")]
    Closed { what: String },
}

impl ClientError {
    pub fn broker(what: impl Into<String>, code: ErrorCode) -> Self {
        Self::Broker { what: what.into(), code, detail: None }
    }

    /// `Ok` for code 0, else the error that the number stands for.
    pub(crate) fn check(what: impl FnOnce() -> String, code: i16, detail: Option<&str>) -> Result<(), Self> {
        match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => Ok(()),
            code => Err(Self::Broker { what: what(), code, detail: detail.map(str::to_owned) }),
        }
    }

    /// The Kafka error code, where the cluster gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later by itself.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker { code, .. } => code.is_retriable(),
            Self::Library { retriable, .. } => *retriable,
            Self::Unreachable { .. } | Self::Connection { .. } | Self::Timeout { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn closed(what: &str) -> Self {
        Self::Closed { what: what.to_owned() }
    }

    pub(crate) fn rdkafka(what: impl Into<String>, error: &KafkaError) -> Self {
        Self::native(what, error.rdkafka_error_code(), &error.to_string())
    }

    /// librdkafka's own codes are negative numbers below -1; those from -1 up are the protocol's.
    pub(crate) fn native(what: impl Into<String>, code: Option<RDKafkaErrorCode>, reason: &str) -> Self {
        let what = what.into();
        let Some(native) = code else {
            return Self::Library { what, reason: reason.to_owned(), retriable: false };
        };
        if let Some(code) = i16::try_from(native as i32).ok().filter(|n| *n >= -1).and_then(ErrorCode::from_code)
            && code != ErrorCode::None
        {
            return Self::Broker { what, code, detail: None };
        }
        // What a reader with `auto.offset.reset=none` hears of a log that ends before its position, or was cut; it stands still then.
        if native == RDKafkaErrorCode::AutoOffsetReset {
            return Self::Broker { what, code: ErrorCode::OffsetOutOfRange, detail: Some(reason.to_owned()) };
        }
        let retriable = matches!(
            native,
            RDKafkaErrorCode::QueueFull
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::Retry
                | RDKafkaErrorCode::WaitingForCoordinator
                | RDKafkaErrorCode::InProgress
                | RDKafkaErrorCode::NoOffset
        );
        Self::Library { what, reason: reason.to_owned(), retriable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_without_a_reset_policy_hears_that_its_position_is_out_of_range() {
        let error = ClientError::native("consume", Some(RDKafkaErrorCode::AutoOffsetReset), "log truncation detected");
        assert_eq!((error.code(), error.is_retriable()), (Some(ErrorCode::OffsetOutOfRange), false));
        assert!(error.to_string().contains("log truncation detected"), "{error}");
    }
}
