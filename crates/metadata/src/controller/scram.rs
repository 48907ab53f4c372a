//! Storing SCRAM credentials, by the rules of Kafka's `ScramControlManager`.

use std::collections::BTreeMap;

use thiserror::Error;
use twinstream_model::ErrorCode;

use super::{Controller, Decision};
use crate::{
    image::{ScramCredential, ScramMechanism, ScramUser},
    record::Record,
};

/// The most rounds of hashing that are accepted, as in Kafka: a login costs the client and, for its proof, the server.
const ITERATIONS_MAX: i32 = 16_384;

/// A credential to remove, still in the wire's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramDeletion {
    pub user: String,
    pub mechanism: i8,
}

/// A credential to set, still in the wire's terms.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramUpsertion {
    pub user: String,
    pub mechanism: i8,
    pub iterations: i32,
    pub salt: Vec<u8>,
    pub salted_password: Vec<u8>,
}

/// What is kept of a salted password.
pub struct ScramKeys {
    pub stored: Vec<u8>,
    pub server: Vec<u8>,
}

/// Why the credentials of a user were not changed. The words are Kafka's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ScramError {
    #[error("Username must not be empty")]
    NoName,
    #[error("Unknown SCRAM mechanism")]
    UnknownMechanism,
    #[error("Too few iterations")]
    TooFewIterations,
    #[error("Too many iterations")]
    TooManyIterations,
    #[error("The salted password must not be empty")]
    NoPassword,
    #[error("Attempt to delete a user credential that does not exist")]
    NotThere,
    #[error("A user credential cannot be altered twice in the same request")]
    Twice,
}

impl ScramError {
    /// The error on the wire.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NoName | Self::TooFewIterations | Self::TooManyIterations | Self::NoPassword => {
                ErrorCode::UnacceptableCredential
            }
            Self::UnknownMechanism => ErrorCode::UnsupportedSaslMechanism,
            Self::NotThere => ErrorCode::ResourceNotFound,
            Self::Twice => ErrorCode::DuplicateResource,
        }
    }
}

/// Each user of the request with what came of it, once.
pub type ScramAnswers = Vec<(String, Result<(), ScramError>)>;

/// What a user's credential becomes.
type Wanted<'a> = (ScramUser, Option<&'a ScramUpsertion>);

impl Controller {
    /// Decides about every user of the request. `keys` turns a salted password into what is kept of it.
    pub fn alter_scram_credentials(
        &self,
        deletions: &[ScramDeletion],
        upsertions: &[ScramUpsertion],
        keys: impl Fn(ScramMechanism, &[u8]) -> ScramKeys,
    ) -> Decision<ScramAnswers> {
        let mut wanted: BTreeMap<&str, Result<Wanted<'_>, ScramError>> = BTreeMap::new();
        for deletion in deletions {
            note(&mut wanted, &deletion.user, self.check_deletion(deletion).map(|user| (user, None)));
        }
        for upsertion in upsertions {
            note(&mut wanted, &upsertion.user, check_upsertion(upsertion).map(|user| (user, Some(upsertion))));
        }
        let mut draft = self.draft();
        for (user, upsertion) in wanted.values().flatten() {
            let credential = upsertion.map(|upsertion| {
                let ScramKeys { stored, server } = keys(user.mechanism, &upsertion.salted_password);
                ScramCredential {
                    salt: upsertion.salt.clone(),
                    stored_key: stored,
                    server_key: server,
                    iterations: upsertion.iterations,
                }
            });
            draft.push(Record::ScramCredential { user: user.clone(), credential });
        }
        let answers = wanted.into_iter().map(|(user, wanted)| (user.to_owned(), wanted.map(|_| ())));
        draft.decide(answers.collect())
    }

    fn check_deletion(&self, deletion: &ScramDeletion) -> Result<ScramUser, ScramError> {
        let user = user_of(&deletion.user, deletion.mechanism)?;
        match self.image().scram_credential(&user) {
            Some(_) => Ok(user),
            None => Err(ScramError::NotThere),
        }
    }
}

/// A user is altered once in a request: who is named again gets nothing, unless the first time was wrong already.
fn note<'a>(
    wanted: &mut BTreeMap<&'a str, Result<Wanted<'a>, ScramError>>,
    user: &'a str,
    judged: Result<Wanted<'a>, ScramError>,
) {
    match wanted.get_mut(user) {
        Some(Err(_)) => {}
        Some(before) => *before = Err(ScramError::Twice),
        None => {
            wanted.insert(user, judged);
        }
    }
}

fn check_upsertion(upsertion: &ScramUpsertion) -> Result<ScramUser, ScramError> {
    let user = user_of(&upsertion.user, upsertion.mechanism)?;
    if upsertion.iterations < user.mechanism.iterations_min() {
        return Err(ScramError::TooFewIterations);
    }
    if upsertion.iterations > ITERATIONS_MAX {
        return Err(ScramError::TooManyIterations);
    }
    if upsertion.salted_password.is_empty() {
        return Err(ScramError::NoPassword);
    }
    Ok(user)
}

fn user_of(name: &str, mechanism: i8) -> Result<ScramUser, ScramError> {
    if name.is_empty() {
        return Err(ScramError::NoName);
    }
    let mechanism = ScramMechanism::from_code(mechanism).ok_or(ScramError::UnknownMechanism)?;
    Ok(ScramUser { name: name.to_owned(), mechanism })
}
