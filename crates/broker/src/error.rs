//! Why a broker does not start, or stops by itself. Each text names the thing and the way out.

use crate::server::bind::BindError;
use crate::settings::SettingsError;

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Listener(#[from] BindError),
    #[error(transparent)]
    Metrics(#[from] twinstream_telemetry::MetricsError),
}
