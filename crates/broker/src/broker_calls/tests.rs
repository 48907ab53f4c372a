use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const VERSION: i16 = 1;
/// Where the correlation id is in a request: behind the API's key and version.
const CORRELATION_ID: std::ops::Range<usize> = 4..8;

/// A broker that answers so many requests per connection; its address, and how many connections it has seen.
async fn broker(answers_per_connection: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(answer(stream, answers_per_connection));
        }
    });
    (address, seen)
}

async fn answer(mut stream: TcpStream, answers: usize) {
    for _ in 0..answers {
        let Ok(length) = stream.read_u32().await else { return };
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        let mut body = BytesMut::new();
        body.put_slice(&request[CORRELATION_ID]);
        body.put_u8(0);
        WriteTxnMarkersResponse::default().encode(&mut body, VERSION).unwrap();
        stream.write_u32(body.len() as u32).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

async fn ask(calls: &BrokerCalls, address: &str) -> Result<WriteTxnMarkersResponse, FetchError> {
    let limits = Limits { silence_max: Duration::from_secs(20), answer_bytes_max: 1 << 20 };
    let caller = Caller { client: "test".to_owned(), limits };
    calls.ask_at(NodeId(2), address.to_owned(), caller, &WriteTxnMarkersRequest::default(), VERSION).await
}

#[tokio::test]
async fn connection_is_kept_for_the_next_question() {
    let (address, connections) = broker(usize::MAX).await;
    let calls = BrokerCalls::default();
    for _ in 0..3 {
        ask(&calls, &address).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn connection_that_the_other_side_closed_is_replaced_and_nobody_notices() {
    let (address, connections) = broker(1).await;
    let calls = BrokerCalls::default();
    for _ in 0..3 {
        ask(&calls, &address).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn connection_whose_answer_nobody_waited_for_is_not_used_again() {
    let (address, connections) = broker(0).await;
    let calls = BrokerCalls::default();
    ask(&calls, &address).await.unwrap_err();
    ask(&calls, &address).await.unwrap_err();
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn broker_that_moved_is_asked_at_its_new_address() {
    let ((old, of_old), (new, of_new)) = (broker(usize::MAX).await, broker(usize::MAX).await);
    let calls = BrokerCalls::default();
    ask(&calls, &old).await.unwrap();
    ask(&calls, &new).await.unwrap();
    assert_eq!((of_old.load(Ordering::Relaxed), of_new.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn questions_beyond_the_limit_wait_for_their_turn() {
    let (address, connections) = broker(usize::MAX).await;
    let calls = Arc::new(BrokerCalls::default());
    let asking: Vec<_> = (0..4 * CONNECTIONS_MAX)
        .map(|_| {
            let (calls, address) = (Arc::clone(&calls), address.clone());
            tokio::spawn(async move { ask(&calls, &address).await.map(|_| ()) })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap().unwrap();
    }
    assert!(connections.load(Ordering::Relaxed) <= 4 * CONNECTIONS_MAX);
    assert_eq!(calls.drawer(NodeId(2)).free.available_permits(), CONNECTIONS_MAX);
}
