use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;

/// A broker that takes connections and says nothing; its address, and how many it took.
async fn silent_broker() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            open.push(connection);
        }
    });
    (address, taken)
}

#[tokio::test]
async fn who_is_in_a_hurry_dials_anew_after_each_silence_and_waits_longer_each_time() {
    let (address, taken) = silent_broker().await;
    let transactor = Transactor::new(&address, "hasty", Protocol::Second, Duration::from_secs(60));
    let first = Duration::from_millis(50);
    let mut transactor = transactor.in_a_hurry(first).with_patience(Duration::from_secs(600));
    let started = Instant::now();
    tokio::select! {
        refusal = transactor.init() => panic!("given up: {refusal:?}"),
        () = crate::wait::wait_until("a fourth connection", Duration::from_secs(300), async || taken.load(Ordering::Relaxed) >= 4) => {}
    }
    assert!(started.elapsed() >= 7 * first, "50, 100 and 200 ms of silence come before: {:?}", started.elapsed());
}

#[tokio::test]
async fn who_has_heard_nothing_for_all_its_patience_gives_up() {
    let (address, _) = silent_broker().await;
    let transactor = Transactor::new(&address, "resigned", Protocol::Second, Duration::from_secs(60));
    let patience = Duration::from_millis(200);
    let mut transactor = transactor.in_a_hurry(patience / 4).with_patience(patience);
    let started = Instant::now();
    let refusal = transactor.init().await.expect_err("nobody answers");
    assert!(refusal.gave_up && refusal.code.is_none(), "{refusal}");
    assert!(started.elapsed() >= patience, "{:?}", started.elapsed());
}
