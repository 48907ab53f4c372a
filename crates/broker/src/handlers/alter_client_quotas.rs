//! AlterClientQuotas (key 49), versions 0-1.
//!
//! KIP-546, KIP-612 (addresses); v1 flexible.
//!
//! Every broker answers: one that is not the active controller forwards. The rules are Kafka's, see
//! `metadata::controller::client_quotas`. Quotas are stored and shown; none is enforced yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::alter_client_quotas_request::EntryData;
use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData as Altered};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use kafka_protocol::protocol::StrBytes;
use twinstream_metadata::controller::{Mode, QuotaAlteration};
use twinstream_model::ErrorCode;

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

/// Host names of one request that are looked up; more are taken for unknown.
const LOOK_UPS_MAX: usize = 16;
/// How long the name service may take for one.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(2);

type Answer = Result<(), (ErrorCode, String)>;

impl Forwardable for AlterClientQuotasRequest {
    type Response = AlterClientQuotasResponse;
}

impl ByController for AlterClientQuotasRequest {
    const NEEDS: Option<Operation> = Some(Operation::AlterConfigs);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> AlterClientQuotasResponse {
        let mut answers: Vec<Answer> = Vec::with_capacity(self.entries.len());
        let mut wanted = Vec::with_capacity(self.entries.len());
        let mut look_ups = 0;
        for (at, entry) in self.entries.iter().enumerate() {
            let alteration = alteration(entry);
            answers.push(check_address(&alteration, &mut look_ups).await);
            if answers[at].is_ok() {
                wanted.push((at, alteration));
            }
        }
        let mode = Mode::of(self.validate_only);
        let alterations: Vec<QuotaAlteration> = wanted.iter().map(|(_, alteration)| alteration.clone()).collect();
        let decided = broker.controller.decide(move |controller, _| controller.alter_client_quotas(&alterations, mode));
        let decided = match decided.await {
            Ok(decided) => decided,
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        };
        for ((at, _), outcome) in wanted.into_iter().zip(decided) {
            answers[at] = outcome.map_err(|error| (error.code(), error.to_string()));
        }
        let entries = self.entries.iter().zip(answers).map(|(entry, outcome)| answer(ctx, entry, outcome));
        AlterClientQuotasResponse::default().with_entries(entries.collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> AlterClientQuotasResponse {
        let entries = self.entries.iter().map(|entry| answer(ctx, entry, Err((code, message.to_owned()))));
        AlterClientQuotasResponse::default().with_entries(entries.collect())
    }
}

fn alteration(entry: &EntryData) -> QuotaAlteration {
    let part = |name: &StrBytes| name.to_string();
    let entity = entry.entity.iter().map(|entity| (part(&entity.entity_type), entity.entity_name.as_ref().map(part)));
    let changes = entry.ops.iter().map(|change| (part(&change.key), (!change.remove).then_some(change.value)));
    QuotaAlteration { entity: BTreeMap::from_iter(entity), changes: changes.collect() }
}

/// An address may also be given by a name, as long as somebody knows it.
async fn check_address(alteration: &QuotaAlteration, look_ups: &mut usize) -> Answer {
    let Some(Some(host)) = alteration.entity.get("ip") else { return Ok(()) };
    // That an empty name is refused is a rule about names.
    if host.is_empty() || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    *look_ups += 1;
    let known = *look_ups <= LOOK_UPS_MAX && is_known(host).await;
    let unknown = || (ErrorCode::InvalidRequest, format!("{host} is not a valid IP or resolvable host."));
    if known { Ok(()) } else { Err(unknown()) }
}

async fn is_known(host: &str) -> bool {
    let found = tokio::time::timeout(LOOK_UP_LIMIT, tokio::net::lookup_host((host, 0))).await;
    found.ok().and_then(Result::ok).is_some_and(|mut addresses| addresses.next().is_some())
}

fn answer(ctx: &RequestContext, entry: &EntryData, outcome: Answer) -> Altered {
    let (code, message) = match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err((code, message)) => (code, Some(message)),
    };
    ctx.count_error(code);
    // One name of each kind, the last one that was given.
    let named = entry.entity.iter().map(|entity| (entity.entity_type.clone(), entity.entity_name.clone()));
    let named: BTreeMap<StrBytes, Option<StrBytes>> = named.collect();
    let entity =
        named.into_iter().map(|(kind, name)| EntityData::default().with_entity_type(kind).with_entity_name(name));
    Altered::default()
        .with_error_code(code.code())
        .with_error_message(message.as_deref().map(text))
        .with_entity(entity.collect())
}
