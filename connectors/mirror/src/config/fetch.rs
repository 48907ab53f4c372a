//! How a task fetches: those of the consumer's settings that mean something to whoever asks for whole batches. Pure.
//!
//! Invariant: a value that Kafka's consumer would refuse, or that could fetch nothing, is refused by name.

use std::time::Duration;

use twinstream_client::{ClientSettings, SettingsError};

use super::MirrorConfigError;

/// Bytes that one fetch of a task asks for, and from one partition, unless the settings say otherwise.
const FETCH_BYTES: i32 = 8 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
const FETCH_WAIT_MS: i32 = 500;
/// A broker that is asked no longer than this is not taken for one that is away.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(20);

/// How a task fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchSettings {
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    pub bytes_min: i32,
    pub wait_max: Duration,
    pub rack: String,
    /// Records of aborted transactions are left out.
    pub read_committed: bool,
}

/// Reads what counts of the consumer's settings.
pub(super) fn read(source: &ClientSettings, poll: Duration) -> Result<FetchSettings, MirrorConfigError> {
    let number = |name: &str, least: i32, default: i32| {
        let Some(text) = source.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| wrong(name, text, format!("not a number from {least} to {}", i32::MAX)))
    };
    let read_committed = match source.get("isolation.level") {
        None | Some("read_uncommitted") => false,
        Some("read_committed") => true,
        Some(other) => {
            return Err(wrong("isolation.level", other, "use read_committed or read_uncommitted".to_owned()));
        }
    };
    let wait = number("fetch.max.wait.ms", 0, FETCH_WAIT_MS)?;
    let wait = Duration::from_millis(u64::from(wait.unsigned_abs())).min(FETCH_WAIT_MAX);
    Ok(FetchSettings {
        bytes_max: number("fetch.max.bytes", 1, FETCH_BYTES)?,
        partition_bytes_max: number("max.partition.fetch.bytes", 1, PARTITION_BYTES)?,
        bytes_min: number("fetch.min.bytes", 0, 1)?,
        wait_max: if poll.is_zero() { wait } else { wait.min(poll) },
        rack: source.get("client.rack").unwrap_or_default().to_owned(),
        read_committed,
    })
}

fn wrong(name: &str, value: &str, reason: String) -> MirrorConfigError {
    let cause = SettingsError::Refused { name: name.to_owned(), value: value.to_owned(), reason };
    MirrorConfigError::Client { prefix: "source.cluster.", cause }
}
