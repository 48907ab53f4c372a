//! Quotas of clients: listed and set (DescribeClientQuotas, AlterClientQuotas; KIP-546).
//!
//! Picture: an entity is a user, a client id, an address, or a user with a client id; each has numbers by their keys, such as
//! `producer_byte_rate`. Listing needs DESCRIBE_CONFIGS on the cluster, setting needs ALTER_CONFIGS.
//! Bounds: one request sets quotas of at most [`ENTITIES_AT_ONCE`] entities.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use kafka_protocol::protocol::StrBytes;
use twinstream_model::ErrorCode;

use super::{Node, RawClient};
use crate::error::ClientError;

const ENTITIES_AT_ONCE: usize = 500;

/// Parts of an entity, type -> name: (`user`, `alice`), (`client-id`, none, which is the default).
pub type QuotaEntity = BTreeMap<String, Option<String>>;
/// Key -> number.
pub type QuotaValues = BTreeMap<String, f64>;
pub type Quotas = BTreeMap<QuotaEntity, QuotaValues>;
/// What became of each entity.
pub type QuotaResults = BTreeMap<QuotaEntity, Result<(), ClientError>>;

impl RawClient {
    /// The quotas of all entities. Asked once.
    pub async fn client_quotas(&self) -> Result<Quotas, ClientError> {
        let request = DescribeClientQuotasRequest::default().with_components(Vec::new()).with_strict(false);
        let answer = self.request(Node::Any, &request).await?;
        ClientError::check(|| "list quotas".to_owned(), answer.error_code, answer.error_message.as_deref())?;
        let entries = answer.entries.into_iter().flatten().map(|entry| {
            let name = |name: StrBytes| name.to_string();
            let entity =
                entry.entity.into_iter().map(|part| (part.entity_type.to_string(), part.entity_name.map(name)));
            let values = entry.values.into_iter().map(|value| (value.key.to_string(), value.value));
            (entity.collect(), values.collect())
        });
        Ok(entries.collect())
    }

    /// Sets these numbers through the controller; others of the same entities stay. Each entity has its own result. When the
    /// call fails as a whole some may be set.
    pub async fn set_client_quotas(&self, quotas: &Quotas) -> Result<QuotaResults, ClientError> {
        let entities: Vec<(&QuotaEntity, &QuotaValues)> = quotas.iter().collect();
        let mut results = QuotaResults::new();
        for some in entities.chunks(ENTITIES_AT_ONCE) {
            let entries = some.iter().map(|(entity, values)| entry(entity, values)).collect();
            let request = AlterClientQuotasRequest::default().with_entries(entries);
            let answer = self.to_controller(&request).await?;
            let what = |entity: &QuotaEntity| format!("set quotas of {}", entity_text(entity));
            // What the answer leaves out is not done.
            for (entity, _) in some {
                results
                    .insert((*entity).clone(), Err(ClientError::broker(what(entity), ErrorCode::UnknownServerError)));
            }
            for told in answer.entries {
                let name = |part: &StrBytes| part.to_string();
                let parts =
                    told.entity.iter().map(|part| (name(&part.entity_type), part.entity_name.as_ref().map(name)));
                let entity: QuotaEntity = parts.collect();
                let result = ClientError::check(|| what(&entity), told.error_code, told.error_message.as_deref());
                results.insert(entity, result);
            }
        }
        Ok(results)
    }
}

fn entry(entity: &QuotaEntity, values: &QuotaValues) -> EntryData {
    let text = |text: &String| StrBytes::from_string(text.clone());
    let part = |(kind, name): (&String, &Option<String>)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.as_ref().map(text))
    };
    let set =
        |(key, value): (&String, &f64)| OpData::default().with_key(text(key)).with_value(*value).with_remove(false);
    EntryData::default().with_entity(entity.iter().map(part).collect()).with_ops(values.iter().map(set).collect())
}

/// `user=alice, client-id=<default>`.
pub fn entity_text(entity: &QuotaEntity) -> String {
    let part = |(kind, name): (&String, &Option<String>)| format!("{kind}={}", name.as_deref().unwrap_or("<default>"));
    entity.iter().map(part).collect::<Vec<_>>().join(", ")
}
