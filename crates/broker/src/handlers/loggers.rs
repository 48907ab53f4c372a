//! Log levels as configs of the resource BROKER_LOGGER (KIP-412).
//!
//! Picture: each process has its own loggers, and the broker that is asked answers for itself; nothing goes to the
//! controller and nothing is kept for the next start.
//! Deviation: loggers have the names of the parts of this program (`twinstream_broker::controller`). The larger parts are
//! listed; a name that is no part is taken without an effect, because parts do not register.

use twinstream_metadata::controller::{ConfigOperation, ConfigSetting, Mode};
use twinstream_model::{ErrorCode, NodeId};
use twinstream_telemetry::logging::levels::{self, LevelError};

use super::config_changes::Answer;

/// Changes levels of this broker.
pub(super) fn alter(own: NodeId, resource: &str, settings: &[ConfigSetting], mode: Mode) -> Answer {
    check_broker(own, resource)?;
    let changes = settings.iter().map(change).collect::<Result<Vec<_>, _>>()?;
    levels::change(&changes, mode == Mode::ValidateOnly).map_err(refusal)?;
    if mode != Mode::ValidateOnly {
        tracing::info!(loggers = ?changes, "log levels changed");
    }
    Ok(())
}

fn check_broker(own: NodeId, resource: &str) -> Answer {
    match resource.parse() {
        Ok(node) if NodeId(node) == own => Ok(()),
        Ok(node) => {
            let node = NodeId(node);
            Err((
                ErrorCode::InvalidRequest,
                format!("this is broker {own}; ask broker {node} itself about its log levels"),
            ))
        }
        Err(_) => Err((ErrorCode::InvalidRequest, format!("broker id must be a whole number, {resource:?} is not"))),
    }
}

fn change(setting: &ConfigSetting) -> Result<levels::Change<'_>, (ErrorCode, String)> {
    let name = setting.name.as_str();
    match (setting.operation, &setting.value) {
        (ConfigOperation::Set, Some(level)) => Ok((name, Some(level.as_str()))),
        (ConfigOperation::Set, None) => {
            Err((ErrorCode::InvalidRequest, format!("no value was given for logger {name}")))
        }
        (ConfigOperation::Delete, _) => Ok((name, None)),
        (ConfigOperation::Append | ConfigOperation::Subtract, _) => {
            Err((ErrorCode::InvalidRequest, format!("the level of logger {name} is no list")))
        }
    }
}

fn refusal(error: LevelError) -> (ErrorCode, String) {
    let code = match &error {
        LevelError::UnknownLevel(_) | LevelError::BadName(_) => ErrorCode::InvalidConfig,
        LevelError::TooMany => ErrorCode::PolicyViolation,
        LevelError::NotOurs | LevelError::Root => ErrorCode::InvalidRequest,
        LevelError::NotTaken(_) => ErrorCode::UnknownServerError,
    };
    (code, error.to_string())
}
