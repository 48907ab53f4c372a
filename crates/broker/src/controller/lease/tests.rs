use super::*;

const LENGTH: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time")
}

#[tokio::test]
async fn a_session_lasts_from_when_the_heartbeat_was_sent() {
    let (holder, mut session) = start(LENGTH, CancellationToken::new());
    assert!(session.is_lost(), "nobody has heard of this broker yet");
    let sent = Instant::now();
    holder.extend(sent);
    soon(session.held()).await;
    soon(session.lost()).await;
    assert!(sent.elapsed() >= LENGTH);
    holder.extend(Instant::now());
    soon(session.held()).await;
}

#[tokio::test]
async fn a_late_answer_to_an_old_heartbeat_does_not_bring_the_session_back() {
    let (holder, mut session) = start(LENGTH, CancellationToken::new());
    let sent = Instant::now();
    holder.extend(sent);
    soon(session.held()).await;
    soon(session.lost()).await;
    holder.extend(sent);
    tokio::task::yield_now().await;
    assert!(session.is_lost());
}

#[tokio::test]
async fn a_broker_that_is_told_that_it_is_fenced_gives_up_at_once() {
    let (holder, mut session) = start(PATIENCE * 2, CancellationToken::new());
    holder.extend(Instant::now());
    soon(session.held()).await;
    holder.give_up();
    soon(session.lost()).await;
}
