//! Where the coordinator of a group or of a transactional id is.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use twinstream_client::protocol::kafka_protocol::messages::FindCoordinatorRequest;
use twinstream_client::protocol::kafka_protocol::protocol::StrBytes;
use twinstream_model::ErrorCode;

use crate::wire::{Wire, frame};

/// How long a cluster may take until it has a coordinator that serves.
const WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
/// The last version that asks for one coordinator and is not flexible.
const FIND_VERSION: i16 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Group = 0,
    Transaction = 1,
}

/// What an answer said instead of NONE.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the broker refuses the request: {}", .0.name())]
pub(crate) struct Refused(pub(crate) ErrorCode);

/// Does something with the coordinator of a key, again until it is done: the first one who asks has to wait until there is
/// a coordinator, and until it has loaded.
pub(crate) fn ask<T>(
    bootstrap: &str,
    kind: Kind,
    key: &str,
    mut done: impl FnMut(&mut Wire) -> Result<T>,
) -> Result<(Wire, T)> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let attempt = connect(bootstrap, kind, key).and_then(|mut wire| {
            let answer = done(&mut wire)?;
            Ok((wire, answer))
        });
        match attempt {
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("{key} has no coordinator within {WITHIN:?}")));
            }
            Err(_) => std::thread::sleep(PAUSE),
            served => return served,
        }
    }
}

fn connect(bootstrap: &str, kind: Kind, key: &str) -> Result<Wire> {
    let mut any = Wire::connect(bootstrap, WITHIN)?;
    let key = StrBytes::from_string(key.to_owned());
    any.send(&frame(&FindCoordinatorRequest::default().with_key(key).with_key_type(kind as i8), FIND_VERSION)?)?;
    let found = any.answer::<FindCoordinatorRequest>(FIND_VERSION)?;
    accepted(found.error_code)?;
    Ok(Wire::connect(&format!("{}:{}", found.host.as_str(), found.port), WITHIN)?)
}

/// Whether an answer has no error.
pub(crate) fn accepted(code: i16) -> Result<()> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        Some(error) => Err(Refused(error).into()),
        None => Err(anyhow!("error code {code} is not known")),
    }
}
