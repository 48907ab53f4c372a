//! Changing the finalized levels of features (KIP-584).

use std::collections::BTreeMap;

use thiserror::Error;
use twinstream_model::{ErrorCode, NodeId};

use super::{Controller, Decision, Mode};
use crate::{features, record::Record};

/// In which direction a level may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
    /// A number that only a newer client knows.
    Unknown,
}

impl UpgradeType {
    pub fn from_code(code: i8) -> Self {
        match code {
            1 => Self::Upgrade,
            2 => Self::SafeDowngrade,
            3 => Self::UnsafeDowngrade,
            _ => Self::Unknown,
        }
    }
}

/// A wish for another level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    pub name: String,
    pub level: i16,
    pub upgrade_type: UpgradeType,
}

/// Why no feature was changed. The words are Kafka's, for tools print them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("Invalid update version {level} for feature {name}. {reason}")]
pub struct FeatureError {
    pub name: String,
    pub level: i16,
    pub reason: String,
}

impl FeatureError {
    /// The error on the wire.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::InvalidUpdateVersion
    }
}

impl Controller {
    /// Changes all of these or none. Of several updates of one feature the last counts, as in Kafka.
    pub fn update_features(
        &self,
        updates: &[FeatureUpdate],
        mode: Mode,
        own: NodeId,
    ) -> Decision<Result<(), FeatureError>> {
        let updates: BTreeMap<&str, &FeatureUpdate> =
            updates.iter().map(|update| (update.name.as_str(), update)).collect();
        let mut draft = self.draft();
        for update in updates.values() {
            if let Err(reason) = self.judge(update, own) {
                let (name, level) = (update.name.clone(), update.level);
                return Decision::nothing(Err(FeatureError { name, level, reason }));
            }
            if update.level != draft.image.feature_level(&update.name) {
                draft.push(Record::FeatureLevel { name: update.name.clone(), level: update.level });
            }
        }
        mode.decide(draft, Ok(()))
    }

    fn judge(&self, update: &FeatureUpdate, own: NodeId) -> Result<(), String> {
        let FeatureUpdate { name, level, upgrade_type } = update;
        if *upgrade_type == UpgradeType::Unknown {
            return Err("The controller does not support the given upgrade type.".to_owned());
        }
        if *level < 0 {
            return Err("A feature version cannot be less than 0.".to_owned());
        }
        let Some(feature) = features::find(name) else {
            return Err(format!("Local controller {own} does not support this feature."));
        };
        if !feature.supports(*level) {
            return Err(format!("Local controller {own} only supports versions {}-{}", feature.min, feature.max));
        }
        let current = self.image().feature_level(name);
        if name == features::MIRROR && *level < current && self.image().topics().any(|topic| topic.mirror.is_some()) {
            return Err("There are topics that are mirrors, or were; delete them first.".to_owned());
        }
        match upgrade_type {
            UpgradeType::Upgrade if *level < current => {
                Err("Can't downgrade the version of this feature without setting \
                the upgrade type to either safe or unsafe downgrade."
                    .to_owned())
            }
            UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade if *level > current => {
                Err("Can't downgrade to a newer version.".to_owned())
            }
            _ => Ok(()),
        }
    }
}
