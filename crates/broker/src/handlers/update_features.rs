//! UpdateFeatures (key 57), versions 0-2.
//!
//! KIP-584; v1 upgrade types and validate-only (KIP-778); v2 answers for all updates together, without one result per feature.
//!
//! Every broker answers: one that is not the active controller forwards. All updates take effect or none. Which levels are served
//! stands in `metadata::features`, with what differs from Kafka.

use std::sync::Arc;

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use twinstream_metadata::controller::{FeatureUpdate, Mode, UpgradeType};
use twinstream_model::ErrorCode;

use super::by_controller::ByController;
pub(crate) use super::by_controller::{error_response, handle};
use super::config_view::text;
use crate::context::{Broker, Operation, RequestContext};
use crate::controller::Forwardable;

/// The first version without a result per feature.
const ONE_ANSWER_SINCE: i16 = 2;

impl Forwardable for UpdateFeaturesRequest {
    type Response = UpdateFeaturesResponse;
}

impl ByController for UpdateFeaturesRequest {
    const NEEDS: Option<Operation> = Some(Operation::Alter);

    async fn decide(self, broker: &Arc<Broker>, ctx: &RequestContext) -> UpdateFeaturesResponse {
        let version = ctx.api_version;
        let updates: Vec<FeatureUpdate> = self.feature_updates.iter().map(|update| wanted(update, version)).collect();
        let (mode, own) = (Mode::of(self.validate_only), broker.settings.node.id);
        let told = updates.clone();
        let decided = broker.controller.decide(move |controller, _| controller.update_features(&updates, mode, own));
        match decided.await {
            Ok(Ok(())) if mode == Mode::Apply => tracing::info!(updates = ?told, "feature levels are updated"),
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let message =
                    format!("The update failed for all features since the following feature had an error: {error}");
                return self.failed(ctx, error.code(), &message);
            }
            Err(error) => return self.failed(ctx, error.code(), &error.to_string()),
        }
        let each = self.feature_updates.iter().filter(|_| version < ONE_ANSWER_SINCE);
        let results = each.map(|update| UpdatableFeatureResult::default().with_feature(update.feature.clone()));
        UpdateFeaturesResponse::default().with_results(results.collect())
    }

    fn failed(&self, ctx: &RequestContext, code: ErrorCode, message: &str) -> UpdateFeaturesResponse {
        ctx.count_error(code);
        UpdateFeaturesResponse::default().with_error_code(code.code()).with_error_message(Some(text(message)))
    }
}

fn wanted(update: &FeatureUpdateKey, version: i16) -> FeatureUpdate {
    let upgrade_type = match version {
        0 if update.allow_downgrade => UpgradeType::SafeDowngrade,
        0 => UpgradeType::Upgrade,
        _ => UpgradeType::from_code(update.upgrade_type),
    };
    FeatureUpdate { name: update.feature.to_string(), level: update.max_version_level, upgrade_type }
}
