//! A log of whole batches for tests of shards; what it commits is the test's choice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use twinstream_model::{ErrorCode, Offset};
use twinstream_protocol::batch::{BatchMut, BatchView};

use super::ShardLog;

pub(crate) struct MemoryLog {
    pub(crate) batches: Mutex<Vec<Vec<u8>>>,
    end: Mutex<Offset>,
    pub(crate) committed: watch::Sender<Offset>,
    /// Whether an append is committed at once.
    pub(crate) commits: Mutex<bool>,
    /// Whether what is there is committed just after somebody has looked how far that is.
    pub(crate) commits_after_a_look: Mutex<bool>,
    pub(crate) refuses: Mutex<Option<ErrorCode>>,
}

impl MemoryLog {
    pub(crate) fn new() -> Arc<MemoryLog> {
        Arc::new(MemoryLog {
            batches: Mutex::default(),
            end: Mutex::new(Offset(0)),
            committed: watch::Sender::new(Offset(0)),
            commits: Mutex::new(true),
            commits_after_a_look: Mutex::new(false),
            refuses: Mutex::default(),
        })
    }

    pub(crate) fn commit(&self) {
        self.committed.send_replace(*self.end.lock());
    }
}

impl ShardLog for MemoryLog {
    fn append(&self, mut batch: Vec<u8>) -> Result<Offset, ErrorCode> {
        if let Some(error) = *self.refuses.lock() {
            return Err(error);
        }
        let mut end = self.end.lock();
        let base = *end;
        BatchMut::parse(&mut batch).unwrap().set_base_offset(base);
        *end = BatchView::parse(&batch).unwrap().last_offset().next();
        drop(end);
        self.batches.lock().push(batch);
        if *self.commits.lock() {
            self.commit();
        }
        Ok(base)
    }

    fn read(&self, from: Offset, _bytes_max: usize) -> Result<Bytes, ErrorCode> {
        let batches = self.batches.lock();
        let batch = batches.iter().find(|b| BatchView::parse(b).unwrap().last_offset() >= from);
        Ok(batch.map(|b| Bytes::copy_from_slice(b)).unwrap_or_default())
    }

    fn start(&self) -> Offset {
        Offset(0)
    }

    fn end(&self) -> Offset {
        *self.end.lock()
    }

    fn committed(&self) -> Offset {
        let committed = *self.committed.borrow();
        if *self.commits_after_a_look.lock() {
            self.commit();
        }
        committed
    }

    fn committed_beyond(&self, seen: Offset) -> BoxFuture<'_, ()> {
        let mut committed = self.committed.subscribe();
        async move {
            committed.wait_for(|now| *now > seen).await.ok();
        }
        .boxed()
    }
}

pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
