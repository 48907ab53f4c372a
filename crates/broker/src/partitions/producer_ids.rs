//! Ids for idempotent producers, from blocks that the controller gives to this broker.
//!
//! A block is used up by one; whoever finds it empty fetches the next while the others wait for that one fetch. If it fails it
//! has failed for all who waited: each with a fetch of its own would wait as often as the controller's time limit as there are
//! others before it. What is left of a block at the end of the process is never used.

use std::sync::atomic::{AtomicU64, Ordering};

use twinstream_metadata::controller::ProducerIdBlock;
use twinstream_model::{ErrorCode, ProducerId};

#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    /// Fetches that have failed.
    failures: AtomicU64,
    stock: tokio::sync::Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    left: Option<ProducerIdBlock>,
    last_error: Option<ErrorCode>,
}

impl ProducerIds {
    /// The next id; `allocate` asks the controller for a block when the last one is used up.
    pub(crate) async fn next<F>(&self, allocate: impl FnOnce() -> F) -> Result<ProducerId, ErrorCode>
    where
        F: Future<Output = Result<ProducerIdBlock, ErrorCode>>,
    {
        let failures = self.failures.load(Ordering::Acquire);
        let mut stock = self.stock.lock().await;
        let block = match (stock.left.filter(|block| block.len > 0), stock.last_error) {
            (Some(block), _) => block,
            (None, Some(error)) if failures != self.failures.load(Ordering::Acquire) => return Err(error),
            (None, _) => allocate().await.inspect_err(|error| {
                stock.last_error = Some(*error);
                self.failures.fetch_add(1, Ordering::AcqRel);
            })?,
        };
        stock.left = Some(ProducerIdBlock { first: ProducerId(block.first.0 + 1), len: block.len - 1 });
        Ok(block.first)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn ids_go_on_with_the_next_block() {
        let ids = ProducerIds::default();
        let mut given = Vec::new();
        for _ in 0..5 {
            let block = ProducerIdBlock { first: ProducerId(10 * given.len() as i64), len: 2 };
            given.push(ids.next(|| async { Ok(block) }).await.unwrap().0);
        }
        assert_eq!(given, [0, 1, 20, 21, 40]);
    }

    #[tokio::test]
    async fn controller_out_of_reach_is_an_error_and_the_next_call_asks_again() {
        let ids = ProducerIds::default();
        let refused = ids.next(|| async { Err(ErrorCode::CoordinatorNotAvailable) }).await;
        assert_eq!(refused, Err(ErrorCode::CoordinatorNotAvailable));
        let block = ProducerIdBlock { first: ProducerId(7), len: 1 };
        assert_eq!(ids.next(|| async { Ok(block) }).await, Ok(ProducerId(7)));
    }

    #[tokio::test]
    async fn whoever_waits_for_a_fetch_that_fails_fails_with_it() {
        let ids = ProducerIds::default();
        let (fail, failing) = tokio::sync::oneshot::channel::<()>();
        let first = ids.next(|| async {
            failing.await.ok();
            Err(ErrorCode::CoordinatorLoadInProgress)
        });
        let second = async {
            let mut waiting = std::pin::pin!(ids.next(|| async { unreachable!("the other one asked") }));
            assert!(waiting.as_mut().now_or_never().is_none());
            fail.send(()).unwrap();
            waiting.await
        };
        let refused = Err(ErrorCode::CoordinatorLoadInProgress);
        assert_eq!(tokio::join!(first, second), (refused, refused));
    }
}
