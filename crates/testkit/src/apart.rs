//! One run of a judge as a task of its own.
//!
//! What goes wrong in a run panics (a condition that never came true, a broker that does not answer). Of a judge that plays
//! several runs that would be the end: no table, and the verdict on the runs before lost. So each is apart from the others,
//! and what kept it from its end is a fault of its own row.

use std::future::Future;

/// What the run came to, or why it did not come to its end.
pub(crate) async fn apart<T: Send + 'static>(run: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    tokio::spawn(run).await.map_err(|error| format!("the run did not come to its end: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_that_panics_is_told_with_its_reason_and_ends_nobody_else() {
        let told = apart::<()>(async { panic!("no broker answers") }).await.unwrap_err();
        assert!(told.contains("no broker answers"), "{told}");
        assert_eq!(apart(async { 7 }).await, Ok(7));
    }
}
