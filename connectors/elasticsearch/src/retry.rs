//! What a server's answer means for one document, and how long to wait before the next attempt. Pure.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx, delete 404 | done |
//! | 409 with an external version | done: the index has this record or a newer one |
//! | 429, 503, and 409 of an update | try again, the server is busy |
//! | 5xx otherwise | try again, counted against `max.retries` |
//! | 4xx otherwise | the document is refused |

use std::time::Duration;

use serde_json::Value;

const BACKOFF_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done,
    /// The index already has a newer version.
    Superseded,
    /// Busy: wait and repeat, as often as needed.
    Pressure(String),
    /// Broken for now: repeat as often as `max.retries` says.
    Broken(String),
    /// This document will never be taken.
    Refused(Refusal),
}

/// Why a document was refused, in the server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {reason}")]
pub(crate) struct Refusal {
    pub status: u16,
    pub kind: String,
    pub reason: String,
    /// The document is to blame, not the request: these go by `behavior.on.malformed.documents`.
    pub malformed: bool,
}

/// Types that blame the document.
const MALFORMED: [&str; 6] = [
    "strict_dynamic_mapping_exception",
    "mapper_parsing_exception",
    "illegal_argument_exception",
    "action_request_validation_exception",
    "document_parsing_exception",
    "mapper_exception",
];

/// Which operation an item answers, as far as the verdict depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// Index or delete with an external version.
    Versioned,
    /// Index without a version, by a fixed or generated id.
    Plain,
    Update,
    Delete,
}

/// The verdict on one entry of a bulk answer's `items`.
pub(crate) fn judge_item(kind: ItemKind, item: &Value) -> Verdict {
    let Some(result) = item.as_object().and_then(|item| item.values().next()) else {
        return Verdict::Broken("the answer has an item without a result".to_owned());
    };
    let status = result["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    let (error_kind, reason) = describe(&result["error"]);
    let text = || format!("{status} {error_kind}: {reason}");
    match (status, kind) {
        (200..=299, _) => Verdict::Done,
        (404, ItemKind::Delete | ItemKind::Versioned) if result["error"].is_null() => Verdict::Done,
        // An index that does not exist has no document to delete.
        (404, ItemKind::Delete) if error_kind == "index_not_found_exception" => Verdict::Done,
        (409, ItemKind::Versioned) => Verdict::Superseded,
        (409, ItemKind::Update) => Verdict::Pressure(text()),
        (429 | 503, _) => Verdict::Pressure(text()),
        (0 | 500..=599, _) => Verdict::Broken(text()),
        _ => {
            let malformed = MALFORMED.contains(&error_kind.as_str());
            Verdict::Refused(Refusal { status, kind: error_kind, reason, malformed })
        }
    }
}

/// Type and reason of an error object, with the innermost cause, which is what names the field.
fn describe(error: &Value) -> (String, String) {
    let kind = error["type"].as_str().unwrap_or("unknown_error").to_owned();
    let mut reason = error["reason"].as_str().or_else(|| error.as_str()).unwrap_or("no reason given").to_owned();
    let mut cause = &error["caused_by"];
    while let Some(inner) = cause["reason"].as_str() {
        if !reason.ends_with(inner) {
            reason = format!("{reason}: {inner}");
        }
        cause = &cause["caused_by"];
    }
    (kind, reason)
}

/// Why a whole request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{url} is busy: {reason}")]
    Pressure { url: String, reason: String, retry_after: Option<Duration> },
    #[error("{url} cannot be reached or does not work: {reason}")]
    Broken { url: String, reason: String },
    /// The body is larger than the server takes; halves may pass.
    #[error("{url} takes no body of that size: {reason}")]
    TooLarge { url: String, reason: String },
    #[error("{url} refuses the request with {status}: {reason}")]
    Refused { url: String, status: u16, reason: String },
}

/// The error of a whole request, from its status and body; `None` for success.
pub(crate) fn judge_request(url: &str, status: u16, retry_after: Option<&str>, body: &str) -> Option<RequestError> {
    let reason = || {
        let parsed: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        match &parsed["error"] {
            Value::Null => format!("{status} {}", body.chars().take(200).collect::<String>()),
            error => {
                let (kind, reason) = describe(error);
                format!("{kind}: {reason}")
            }
        }
    };
    let url = url.to_owned();
    match status {
        200..=299 => None,
        429 | 503 => {
            let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            Some(RequestError::Pressure { url, reason: reason(), retry_after })
        }
        413 => Some(RequestError::TooLarge { url, reason: reason() }),
        408 | 500..=599 => Some(RequestError::Broken { url, reason: reason() }),
        _ => Some(RequestError::Refused { url, status, reason: reason() }),
    }
}

/// The pause before attempt `attempt + 1` (0 after the first failure): doubling, bounded, and between half and all of
/// it by `dice` in 0..1, so that tasks that failed together do not come back together.
pub(crate) fn backoff(first: Duration, attempt: u32, dice: f64) -> Duration {
    let full = first.saturating_mul(2_u32.saturating_pow(attempt.min(20))).min(BACKOFF_MAX);
    full.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
}
