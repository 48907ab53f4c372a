//! DescribeUserScramCredentials (key 50), version 0.
//!
//! KIP-554. Shows which mechanisms a user has and with how many rounds, never what could be tried passwords against.
//!
//! Every broker answers from its own image. Credentials are stored; no listener authenticates with them yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use twinstream_metadata::Image;
use twinstream_model::ErrorCode;

use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    if !broker.authorize(ctx, Operation::Describe, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let image = broker.image.load();
    let known = by_user(&image);
    let asked: Vec<&str> = request.users.iter().flatten().map(|user| user.name.as_str()).collect();
    let results = match asked.is_empty() {
        true => known.iter().map(|(user, credentials)| found(user, credentials)).collect(),
        false => asked_for(ctx, &asked, &known),
    };
    DescribeUserScramCredentialsResponse::default().with_results(results)
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: DescribeUserScramCredentialsRequest,
    code: ErrorCode,
) -> DescribeUserScramCredentialsResponse {
    ctx.count_error(code);
    DescribeUserScramCredentialsResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(text(code.text())))
}

fn by_user(image: &Image) -> BTreeMap<&str, Vec<CredentialInfo>> {
    let mut users: BTreeMap<&str, Vec<CredentialInfo>> = BTreeMap::new();
    for (user, credential) in image.scram_credentials() {
        let info =
            CredentialInfo::default().with_mechanism(user.mechanism.code()).with_iterations(credential.iterations);
        users.entry(&user.name).or_default().push(info);
    }
    users
}

/// One answer for each user, in the order in which they are first asked for.
fn asked_for(
    ctx: &RequestContext,
    asked: &[&str],
    known: &BTreeMap<&str, Vec<CredentialInfo>>,
) -> Vec<DescribeUserScramCredentialsResult> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut first = Vec::new();
    for user in asked {
        let times = times.entry(user).or_default();
        *times += 1;
        if *times == 1 {
            first.push(*user);
        }
    }
    let answer = |user: &str| match known.get(user) {
        _ if times[user] > 1 => {
            let words = "Cannot describe SCRAM credentials for the same user twice in a single request: ";
            refused(ctx, user, ErrorCode::DuplicateResource, words)
        }
        Some(credentials) => found(user, credentials),
        None => {
            let words = "Attempt to describe a user credential that does not exist: ";
            refused(ctx, user, ErrorCode::ResourceNotFound, words)
        }
    };
    first.into_iter().map(answer).collect()
}

fn found(user: &str, credentials: &[CredentialInfo]) -> DescribeUserScramCredentialsResult {
    DescribeUserScramCredentialsResult::default().with_user(text(user)).with_credential_infos(credentials.to_vec())
}

fn refused(ctx: &RequestContext, user: &str, code: ErrorCode, words: &str) -> DescribeUserScramCredentialsResult {
    ctx.count_error(code);
    DescribeUserScramCredentialsResult::default()
        .with_user(text(user))
        .with_error_code(code.code())
        .with_error_message(Some(text(&format!("{words}{user}"))))
}
