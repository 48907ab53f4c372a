//! Whether the worker still has its place, asked at this moment.
//!
//! Picture: a worker that stood still for longer than its session (SIGSTOP, a virtual machine that was moved) goes on as if
//! nothing had happened, while a successor has its place and its tasks. Before and after it takes a transactional id it asks;
//! the answer is that of a heartbeat.
//! Invariant: P1 a confirmation follows from a heartbeat that left after the question. So whoever is confirmed *after* it has
//! taken an id took it before any successor was in the group, and the successor, who takes the same id later, is the one
//! that stays.
//! Bound: [`ASKS_MAX`] questions wait; one heartbeat answers all that wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use twinstream_client::ClientError;

use super::GroupOptions;

const ASKS_MAX: usize = 256;

/// Asks whoever keeps the place. Clones ask the same one.
#[derive(Clone)]
pub(crate) struct Place {
    asks: mpsc::Sender<oneshot::Sender<()>>,
    group: Arc<str>,
    within: Duration,
}

impl Place {
    pub(super) fn new(options: &GroupOptions) -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let group = Arc::from(options.group.as_str());
        (Self { asks, group, within: options.session_timeout }, asked)
    }

    /// `Ok` if the worker was in its group after this was called; an error also where nobody can tell.
    pub(crate) async fn confirm(&self) -> Result<(), ClientError> {
        let (ask, answer) = oneshot::channel();
        let asking = async {
            self.asks.send(ask).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.within, asking).await {
            Ok(Some(())) => Ok(()),
            _ => Err(ClientError::Library {
                what: format!("keep the worker's place in group '{}'", self.group),
                reason: "the group does not confirm it; another worker may have taken over".to_owned(),
                retriable: true,
            }),
        }
    }
}

/// Waits until a heartbeat is due, which is at once when somebody asks. The answer is who asks.
pub(super) async fn next_heartbeat(
    pause: Duration,
    asks: &mut mpsc::Receiver<oneshot::Sender<()>>,
) -> Vec<oneshot::Sender<()>> {
    let first = tokio::select! {
        () = tokio::time::sleep(pause) => None,
        Some(ask) = asks.recv() => Some(ask),
    };
    let mut asking: Vec<_> = first.into_iter().collect();
    while let Ok(ask) = asks.try_recv() {
        asking.push(ask);
    }
    asking
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn place(within: Duration) -> (Place, mpsc::Receiver<oneshot::Sender<()>>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        (Place { asks, group: Arc::from("g"), within }, asked)
    }

    #[tokio::test]
    async fn one_heartbeat_answers_all_that_asked_before_it() {
        let (place, mut asks) = place(LONG);
        let others: Vec<_> = (0..3)
            .map(|_| {
                let place = place.clone();
                tokio::spawn(async move { place.confirm().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let asking = next_heartbeat(LONG, &mut asks).await;
        assert_eq!(asking.len(), 3);
        asking.into_iter().for_each(|ask| ask.send(()).unwrap());
        for other in others {
            other.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_heartbeat_without_an_answer_and_a_keeper_that_is_gone_confirm_nothing() {
        let (place, mut asks) = place(Duration::from_millis(50));
        assert!(next_heartbeat(Duration::from_millis(1), &mut asks).await.is_empty(), "nobody asks");
        let asked = tokio::spawn({
            let place = place.clone();
            async move { place.confirm().await }
        });
        drop(next_heartbeat(LONG, &mut asks).await); // refused: the member is not known
        assert!(asked.await.unwrap().unwrap_err().is_retriable());
        assert!(place.confirm().await.is_err(), "nobody answers in time");
        drop(asks);
        let text = place.confirm().await.unwrap_err().to_string();
        assert!(text.contains("group 'g'"), "{text}");
    }
}
