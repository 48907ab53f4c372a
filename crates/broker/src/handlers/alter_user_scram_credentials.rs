//! AlterUserScramCredentials (key 51), version 0.
//!
//! KIP-554. A client sends a salted password; what is stored are the two keys that RFC 5802 derives from it, as in Kafka.
//!
//! Every broker answers: one that is not the active controller forwards. Credentials are stored; no listener authenticates with them
//! yet.

use std::sync::Arc;

use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use ring::{digest, hmac};
use twinstream_metadata::ScramMechanism;
use twinstream_metadata::controller::{ScramDeletion, ScramKeys, ScramUpsertion};
use twinstream_model::ErrorCode;

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

impl Forwardable for AlterUserScramCredentialsRequest {
    type Response = AlterUserScramCredentialsResponse;
}

impl ByController for AlterUserScramCredentialsRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> AlterUserScramCredentialsResponse {
        let (deletions, upsertions) = (deletions(&self), upsertions(&self));
        let decided = broker
            .controller
            .decide(move |controller, _| controller.alter_scram_credentials(&deletions, &upsertions, keys))
            .await;
        let answers = match decided {
            Ok(answers) => answers,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        let results = answers.into_iter().map(|(user, outcome)| match outcome {
            Ok(()) => result(ctx, &user, ErrorCode::None, None),
            Err(error) => result(ctx, &user, error.code(), Some(&error.to_string())),
        });
        AlterUserScramCredentialsResponse::default().with_results(results.collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> AlterUserScramCredentialsResponse {
        let deleted = self.deletions.iter().map(|deletion| deletion.name.as_str());
        let mut users: Vec<&str> =
            deleted.chain(self.upsertions.iter().map(|upsertion| upsertion.name.as_str())).collect();
        users.sort_unstable();
        users.dedup();
        let results = users.into_iter().map(|user| result(ctx, user, code, Some(message)));
        AlterUserScramCredentialsResponse::default().with_results(results.collect())
    }
}

fn deletions(request: &AlterUserScramCredentialsRequest) -> Vec<ScramDeletion> {
    let deletions = request.deletions.iter();
    deletions.map(|deletion| ScramDeletion { user: deletion.name.to_string(), mechanism: deletion.mechanism }).collect()
}

fn upsertions(request: &AlterUserScramCredentialsRequest) -> Vec<ScramUpsertion> {
    let upsertion =
        |upsertion: &kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion| {
            ScramUpsertion {
                user: upsertion.name.to_string(),
                mechanism: upsertion.mechanism,
                iterations: upsertion.iterations,
                salt: upsertion.salt.to_vec(),
                salted_password: upsertion.salted_password.to_vec(),
            }
        };
    request.upsertions.iter().map(upsertion).collect()
}

/// StoredKey and ServerKey of RFC 5802.
fn keys(mechanism: ScramMechanism, salted_password: &[u8]) -> ScramKeys {
    let (hmac, hash) = match mechanism {
        ScramMechanism::Sha256 => (hmac::HMAC_SHA256, &digest::SHA256),
        ScramMechanism::Sha512 => (hmac::HMAC_SHA512, &digest::SHA512),
    };
    let key = hmac::Key::new(hmac, salted_password);
    let client_key = hmac::sign(&key, b"Client Key");
    ScramKeys {
        stored: digest::digest(hash, client_key.as_ref()).as_ref().to_vec(),
        server: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
    }
}

fn result(ctx: &RequestContext, user: &str, code: ErrorCode, message: Option<&str>) -> AlterUserScramCredentialsResult {
    ctx.count_error(code);
    AlterUserScramCredentialsResult::default()
        .with_user(text(user))
        .with_error_code(code.code())
        .with_error_message(message.map(text))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use ring::pbkdf2;

    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// The example of RFC 7677: password "pencil", 4096 rounds.
    #[test]
    fn keys_are_those_of_the_example_in_the_rfc() {
        let salt = unhex("5b6d99689d12358eeca04b141236fa81");
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, b"pencil", &mut salted);
        let keys = keys(ScramMechanism::Sha256, &salted);
        assert_eq!(keys.stored, unhex("586e5df283e6dceb5c3e791d8b8528ec191e664045ce971792e2e6b5bb13e2a6"));
        assert_eq!(keys.server, unhex("c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5"));
    }
}
