//! An answer that is not known yet, such as that of a Produce which waits for its followers.
//!
//! Invariant: it is kept once; who polls it on after that has made a mistake.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;

/// Resolves to the answer, or to the codec's text if that cannot be encoded.
pub(crate) struct Promise<T>(BoxFuture<'static, Result<T, String>>);

impl<T: Send + 'static> Promise<T> {
    pub(crate) fn new(answer: impl Future<Output = Result<T, String>> + Send + 'static) -> Self {
        Self(answer.boxed())
    }

    /// The answer is known and only waits for its turn.
    pub(crate) fn kept(answer: T) -> Self {
        Self::new(std::future::ready(Ok(answer)))
    }
}

impl<T> Future for Promise<T> {
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context)
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}
