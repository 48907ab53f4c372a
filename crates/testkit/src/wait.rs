//! Waiting for what must become true.

use std::future::Future;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(25);

/// Polls until the condition holds; panics with `what` when the deadline passes first.
pub async fn wait_until<F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    wait_until_some(what, deadline, || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    })
    .await;
}

/// Polls until there is a value, and returns it.
pub async fn wait_until_some<T, F>(what: &str, deadline: Duration, mut value: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = value().await {
            return value;
        }
        assert!(start.elapsed() < deadline, "{what}: did not happen within {deadline:?}");
        tokio::time::sleep(POLL).await;
    }
}
