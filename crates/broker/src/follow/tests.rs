//! How long others wait for the task.

use super::*;

const FOR_EVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn nobody_waits_again_for_an_opening_that_takes_long() {
    let followed = Followed::default();
    followed.begins();
    let behind_for = Duration::from_millis(20);
    followed.until_enough(1, behind_for, || false).await;
    for _ in 0..1_000 {
        followed.begins(); // another image changes nothing while the same logs are opened
        followed.until_enough(2, behind_for, || false).await;
    }
    let waited = followed.progress.borrow().behind_since.expect("still behind").elapsed();
    assert!(waited < 500 * behind_for, "{waited:?}: each of them has waited");
}

#[tokio::test]
async fn who_waits_for_a_role_does_not_wait_for_logs() {
    let (followed, is_led) = (Followed::default(), std::cell::Cell::new(false));
    followed.begins();
    let waiting = followed.until_enough(1, FOR_EVER, || is_led.get());
    tokio::pin!(waiting);
    assert!(is_pending(waiting.as_mut()).await);
    is_led.set(true);
    followed.roles_are_taken();
    waiting.await;
    assert!(!followed.has_reached(1));
}

#[tokio::test]
async fn logs_that_were_opened_are_waited_for_anew_with_the_next_image() {
    let followed = Followed::default();
    followed.begins();
    followed.reaches(1, true);
    followed.until_enough(1, Duration::ZERO, || false).await;
    assert!(followed.has_reached(1) && followed.progress.borrow().behind_since.is_none());
    followed.begins();
    let waiting = followed.until_enough(2, FOR_EVER, || false);
    tokio::pin!(waiting);
    assert!(is_pending(waiting.as_mut()).await);
    followed.reaches(2, true);
    waiting.await;
}

async fn is_pending(future: impl Future + Unpin) -> bool {
    tokio::time::timeout(Duration::ZERO, future).await.is_err()
}
