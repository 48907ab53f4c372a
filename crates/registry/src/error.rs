//! What the registry answers when it says no: Confluent's numbers beside the names, and the HTTP status of each.

/// A refusal. Display is the message that clients see.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ApiError {
    #[error("Subject '{0}' not found.")]
    SubjectNotFound(String),
    #[error("Version {0} not found.")]
    VersionNotFound(i32),
    #[error("Schema not found")]
    SchemaNotFound,
    #[error("Schema {0} not found")]
    IdNotFound(i32),
    #[error("Subject '{0}' was soft deleted. Set permanent=true to delete permanently")]
    SubjectSoftDeleted(String),
    #[error("Subject '{0}' was not deleted first before being permanently deleted")]
    SubjectNotSoftDeleted(String),
    #[error("Subject '{0}' Version {1} was soft deleted. Set permanent=true to delete permanently")]
    VersionSoftDeleted(String, i32),
    #[error("Subject '{0}' Version {1} was not deleted first before being permanently deleted")]
    VersionNotSoftDeleted(String, i32),
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    NoSubjectCompatibility(String),
    #[error("Subject '{0}' does not have subject-level mode configured")]
    NoSubjectMode(String),
    #[error("Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]", details.join(", "))]
    Incompatible { subject: String, details: Vec<String> },
    #[error("{0}")]
    InvalidSchema(String),
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    )]
    InvalidVersion(String),
    #[error(
        "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"
    )]
    InvalidCompatibility,
    #[error("{0}")]
    InvalidMode(String),
    #[error("{0}")]
    NotPermitted(String),
    #[error("One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={0},version={1}}}.")]
    Referenced(String, i32),
    #[error("The specified subject '{0}' is not a valid subject.")]
    InvalidSubject(String),
    #[error("Unrecognized field: {0}")]
    UnknownField(String),
    /// The request is well formed and Confluent's registry would take it, this release does not.
    #[error("{0}")]
    NotInThisRelease(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("HTTP 404 Not Found")]
    NoSuchPath,
    #[error("HTTP 405 Method Not Allowed")]
    NoSuchMethod,
    #[error("HTTP 406 Not Acceptable")]
    NotAcceptable,
    #[error("HTTP 415 Unsupported Media Type")]
    UnsupportedMediaType,
    #[error("{0}")]
    Store(String),
    #[error("{0}")]
    StoreTimeout(String),
    #[error("this registry does not write (leader.eligibility=false); send changes to one that does")]
    NoLeader,
}

impl ApiError {
    /// Confluent's number; a plain HTTP status where it has none.
    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::SubjectNotFound(_) => 40401,
            Self::VersionNotFound(_) => 40402,
            Self::SchemaNotFound | Self::IdNotFound(_) => 40403,
            Self::SubjectSoftDeleted(_) => 40404,
            Self::SubjectNotSoftDeleted(_) => 40405,
            Self::VersionSoftDeleted(..) => 40406,
            Self::VersionNotSoftDeleted(..) => 40407,
            Self::NoSubjectCompatibility(_) => 40408,
            Self::NoSubjectMode(_) => 40409,
            // Not 40901, which only unreleased servers answer: clients test for 409.
            Self::Incompatible { .. } => 409,
            Self::InvalidSchema(_) => 42201,
            Self::InvalidVersion(_) => 42202,
            Self::InvalidCompatibility => 42203,
            Self::InvalidMode(_) => 42204,
            Self::NotPermitted(_) => 42205,
            Self::Referenced(..) => 42206,
            Self::InvalidSubject(_) => 42208,
            Self::UnknownField(_) | Self::NotInThisRelease(_) => 422,
            Self::BadRequest(_) => 400,
            Self::NoSuchPath => 404,
            Self::NoSuchMethod => 405,
            Self::NotAcceptable => 406,
            Self::UnsupportedMediaType => 415,
            Self::Store(_) => 50001,
            Self::StoreTimeout(_) => 50002,
            Self::NoLeader => 50004,
        }
    }

    /// The HTTP status: the first three digits of the number.
    pub(crate) fn status(&self) -> u16 {
        let code = self.code();
        u16::try_from(if code >= 1_000 { code / 100 } else { code }).unwrap_or(500)
    }
}
