//! A round of fencing: after it no task of an earlier set can commit anything, wherever it runs.
//!
//! Taking a transactional id raises its epoch and aborts what is open under it. So a task on a worker that was taken for dead,
//! and of a number that the new set does not have, hears at its next step that it is over. The round ends only with success;
//! until then the connector shows why its tasks do not start.

use std::time::Duration;

use tokio::task::JoinHandle;
use twinstream_client::ClientError;
use twinstream_client::raw::RawClient;
use twinstream_client::raw::sender::fence;
use twinstream_connect_api::{RawConfig, TaskError};

use super::{Event, Events};
use crate::runner::Shared;
use crate::settings::Role;
use crate::state::TaskId;
use crate::state::statuses::RunState;

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long one id may take; a commit under way must be finished first.
const FENCE_WITHIN: Duration = Duration::from_secs(30);
/// The producer that fences never begins a transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Round {
    pub(super) connector: String,
    pub(super) incarnation: u64,
    /// How many tasks may hold transactions.
    pub(super) before: u32,
    /// The set that waits.
    pub(super) tasks: Vec<RawConfig>,
}

/// Fences in the background, after what stops here has stopped.
pub(super) fn spawn(shared: Shared, events: Events, round: Round, ending: Vec<JoinHandle<()>>) {
    tokio::spawn(async move {
        for one in ending {
            one.await.ok(); // an error means that it is gone all the same
        }
        let mut pause = PAUSE_FIRST;
        while let Err(error) = fence_all(&shared, &round).await {
            let trace =
                TaskError::retriable("the tasks before cannot be fenced, so none starts").caused_by(error).trace();
            tracing::warn!(connector = round.connector, cause = trace, ?pause, "fencing is tried again");
            shared.statuses.set_connector(&round.connector, RunState::Running, Some(trace), None);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let Round { connector, incarnation, tasks, .. } = round;
        events.send(Event::Fenced { connector, incarnation, tasks }).await;
    });
}

async fn fence_all(shared: &Shared, round: &Round) -> Result<(), ClientError> {
    // One task before and one now have the same id: the new one fences the old one as it starts.
    if round.before == 0 || (round.before == 1 && round.tasks.len() == 1) {
        return Ok(());
    }
    // Not the tasks of a successor; those it would fence all the same in between begin anew.
    shared.place.confirm().await?;
    let settings = shared.settings.client(Role::Producer, [].into_iter())?;
    let client = RawClient::connect(&settings).await?;
    for task in 0..round.before {
        let id = TaskId::new(&round.connector, i32::try_from(task).unwrap_or(i32::MAX));
        let id = format!("{}-{id}", shared.settings.group_id());
        fence(&client, &id, TRANSACTION_TIMEOUT, FENCE_WITHIN).await?;
    }
    Ok(())
}
