//! What a request can be answered with when it fails, in Elasticsearch's words.
//!
//! Every failure below the HTTP layer is an [`ApiError`]: a status, the `type` that clients switch on, and a reason a
//! person can act on. Clients compare `type` (`version_conflict_engine_exception`, `mapper_parsing_exception`, ..), so
//! these names are Elasticsearch's own.

use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct ApiError {
    pub status: u16,
    pub kind: &'static str,
    pub reason: String,
    pub index: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> ApiError {
        ApiError { status, kind, reason: reason.into(), index: None }
    }

    pub(crate) fn illegal(reason: impl Into<String>) -> ApiError {
        ApiError::new(400, "illegal_argument_exception", reason)
    }

    pub(crate) fn parsing(reason: impl Into<String>) -> ApiError {
        ApiError::new(400, "parsing_exception", reason)
    }

    pub(crate) fn mapper(reason: impl Into<String>) -> ApiError {
        ApiError::new(400, "mapper_parsing_exception", reason)
    }

    pub(crate) fn index_not_found(index: &str) -> ApiError {
        ApiError::new(404, "index_not_found_exception", format!("no such index [{index}]")).at(index)
    }

    /// The index cannot write any more; only a restart, after its cause is gone, helps.
    pub(crate) fn unavailable(reason: impl Into<String>) -> ApiError {
        ApiError::new(503, "unavailable_shards_exception", reason)
    }

    /// Too much is being indexed at once; the same request will succeed a little later.
    pub(crate) fn rejected(reason: impl Into<String>) -> ApiError {
        ApiError::new(429, "es_rejected_execution_exception", reason)
    }

    pub(crate) fn internal(reason: impl Into<String>) -> ApiError {
        ApiError::new(500, "exception", reason)
    }

    pub(crate) fn at(mut self, index: &str) -> ApiError {
        self.index = Some(index.to_owned());
        self
    }

    /// The inner object, as it stands in a bulk item and in `root_cause`.
    pub(crate) fn cause(&self) -> Value {
        let mut cause = json!({ "type": self.kind, "reason": self.reason });
        if let Some(index) = &self.index {
            cause["index"] = json!(index);
        }
        cause
    }

    /// The whole body of a failed request.
    pub(crate) fn body(&self) -> Value {
        let mut error = self.cause();
        error["root_cause"] = json!([self.cause()]);
        json!({ "error": error, "status": self.status })
    }
}

impl From<tantivy::TantivyError> for ApiError {
    fn from(error: tantivy::TantivyError) -> ApiError {
        match error {
            tantivy::TantivyError::InvalidArgument(reason) => ApiError::illegal(reason),
            other => ApiError::internal(other.to_string()),
        }
    }
}
