//! Why a broker does not start, or stops by itself. Each text names the thing and the way out.

use twinstream_log::DirectoryError;

use crate::controller::ControllerError;
use crate::format::FormatError;
use crate::partitions::PartitionsError;
use crate::server::bind::BindError;
use crate::settings::SettingsError;

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Listener(#[from] BindError),
    #[error(transparent)]
    Controller(#[from] ControllerError),
    #[error(transparent)]
    Partitions(#[from] PartitionsError),
    #[error(
        "not registered with the controller within initial.broker.registration.timeout.ms={limit_ms}; are most of the quorum's voters up, and do controller.quorum.voters and controller.quorum.bootstrap.servers say where?"
    )]
    NotRegistered { limit_ms: u128 },
    #[error("all log directories have failed; see the errors above, replace the disks or take them out of log.dirs")]
    NoDirectoryLeft,
    #[error(
        "a log directory failed and the controller could not be told within log.dir.failure.timeout.ms={limit_ms}; stopping, so that others take over"
    )]
    FailureNotReported { limit_ms: u128 },
    #[error("a part of the broker ended unexpectedly: {0}")]
    Ended(&'static str),
    #[error(transparent)]
    Metrics(#[from] twinstream_telemetry::MetricsError),
}
