//! Fail-over, retries and caches, against a small HTTP server that plays a registry.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers the n-th request with the n-th of these, the last one again and again; counts the requests.
async fn registry(answers: Vec<(u16, &'static str)>) -> (String, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (count, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, noted) = (Arc::clone(&count), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let read = socket.read(&mut request).await.unwrap();
            let first_line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or("").to_owned();
            noted.lock().push(first_line);
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let (status, body) = answers[number.min(answers.len() - 1)];
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, count, seen)
}

#[tokio::test]
async fn schemas_and_ids_are_asked_for_once() {
    let (url, count, _) = registry(vec![(200, r#"{"id":7}"#), (200, r#"{"schema":"\"string\""}"#)]).await;
    let client = SchemaRegistryClient::new(&url).unwrap();
    for _ in 0..3 {
        assert_eq!(client.register("s", &SchemaDefinition::avro("\"string\"")).await.unwrap(), 7);
    }
    for _ in 0..3 {
        assert_eq!(client.avro_schema(7).await.unwrap().text(), "\"string\"");
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn next_url_takes_over_and_is_remembered() {
    let (url, count, _) = registry(vec![(200, "[]")]).await;
    let client = SchemaRegistryClient::new(&format!("http://127.0.0.1:1, {url}/")).unwrap();
    client.subjects().await.unwrap();
    client.subjects().await.unwrap();
    assert_eq!((count.load(Ordering::Relaxed), *client.shared.current.lock()), (2, 1));
}

#[tokio::test]
async fn server_errors_are_retried_and_refusals_are_not() {
    let (url, count, _) =
        registry(vec![(503, "busy"), (500, r#"{"error_code":50002,"message":"slow"}"#), (200, "[1]")]).await;
    assert_eq!(SchemaRegistryClient::new(&url).unwrap().versions("s").await.unwrap(), [1]);
    assert_eq!(count.load(Ordering::Relaxed), 3);

    let (url, count, _) = registry(vec![(404, r#"{"error_code":40401,"message":"Subject 's' not found."}"#)]).await;
    let client = SchemaRegistryClient::new(&url).unwrap();
    let error = client.versions("s").await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (Some(40401), "schema registry: Subject 's' not found. (40401)")
    );
    assert_eq!(client.latest("s").await.unwrap(), None);
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn nobody_there_is_one_error_with_every_url_and_reason() {
    let client = SchemaRegistryClient::new("http://127.0.0.1:1,http://127.0.0.1:2").unwrap();
    let text = client.ping().await.unwrap_err().to_string();
    assert!(text.contains("http://127.0.0.1:1 (Connection refused"), "{text}");
    assert!(text.contains("http://127.0.0.1:2 ("), "{text}");
}

#[tokio::test]
async fn odd_subjects_are_percent_encoded_as_one_segment() {
    let (url, _, seen) = registry(vec![(200, "[1]")]).await;
    SchemaRegistryClient::new(&url).unwrap().versions("a/b c").await.unwrap();
    assert_eq!(seen.lock()[0], "GET /subjects/a%2Fb%20c/versions HTTP/1.1");
}

#[test]
fn urls_without_scheme_or_host_are_refused() {
    for bad in ["", "localhost:8081", "ftp://x", "http://"] {
        assert!(matches!(SchemaRegistryClient::new(bad), Err(RegistryError::BadUrl(_))), "{bad}");
    }
}

#[test]
fn caches_forget_their_oldest_entry() {
    let mut cache = Cache::default();
    for number in 0..=CACHED_MAX {
        cache.put(number, number);
    }
    assert_eq!((cache.get(&0), cache.get(&1), cache.entries.len()), (None, Some(1), CACHED_MAX));
}
