//! Looks all the time at what brokers say of the quorum: two leaders of one epoch must never be seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::operator::Operator;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ends with its trial.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    leaders: BTreeMap<i32, usize>,
    conflicts: Vec<String>,
}

impl Watch {
    pub(super) fn start(operator: Operator) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(look(operator, Arc::clone(&seen)));
        Self { seen, task }
    }

    pub(super) fn conflicts(&self) -> Vec<String> {
        self.seen.lock().conflicts.clone()
    }

    /// The newest epoch of the quorum that any broker told of.
    pub(super) fn epochs(&self) -> usize {
        self.seen.lock().leaders.len()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(operator: Operator, seen: Arc<Mutex<Seen>>) {
    loop {
        for (broker, state) in operator.quorum_by_broker().await {
            let Some(leader) = state.leader else { continue };
            let mut seen = seen.lock();
            let first = *seen.leaders.entry(state.epoch).or_insert(leader);
            if first != leader {
                let epoch = state.epoch;
                let conflict =
                    format!("broker {broker} says that {leader} leads quorum epoch {epoch}, and {first} did");
                seen.conflicts.push(conflict);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
