//! The lives of a source task: what may pass ends one life, not the task.
//!
//! Picture: a life is one fresh instance of the connector's task with everything that the worker made for it. It ends with a
//! stop, with an error for good, or so that another one follows: the target cluster took nothing within the time for a
//! delivery, a call failed in a way that may pass, or the task could not take in a new configuration. The next life begins at
//! the stored offsets, which is what every task can do; to take progress back inside a life is something that few could.
//! Invariants: a life begins only after the one before it has ended; between two lives the task shows as RESTARTING with the
//! cause, and goes on to do so until records arrive again; pauses grow to [`PAUSE_MAX`] and have no other end, so a link
//! heals by itself when its target comes back, however late.

use std::time::Duration;

use twinstream_connect_api::{SourceTask, TaskError};

use super::report::Reporter;
use super::source::{self, End};
use super::{Ears, Shared, TaskSpec, stop_wanted};

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(
    shared: Shared,
    mut spec: TaskSpec,
    make: &(dyn Fn() -> Box<dyn SourceTask> + Send + Sync),
    reporter: Reporter,
    mut ears: Ears,
) -> Result<(), TaskError> {
    let mut pause = PAUSE_FIRST;
    let mut is_revival = false;
    loop {
        spec.task = ears.config.borrow_and_update().clone();
        let life = source::live(&shared, &spec, make(), &reporter, &mut ears, is_revival).await;
        if life.has_delivered {
            pause = PAUSE_FIRST;
        }
        match life.end {
            Ok(End::Stopped) => return Ok(()),
            Ok(End::Reconfigured) => is_revival = false,
            Err(error) if error.is_retriable() => {
                is_revival = true;
                let this_one = asked_for(&error).unwrap_or(pause).min(PAUSE_MAX);
                reporter.waits(&error, this_one);
                tokio::select! {
                    () = stop_wanted(&mut ears.want) => return Ok(()),
                    () = tokio::time::sleep(this_one) => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => return Err(error),
        }
    }
}

fn asked_for(error: &TaskError) -> Option<Duration> {
    match error {
        TaskError::Retriable { retry_after, .. } => *retry_after,
        TaskError::Fatal { .. } => None,
    }
}
