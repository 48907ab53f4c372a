//! DescribeClientQuotas (key 48), versions 0-1.
//!
//! KIP-546; v1 flexible.
//!
//! Every broker answers from its own image, by the rules of Kafka's `ClientQuotasImage`. Quotas are stored and shown; none is
//! enforced yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use twinstream_metadata::{QuotaEntity, QuotaEntityType};
use twinstream_model::ErrorCode;

use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext, Resource};

/// Kafka's ways to match a name.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

/// What the part of a type must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    /// This name, or the default.
    Is(Option<String>),
    /// Any name or the default, but there is such a part.
    IsThere,
}

type Filter = BTreeMap<QuotaEntityType, Match>;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    if !broker.authorize(ctx, Operation::DescribeConfigs, Resource::Cluster) {
        return error_response(ctx, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let filter = match filter(&request.components) {
        Ok(filter) => filter,
        Err((code, message)) => return refusal(ctx, code, &message),
    };
    let image = broker.image.load();
    let matching = image.client_quotas().filter(|(entity, _)| matches(entity, &filter, request.strict));
    let entries = matching.map(|(entity, quotas)| {
        let values = quotas.map(|(key, value)| ValueData::default().with_key(text(key)).with_value(value.0));
        EntryData::default().with_entity(parts(entity)).with_values(values.collect())
    });
    DescribeClientQuotasResponse::default().with_entries(Some(entries.collect()))
}

pub(crate) fn error_response(
    ctx: &RequestContext,
    _request: DescribeClientQuotasRequest,
    code: ErrorCode,
) -> DescribeClientQuotasResponse {
    refusal(ctx, code, code.text())
}

fn refusal(ctx: &RequestContext, code: ErrorCode, message: &str) -> DescribeClientQuotasResponse {
    ctx.count_error(code);
    DescribeClientQuotasResponse::default()
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
        .with_entries(None)
}

fn filter(components: &[ComponentData]) -> Result<Filter, (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut filter = Filter::new();
    for component in components {
        let name = component.entity_type.as_str();
        if name.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        let Some(kind) = QuotaEntityType::from_name(name) else {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {name}")));
        };
        if filter.contains_key(&kind) {
            return invalid(format!("Entity type {name} cannot appear more than once in the filter."));
        }
        let given = component._match.as_ref().map(ToString::to_string);
        let wanted = match (component.match_type, given) {
            (EXACT, Some(name)) => Match::Is(Some(name)),
            (EXACT, None) => {
                return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned());
            }
            (DEFAULT, None) => Match::Is(None),
            (SPECIFIED, None) => Match::IsThere,
            (DEFAULT | SPECIFIED, Some(_)) => {
                let kind = if component.match_type == DEFAULT { "DEFAULT" } else { "SPECIFIED" };
                return invalid(format!("Request specified MATCH_TYPE_{kind}, but also specified a match string."));
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key(&QuotaEntityType::Ip) && filter.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId \
             filter component."
                .to_owned(),
        );
    }
    Ok(filter)
}

fn matches(entity: &QuotaEntity, filter: &Filter, strict: bool) -> bool {
    let fits = |(kind, wanted): (&QuotaEntityType, &Match)| match (entity.parts.get(kind), wanted) {
        (Some(name), Match::Is(wanted)) => name == wanted,
        (Some(_), Match::IsThere) => true,
        (None, _) => false,
    };
    (!strict || entity.parts.len() == filter.len()) && filter.iter().all(fits)
}

fn parts(entity: &QuotaEntity) -> Vec<EntityData> {
    let part = |(kind, name): (&QuotaEntityType, &Option<String>)| {
        EntityData::default().with_entity_type(text(kind.name())).with_entity_name(name.as_deref().map(text))
    };
    entity.parts.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(QuotaEntityType, Option<&str>)]) -> QuotaEntity {
        QuotaEntity { parts: parts.iter().map(|(kind, name)| (*kind, name.map(str::to_owned))).collect() }
    }

    fn component(kind: &str, match_type: i8, name: Option<&str>) -> ComponentData {
        ComponentData::default().with_entity_type(text(kind)).with_match_type(match_type).with_match(name.map(text))
    }

    #[test]
    fn a_filter_matches_names_defaults_and_presence() {
        use QuotaEntityType::{ClientId, User};
        let both = entity(&[(User, Some("alice")), (ClientId, None)]);
        let cases = [
            (vec![], false, true),
            (vec![], true, false),
            (vec![component("user", EXACT, Some("alice"))], false, true),
            (vec![component("user", EXACT, Some("alice"))], true, false),
            (vec![component("user", EXACT, Some("bob"))], false, false),
            (vec![component("user", SPECIFIED, None), component("client-id", DEFAULT, None)], true, true),
            (vec![component("ip", SPECIFIED, None)], false, false),
        ];
        for (components, strict, expected) in cases {
            let filter = filter(&components).unwrap();
            assert_eq!(matches(&both, &filter, strict), expected, "{components:?}");
        }
    }

    #[test]
    fn filters_that_kafka_refuses_are_refused() {
        let cases = [
            (vec![component("", EXACT, None)], ErrorCode::InvalidRequest),
            (vec![component("team", EXACT, Some("a"))], ErrorCode::UnsupportedVersion),
            (vec![component("user", EXACT, None)], ErrorCode::InvalidRequest),
            (vec![component("user", DEFAULT, Some("a"))], ErrorCode::InvalidRequest),
            (vec![component("user", 7, None)], ErrorCode::InvalidRequest),
            (vec![component("user", DEFAULT, None), component("user", DEFAULT, None)], ErrorCode::InvalidRequest),
            (vec![component("user", DEFAULT, None), component("ip", DEFAULT, None)], ErrorCode::InvalidRequest),
        ];
        for (components, code) in cases {
            assert_eq!(filter(&components).unwrap_err().0, code, "{components:?}");
        }
    }
}
