//! Ids for idempotent producers, from blocks that the controller gives to this broker.
//!
//! A block is used up by one; whoever finds it empty fetches the next while the others wait for that one fetch.
//! What is left of a block at the end of the process is never used.

use twinstream_metadata::controller::ProducerIdBlock;
use twinstream_model::{ErrorCode, ProducerId};

#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    left: tokio::sync::Mutex<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    /// The next id; `allocate` asks the controller for a block when the last one is used up.
    pub(crate) async fn next<F>(&self, allocate: impl FnOnce() -> F) -> Result<ProducerId, ErrorCode>
    where
        F: Future<Output = Result<ProducerIdBlock, ErrorCode>>,
    {
        let mut left = self.left.lock().await;
        let block = match left.take().filter(|block| block.len > 0) {
            Some(block) => block,
            None => allocate().await?,
        };
        *left = Some(ProducerIdBlock { first: ProducerId(block.first.0 + 1), len: block.len - 1 });
        Ok(block.first)
    }
}

#[cfg(test)]
mod tests {
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
}
