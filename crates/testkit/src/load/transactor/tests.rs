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
async fn who_is_in_a_hurry_waits_longer_after_each_silence_and_is_not_refused() {
    let (address, taken) = silent_broker().await;
    let transactor = Transactor::new(&address, "hasty", Protocol::Second, Duration::from_secs(60));
    let first = Duration::from_millis(50);
    let mut transactor = transactor.in_a_hurry(first).with_patience(20 * first);
    let refusal = transactor.init().await.expect_err("nobody answers");
    assert!(refusal.gave_up && refusal.code.is_none(), "{refusal}");
    // 50, 100, 200, 400, 800 ms.
    let taken = taken.load(Ordering::Relaxed);
    assert!((2..=7).contains(&taken), "{taken} connections");
}
